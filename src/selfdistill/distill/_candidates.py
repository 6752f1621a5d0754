"""Which of a run's epochs teaches best: candidates, and what each way of choosing gives, all without clean labels."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from selfdistill import air
from selfdistill._core.advice import Advice
from selfdistill._core.errors import RunError, SettingError
from selfdistill._core.labels import held_out
from selfdistill._core.record import reading_record
from selfdistill._core.run_record import RunRecord
from selfdistill._core.settings import ResolvedSettings
from selfdistill.air._measures import centred, one_hot
from selfdistill.air._monitor import choose_examples
from selfdistill.air._snapshot import outputs_of
from selfdistill.air._stopping import epoch_of_agreement
from selfdistill.data._labelled import LabelledData
from selfdistill.networks._build import build
from selfdistill.rivals.yuan2024labelwave import first_trough
from selfdistill.runs._model_file import epoch_snapshots
from selfdistill.train._methods import METHODS

WAYS = ("last", "held-out", "label-wave", "air")  # ways of choosing; none looks at a clean label

_KEEP = "selfdistill fit ... --method cross-entropy --keep-epochs all"
_SHOWN = ("held_out_accuracy", "changed_share", "agreement", "test_accuracy")
_EXAMPLES = 1000
_POINTS = 120


@dataclass(frozen=True)
class Candidate:
    """An epoch whose weights a run kept."""

    epoch: int  # epochs done
    path: Path  # its weights
    # what the run measured after it, such as ``held_out_accuracy`` and ``changed_share``; ``test_accuracy`` is shown
    # where it is known, and nothing is chosen by it
    measures: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Choice:
    """What was chosen, and what the other ways would choose."""

    way: str  # by which
    candidate: Candidate  # the epoch that teaches
    # for each way, the ``epoch`` among the candidates and ``wanted``, where it points to; or ``not``, why it has none
    answers: Mapping[str, Mapping[str, Any]]
    candidates: Sequence[Candidate]  # all of them

    def record(self) -> dict[str, Any]:
        """Return it for the run record: each candidate with the ways that point to it."""
        rows = [
            {"epoch": one.epoch}
            | dict(one.measures)
            | {"chosen_by": [way for way, found in self.answers.items() if found.get("epoch") == one.epoch]}
            for one in self.candidates
        ]
        return {"choose": self.way, "epoch": self.candidate.epoch, "choices": dict(self.answers), "candidates": rows}


def candidates(run: Path, record: RunRecord) -> list[Candidate]:
    """List the epochs that a finished run can teach with."""
    curves, last = record.curves, _last(record)
    files = {epoch: path for epoch, path in epoch_snapshots(run).items() if epoch != last}
    files[last] = run / "model.safetensors"
    return [
        Candidate(epoch, path, {name: curves[name][epoch - 1] for name in _SHOWN if name in curves})
        for epoch, path in sorted(files.items())
    ]


def _last(record: RunRecord) -> int:
    """The epoch of the run's own model: the last, but for methods that choose one."""
    return (record.result and record.result.chosen_epoch) or record.settings.epochs


def choose(
    run: Path, record: RunRecord, way: str | None, air: Callable[[], Mapping[str, float | None]] | None = None
) -> Choice:
    """Choose the epoch that teaches."""
    # ``last`` takes the run's own model; ``held-out`` the saved epoch that agrees most with noisy labels held out, the
    # first of equals (Chen et al. 2021); ``label-wave`` the one nearest to the first trough of changing predictions
    # (Yuan et al. 2024); ``air`` the one nearest to the time to stop that the initial network's kernel gives.
    if way is not None and way not in WAYS:
        raise SettingError(f"choose {way!r} is unknown", f"Choose one of: {', '.join(WAYS)}.")
    with reading_record(run):
        there = candidates(run, record)
    if way not in {None, "last"} and len(there) == 1:
        raise RunError(
            f"{run} kept the weights of epoch {there[0].epoch} only, so {way} has nothing to choose from",
            Advice("Train a teacher that keeps more: {keep}", "take {--choose} last.", keep=_KEEP),
        )
    answers = {one: _answer(one, record, there, air if way == "air" else None) for one in WAYS}
    if way is None:
        way = "held-out" if len(there) > 1 and "epoch" in answers["held-out"] else "last"
    if "epoch" not in answers[way]:
        epochs = ", ".join(str(one.epoch) for one in there)
        raise RunError(
            f"{run} cannot choose by {way}: {answers[way]['not']} (it kept epochs {epochs})",
            Advice(
                "Train a teacher that can: {keep}{more}",
                "choose another {--choose}.",
                keep=_KEEP,
                more=" --held-out 0.1" if way == "held-out" else "",
            ),
        )
    by_epoch = {one.epoch: one for one in there}
    return Choice(way, by_epoch[answers[way]["epoch"]], answers, there)


def _answer(
    way: str, record: RunRecord, there: Sequence[Candidate], air: Callable[[], Mapping[str, float | None]] | None
) -> dict[str, Any]:
    if way == "last":
        return {"epoch": _last(record), "wanted": _last(record)}
    if way == "held-out":
        if "held_out_accuracy" not in record.curves:
            return {"not": "it held out no examples"}
        best = max(there, key=lambda one: (one.measures["held_out_accuracy"], -one.epoch)).epoch
        return {"epoch": best, "wanted": best}
    if way == "label-wave" and "changed_share" not in record.curves:
        return {"not": "it has no epochs"}
    if way == "label-wave":
        shares = [{"changed_share": share} for share in record.curves["changed_share"]]
        wanted = max(e for e in range(1, len(shares) + 1) if first_trough(shares[:e]))
        return {"epoch": _nearest(wanted, there), "wanted": wanted}
    if air is None:
        return {"not": Advice("not asked: it takes a kernel, see {--choose} air")}
    estimate = dict(air())
    when = estimate.pop("epoch")
    wanted_at = float(record.settings.epochs) if when is None or not math.isfinite(when) else when
    return {"epoch": _nearest(wanted_at, there), "wanted": wanted_at, "reached": when is not None} | estimate


def _nearest(epoch: float, there: Sequence[Candidate]) -> int:
    """The candidate nearest to an epoch; of two equally near the earlier, which has memorised less."""
    return min(there, key=lambda one: (abs(one.epoch - epoch), one.epoch)).epoch


def air_epoch(
    record: RunRecord, data: LabelledData, *, examples: int = _EXAMPLES, rule: str = "gcv"
) -> dict[str, float | None]:
    """Estimate from noisy labels alone after how many epochs a run was at its best."""
    # The kernel of the initial network, on a subset of the training examples, predicts the agreement with the given
    # labels at the time to stop; the run was there when its own agreement reached it. ``docs/air.md`` says how far off
    # that is.
    settings, k = record.settings, data.num_classes
    if settings.network.startswith("2*"):
        raise RunError(
            f"the run trained a pair, {settings.network}, which has no kernel", Advice("Choose another {--choose}.")
        )
    inputs, given = _subset(settings, data, examples)
    shape, stats = tuple(data.inputs.shape[1:]), data.preprocess.stats
    initial = build(settings.network, shape, k, seed=settings.seed, stats=stats)
    network = air.calibrated(initial, inputs)
    target = one_hot(given, k)
    spectrum = air.network_kernel("trace", labels=centred(target))(network, inputs)
    rates = air.per_step(spectrum, k)
    start = outputs_of(network, inputs)
    flow = air.Flow(rates, target, start)
    times = flow.times(_POINTS)
    stop = air.stopping_time(flow, times, given, rule)
    level = flow.curves(times, given).at(stop.time)["agreement"]
    first = (start.argmax(-1) == given).double().mean().item()
    curve = record.curves["agreement"]
    path = torch.tensor([first, *curve], dtype=torch.float64)
    when = torch.tensor([0.0, *(epoch + 0.5 for epoch in range(len(curve)))])  # each is a mean over its epoch
    epoch = epoch_of_agreement(path, level, when)
    return {"epoch": epoch if math.isfinite(epoch) else None, "time": stop.time, "agreement": level}


def _subset(settings: ResolvedSettings, data: LabelledData, count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Draw from what was trained on, not from what was held out."""
    method = METHODS.get(settings.method)
    share = settings.held_out or (method.held_out if method else 0.0)
    drawn, _ = held_out(data.labels, share, settings.seed)
    there = torch.arange(len(data)) if drawn is None else drawn
    picked = there[choose_examples(data.labels[there], count, settings.seed)]
    return data.inputs[picked], data.labels[picked]
