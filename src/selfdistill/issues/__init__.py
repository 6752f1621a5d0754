"""From given labels and soft labels to a ranking, flagged errors, refined labels, and a reliability check."""

from selfdistill.issues._northcutt2021joint import NoiseEstimate
from selfdistill.issues._table import LabelTable, compare_with_truth, find_issues, label_table

__all__ = [
    "LabelTable",
    "NoiseEstimate",
    "compare_with_truth",
    "find_issues",
    "label_table",
]
