"""Closed forms of the kernel regime that the claims alone are measured by."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from selfdistill.theory import Spectrum
from selfdistill.theory._relu_kernel import _by_blocks
from selfdistill.theory._soft_distillation import _absorbed
from selfdistill.theory._spectrum import Amount, eigenvalues


def first_layer_kernel(inputs: Tensor, other: Tensor | None = None) -> Tensor:
    """Tangent kernel ``[n, m]`` of an infinitely wide two-layer ReLU network that trains its first layer alone."""
    # f(x) = sum_r a_r relu(w_r x) / sqrt(m), a_r = 1 or -1, so K(x, x') = x x' (pi - angle) / (2 pi); without a factor
    # 2 in the scaling the diagonal is half the squared norm. Du, Zhai, Poczos & Singh (2018), arXiv 1810.02054; Arora,
    # Du, Hu, Li & Wang (2019), arXiv 1901.08584.
    return _by_blocks(inputs, other, lambda angle: angle.cos() * (math.pi - angle) / (2 * math.pi))


def settled_bound(
    spectrum: Spectrum,
    given: Tensor,
    settled: Tensor,
    time: Amount,
    *,
    start: Tensor,
    given_weight: float,
    decay: float = 0.0,
) -> Tensor:
    """Bound on the distance of `settled_distillation` from the settled predictions, scalar or ``[T]``."""
    # |f_t - h| <= exp(-lambda_min t) |f_0 - h| + |y - h| max_i of the share that direction i takes up of the given
    # labels. The margin is at least 1 less this bound (labels of -1 and 1). Our statement, for the kernel regime.
    absorbed, left = _absorbed(eigenvalues(spectrum), time, given_weight, decay)
    given, settled, start = (torch.as_tensor(rows).double() for rows in (given, settled, start))
    bound: Tensor = left.amax(-1) * torch.linalg.norm(start - settled) + absorbed.amax(-1) * torch.linalg.norm(
        given - settled
    )
    return bound
