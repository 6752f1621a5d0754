"""Self-distillation in closed form: from features and labels that may be wrong to refined labels and a classifier."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from selfdistill._core.errors import DataError
from selfdistill.closed._given import Given, check_given
from selfdistill.closed._landmarks import Landmarks
from selfdistill.closed._moments import Regression
from selfdistill.closed._passes import Grown, Part, Refined, go_through
from selfdistill.closed._prepare import ClosedOptions, prepare
from selfdistill.closed._rounds import Choice
from selfdistill.closed._rows import InputRows, Rows
from selfdistill.closed._spectrum import Spectrum
from selfdistill.networks._kernel_machine import KernelMachine


@dataclass(frozen=True, eq=False)
class ClosedForm:
    """What the closed form found.

    Attributes:
        posterior: Refined label distributions, float32 ``[n, K]``: the given label's part included.
        quality: Probability that the given label is right, float64 ``[n]``, a weighted mean over all explanations of
            the labels; it ranks better than the chosen one alone.
        prior: Probabilities of the true class that the row's own label has no part in, float32 ``[n, K]``.
        plausible_wrong: Least and largest number of wrong labels that explain the given ones about as well: an interval
            of 95 % for errors that hit all classes alike; errors that follow the inputs are in none.
        noise_matrix: T, ``[clean, given]``.
        machine: The classifier.
        choice: Rounds, form of the noise and ridges, with all candidates and their likelihoods.
        kernel: Name of the kernel.
        kernels: Leave-one-out error of each kernel tried, on a sample of the rows.
        eigenvalues: Of the centred kernel, falling, float64 ``[r]``.
        given_energy: Share of the given labels' variance in each eigendirection, float64 ``[r]``.
        refined_energy: The same of the refined labels.
        scale: Mean diagonal of the centred kernel: unit of the ridges.
        seconds: Time taken.
    """

    posterior: Tensor
    quality: np.ndarray
    prior: Tensor
    plausible_wrong: tuple[float, float]
    noise_matrix: np.ndarray
    machine: KernelMachine
    choice: Choice
    kernel: str
    kernels: dict[str, float]
    eigenvalues: Tensor
    given_energy: Tensor
    refined_energy: Tensor
    scale: float
    seconds: float

    @property
    def nats(self) -> float:
        """Mean negative log-likelihood of given labels out of sample."""
        return self.choice.best.nats


def refine_labels(
    inputs: InputRows,
    labels: Any,
    num_classes: int,
    *,
    settled: Any = None,
    sample_weight: Any = None,
    votes: Any = None,
    kernel: str = "auto",
    landmarks: int | None = None,
    rounds: int | None = None,
    forest: bool | None = None,
    standardise: bool = True,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str | None = None,
    tell: Callable[[str], None] = lambda text: None,
) -> ClosedForm:
    r"""Refine labels by self-distillation in closed form.

    Round 1 is ridge regression of the given labels on a kernel, the ridge that of least leave-one-out error: early
    stopping at its best. A calibration turns leave-one-out scores into a prior of the true class, and the likelihood of
    the given labels tells the noise matrix; prior and given label together are the refined label. Each later round is
    ridge regression of the refined labels of the one before. A random forest goes through the same rounds with its
    out-of-bag scores. Kernel, noise, ridges, number of rounds and the weights of both are chosen by the labels of rows
    that took no part in what predicts them.

    Inputs are read in blocks, anew for each pass, so that a memory map of any size may be given. Under ``torchrun``
    each process calls this with all rows, and goes through its share of them where there are more than 10,000; each
    ends with the same result.

    Args:
        inputs: Features ``[n, ...]``, flattened: a tensor, an array, a memory map (``numpy.load(..., mmap_mode="r")``),
            or anything with a shape that gives rows for a slice or for positions.
        labels: Given labels, int64 ``[n]``; or their distributions, floats ``[n, K]`` with rows that sum to 1, such as
            shares of votes. A distribution stands for K copies of its row, with one label and a weight each; with
            ``votes``, for that many labels of the same row.
        num_classes: K.
        settled: True labels of examples that somebody settled, int64 ``[n]``, -1 for all others: they are held in all
            rounds, and tell the noise matrix.
        sample_weight: How many rows each row counts as, ``[n]``, 0 or more; one if left out. Rows of weight 0 are
            refined but teach nothing.
        votes: Of how many votes each distribution is made, int64 ``[n]``, at most 250. How much the votes of a row
            depend on each other is found with the noise.
        kernel: ``"linear"``, ``"relu1"``, ``"relu3"``, ``"rbf"``, or ``"auto"``: the one with the least
            leave-one-out error on 700 rows.
        landmarks: Landmarks of the Nyström kernel; if left out 1,000, from 10,000 rows on 1,500, or 2,500 where
            there are more columns than that; all rows where there are fewer.
        rounds: 1 to 3; chosen if left out.
        forest: Whether a random forest, scored out of bag, is tried beside the kernel. If left out: from 50 to
            100,000 rows of at most 300 columns and 50 classes, as in tables.
        standardise: Bring columns to mean 0 and standard deviation 1 first.
        dtype: ``torch.float32``, or ``torch.float64`` for checks.
        device: Where kernels and products are computed; that of the inputs if left out. Rounds are chosen on the CPU.
        tell: Takes a sentence when a step begins.

    Returns:
        Refined labels, noise matrix, classifier and spectrum. The result is the same on each call. Cost, in FLOPs:
        ``2 n m (d + 2 m)`` for the factorisation, ``n m^2`` for each of one to three ridges on at most 10,000 rows, and
        ``4 n m K`` a round; memory ``4 n m`` bytes up to 1 GiB, beyond which features are computed in each pass, at
        ``2 n m (d + m)`` FLOPs a round, and ``8 n K`` bytes for the result.

    Raises:
        DataError: Fewer than two classes or rows, labels out of range, weights below 0, or no column that varies.
        SettingError: An unknown kernel, or a number out of range.
        ResourceError: The machine has less memory than is needed.

    References:
        Dong, Hou, Lu & Zhang (2019), arXiv 1910.01255; ``docs/closed-form.md`` derives each step.

    Example:
        >>> generator = torch.Generator().manual_seed(0)
        >>> truth = torch.randint(3, (600,), generator=generator)
        >>> inputs = torch.eye(3)[truth] * 3 + torch.randn(600, 3, generator=generator)
        >>> wrong = torch.rand(600, generator=generator) < 0.4
        >>> given = torch.where(wrong, (truth + torch.randint(1, 3, (600,), generator=generator)) % 3, truth)
        >>> found = refine_labels(inputs, given, 3)
        >>> bool((found.posterior.argmax(1) == truth).float().mean() > 0.85 > (given == truth).float().mean())
        True
    """  # noqa: DOC502 (raised by the checks)
    began = time.perf_counter()
    if inputs.shape[0] != len(labels):
        problem = f"there are {inputs.shape[0]:,} inputs but {len(labels):,} labels"
        raise DataError(problem, "Give every example one label.")
    asked = ClosedOptions(kernel, landmarks, rounds, forest, standardise, dtype, device, tell)
    prepared = prepare(inputs, check_given(labels, num_classes, sample_weight, settled, votes), asked)
    given, spectrum, choice = prepared.given, prepared.spectrum, prepared.choice
    tell("refining")
    refined = go_through(spectrum, given, choice, forest=prepared.forest, shared=prepared.shared)
    assert spectrum.first is not None
    return ClosedForm(
        posterior=refined.posterior,
        quality=_with_settled(refined.quality, given),
        prior=refined.prior,
        plausible_wrong=_plausible(refined, given),
        noise_matrix=refined.parts[choice.chosen].links[-1].matrix,
        machine=_machine(prepared.rows, prepared.marks, spectrum, refined.parts, choice.weights),
        choice=choice,
        kernel=prepared.marks.kernel,
        kernels=prepared.kernels,
        eigenvalues=spectrum.values.cpu(),
        given_energy=spectrum.first.energy(spectrum.values).cpu(),
        refined_energy=refined.moments.energy(spectrum.values).cpu(),
        scale=spectrum.scale,
        seconds=time.perf_counter() - began,
    )


def _with_settled(quality: np.ndarray, given: Given) -> np.ndarray:
    """Say 1 of settled labels that were right, and 0 of those that were not."""
    values, held = quality.copy(), given.held
    values[held] = given.learned[held] == given.codes[held]
    return values


def _plausible(found: Refined, given: Given) -> tuple[float, float]:
    """Turn shares into numbers; what was counted is among them."""
    right = found.posterior[torch.arange(len(given)), torch.from_numpy(given.codes)].double().numpy()
    counted = given.total * (1 - given.mean(right))
    low, high = (given.total * one for one in found.plausible)
    return min(low, counted), max(high, counted)


def _machine(
    rows: Rows, marks: Landmarks, spectrum: Spectrum, parts: Sequence[Part], weights: Sequence[float]
) -> KernelMachine:
    """Put the mixture together; parts of the kernel come before those of the forest."""
    links = [part.links[-1] for part in parts]
    smooth = [part.fits[-1] for part in parts if isinstance(part.fits[-1], Regression)]
    grown = [part.fits[-1] for part in parts if isinstance(part.fits[-1], Grown)]
    trees = grown[0].forest.trees if grown else None
    size = (len(trees.column), len(trees.roots), len(grown)) if trees is not None else (0, 0, 0)
    machine = KernelMachine(rows.d, len(marks.rows), len(links[0].bias), marks.kernel, len(smooth), size)
    machine.shift, machine.factor = rows.shift.cpu().float(), rows.factor.cpu().float()
    machine.constant = torch.tensor(rows.constant, dtype=torch.float32)
    machine.landmarks = marks.rows.cpu().float()
    if smooth:
        joint = Regression(torch.cat([one.weights for one in smooth], 1), torch.cat([one.mean for one in smooth]), 0.0)
        coefficients, offset = spectrum.coefficients(joint)
        shape = (len(smooth), len(links[0].bias))
        machine.coefficients = marks.coefficients(coefficients).view(-1, *shape).cpu().float().contiguous()
        machine.offset = offset.view(shape).cpu().float()
    if trees is not None:
        machine.trees, machine.leaves = trees, torch.stack([one.values for one in grown], 1).float()
    machine.calibration = torch.from_numpy(np.stack([link.calibration for link in links])).float()
    machine.bias = torch.from_numpy(np.stack([link.bias for link in links])).float()
    machine.weights = torch.tensor(weights)
    return machine.eval()
