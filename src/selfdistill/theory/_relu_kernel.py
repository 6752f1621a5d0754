"""Kernels of infinitely wide fully connected ReLU networks, exact also for inputs that nearly coincide."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

from selfdistill._core.errors import DataError, SettingError
from selfdistill._core.rows import check_finite

_OfAngle = Callable[[Tensor], Tensor]
_NEAR = 5e-5  # 1 - |cos|: nearer than 0.01 rad, arccos would lose more than two digits
_BLOCK = 2**21  # entries worked on at a time, 16 MiB each


def relu_kernel(
    inputs: Tensor, other: Tensor | None = None, *, depth: int = 1, kind: Literal["ntk", "nngp"] = "ntk"
) -> Tensor:
    r"""Kernel of a ReLU network whose hidden layers are infinitely wide.

    The network has ``depth`` hidden layers, no biases, standard normal weights, He's scaling, and one linear output:

    .. math:: h_0 = x, \qquad h_l = \sqrt{2/m_l}\;\mathrm{relu}(W_l h_{l-1}), \qquad f(x) = w^\top h_L .

    Inputs enter as they are: nothing is divided by their dimension, so inputs of unit norm have a diagonal of 1 (nngp)
    or ``depth + 1`` (ntk: one for each layer of weights, all of them trained). With :math:`\theta_0` the angle of the
    two inputs,

    .. math::

        \cos\theta_l = \frac{\sin\theta_{l-1} + (\pi - \theta_{l-1})\cos\theta_{l-1}}{\pi}, \qquad
        \Theta_0 = \cos\theta_0, \qquad
        \Theta_l = \Theta_{l-1}\Bigl(1 - \frac{\theta_{l-1}}{\pi}\Bigr) + \cos\theta_l ,

    nngp is :math:`\|x\|\|x'\|\cos\theta_L`, ntk is :math:`\|x\|\|x'\|\,\Theta_L`. For C outputs it is the kernel of
    each; different outputs have kernel 0. The angles are carried instead of their cosines, and those of nearly parallel
    inputs come from the difference of the two, so that their error is about 1e-14 and equal inputs have equal rows.

    Args:
        inputs: ``[n, ...]``, flattened; computed in float64 where they lie.
        other: ``[m, ...]``; the inputs themselves if left out.
        depth: Hidden layers, 0 or more; with 0 both kernels are the dot product.
        kind: "ntk" for training all layers, "nngp" for the covariance of the output at initialisation, which is also
            the kernel of training the last layer alone.

    Returns:
        float64 ``[n, m]``; exactly symmetric if ``other`` is left out. Cost: ``2 n m d`` FLOPs and about ``10 depth``
        elementary functions per entry; memory: the result and 130 MB.

    Raises:
        SettingError: ``depth`` below 0, or another ``kind``.

    References:
        Cho & Saul (2009), "Kernel methods for deep learning" (the recursion of the angle); Jacot, Gabriel & Hongler
        (2018), arXiv 1806.07572 (the tangent kernel).

    Example:
        >>> relu_kernel(torch.tensor([[1.0, 0.0], [0.0, 1.0]])).round(decimals=4)
        tensor([[2.0000, 0.3183],
                [0.3183, 2.0000]], dtype=torch.float64)
    """
    if depth < 0:
        raise SettingError(f"depth is {depth}, but counts hidden layers, 0 or more", "A two-layer network has depth 1.")
    if kind not in {"ntk", "nngp"}:
        raise SettingError(f"kind is {kind!r}, but must be 'ntk' or 'nngp'", "Choose one of the two.")
    return _by_blocks(inputs, other, lambda angle: _layers(angle, depth, kind))


def _layers(angle: Tensor, depth: int, kind: str) -> Tensor:
    """Follow the recursion from angles of the inputs to the kernel of unit inputs."""
    cosine = tangent = angle.cos()
    for _ in range(depth):
        # (1 - cos of the next angle) / 2, without the difference of nearly equal numbers
        half = (angle / 2).sin() ** 2 - (angle.sin() - angle * cosine) / (2 * math.pi)
        cosine = 1 - 2 * half
        tangent = tangent * (1 - angle / math.pi) + cosine
        angle = 2 * half.clamp(0, 1).sqrt().asin()
    return tangent if kind == "ntk" else cosine


def _by_blocks(inputs: Tensor, other: Tensor | None, of_angle: _OfAngle) -> Tensor:
    """Evaluate a function of the angle, times both norms, in blocks of rows."""
    left, left_norm = _unit_rows(inputs, "inputs")
    right, right_norm = (left, left_norm) if other is None else _unit_rows(other, "other")
    if left.shape[1] != right.shape[1]:
        raise DataError(
            f"inputs have {left.shape[1]} values each, but the other set has {right.shape[1]}",
            "Give two sets of the same kind.",
        )
    kernel = left.new_empty(len(left), len(right))
    rows = max(1, _BLOCK // max(1, len(right)))
    for start in range(0, len(left), rows):
        part = slice(start, start + rows)
        kernel[part] = of_angle(_angles(left[part], right)) * left_norm[part, None] * right_norm
    return kernel if other is not None else (kernel + kernel.T) / 2


def _unit_rows(inputs: Tensor, name: str) -> tuple[Tensor, Tensor]:
    """Flatten, and split into directions and norms; a row of zeros keeps direction 0."""
    if inputs.ndim < 2 or not len(inputs):
        raise DataError(f"{name} have shape {tuple(inputs.shape)}, but must be [n, ...], n >= 1", "Stack the inputs.")
    rows = torch.as_tensor(inputs).detach().flatten(1).double()
    check_finite(rows, f"{name} have", "Remove or replace them.")
    largest = rows.abs().amax(1, keepdim=True)  # so that squares neither overflow nor vanish
    scaled = rows / torch.where(largest > 0, largest, 1.0)
    norm = torch.linalg.vector_norm(scaled, dim=1, keepdim=True)
    return scaled / torch.where(norm > 0, norm, 1.0), (norm * largest)[:, 0]


def _angles(left: Tensor, right: Tensor) -> Tensor:
    """Angles between unit rows, ``[n, m]``, to about 1e-14 also near 0 and pi."""
    cosine = (left @ right.T).clamp(-1, 1)
    angle = cosine.arccos()
    i, j = (1 - cosine.abs() < _NEAR).nonzero(as_tuple=True)
    pairs = max(1, _BLOCK // left.shape[1])
    for start in range(0, len(i), pairs):
        a, b = i[start : start + pairs], j[start : start + pairs]
        sign = cosine[a, b].sign()
        small = 2 * (torch.linalg.vector_norm(left[a] - sign[:, None] * right[b], dim=1) / 2).asin()
        angle[a, b] = torch.where(sign > 0, small, math.pi - small)
    return angle
