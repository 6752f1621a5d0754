"""All measures of one network on one set of labels, as one record that JSON takes and figures are drawn from."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from selfdistill.air._clock import Clock, per_step
from selfdistill.air._flow import Curves, Flow, learning_order
from selfdistill.air._measures import captured, one_hot, random_captured, random_retrieved, retrieved
from selfdistill.air._snapshot import Examples, Snapshot
from selfdistill.air._stopping import (
    RULES,
    epoch_of_agreement,
    label_noise_variance,
    noise_share,
    stopping_epoch,
    stopping_time,
    tail_fall,
)
from selfdistill.theory import Spectrum

SCHEMA = 2
_DEFAULT_RULE = "gcv"  # for a time, where there is no run to read epochs off; stopping_epoch takes the median of all
_DRAWS = 20
_MARGIN = 0.1  # above what an untrained network's probabilities differ by


@dataclass(frozen=True)
class RunCurves:
    """A training run to lay beside the prediction."""

    clock: Clock  # kernel time of its epochs
    agreement: Sequence[float]  # share of training predictions equal to the given label, the mean over each epoch
    others: Mapping[str, Sequence[float]]  # further curves by name, after each epoch, such as ``test_accuracy``
    plain: bool = True  # whether it trained on the given labels alone, as the prediction does


def study(
    examples: Examples,
    spectra: Mapping[str, Spectrum],
    start: Tensor,
    snapshots: Sequence[Snapshot],
    *,
    output: str = "trace",
    loss: str = "cross-entropy",
    measured: RunCurves | None = None,
    time: float | None = None,
    points: int = 120,
) -> dict[str, Any]:
    """Take all measures, as a record that JSON takes; directions that a spectrum lacks count as never learned."""
    # The first of the spectra is that of the initial network, from which curves are predicted, and ``start`` its
    # probabilities ``[n, C]``. ``time`` is the kernel time to report on; that of the stopping estimate if left out.
    first = next(iter(spectra.values()))
    rates = per_step(first, examples.classes, loss=loss, output=output)
    flow = Flow(rates, one_hot(examples.given, examples.classes), start)
    times = flow.times(points)
    curves = flow.curves(times, examples.given, examples.clean)
    scale = _scale(curves, measured)
    stops = {rule: stopping_time(flow, times, examples.given, rule).time for rule in RULES}
    chosen = time if time is not None else stops[_DEFAULT_RULE]
    run = None if measured is None else _Run(measured, scale or {}, snapshots[0].agreement)
    stopping = {rule: _at(stop, curves, run) for rule, stop in stops.items()}
    return {
        "moments": [asdict(found) for found in snapshots],
        "spectrum": {name: _spectrum(spectrum) for name, spectrum in spectra.items()},
        "energy": {name: _energy(spectrum, examples, points) for name, spectrum in spectra.items()},
        "retrieval": _retrieval(rates, examples, times),
        "curves": _curves(curves, measured, scale),
        "stopping_rule": _DEFAULT_RULE,
        "stopping": stopping,
        "stopping_epoch": _stopping_epoch(stopping, measured if rates.complete else None),
        "noise": _noise(rates, flow, examples),
        "order": _order(flow, times, examples),
        "at": _at(chosen, curves, run),
    }


def _noise(rates: Spectrum, flow: Flow, examples: Examples) -> dict[str, Any]:
    residual = flow.targets - flow.begin
    noise = noise_share(rates, residual, examples.classes)
    clean = examples.clean
    return {
        "variance": label_noise_variance(rates, residual),
        "fall": tail_fall(rates, residual),
        "wrong_share": None if noise is None else noise.share,
        "wrong_share_range": None if noise is None else [noise.low, noise.high],
        "found_share": None if clean is None else float((examples.given != clean).double().mean()),
    }


def _stopping_epoch(stopping: Mapping[str, Any], measured: RunCurves | None) -> dict[str, float] | None:
    """Combine the rules' epochs; not where the run did not train as predicted."""
    if measured is None or not measured.plain:
        return None
    epochs = [stopping[rule][way] for rule in RULES for way in ("epoch", "epoch_by_clock")]
    known = [math.inf if epoch is None else epoch for epoch in epochs]
    return stopping_epoch(known, len(measured.agreement))._asdict()


def _ranks(n: int, have: int, points: int) -> list[int]:
    last = min(have, n - 1)
    return sorted({round(k) for k in torch.logspace(0, math.log10(max(last, 1)), points).tolist()})


def _spectrum(spectrum: Spectrum) -> dict[str, Any]:
    return {
        "examples": spectrum.size,
        "values": spectrum.values.tolist(),
        "trace": spectrum.trace,
        "largest_residual": float(spectrum.residuals.max()),
    }


def _energy(spectrum: Spectrum, examples: Examples, points: int) -> dict[str, Any]:
    ranks = _ranks(spectrum.size, len(spectrum.values), points)
    chance = random_captured(spectrum, examples.given, examples.classes, ranks, draws=_DRAWS)
    record: dict[str, Any] = {"rank": ranks}
    record |= {name: captured(spectrum, z, ranks).tolist() for name, z in examples.parts().items()}
    return record | {f"random_{name}": values.tolist() for name, values in chance._asdict().items()}


def _retrieval(rates: Spectrum, examples: Examples, times: Tensor) -> dict[str, Any]:
    record: dict[str, Any] = {"time": times.tolist(), "white": random_retrieved(rates, times).tolist()}
    return record | {name: retrieved(rates, z, times).tolist() for name, z in examples.parts().items()}


def _scale(curves: Curves, measured: RunCurves | None) -> dict[str, float] | None:
    """Fit the clock to the run: all of it if it trained plainly, else the part in which agreement still grows."""
    if measured is None:
        return None
    times, agreement = measured.clock.times[1:], torch.tensor(measured.agreement, dtype=torch.float64)
    if not measured.plain:
        rising = int((agreement >= 0.95 * agreement.max()).nonzero()[0]) + 1
        times, agreement = times[:rising], agreement[:rising]
    since = measured.clock.times[: len(times)]
    return dict(curves.fit_scale(times, agreement, since)._asdict()) | {"epochs": float(len(times))}


def _curves(curves: Curves, measured: RunCurves | None, scale: dict[str, float] | None) -> dict[str, Any]:
    record: dict[str, Any] = {"time": curves.times.tolist()}
    for name in ("agreement", "accuracy", "loss", "distance"):
        record[name] = curves.known[name].tolist() if name in curves.known else None
    record["scale"] = scale
    if measured is not None:
        record["measured"] = {
            "epoch": [epoch + 0.5 for epoch in range(len(measured.agreement))],
            "time": ((measured.clock.times[1:] + measured.clock.times[:-1]) / 2).tolist(),
            "end_time": measured.clock.times[1:].tolist(),
            "agreement": list(measured.agreement),
            "plain": measured.plain,
        } | {name: list(curve) for name, curve in measured.others.items()}
    return record


@dataclass(frozen=True)
class _Run:
    """A run to read epochs off: at the predicted agreement, and by its clock."""

    measured: RunCurves
    scale: Mapping[str, float]
    first: float

    def epochs(self, time: float, agreement: float) -> dict[str, float | None]:
        path = torch.tensor([self.first, *self.measured.agreement], dtype=torch.float64)
        when = torch.tensor([0.0, *(epoch + 0.5 for epoch in range(len(path) - 1))])
        clocked = self.measured.clock.epoch_of(time / self.scale["scale"])
        return {"epoch": _whole(epoch_of_agreement(path, agreement, when)), "epoch_by_clock": _whole(clocked)}


def _whole(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _at(time: float, curves: Curves, run: _Run | None) -> dict[str, Any]:
    values = curves.at(time)
    epochs = {"epoch": None, "epoch_by_clock": None} if run is None else run.epochs(time, values["agreement"])
    return {"time": time} | values | epochs


def _order(flow: Flow, times: Tensor, examples: Examples) -> dict[str, Any]:
    """When labels are retrieved: each class, each example, and right labels beside wrong ones."""
    given = learning_order(flow, times, examples.given, level=_MARGIN)
    record: dict[str, Any] = {
        "level": given.level,
        "given": {"classes": _finite(given.per_class), "examples": _finite(given.per_example)},
    }
    if examples.clean is not None:
        clean = learning_order(flow, times, examples.clean, level=_MARGIN)
        record["clean"] = {"classes": _finite(clean.per_class), "examples": _finite(clean.per_example)}
        when, wrong = given.per_example, examples.given != examples.clean
        halves = {"right": when[~wrong], "wrong": when[wrong]}
        record["median"] = {name: _whole(float(part.median())) if len(part) else None for name, part in halves.items()}
    return record


def _finite(times: Tensor) -> list[float | None]:
    """Write times for JSON: ``None`` for what is never retrieved within the times looked at."""
    return [_whole(time) for time in times.tolist()]
