"""Draws of noisy labels, by class and by example, and what noise did to labels, measured."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from selfdistill._core.errors import DataError
from selfdistill._core.labels import pair_counts
from selfdistill._core.rng import torch_generator
from selfdistill.noise._transition import class_dependent, symmetric

_SPREAD = 0.1
_BLOCK = 4096


class Summary(NamedTuple):
    """Noise of one set of labels against the truth."""

    rate: float  # share of wrong labels
    class_rates: Tensor  # the same per clean class, float64 `[K]`; 0 for a class without examples
    # share of each given label per clean class, float64 `[K, K]`, `[clean, given]`; rows sum to 1, and to 0 for a class
    # without examples
    matrix: Tensor
    counts: Tensor  # the same as counts, int64 `[K, K]`


def check_labels(labels: Tensor, num_classes: int, name: str = "labels") -> None:
    """Refuse labels that are not integers in [0, num_classes)."""
    if labels.ndim != 1 or labels.is_floating_point() or labels.is_complex() or labels.dtype == torch.bool:
        raise DataError(
            f"{name} of shape {tuple(labels.shape)} and type {labels.dtype} are not one integer per example",
            "Give an int64 tensor [n] of class numbers.",
        )
    wrong = ((labels < 0) | (labels >= num_classes)).nonzero()
    if len(wrong):
        row = int(wrong[0])
        raise DataError(
            f"{name}[{row}] is {int(labels[row])}, but must lie in [0, {num_classes}) for {num_classes} classes",
            "Number the classes from 0.",
        )


def summary(clean: Tensor, given: Tensor, num_classes: int) -> Summary:
    """Measure rates, matrix and counts of the noise of given labels, int64 ``[n]`` beside the true ones."""
    check_labels(clean, num_classes, "clean labels")
    check_labels(given, num_classes, "given labels")
    if len(clean) != len(given):
        raise DataError(
            f"there are {len(clean)} clean but {len(given)} given labels",
            "Give one of each per example, in the same order.",
        )
    counts = pair_counts(clean, given, num_classes)
    totals = counts.sum(1).clamp_min(1).double()
    matrix = counts / totals[:, None]
    wrong = counts.sum(1) - counts.diagonal()
    return Summary(int(wrong.sum()) / max(len(clean), 1), wrong / totals, matrix, counts)


class Noise(NamedTuple):
    """Labels after noise.

    Attributes:
        labels: Given labels, int64 ``[n]``.
        changed: Where they differ from the clean ones, bool ``[n]``.
        matrix: Transition matrix they were drawn from, float64 ``[K, K]``, ``[clean, given]``; for instance-dependent
            noise its mean over the examples of each clean class.
        realised_rate: Share of labels that differ.
        realised_matrix: Share of each given label per clean class, float64 ``[K, K]``; a row of zeros for a class
            without examples.
    """

    labels: Tensor
    changed: Tensor
    matrix: Tensor
    realised_rate: float
    realised_matrix: Tensor


def realise(clean: Tensor, given: Tensor, matrix: Tensor) -> Noise:
    """Bundle given labels with what became of the clean ones."""
    measured = summary(clean, given, len(matrix))
    return Noise(given, given != clean, matrix, measured.rate, measured.matrix)


def draw(labels: Tensor, T: Tensor, seed: int) -> Noise:
    r"""Draw given labels, independently per example: :math:`P(\tilde y_i = g) = T[y_i, g]`.

    The draw inverts the distribution function of row :math:`y_i` at one uniform number per example, so it depends on
    the seed, the labels and their order, and nothing else. The realised rate spreads around the expected one with
    standard deviation :math:`\sqrt{r(1-r)/n}`.

    Args:
        labels: True labels, int64 ``[n]``.
        T: Transition matrix ``T[clean, given]``, rows sum to 1; see `symmetric`, `pair`, `class_dependent`.
        seed: Seed of the draw.

    Returns:
        Given labels with realised rate and matrix.

    Raises:
        DataError: A label is out of range.
        SettingError: ``T`` is not a transition matrix.

    Example:
        >>> from selfdistill.noise import pair
        >>> noise = draw(torch.zeros(1000, dtype=torch.int64), pair(3, 0.4), seed=0)
        >>> noise.labels.unique().tolist(), abs(noise.realised_rate - 0.4) < 0.05
        ([0, 1], True)
    """  # noqa: DOC502 (raised by the checks it calls)
    T, labels = class_dependent(T), torch.as_tensor(labels)
    check_labels(labels, len(T))
    labels = labels.long().cpu()
    uniform = torch.rand(len(labels), generator=torch_generator(seed, "noise"), dtype=torch.float64)
    given = torch.empty_like(labels)
    for clean in torch.bincount(labels).nonzero().squeeze(1).tolist():
        members = (labels == clean).nonzero().squeeze(1)
        given[members] = invert(T[clean], uniform[members])
    return realise(labels, given, T)


def invert(probabilities: Tensor, uniform: Tensor) -> Tensor:
    """Return the first class whose summed probability, of ``[K]`` or ``[b, K]``, exceeds a uniform number ``[b]``."""
    # A class of probability 0 is never returned, whatever the rounding of the sums: in float64, a number below 1 times
    # the last sum stays below that sum.
    cumulated = probabilities.cumsum(-1)
    values = (uniform * cumulated[..., -1]).unsqueeze(-1)
    if probabilities.ndim == 1:
        values = values.squeeze(-1)
    return torch.searchsorted(cumulated, values, right=True).view(-1)


def flip_rates(count: int, rate: float, seed: int) -> Tensor:
    """Draw the flip rate of each example, normal with deviation 0.1 and truncated to [0, 1]; 0 at rate 0."""
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
