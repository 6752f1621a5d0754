"""From given labels and soft labels to a ranking, flagged errors and refined labels."""

from selfdistill.issues._table import LabelTable, label_table
from selfdistill.issues._toneva2019forgetting import LearningDynamics
from selfdistill.issues._truth import compare_with_truth

__all__ = ["LabelTable", "LearningDynamics", "compare_with_truth", "label_table"]
