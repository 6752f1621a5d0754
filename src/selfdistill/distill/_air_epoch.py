"""When to stop a teacher by the kernel of its initial network: the AIR stopping time, matched to the run's curve."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch

from selfdistill import air, networks
from selfdistill._core.errors import RunError
from selfdistill.data import LabelledData
from selfdistill.train import METHODS, held_out

__all__ = ["air_epoch"]

_EXAMPLES = 1000
_POINTS = 120


def air_epoch(
    record: Mapping[str, Any], data: LabelledData, *, examples: int = _EXAMPLES, rule: str = "gcv"
) -> dict[str, float | None]:
    """Estimate from noisy labels alone after how many epochs a run was at its best.

    The kernel of the initial network, on a subset of the training examples, predicts the agreement with the given
    labels at the time to stop; the run was there when its own agreement reached it. How far off it is: ``docs/air.md``.

    Args:
        record: The run's record.
        data: What it was trained on.
        examples: Size of the subset.
        rule: See `air.stopping_time`; one that needs no truth.

    Returns:
        ``epoch``, with a fraction, ``None`` if the run never got there; ``time`` and ``agreement`` predicted.

    Raises:
        RunError: The run trained a pair of networks, which have no kernel of their own.
    """
    settings, k = record["settings"], data.num_classes
    if settings["network"].startswith("2*"):
        raise RunError(
            f"the run trained a pair, {settings['network']}, which has no kernel", "Choose another --choose."
        )
    inputs, given = _subset(settings, data, examples)
    shape, stats = tuple(data.inputs.shape[1:]), data.preprocess.stats
    initial = networks.build(settings["network"], shape, k, seed=int(settings["seed"]), stats=stats)
    network = air.calibrated(initial, inputs)
    target = air.one_hot(given, k)
    spectrum = air.network_kernel("trace", labels=air.centred(target))(network, inputs)
    rates = air.per_step(spectrum, k)
    start = air.outputs_of(network, inputs)
    flow = air.Flow(rates, target, start)
    times = air.default_times(rates, _POINTS)
    stop = air.stopping_time(flow, times, given, rule)
    level = air.predicted_curves(flow, times, given, None).at(stop.time)["agreement"]
    first = (start.argmax(-1) == given).double().mean().item()
    curve = record["curves"]["agreement"]
    path = torch.tensor([first, *curve], dtype=torch.float64)
    when = torch.tensor([0.0, *(epoch + 0.5 for epoch in range(len(curve)))])  # each is a mean over its epoch
    epoch = air.epoch_of_agreement(path, level, when)
    return {"epoch": epoch if math.isfinite(epoch) else None, "time": stop.time, "agreement": level}


def _subset(settings: Mapping[str, Any], data: LabelledData, count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Draw from what was trained on, not from what was held out."""
    method = METHODS.get(settings["method"])
    share = settings.get("held_out") or (method.held_out if method else 0.0)
    drawn, _ = held_out(data.labels, share, int(settings["seed"]))
    there = torch.arange(len(data)) if drawn is None else drawn
    picked = there[air.choose_examples(data.labels[there], count, int(settings["seed"]))]
    return data.inputs[picked], data.labels[picked]
