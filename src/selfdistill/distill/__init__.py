"""From a teacher to a student: soft labels stored once, objectives, the choice of who teaches, and what they know."""

from selfdistill.distill._distiller import Distiller
from selfdistill.distill._features import FeaturePair
from selfdistill.distill._measures import class_similarity, dark_knowledge
from selfdistill.distill._teacher import find_teacher, soft_labels

__all__ = ["Distiller", "FeaturePair", "class_similarity", "dark_knowledge", "find_teacher", "soft_labels"]
