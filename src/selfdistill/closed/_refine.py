"""Self-distillation in closed form: from features and labels that may be wrong to refined labels and a classifier."""

from __future__ import annotations

import functools
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from selfdistill._core.errors import DataError, ResourceError, SettingError
from selfdistill.closed._forest import Forest
from selfdistill.closed._noise_link import NoiseLink, fit_link
from selfdistill.closed._rounds import Candidate, Choice, choose_rounds, soft_targets
from selfdistill.closed._spectrum import Landmarks, Spectrum, choose_landmarks
from selfdistill.networks import KERNELS, KernelMachine, kernel_rows, unit_rows

__all__ = ["ClosedForm", "refine_labels"]

_KERNEL_ROWS = 700  # rows that the kernel is chosen on
_EXACT = 1000  # rows up to which all of them are landmarks
_LANDMARKS = 1500  # landmarks from 10,000 rows on
_FOREST_ROWS = (50, 100_000)  # rows from and up to which a forest is tried
_FOREST_COLUMNS = 300
_FOREST_CLASSES = 50
_CHOICE_ROWS = 10_000  # rows that rounds and noise are chosen on
_KEPT_BYTES = 2**30  # features beyond this are computed anew in each pass
_FINAL_LINK_ROWS = 20_000


@dataclass(frozen=True, eq=False)
class ClosedForm:
    """What the closed form found.

    Attributes:
        posterior: Refined label distributions, float32 ``[n, K]``: the given label's part included.
        quality: Probability that the given label is right, float64 ``[n]``, a weighted mean over all explanations of
            the labels; it ranks better than the chosen one alone.
        prior: Probabilities of the true class that the row's own label has no part in, float32 ``[n, K]``.
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
    inputs: Tensor,
    labels: Tensor,
    num_classes: int,
    *,
    kernel: str = "auto",
    landmarks: int | None = None,
    rounds: int | None = None,
    forest: bool | None = None,
    standardise: bool = True,
    dtype: torch.dtype = torch.float32,
    tell: Callable[[str], None] = lambda text: None,
) -> ClosedForm:
    r"""Refine labels by self-distillation in closed form.

    Round 1 is ridge regression of the given labels on a kernel, the ridge that of least leave-one-out error: early
    stopping at its best. A calibration turns leave-one-out scores into a prior of the true class, and the likelihood of
    the given labels tells the noise matrix; prior and given label together are the refined label. Each later round is
    ridge regression of the refined labels of the one before. A random forest goes through the same rounds with its
    out-of-bag scores. Kernel, noise, ridges, number of rounds and the weights of both are chosen by the labels of rows
    that had no part in what is said of them.

    Args:
        inputs: Features ``[n, ...]``, flattened.
        labels: Given labels, int64 ``[n]``.
        num_classes: K.
        kernel: One of `selfdistill.networks.KERNELS`, or ``"auto"``: the one of least leave-one-out error on 700 rows.
        landmarks: Landmarks of the Nyström kernel; all rows up to 1,000, else 1,000 to 1,500 if left out.
        rounds: 1 to 3; chosen if left out.
        forest: Whether a random forest, scored out of bag, is tried beside the kernel. If left out: from 50 to
            100,000 rows of at most 300 columns and 50 classes, as in tables.
        standardise: Bring columns to mean 0 and standard deviation 1 first.
        dtype: ``torch.float32``, or ``torch.float64`` for checks.
        tell: Takes a sentence when a step begins.

    Returns:
        Refined labels, noise matrix, classifier and spectrum. The result is the same on each call. Cost, in FLOPs:
        ``2 n m (d + 3 m)`` for the factorisation, ``n m^2`` for each of four ridges on at most 10,000 rows, and
        ``4 n m K`` a round; memory ``4 n m`` bytes up to 1 GiB, beyond which features are computed in each pass.

    Raises:
        DataError: Fewer than two classes or rows, labels out of range, or no column that varies.
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
    given = labels.cpu().numpy()
    _check(inputs, given, num_classes, kernel, landmarks, rounds)
    n = len(given)
    count = landmarks or _landmarks(n)
    _check_memory(n, num_classes, min(n, count), inputs[0].numel())
    machine = _Rows(inputs, standardise, dtype)
    tell("choosing the kernel")
    kernels = _kernel_errors(machine, given, num_classes, (kernel,) if kernel != "auto" else KERNELS)
    chosen_kernel = min(kernels, key=lambda name: kernels[name])
    tell("factorising the kernel")
    features = Landmarks(chosen_kernel, machine(choose_landmarks(n, count)))
    keep = n * features.whiten.shape[1] * 4 <= _KEPT_BYTES
    spectrum = Spectrum(lambda rows: features(machine(rows)), n, keep=keep)
    tell("choosing noise and rounds")
    with_forest = _few_enough(machine.inputs, num_classes) if forest is None else forest
    choice = _choice(spectrum, features, machine, given, num_classes, rounds, with_forest, tell)
    tell("refining")
    sources = _Sources(spectrum, machine, given)
    parts = _go_through(sources, given, num_classes, choice.chains, dtype)
    chosen = parts[choice.chosen]
    onehot = soft_targets(given, num_classes, dtype)
    refined = chosen.link.posterior(chosen.scores, given)[0]
    return ClosedForm(
        posterior=torch.from_numpy(refined).float(),
        quality=_quality(parts, choice.weights, given),
        prior=torch.from_numpy(_prior(parts, choice.weights)).float(),
        noise_matrix=chosen.link.matrix,
        machine=_machine(sources, features, parts, choice.weights),
        choice=choice,
        kernel=chosen_kernel,
        kernels=kernels,
        eigenvalues=spectrum.values,
        given_energy=spectrum.energy(onehot),
        refined_energy=spectrum.energy(torch.from_numpy(refined).to(dtype)),
        scale=spectrum.scale,
        seconds=time.perf_counter() - began,
    )


class _Rows:
    """From positions to unit rows: what the machine does with its inputs."""

    def __init__(self, inputs: Tensor, standardise: bool, dtype: torch.dtype) -> None:
        self.inputs, self.dtype = inputs.flatten(1), dtype
        n, d = self.inputs.shape
        step = max(1, 2**24 // d)
        total, square = torch.zeros(d, dtype=torch.float64), torch.zeros(d, dtype=torch.float64)
        self.shift, self.factor = torch.zeros(d, dtype=dtype), torch.ones(d, dtype=dtype)
        if standardise:
            for start in range(0, n, step):
                total += self.inputs[start : start + step].sum(0, dtype=torch.float64)
            mean = total / n
            for start in range(0, n, step):
                square += (self.inputs[start : start + step].double() - mean).square().sum(0)
            deviation = (square / n).sqrt()
            self.shift = mean.to(dtype)
            varies = deviation > 1e-6 * (1 + mean.abs())
            self.factor = torch.where(varies, 1 / deviation, 0.0).to(dtype)  # constant columns say nothing
        norms = 0.0
        for start in range(0, n, step):
            norms += float(self._standard(slice(start, start + step)).square().sum(dtype=torch.float64))
        if not np.isfinite(norms):
            raise DataError("the inputs hold numbers that are not finite", "Fill or drop them.")
        if not norms > 0:
            raise DataError("no column of the inputs varies", "Give features that differ between examples.")
        self.constant = (norms / n) ** 0.5

    def _standard(self, rows: slice | Tensor) -> Tensor:
        return (self.inputs[rows].to(self.dtype) - self.shift) * self.factor

    def __call__(self, rows: slice | Tensor) -> Tensor:
        return unit_rows(self._standard(rows), self.constant)


def _check(inputs: Tensor, given: np.ndarray, k: int, kernel: str, landmarks: int | None, rounds: int | None) -> None:
    if len(inputs) != len(given):
        raise DataError(f"there are {len(inputs):,} inputs but {len(given):,} labels", "Give every example one label.")
    there = np.unique(given)
    if len(there) < 2:
        raise DataError(f"the labels hold {len(there)} class, but at least 2 are needed", "Give more data.")
    if there[0] < 0 or there[-1] >= k:
        raise DataError(
            f"labels run from {there[0]} to {there[-1]}, outside 0 to {k - 1}", "Number the classes from 0."
        )
    if kernel != "auto" and kernel not in KERNELS:
        raise SettingError(f"kernel is {kernel!r}", f"Choose auto, {', '.join(KERNELS)}.")
    for name, value, low, high in (("landmarks", landmarks, 2, 20_000), ("rounds", rounds, 1, 3)):
        if value is not None and not low <= value <= high:
            raise SettingError(f"{name} is {value}, but must be from {low} to {high:,}", f"Leave {name} out.")


def _check_memory(n: int, k: int, m: int, d: int) -> None:
    """Refuse what would not fit, before hours of swapping: an upper estimate of all arrays held at once."""
    features = 3 * min(4 * n * m, _KEPT_BYTES) + 12 * min(n, _CHOICE_ROWS) * m + 24 * m * m + 8 * 2**25
    scores = n * k * (4 + 4 + 5 * (4 + 4 + 8)) + 6 * 8 * min(n, _CHOICE_ROWS) * k
    need, have = features + scores + 4 * m * d + 64 * k * k, _physical_memory()
    if need > have:
        raise ResourceError(
            f"{n:,} rows of {k:,} classes with {m:,} landmarks need about {need / 2**30:,.1f} GiB of memory, but there "
            f"are {have / 2**30:,.1f} GiB",
            "Take fewer rows, or fewer landmarks.",
        )


def _physical_memory() -> float:
    try:
        return float(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    except (AttributeError, ValueError, OSError):  # not on this platform
        return float("inf")


def _landmarks(n: int) -> int:
    return _EXACT if n < 10 * _EXACT else _LANDMARKS


def _kernel_errors(rows: _Rows, given: np.ndarray, k: int, names: tuple[str, ...]) -> dict[str, float]:
    """Least leave-one-out error of each kernel on a sample of the rows, its ridge chosen for it."""
    if len(names) == 1:
        return {names[0]: float("nan")}
    sample = choose_landmarks(len(given), _KERNEL_ROWS)
    unit, targets = rows(sample), soft_targets(given[sample.numpy()], k, rows.dtype)
    centred = targets - targets.mean(0)
    found = {}
    for name in names:
        gram = kernel_rows(name, unit, unit).double()
        gram = gram - gram.mean(0) - gram.mean(1, keepdim=True) + gram.mean()
        values, vectors = torch.linalg.eigh(gram.to(rows.dtype))
        moments = vectors.T @ centred
        ridges = values.sum() / len(unit) * 4.0 ** torch.arange(-4, 5, dtype=rows.dtype)
        shrink = values.clamp(min=0)[:, None] / (values.clamp(min=0)[:, None] + ridges)  # [n, L]
        fitted = vectors @ (shrink[:, :, None] * moments[:, None]).flatten(1)
        hats = (vectors.square() @ shrink + 1 / len(unit))[:, :, None]
        residual = (centred[:, None] - fitted.view(len(unit), len(ridges), k)) / (1 - hats).clamp(min=1e-6)
        errors = residual.square().sum((0, 2)) / len(unit)
        found[name] = float(errors.min())
    return found


def _choice(
    spectrum: Spectrum,
    features: Landmarks,
    rows: _Rows,
    given: np.ndarray,
    k: int,
    rounds: int | None,
    forest: bool,
    tell: Callable[[str], None],
) -> Choice:
    """Choose on all rows, or on 10,000 of them with the same landmarks."""

    def judged(candidate: Candidate) -> None:
        tell(f"{candidate.name}: {candidate.nats:.3f} nats")

    if len(given) <= _CHOICE_ROWS:
        inputs = rows.inputs.float() if forest else None
        return choose_rounds(spectrum, given, k, inputs=inputs, rounds=rounds, tell=judged)
    sample = choose_landmarks(len(given), _CHOICE_ROWS)
    small = Spectrum(lambda part: features(rows(sample[part])), len(sample))
    inputs = rows.inputs[sample].float() if forest else None
    return choose_rounds(small, given[sample.numpy()], k, inputs=inputs, rounds=rounds, tell=judged)


def _few_enough(inputs: Tensor, k: int) -> bool:
    """Whether a forest is quick and its leaves take little room."""
    least, most = _FOREST_ROWS
    return least <= len(inputs) <= most and inputs.shape[1] <= _FOREST_COLUMNS and k <= _FOREST_CLASSES


class _Sources:
    """Both kinds of regression on all rows; a forest only grows if a chain asks for it."""

    def __init__(self, spectrum: Spectrum, rows: _Rows, given: np.ndarray) -> None:
        self.spectrum, self.rows, self._given = spectrum, rows, given

    @functools.cached_property
    def forest(self) -> Forest:
        return Forest(self.rows.inputs.float(), self._given)

    def out_of_sample(self, targets: Sequence[Tensor], candidates: Sequence[Candidate]) -> list[Tensor]:
        """Score each row without its own target, for several targets and candidates."""
        of_kernel = [i for i, one in enumerate(candidates) if one.source == "kernel"]
        found = dict.fromkeys(range(len(candidates)), targets[0])
        if of_kernel:
            ridges = [candidates[i].ridge for i in of_kernel]
            scores = self.spectrum.out_of_sample([targets[i] for i in of_kernel], ridges)
            found |= dict(zip(of_kernel, scores, strict=True))
        for i, one in enumerate(candidates):
            if one.source == "forest":
                found[i] = self.forest.out_of_bag(targets[i])
        return list(found.values())

    def part(self, candidate: Candidate, targets: Tensor, scores: np.ndarray, link: NoiseLink) -> _Part:
        """Fit all rows, for new ones."""
        if candidate.source == "forest":
            return _Part(scores, link, self.forest.fill(targets), None)
        return _Part(scores, link, *self.spectrum.coefficients(targets, candidate.ridge))


@dataclass(frozen=True, eq=False)
class _Part:
    """One regression of the mixture: out-of-sample scores, link, and for new rows weights and offset, or leaves."""

    scores: np.ndarray
    link: NoiseLink
    weights: Tensor
    offset: Tensor | None


def _go_through(
    sources: _Sources, given: np.ndarray, k: int, chains: Sequence[Sequence[Candidate]], dtype: torch.dtype
) -> list[_Part]:
    """Go through the rounds of all chains on all rows."""
    onehot = soft_targets(given, k, dtype)
    targets, parts = [onehot] * len(chains), list[_Part | None]([None] * len(chains))
    for number in range(max(map(len, chains))):
        alive = [i for i, chain in enumerate(chains) if number < len(chain)]
        found = sources.out_of_sample([targets[i] for i in alive], [chains[i][number] for i in alive])
        for i, one in zip(alive, found, strict=True):
            link, scores = chains[i][number].link, one.double().numpy()
            if number == 0:  # sharper than those of half the rows; later ones saw the given label at second hand
                rows = np.linspace(0, len(given) - 1, min(len(given), _FINAL_LINK_ROWS)).astype(int)
                link = fit_link(scores[rows], given[rows], link.form, start=link, iterations=40)
            if number == len(chains[i]) - 1:
                parts[i] = sources.part(chains[i][number], targets[i], scores, link)
            else:
                targets[i] = torch.from_numpy(link.posterior(scores, given)[0]).to(dtype)
    return [part for part in parts if part is not None]


def _prior(parts: Sequence[_Part], weights: Sequence[float]) -> np.ndarray:
    return np.asarray(sum(w * p.link.prior(p.scores) for w, p in zip(weights, parts, strict=True)))


def _quality(parts: Sequence[_Part], weights: Sequence[float], given: np.ndarray) -> np.ndarray:
    """Probability that the given label is right, a mean over all explanations."""
    rows = np.arange(len(given))
    right = [part.link.posterior(part.scores, given)[0][rows, given] for part in parts]
    return np.asarray(np.clip(np.asarray(weights) @ np.stack(right), 0, 1))


def _machine(sources: _Sources, features: Landmarks, parts: Sequence[_Part], weights: Sequence[float]) -> KernelMachine:
    """Put the mixture together; parts of the kernel come before those of the forest."""
    rows, k = sources.rows, parts[0].scores.shape[1]
    smooth = [p for p in parts if p.offset is not None]
    grown = [p for p in parts if p.offset is None]
    trees = sources.forest.trees if grown else None
    size = (len(trees.column), len(trees.roots), len(grown)) if trees is not None else (0, 0, 0)
    machine = KernelMachine(len(rows.shift), len(features.rows), k, features.kernel, len(smooth), size)
    machine.shift, machine.factor = rows.shift.float(), rows.factor.float()
    machine.constant = torch.tensor(rows.constant, dtype=torch.float32)
    machine.landmarks = features.rows.float()
    if smooth:
        machine.coefficients = torch.stack([features.whiten.double() @ p.weights for p in smooth], 1).float()
        machine.offset = torch.stack([p.offset for p in smooth if p.offset is not None]).float()
    if trees is not None:
        machine.trees, machine.leaves = trees, torch.stack([p.weights for p in grown], 1).float()
    machine.calibration = torch.from_numpy(np.stack([p.link.calibration for p in parts])).float()
    machine.bias = torch.from_numpy(np.stack([p.link.bias for p in parts])).float()
    machine.weights = torch.tensor(weights)
    return machine.eval()
