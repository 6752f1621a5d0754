"""What all rounds need, chosen and factorised once: kernel, landmarks, spectrum, noise, number of rounds, forest."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from selfdistill._core.dist import from_first, world
from selfdistill._core.errors import ResourceError, SettingError
from selfdistill.closed._dense import cholesky, gram, inverse_lower, thin
from selfdistill.closed._forest import Forest
from selfdistill.closed._given import Given
from selfdistill.closed._landmarks import Landmarks, choose_landmarks
from selfdistill.closed._rounds import Candidate, Choice, choose_rounds
from selfdistill.closed._rows import InputRows, Rows
from selfdistill.closed._spectrum import Spectrum
from selfdistill.networks._kernel_machine import KERNELS, of_cosines

_KERNEL_ROWS = 700  # rows that the kernel is chosen on
_POWERS = 4  # of 4, up to which ridges are tried for a kernel, either way
_EXACT = 1000  # rows up to which all of them are landmarks
_LANDMARKS = 1500  # landmarks from 10,000 rows on
_WIDE_LANDMARKS = 2500  # landmarks where columns outnumber them, as with texts: no few rows span such kernels
_FOREST_ROWS = (50, 100_000)  # rows from and up to which a forest is tried
_FOREST_COLUMNS = 300
_FOREST_CLASSES = 50
_MANY = 8  # rows for each landmark from which they are read in one piece
_CHOICE_ROWS = 10_000  # rows that rounds and noise are chosen on
_KEPT_BYTES = 2**30  # features beyond this are computed anew in each pass
_BLOCK = 2**22  # numbers of one block of rows: 16 MiB, which the allocator hands out again


@dataclass(frozen=True)
class ClosedOptions:
    """What is asked of the closed form; `refine_labels` says what each option means."""

    kernel: str = "auto"
    landmarks: int | None = None
    rounds: int | None = None
    forest: bool | None = None
    standardise: bool = True
    dtype: torch.dtype = torch.float32
    device: torch.device | str | None = None
    tell: Callable[[str], None] = lambda text: None

    def __post_init__(self) -> None:
        if self.kernel != "auto" and self.kernel not in KERNELS:
            raise SettingError(f"kernel is {self.kernel!r}", f"Choose auto, {', '.join(KERNELS)}.")
        for name, value, low, high in (("landmarks", self.landmarks, 2, 20_000), ("rounds", self.rounds, 1, 3)):
            if value is not None and not low <= value <= high:
                raise SettingError(f"{name} is {value}, but must be from {low} to {high:,}", f"Leave {name} out.")


@dataclass(frozen=True, eq=False)
class Prepared:
    """What all rounds need, chosen and factorised once."""

    given: Given
    rows: Rows
    marks: Landmarks
    kernels: dict[str, float]
    spectrum: Spectrum
    choice: Choice
    chosen_on: np.ndarray  # positions of the rows that rounds and noise were chosen on
    forest: Forest | None
    shared: bool


def prepare(inputs: InputRows, given: Given, options: ClosedOptions) -> Prepared:
    """Choose and factorise; see `refine_labels`."""
    tell = options.tell
    n, k, width = len(given), given.k, math.prod(inputs.shape[1:])
    taught = given.taught()
    learners = torch.arange(n) if taught is None else torch.from_numpy(taught)
    most = options.landmarks or _landmarks(len(learners), width)
    device = torch.device(options.device or (inputs.device if isinstance(inputs, Tensor) else "cpu"))
    shared = world() > 1 and len(learners) > _CHOICE_ROWS
    _check_memory(n, k, min(len(learners), most), width)
    rows = Rows(
        inputs,
        standardise=options.standardise,
        dtype=options.dtype,
        device=device,
        weights=given.weights,
        shared=shared,
    )

    chosen = learners[choose_landmarks(len(learners), most)]

    def mark() -> tuple[dict[str, float], Landmarks]:
        tell("choosing the kernel")
        errors = _kernel_errors(rows, given, learners, (options.kernel,) if options.kernel != "auto" else KERNELS)
        tell("factorising the kernel")
        best = min(errors, key=lambda name: errors[name])
        return errors, Landmarks(best, rows(chosen).cpu(), chosen)

    kernels, marks = from_first(mark)
    marks.to(device)
    spectrum = _factorise(rows, marks, given, shared=shared)
    tell("choosing noise and rounds")
    grow = _few_enough(rows, k) if options.forest is None else options.forest
    sample = learners[choose_landmarks(len(learners), _CHOICE_ROWS)]
    choice = from_first(lambda: _choice(spectrum, marks, rows, given, sample, options.rounds, grow, tell))
    leaf = next((int(chain[0].ridge) for chain in choice.chains if chain[0].source == "forest"), None)
    trees = Forest(rows.raw(slice(0, n)), given, leaf) if leaf else None
    return Prepared(given, rows, marks, kernels, spectrum, choice, sample.numpy(), trees, shared)


def _factorise(rows: Rows, marks: Landmarks, given: Given, *, shared: bool) -> Spectrum:
    n, r = len(given), len(marks.rows)
    number = torch.full((n,), -1)
    if marks.positions is not None:
        number[marks.positions] = torch.arange(r)

    def features(some: slice) -> Tensor:
        if rows.device.type != "cpu" or n > _MANY * r:
            return marks(rows(some))
        which = number[some]  # of the landmarks, features are known
        found = torch.empty(len(which), r, dtype=rows.dtype)
        new = which < 0
        found[~new] = marks.own(which[~new])
        if bool(new.any()):
            found[new] = marks(rows(some.start + new.nonzero().flatten()))
        return found

    def rotated(rotation: Tensor) -> Callable[[Any], Tensor]:
        turn = marks.rotated(rotation)
        return lambda some: turn(rows(some))

    return Spectrum(
        features,
        n,
        keep=n * r * 4 <= _KEPT_BYTES,
        step=max(1, _BLOCK // max(len(marks.rows), rows.d, given.k)),
        weights=None if given.weights is None else torch.from_numpy(given.weights),
        rotated=rotated,
        targets=lambda some: given[some].targets(rows.dtype),
        shared=shared,
    )


def _check_memory(n: int, k: int, m: int, d: int) -> None:
    """Refuse what would not fit, before hours of swapping: an upper estimate of all arrays held at once."""
    kept, some = 4 * n * m, min(n, _CHOICE_ROWS)
    features = (kept if kept <= _KEPT_BYTES else 0) + 28 * some * m + 24 * m * m + 40 * min(_BLOCK, n * max(m, d, k))
    scores = 8 * n * k + 160 * some * k + 64 * k * k
    need, have = features + scores + 8 * m * d, _physical_memory()
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


def _landmarks(n: int, d: int) -> int:
    if d > _WIDE_LANDMARKS:
        return _WIDE_LANDMARKS
    return _EXACT if n < 10 * _EXACT else _LANDMARKS


def _kernel_errors(rows: Rows, given: Given, learners: Tensor, names: tuple[str, ...]) -> dict[str, float]:
    """Least leave-one-out error of each kernel on a sample of the rows, its ridge chosen for it."""
    if len(names) == 1:
        return {names[0]: float("nan")}
    sample = learners[choose_landmarks(len(learners), _KERNEL_ROWS)]
    labels = given[sample.numpy()]
    cosines, targets = gram(rows(sample).cpu()), labels.targets(rows.dtype)
    weights = torch.ones(len(labels)) if labels.weights is None else torch.from_numpy(labels.weights)
    w = weights.to(cosines)
    root, share = w.sqrt()[:, None], (w / w.sum())[:, None]
    centred = (targets - (share * targets).sum(0)) * root
    errors, power = {}, 0
    for name in names:
        kernels = of_cosines(name, cosines.clone())
        mean = kernels @ share[:, 0]
        kernels -= mean
        kernels -= (mean - mean @ share)[:, None]
        if labels.weights is not None:
            kernels *= root * root.T
        error, power = _least_error(kernels, centred, share[:, 0], float(kernels.diagonal().sum() / w.sum()), power)
        errors[name] = error / float(w.sum())
    return errors


def _least_error(kernels: Tensor, targets: Tensor, share: Tensor, unit: float, power: int) -> tuple[float, int]:
    """Walk along ridges, powers of 4, to the least squared leave-one-out error; give it and the power."""
    errors: dict[int, float] = {}
    diagonal = kernels.diagonal().clone()

    def error(power: int) -> float:
        if power not in errors:
            ridge = unit * 4.0**power
            kernels.diagonal().copy_(diagonal + ridge)
            factor = cholesky(kernels)
            if factor is None:  # a ridge below rounding errors
                errors[power] = math.inf
                return math.inf
            half = inverse_lower(factor)
            rest = ridge * half.square().sum(0) - share  # 1 less the hat matrix's diagonal
            off = ridge * (thin(half.T, thin(half, targets))) / rest.clamp(min=1e-6)[:, None]
            errors[power] = float(off.square().sum())
        return errors[power]

    for step in (1, -1):
        while abs(power + step) <= _POWERS and error(power + step) < error(power):
            power += step
    return error(power), power


def _choice(
    spectrum: Spectrum,
    marks: Landmarks,
    rows: Rows,
    given: Given,
    sample: Tensor,
    rounds: int | None,
    forest: bool,
    tell: Callable[[str], None],
) -> Choice:
    """Choose on all rows, or on 10,000 of them with the same landmarks; on the CPU."""

    def judged(candidate: Candidate) -> None:
        tell(f"{candidate.name}: {candidate.nats:.3f} nats")

    if len(given) == len(sample) and rows.device.type == "cpu":
        inputs = rows.raw(slice(0, len(given))) if forest else None
        return choose_rounds(spectrum, given, given.k, inputs=inputs, rounds=rounds, tell=judged)
    labels = given[sample.numpy()]
    weights = None if labels.weights is None else torch.from_numpy(labels.weights)
    small = Spectrum(lambda part: marks(rows(sample[part])).cpu(), len(sample), step=spectrum.step, weights=weights)
    inputs = rows.raw(sample) if forest else None
    return choose_rounds(small, labels, given.k, inputs=inputs, rounds=rounds, tell=judged)


def _few_enough(rows: Rows, k: int) -> bool:
    """Whether a forest is quick and its leaves take little room."""
    least, most = _FOREST_ROWS
    return least <= rows.inputs.shape[0] <= most and rows.d <= _FOREST_COLUMNS and k <= _FOREST_CLASSES
