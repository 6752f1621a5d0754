"""From a teacher to a student: soft labels stored once, objectives, the choice of who teaches, and what they know."""

from selfdistill.distill._candidates import WAYS, Candidate, Choice, air_epoch, candidates, choose
from selfdistill.distill._distiller import Distiller
from selfdistill.distill._features import FeaturePair
from selfdistill.distill._job import STORE
from selfdistill.distill._measures import (
    class_similarity,
    dark_knowledge,
    entropy_beyond_top,
    information_given_top,
    sentences,
    summary,
    who_teaches,
)
from selfdistill.distill._objective import OBJECTIVES, Objective, objective
from selfdistill.distill._request import DistillRequest, start
from selfdistill.distill._soft_labels import About, Store, load_store, save_store
from selfdistill.distill._teacher import Ensemble, Found, Teacher, find_teacher, run_of, soft_labels

__all__ = [
    "OBJECTIVES",
    "STORE",
    "WAYS",
    "About",
    "Candidate",
    "Choice",
    "DistillRequest",
    "Distiller",
    "Ensemble",
    "FeaturePair",
    "Found",
    "Objective",
    "Store",
    "Teacher",
    "air_epoch",
    "candidates",
    "choose",
    "class_similarity",
    "dark_knowledge",
    "entropy_beyond_top",
    "find_teacher",
    "information_given_top",
    "load_store",
    "objective",
    "run_of",
    "save_store",
    "sentences",
    "soft_labels",
    "start",
    "summary",
    "who_teaches",
]
