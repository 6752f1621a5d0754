"""One row per example: what the label was, what it should be, and how sure that is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor

from selfdistill._core.errors import DataError
from selfdistill.issues._blocks import BLOCK_BYTES, SoftLabels, as_given, as_soft, blocks
from selfdistill.issues._northcutt2021joint import NoiseEstimate
from selfdistill.issues._toneva2019forgetting import LearningDynamics

if TYPE_CHECKING:
    import pandas as pd

_FIRST = 100  # labels that a person looks at first
_NOTHING = 0.5  # fewer labels than this are expected to be wrong: none
_INT16_CLASSES = np.iinfo(np.int16).max
_LEAST = 1e-3  # a class that is right less often counts as this, so that no weight is above 1000


def flag(expected: float, agrees: np.ndarray, quality: np.ndarray) -> np.ndarray:
    """Flag as many labels as are expected to be wrong: bool ``[n]``."""
    # Those come first whose refined label differs from the given one, each by rising quality. So the number flagged
    # estimates the number wrong, and a flagged label mostly has a better one; where it has none (refined = given), it
    # is doubted and no other is known. Numbers: docs/decisions/0008-which-labels-are-called-wrong.md.
    flagged = np.zeros(len(quality), dtype=bool)
    flagged[np.lexsort((quality, agrees))[: int(np.rint(expected))]] = True
    return flagged


@dataclass(frozen=True, eq=False)
class LabelTable:
    """Findings on each example, in the data's order. All arrays have length n.

    Attributes:
        given: Given labels, int64.
        refined: Refined labels, int64: argmax of ``distribution``.
        confidence: Probability of the refined label, float32.
        distribution: Refined label distributions ``[n, K]``: float32 and normalised where they were handed over as a
            tensor, otherwise what was handed over.
        quality: 0 to 1, low = bad, float32: geometric mean of the given label's probability in ``distribution`` and of
            its geometric mean over the epochs. The first alone ranks confusions between two classes best, the second
            alone rare and uniform errors. Where not one label is expected to be wrong, the logistic function of the
            mean margin: what errors there are then follow from the inputs. See
            ``docs/decisions/0006-label-quality.md``.
        is_issue: Which labels are called wrong, bool: as many as are expected to be; see `flag`.
        first_learned: Epoch in which the given label was first predicted, from 0; −1 never. int32.
        forgotten: How often it was unlearned again. int32. Both are −1 where no training was watched.
        p_given: Probability of the given label in ``distribution``, float32.
        entropy: Of each distribution, in nats, float32.
        noise: Estimated counts of true and given labels.
    """

    given: np.ndarray
    refined: np.ndarray
    confidence: np.ndarray
    distribution: Any
    quality: np.ndarray
    is_issue: np.ndarray
    first_learned: np.ndarray
    forgotten: np.ndarray
    p_given: np.ndarray
    entropy: np.ndarray
    noise: NoiseEstimate

    @property
    def most_doubtful(self) -> tuple[int, float]:
        """How many labels of least quality to look at first (a fifth, at most 100), and how many may be wrong: a sum.

        Example:
            >>> find_issues([0, 1], np.array([[0.9, 0.1], [0.8, 0.2]])).most_doubtful
            (1, 0.8)
        """
        first = np.argsort(self.quality, kind="stable")[: min(_FIRST, max(1, len(self.quality) // 5))]
        return len(first), round(float((1 - self.p_given[first].astype(np.float64)).sum()), 2)

    @property
    def relabelled(self) -> np.ndarray:
        """Labels after relabelling: the refined one where an issue is flagged, else the given one; int64."""
        return np.where(self.is_issue, self.refined, self.given)


def label_table(
    distribution: SoftLabels | Tensor, dynamics: LearningDynamics, *, counts: Any = None, block_bytes: int = BLOCK_BYTES
) -> LabelTable:
    """Make the findings from refined distributions and the record of training.

    Args:
        distribution: Refined label distributions, ``[n, K]``, rows sum to 1. A tensor is copied; what else can be
            sliced (an array, a memory map, a store) is read in blocks and kept as it is.
        dynamics: Record of the same examples.
        counts: Another estimate of the counts of true and given labels, see `find_issues`.
        block_bytes: Bytes of one block as float32; about ten times as much is taken beside the findings.

    Returns:
        The findings, on the CPU.

    Raises:
        DataError: Distributions and labels that do not fit together.

    Example:
        >>> import torch
        >>> dynamics = LearningDynamics(torch.tensor([0, 1]))
        >>> dynamics.update(torch.tensor([[0.9, 0.1], [0.8, 0.2]]), torch.tensor([True, True]))
        >>> table = label_table(torch.tensor([[0.9, 0.1], [0.7, 0.3]]), dynamics)
        >>> table.refined.tolist(), table.is_issue.tolist()
        ([0, 0], [False, True])
    """  # noqa: DOC502 (raised by what is called)
    return find_issues(
        dynamics.labels,
        distribution,
        mean_given=dynamics.mean_given().cpu().numpy(),
        mean_margin=dynamics.mean_margin().cpu().numpy(),
        first_learned=dynamics.first_learned.cpu().numpy(),
        forgotten=dynamics.forgotten.cpu().numpy(),
        counts=counts,
        block_bytes=block_bytes,
    )


def find_issues(
    given: Any,
    distribution: SoftLabels | Tensor,
    *,
    mean_given: np.ndarray | None = None,
    mean_margin: np.ndarray | None = None,
    quality: np.ndarray | None = None,
    first_learned: np.ndarray | None = None,
    forgotten: np.ndarray | None = None,
    counts: Any = None,
    block_bytes: int = BLOCK_BYTES,
) -> LabelTable:
    """Make the findings from given labels and soft labels of any origin.

    Args:
        given: Given labels as positions of the columns, ``[n]``.
        distribution: Soft labels, ``[n, K]``, see `label_table`. They may have seen the given labels, as refined
            distributions have, or not, as predictions out of fold.
        mean_given: Mean over training of the given label's probability, ``[n]``; left out, the quality is ``p_given``.
        mean_margin: Mean over training of the given label's log-probability less the likeliest other's, ``[n]``; ranks
            where less than half a label is expected to be wrong.
        quality: A ranking of its own, 0 to 1, low = bad, ``[n]``; takes the place of all others.
        first_learned: See `LabelTable`.
        forgotten: See `LabelTable`.
        counts: Another estimate of the counts of true and given labels, ``[clean, given]``. Of it and the sums of
            ``distribution`` the one that expects more wrong labels is taken: memorising a wrong label hides it, and
            nothing makes up one.
        block_bytes: See `label_table`.

    Returns:
        The findings.

    Raises:
        DataError: Labels that do not fit the distributions, or rows that are none.

    Example:
        >>> soft = np.array([[0.9, 0.1], [0.8, 0.2], [0.1, 0.9]])
        >>> table = find_issues([0, 1, 1], soft)
        >>> table.is_issue.tolist(), table.noise.counts.round(1).tolist()
        ([False, True, False], [[0.9, 0.9], [0.1, 1.1]])
    """  # noqa: DOC502 (raised by what is called)
    distribution = as_soft(distribution)
    n, k = distribution.shape
    given = as_given(given, n, k)
    keep = np.empty((n, k), np.float32) if isinstance(distribution, Tensor) else None
    refined = np.empty(n, np.int64)
    confidence, p_given, entropy = (np.empty(n, np.float32) for _ in range(3))
    total = np.zeros((k, k))
    for rows, part in blocks(distribution, block_bytes):
        if keep is not None:
            keep[rows] = part
        labels = given[rows]
        refined[rows] = part.argmax(1)
        confidence[rows] = part.max(1)
        p_given[rows] = np.take_along_axis(part, labels[:, None], 1)[:, 0]
        entropy[rows] = -(part * np.log(np.maximum(part, 1e-30))).sum(1)
        total += _counts(part, labels)
    noise = _estimate(total, counts)
    if quality is not None:
        quality = np.clip(quality, 0, 1).astype(np.float32)
    else:
        quality = p_given if mean_given is None else np.sqrt(np.clip(p_given * mean_given, 0, 1)).astype(np.float32)
    if mean_margin is not None and noise.wrong < _NOTHING:
        quality = (1 / (1 + np.exp(-np.asarray(mean_margin, np.float64)))).astype(np.float32)
    unwatched = np.full(n, -1, np.int32)
    return LabelTable(
        given=given,
        refined=refined,
        confidence=confidence,
        distribution=distribution if keep is None else keep,
        quality=quality,
        is_issue=flag(noise.wrong, refined == given, quality),
        first_learned=unwatched if first_learned is None else first_learned,
        forgotten=unwatched if forgotten is None else forgotten,
        p_given=p_given,
        entropy=np.maximum(entropy, 0),
        noise=noise,
    )


def count_issues(given: Any, distribution: SoftLabels | Tensor, counts: Any = None) -> int:
    """Count the labels that `find_issues` calls wrong, without saying which: a third of the time."""
    distribution = as_soft(distribution)
    n, k = distribution.shape
    given, total = as_given(given, n, k), np.zeros((k, k))
    for rows, part in blocks(distribution):
        total += _counts(part, given[rows])
    return min(n, int(np.rint(_estimate(total, counts).wrong)))


def _estimate(total: np.ndarray, counts: Any) -> NoiseEstimate:
    """Take the sums of the soft labels or the other counts, whichever expect more wrong labels."""
    noise = NoiseEstimate(total)
    return noise if counts is None else max(noise, NoiseEstimate(_checked(counts, total)), key=lambda e: e.wrong)


def _checked(counts: Any, total: np.ndarray) -> np.ndarray:
    """Refuse counts of other labels; rounding may move a column's sum a little."""
    array = np.asarray(counts.cpu() if isinstance(counts, Tensor) else counts, np.float64)
    if array.shape != total.shape or not np.allclose(array.sum(0), total.sum(0), rtol=1e-2, atol=0.5):
        raise DataError(
            f"the counts have shape {array.shape} and columns that sum to {array.sum(0).round(1).tolist()[:5]}, but "
            f"the given labels need {total.shape} and {total.sum(0).round(1).tolist()[:5]}",
            "Pass counts [clean, given] of these very labels.",
        )
    return array


def _counts(rows: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Sum the rows of each given label: ``[clean, given]``."""
    order = np.argsort(labels, kind="stable")
    there, first = np.unique(labels[order], return_index=True)
    counts = np.zeros((rows.shape[1], rows.shape[1]))
    counts[:, there] = np.add.reduceat(rows[order].astype(np.float64), first, axis=0).T
    return counts


def compare_with_truth(table: LabelTable, truth: np.ndarray) -> dict[str, float]:
    """Measure refined labels and the ranking against true labels.

    Args:
        table: Findings on n examples.
        truth: True labels, int64 ``[n]``; −1 where unknown, and not counted there.

    Returns:
        ``examples`` (with known truth), ``given_right``, ``refined_right`` (shares), ``wrong_set_right`` (share of
        wrong given labels whose refined label is true), ``right_spoiled`` (share of right given labels whose refined
        label is false), ``flagged_precision``, ``flagged_recall``, and, where both kinds exist, ``auroc`` and
        ``average_precision`` of finding the wrong labels by low quality. A share of nothing is left out.

    Example:
        >>> import torch
        >>> from selfdistill.issues._toneva2019forgetting import LearningDynamics
        >>> from selfdistill.issues import label_table
        >>> dynamics = LearningDynamics(torch.tensor([0, 1]))
        >>> dynamics.update(torch.tensor([[0.9, 0.1], [0.8, 0.2]]), torch.tensor([True, True]))
        >>> table = label_table(torch.tensor([[0.9, 0.1], [0.7, 0.3]]), dynamics)
        >>> found = compare_with_truth(table, np.array([0, 0]))
        >>> found["given_right"], found["refined_right"], found["auroc"]
        (0.5, 1.0, 1.0)
    """
    known = truth >= 0
    given, refined, truth = table.given[known], table.refined[known], truth[known]
    quality, flagged = table.quality[known], table.is_issue[known]
    wrong = given != truth
    shares = {
        "given_right": ~wrong,
        "refined_right": refined == truth,
        "wrong_set_right": (refined == truth)[wrong],
        "right_spoiled": (refined != truth)[~wrong],
        "flagged_precision": wrong[flagged],
        "flagged_recall": flagged[wrong],
    }
    measures = {"examples": float(known.sum())} | {k: float(v.mean()) for k, v in shares.items() if len(v)}
    if wrong.any() and not wrong.all():
        from sklearn.metrics import average_precision_score, roc_auc_score

        measures["auroc"] = float(roc_auc_score(wrong, -quality))
        measures["average_precision"] = float(average_precision_score(wrong, -quality))
    return measures


def issue_frame(table: LabelTable, classes: np.ndarray) -> pd.DataFrame:
    """Write findings as a DataFrame, one row per example; the estimator's ``get_label_issues`` names the columns."""
    import pandas as pd

    small = np.int16 if len(classes) < _INT16_CLASSES else np.int32
    return pd.DataFrame(
        {
            "is_label_issue": table.is_issue,
            "label_quality": table.quality.astype(np.float64),
            "given_label": table.given.astype(small),
            "predicted_label": table.refined.astype(small),
            "sample_weight": sample_weights(table),
            "refined_label": table.relabelled.astype(small),
            "refined_confidence": table.confidence,
            "refined_entropy": table.entropy,
            "first_learned_epoch": table.first_learned,
            "times_forgotten": table.forgotten,
            "given_class": classes[table.given],
            "refined_class": classes[table.refined],
        }
    )


def sample_weights(table: LabelTable) -> np.ndarray:
    """Weights for training on what is kept: 0 for an issue, else 1 / P(given k | true k) of its given label k."""
    right = np.maximum(np.diagonal(table.noise.noise_matrix), _LEAST)
    return np.asarray(np.where(table.is_issue, 0.0, 1 / right[table.given]))
