"""From a teacher to a student: soft labels stored once, objectives, the choice of who teaches, and what they know."""

from selfdistill.distill._candidates import WAYS, Candidate, Choice, air_epoch, candidates, choose
from selfdistill.distill._distiller import Distiller
from selfdistill.distill._features import FeaturePair
from selfdistill.distill._measures import class_similarity, dark_knowledge, sentences, summary
from selfdistill.distill._objective import OBJECTIVES, Objective, objective
from selfdistill.distill._request import DistillRequest, start
from selfdistill.distill._soft_labels import About, Store, load_store, save_store
from selfdistill.distill._teacher import AnyTeacher, Teacher, find_teacher, soft_labels

__all__ = [
    "OBJECTIVES",
    "WAYS",
    "About",
    "AnyTeacher",
    "Candidate",
    "Choice",
    "DistillRequest",
    "Distiller",
    "FeaturePair",
    "Objective",
    "Store",
    "Teacher",
    "air_epoch",
    "candidates",
    "choose",
    "class_similarity",
    "dark_knowledge",
    "find_teacher",
    "load_store",
    "objective",
    "save_store",
    "sentences",
    "soft_labels",
    "start",
    "summary",
]
