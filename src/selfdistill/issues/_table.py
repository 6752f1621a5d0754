"""One row per example: what the label was, what it should be, and how sure that is."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from torch import Tensor

from selfdistill.issues._toneva2019forgetting import LearningDynamics

__all__ = ["LabelTable", "label_table"]


@dataclass(frozen=True, eq=False)
class LabelTable:
    """Findings on each example, in the data's order. All arrays have length n.

    Attributes:
        given: Given labels, int64.
        refined: Refined labels, int64: argmax of ``distribution``.
        confidence: Probability of the refined label, float32.
        distribution: Refined label distributions, float32 ``[n, K]``, rows sum to 1.
        quality: 0 to 1, low = bad, float32: geometric mean of the given label's probability in ``distribution`` and of
            its mean over the epochs. The first alone ranks confusions between two classes best, the second alone rare
            and uniform errors; see ``docs/decisions/0006-label-quality.md``.
        is_issue: Whether the refined label differs from the given one, bool.
        first_learned: Epoch in which the given label was first predicted, from 0; −1 never. int32.
        forgotten: How often it was unlearned again. int32.
    """

    given: np.ndarray
    refined: np.ndarray
    confidence: np.ndarray
    distribution: np.ndarray
    quality: np.ndarray
    is_issue: np.ndarray
    first_learned: np.ndarray
    forgotten: np.ndarray


def label_table(distribution: Tensor, dynamics: LearningDynamics) -> LabelTable:
    """Make the findings from refined distributions and the record of training.

    Args:
        distribution: Refined label distributions, ``[n, K]``.
        dynamics: Record of the same examples.

    Returns:
        The findings, on the CPU.

    Example:
        >>> import torch
        >>> dynamics = LearningDynamics(torch.tensor([0, 1]))
        >>> dynamics.update(torch.tensor([[0.9, 0.1], [0.8, 0.2]]), torch.tensor([True, True]))
        >>> table = label_table(torch.tensor([[0.9, 0.1], [0.7, 0.3]]), dynamics)
        >>> table.refined.tolist(), table.is_issue.tolist()
        ([0, 0], [False, True])
    """
    distribution = distribution.detach().float().cpu()
    distribution = distribution / distribution.sum(-1, keepdim=True)
    confidence, refined = distribution.max(-1)
    given, mean_given = dynamics.labels.cpu(), dynamics.mean_given().cpu()
    return LabelTable(
        given=given.numpy(),
        refined=refined.numpy(),
        confidence=confidence.numpy(),
        distribution=distribution.numpy(),
        quality=(distribution.gather(1, given[:, None])[:, 0] * mean_given).clamp(0, 1).sqrt().numpy(),
        is_issue=(refined != given).numpy(),
        first_learned=dynamics.first_learned.cpu().numpy(),
        forgotten=dynamics.forgotten.cpu().numpy(),
    )
