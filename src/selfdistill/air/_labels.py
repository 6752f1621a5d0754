"""Labels as matrices: one-hot, centred, and the part of given labels that is noise."""

from __future__ import annotations

import torch
from torch import Tensor

from selfdistill._core.errors import DataError


def one_hot(labels: Tensor, classes: int) -> Tensor:
    """Write labels ``[n]`` as rows with a single 1, float64 ``[n, C]``."""
    labels = torch.as_tensor(labels).cpu()
    if labels.ndim != 1 or not len(labels):
        raise DataError(f"labels have shape {tuple(labels.shape)}", "Give one whole number per example, [n].")
    if labels.is_floating_point() or bool(((labels < 0) | (labels >= classes)).any()):
        low, high = labels.min().item(), labels.max().item()
        raise DataError(
            f"labels go from {low} to {high}, but must be whole, 0 to {classes - 1}",
            f"Encode them as 0 to {classes - 1}.",
        )
    return torch.nn.functional.one_hot(labels.long(), classes).double()


def centred(z: Tensor) -> Tensor:
    """Remove the mean of each column: what a constant prediction explains is no retrieved information."""
    z = torch.as_tensor(z).detach().cpu().double()
    return z - z.mean(0)


def transition_counts(given: Tensor, clean: Tensor, classes: int) -> Tensor:
    """Measure ``T[clean, given]`` ``[C, C]`` where both labels are known; a class without examples keeps its label."""
    counts = one_hot(clean, classes).T @ one_hot(given, classes)
    empty = counts.sum(1) == 0
    counts[empty] = torch.eye(classes, dtype=torch.float64)[empty]
    return counts / counts.sum(1, keepdim=True)


def noise_part(given: Tensor, clean: Tensor, classes: int, matrix: Tensor | None = None) -> Tensor:
    r"""Give the part of the given labels that nothing in the clean ones explains.

    .. math:: \xi = \tilde Y - Y T, \qquad E[\xi \mid Y] = 0

    The plain difference :math:`\tilde Y - Y` is no noise alone: for symmetric noise of rate r it contains
    :math:`-\frac{rC}{C-1} Y`, a copy of the signal with the sign turned, which leading directions hold as they hold
    the signal.

    Args:
        given: Given labels, int64 ``[n]``.
        clean: True labels, int64 ``[n]``.
        classes: C.
        matrix: ``T[clean, given]``, ``[C, C]``; measured from the two label vectors if left out, which makes
            :math:`\xi` exactly orthogonal to the clean one-hot columns.

    Returns:
        float64 ``[n, C]``; rows sum to 0.

    Raises:
        DataError: Label vectors of different lengths, or a matrix of another shape.

    Example:
        >>> noise_part(torch.tensor([0, 1]), torch.tensor([0, 0]), 2).tolist()
        [[0.5, -0.5], [-0.5, 0.5]]
    """
    if len(given) != len(clean):
        raise DataError(f"{len(given)} given labels, but {len(clean)} true ones", "Give both for the same examples.")
    matrix = transition_counts(given, clean, classes) if matrix is None else torch.as_tensor(matrix).double()
    if matrix.shape != (classes, classes):
        shape = tuple(matrix.shape)
        raise DataError(f"the transition matrix has shape {shape} for {classes} classes", "Give T[clean, given].")
    return one_hot(given, classes) - one_hot(clean, classes) @ matrix
