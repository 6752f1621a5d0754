"""From given labels and soft labels to a ranking, flagged errors, refined labels, and a reliability check."""

from selfdistill.issues._table import compare_with_truth, find_issues, label_table

__all__ = ["compare_with_truth", "find_issues", "label_table"]
