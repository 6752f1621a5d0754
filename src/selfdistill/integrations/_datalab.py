"""An issue type ``distill`` for cleanlab's Datalab: findings of one training, in its tables and its report."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import pandas as pd
from cleanlab.datalab.internal.issue_manager import IssueManager
from cleanlab.datalab.internal.issue_manager_factory import REGISTRY, register
from cleanlab.datalab.internal.task import Task

from selfdistill._core.errors import DataError, SettingError
from selfdistill.issues import find_issues
from selfdistill.issues._table import LabelTable


class DistillIssueManager(IssueManager):  # type: ignore[misc]  # cleanlab's classes are untyped
    """Label issues from soft labels that one training refined, under the name ``distill``.

    Datalab runs an issue type of its own only where ``issue_types`` names it, and hands it what stands there: either
    ``findings`` (the ``label_table_`` of a fitted `SelfDistillClassifier`, which also knows the course of training), or
    ``soft_targets``, an array ``[n, K]`` whose columns follow Datalab's order of classes (sorted). The score is the
    label quality: from 0 to 1, low = bad.

    ``get_info("distill")`` holds ``given_label``, ``predicted_label``, ``num_distill_issues``,
    ``average_distill_quality``, and with cleanlab's orientation ``noise_matrix`` and ``confident_joint`` (both
    ``[given, true]``), ``inverse_noise_matrix`` (``[true, given]``), ``py``.

    Example:
        >>> from cleanlab import Datalab
        >>> register_distill()
        >>> lab = Datalab({"y": ["a", "b", "b"]}, label_name="y", verbosity=0)
        >>> soft = np.array([[0.9, 0.1], [0.8, 0.2], [0.1, 0.9]])
        >>> lab.find_issues(issue_types={"distill": {"soft_targets": soft}})
        >>> lab.get_issues("distill")["is_distill_issue"].tolist()
        [False, True, False]
    """

    description: ClassVar[str] = (
        "Examples whose given label is likely wrong by the soft labels that selfdistill refined in one training."
    )
    issue_name: ClassVar[str] = "distill"
    verbosity_levels: ClassVar[dict[int, list[str]]] = {0: [], 1: [], 2: [], 3: ["noise_matrix"]}

    def find_issues(self, soft_targets: Any = None, findings: LabelTable | None = None, **_: Any) -> None:
        """Fill ``issues``, ``summary`` and ``info``; called by Datalab.

        Args:
            soft_targets: Refined distributions, ``[n, K]``.
            findings: What was found already.

        Raises:
            SettingError: Neither or both are given, or the Datalab has no labels.
            DataError: They are of other labels.
        """  # noqa: DOC502 (raised by what is called)
        if (soft_targets is None) == (findings is None):
            raise SettingError(
                f"{'neither' if findings is None else 'both'} of soft_targets and findings are given, but it takes one",
                "Pass issue_types={'distill': {'findings': clf.label_table_}} or {'distill': {'soft_targets': A}}.",
            )
        if not self.datalab.has_labels:
            raise SettingError("this Datalab has no labels", "Make it with label_name.")
        labels = np.asarray(self.datalab.labels)
        table = find_issues(labels, soft_targets) if findings is None else _of_these(findings, labels)
        self.issues = pd.DataFrame(
            {f"is_{self.issue_name}_issue": table.is_issue, self.issue_score_key: table.quality.astype(np.float64)}
        )
        self.summary = self.make_summary(score=table.noise.health)
        self.info = {
            "num_distill_issues": int(table.is_issue.sum()),
            "average_distill_quality": float(table.quality.mean()),
            "given_label": table.given.tolist(),
            "predicted_label": table.refined.tolist(),
            "noise_matrix": table.noise.noise_matrix.T,
            "inverse_noise_matrix": table.noise.inverse.T,
            "confident_joint": table.noise.confident_joint().T,
            "py": table.noise.clean_share,
        }


def _of_these(findings: LabelTable, labels: np.ndarray) -> LabelTable:
    if findings.given.shape != labels.shape:
        raise DataError(
            f"the findings are on {len(findings.given):,} examples, but the Datalab has {len(labels):,}",
            "Pass findings on the same examples, in the same order.",
        )
    differ = np.flatnonzero(findings.given != labels)
    if len(differ):
        row = differ[0]
        raise DataError(
            f"the findings have the given label {findings.given[row]} in row {row}, but the Datalab has {labels[row]} "
            f"({len(differ):,} rows differ)",
            "Pass findings on these very labels; both sides sort the classes.",
        )
    return findings


def register_distill() -> None:
    """Make ``distill`` known to Datalab, for classification; a second call changes nothing.

    Example:
        >>> register_distill()
        >>> from cleanlab import Datalab
        >>> "distill" in Datalab({"y": ["a", "b"]}, label_name="y", verbosity=0).list_possible_issue_types()
        True
    """
    if DistillIssueManager.issue_name not in REGISTRY[Task.CLASSIFICATION]:
        register(DistillIssueManager, task=str(Task.CLASSIFICATION))
