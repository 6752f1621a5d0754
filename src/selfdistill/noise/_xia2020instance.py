"""Noise that depends on the example.

References:
    X. Xia et al., "Part-dependent label noise: towards instance-dependent label noise", NeurIPS 2020,
    arXiv:2006.07836; algorithm 2.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from selfdistill._core.errors import DataError
from selfdistill._core.rng import torch_generator
from selfdistill.noise._draw import Noise, invert, realise
from selfdistill.noise._summary import check_labels
from selfdistill.noise._transition import symmetric

__all__ = ["flip_rates", "instance_dependent"]

_SPREAD = 0.1
_BLOCK = 4096


def flip_rates(count: int, rate: float, seed: int) -> Tensor:
    r"""Draw the flip rate of each example, :math:`q_i \sim N(\mathrm{rate}, 0.1^2)` truncated to [0, 1].

    Args:
        count: Number of examples.
        rate: Centre of the distribution. At 0 all flip rates are 0.
        seed: Seed of the draw.

    Returns:
        float64 ``[count]``.

    Example:
        >>> rates = flip_rates(1000, 0.4, seed=0)
        >>> bool((rates >= 0).all() and (rates <= 1).all()), round(rates.mean().item(), 1)
        (True, 0.4)
    """
    if rate == 0:
        return torch.zeros(count, dtype=torch.float64)
    uniform = torch.rand(count, generator=torch_generator(seed, "instance noise", "rates"), dtype=torch.float64)
    low, high = (0.5 * (1 + math.erf((end - rate) / _SPREAD / math.sqrt(2))) for end in (0.0, 1.0))
    standard = torch.special.ndtri(low + (high - low) * uniform)
    rates: Tensor = (rate + _SPREAD * standard).clamp(0, 1)
    return rates


def instance_dependent(inputs: Tensor, labels: Tensor, num_classes: int, rate: float, seed: int) -> Noise:
    r"""Draw labels whose errors depend on what the example looks like.

    Each example i has its own flip rate :math:`q_i` (see `flip_rates`), and a random linear map
    :math:`W_{y_i} \in R^{d \times K}` of its class, entries :math:`N(0, 1)`, says to which class it flips:

    .. math:: P(\tilde y_i = g) = q_i \, \mathrm{softmax}_{g \ne y_i}(x_i W_{y_i})_g, \quad
              P(\tilde y_i = y_i) = 1 - q_i.

    The average flip rate is close to ``rate``: the truncation to [0, 1] moves it by less than 0.001 for rates in
    [0.3, 0.7], to 0.129 at 0.1 and to 0.92 at 1. At ``rate=0`` nothing changes (the truncated distribution would flip
    8 %).

    Cost: ``n d K`` multiplications; memory for one map of ``d K`` numbers and 4,096 examples, whatever n is.

    Args:
        inputs: Examples ``[n, ...]``, flattened and cast to float32 but not scaled: the larger the numbers, the surer
            the class an example flips to. Standardised features are customary.
        labels: True labels, int64 ``[n]``.
        num_classes: Number of classes K; at least 2.
        rate: Centre of the flip rates.
        seed: Seed of rates, maps and draw.

    Returns:
        Given labels with realised rate and matrix; ``matrix`` is the mean of the examples' transition rows.

    Raises:
        DataError: Labels out of range, inputs of another number, or inputs that are not finite.
        SettingError: ``rate`` is not in [0, 1], or there is a single class.

    Example:
        >>> inputs = torch.linspace(-1, 1, 2000).view(-1, 1)
        >>> noise = instance_dependent(inputs, torch.zeros(2000, dtype=torch.int64), 3, 0.4, seed=0)
        >>> abs(noise.realised_rate - 0.4) < 0.05
        True

    References:
        X. Xia et al., NeurIPS 2020, arXiv:2006.07836, algorithm 2.
    """  # noqa: DOC502 (raised by the checks it calls)
    matrix = symmetric(num_classes, rate, include_clean=False)  # checks; rows of absent classes stay as here
    check_labels(labels, num_classes)
    if len(inputs) != len(labels):
        raise DataError(f"there are {len(inputs)} inputs but {len(labels)} labels", "Give one label per example.")
    if inputs.is_floating_point() and not inputs.isfinite().all():
        raise DataError("inputs hold numbers that are not finite", "Impute or drop them before drawing noise.")
    labels = labels.long().cpu()
    rates = flip_rates(len(labels), rate, seed)
    uniform = torch.rand(len(labels), generator=torch_generator(seed, "instance noise", "labels"), dtype=torch.float64)
    given = torch.empty_like(labels)
    for clean in torch.bincount(labels).nonzero().squeeze(1).tolist():
        members = (labels == clean).nonzero().squeeze(1)
        generator = torch_generator(seed, "instance noise", "map", clean)
        weights = torch.randn(inputs[0].numel(), num_classes, generator=generator)
        total = torch.zeros(num_classes, dtype=torch.float64)
        for block in members.split(_BLOCK):
            rows = _rows(inputs[block].flatten(1).cpu().float() @ weights, clean, rates[block])
            given[block] = invert(rows, uniform[block])
            total += rows.sum(0)
        matrix[clean] = total / len(members)
    return realise(labels, given, matrix)


def _rows(logits: Tensor, clean: int, rates: Tensor) -> Tensor:
    logits = logits.double()
    logits[:, clean] = -math.inf
    rows = rates[:, None] * logits.softmax(1)
    rows[:, clean] = 1 - rates
    return rows
