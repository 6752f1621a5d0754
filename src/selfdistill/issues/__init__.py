"""From given labels and soft labels to a ranking, flagged errors and refined labels."""

from selfdistill.issues._applicability import Applicability, Evidence, applicability, judge
from selfdistill.issues._table import LabelTable, label_table
from selfdistill.issues._toneva2019forgetting import LearningDynamics
from selfdistill.issues._truth import compare_with_truth

__all__ = [
    "Applicability",
    "Evidence",
    "LabelTable",
    "LearningDynamics",
    "applicability",
    "compare_with_truth",
    "judge",
    "label_table",
]
