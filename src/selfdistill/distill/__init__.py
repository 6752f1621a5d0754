"""From a teacher to a student: soft labels stored once, objectives, the choice of who teaches, and what they know."""

from selfdistill.distill._air_epoch import air_epoch
from selfdistill.distill._candidates import WAYS, Candidate, Choice, candidates, choose
from selfdistill.distill._distiller import Distiller
from selfdistill.distill._features import FeaturePair
from selfdistill.distill._invocation import Order, start
from selfdistill.distill._job import STORE
from selfdistill.distill._measures import (
    class_similarity,
    dark_knowledge,
    entropy_beyond_top,
    information_given_top,
    sentences,
)
from selfdistill.distill._objective import OBJECTIVES, Objective, objective
from selfdistill.distill._report import summary, who_teaches
from selfdistill.distill._store_file import About, Store, load_store, save_store
from selfdistill.distill._teacher import Ensemble, Found, Teacher, find_teacher, run_of, soft_labels
from selfdistill.distill._views import Views, views_of

__all__ = [
    "OBJECTIVES",
    "STORE",
    "WAYS",
    "About",
    "Candidate",
    "Choice",
    "Distiller",
    "Ensemble",
    "FeaturePair",
    "Found",
    "Objective",
    "Order",
    "Store",
    "Teacher",
    "Views",
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
    "views_of",
    "who_teaches",
]
