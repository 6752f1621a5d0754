"""From given labels and soft labels to a ranking, flagged errors, refined labels, and a reliability check."""

from selfdistill.issues._blocks import BLOCK_BYTES, SoftLabels, as_soft, blocks
from selfdistill.issues._northcutt2021joint import NoiseEstimate
from selfdistill.issues._reliability import (
    Applicability,
    Evidence,
    OutOfSampleEvidence,
    applicability,
    judge,
    out_of_sample_trust,
)
from selfdistill.issues._table import LabelTable, compare_with_truth, find_issues, label_table
from selfdistill.issues._toneva2019forgetting import LearningDynamics

__all__ = [
    "BLOCK_BYTES",
    "Applicability",
    "Evidence",
    "LabelTable",
    "LearningDynamics",
    "NoiseEstimate",
    "OutOfSampleEvidence",
    "SoftLabels",
    "applicability",
    "as_soft",
    "blocks",
    "compare_with_truth",
    "find_issues",
    "judge",
    "label_table",
    "out_of_sample_trust",
]
