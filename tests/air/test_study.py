"""The whole record: its numbers are those of the single measures, and JSON takes it."""

from __future__ import annotations

import json
from statistics import median

import pytest
import torch
from torch import nn

from selfdistill.air import Flow, captured, network_kernel, per_step, retrieved, stopping_time
from selfdistill.air._clock import Clock
from selfdistill.air._measures import centred, one_hot
from selfdistill.air._snapshot import Examples, outputs_of, snapshot
from selfdistill.air._study import RunCurves, study


@pytest.fixture(scope="module")
def world():
    g = torch.Generator().manual_seed(0)
    clean = torch.arange(60) % 3
    x = torch.randn(60, 6, generator=g) + 3 * nn.functional.one_hot(clean, 6)
    given = torch.where(torch.rand(60, generator=g) < 0.3, (clean + 1) % 3, clean)
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 32), nn.ReLU(), nn.Linear(32, 3)).eval()
    return model, Examples(x, given, 3, clean)


def studied(model, examples, rank=None, **options):
    spectra = {"initial": network_kernel(rank=rank)(model, examples.inputs)}
    shots = [snapshot("initial", model, examples, spectra["initial"], ranks=(5,))]
    record = study(examples, spectra, outputs_of(model, examples.inputs), shots, points=40, **options)
    return spectra["initial"], json.loads(json.dumps(record, allow_nan=False))


def test_numbers_are_those_of_the_measures(world):
    model, examples = world
    spectrum, record = studied(model, examples)
    energy, clean = record["energy"]["initial"], centred(one_hot(examples.clean, 3))
    assert energy["clean"] == pytest.approx(captured(spectrum, clean, energy["rank"]).tolist())
    rates = per_step(spectrum, 3)
    times = torch.tensor(record["retrieval"]["time"])
    assert record["retrieval"]["clean"] == pytest.approx(retrieved(rates, clean, times).tolist(), abs=1e-6)
    flow = Flow(rates, one_hot(examples.given, 3), outputs_of(model, examples.inputs))
    curves = flow.curves(times, examples.given, examples.clean)
    assert record["curves"]["accuracy"] == pytest.approx(curves.accuracy.tolist())
    for rule, found in record["stopping"].items():
        stop = stopping_time(flow, times, examples.given, rule)
        assert found["time"] == pytest.approx(stop.time, rel=1e-6)
        assert found["epoch"] is None
    assert record["at"]["time"] == record["stopping"][record["stopping_rule"]]["time"]
    assert record["noise"]["found_share"] == pytest.approx(float((examples.given != examples.clean).double().mean()))
    assert record["order"]["median"]["wrong"] > record["order"]["median"]["right"]
    assert len(record["order"]["given"]["examples"]) == 60
    assert len(record["order"]["clean"]["classes"]) == 3


@pytest.mark.parametrize("plain", [True, False])
def test_a_run_beside_the_prediction(world, plain):
    model, examples = world
    clock = Clock((0.5,) * 12, steps=10)
    agreement = [0.3, 0.5, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95, 1.0, 1.0]
    measured = RunCurves(clock, agreement, {"test_accuracy": [0.5] * 12}, plain)
    _, record = studied(model, examples, measured=measured, time=3.0)
    assert record["at"]["time"] == pytest.approx(3)
    assert record["curves"]["measured"]["epoch"][:2] == [0.5, 1.5]
    assert record["curves"]["measured"]["time"][:2] == pytest.approx([2.5, 7.5])
    assert record["curves"]["scale"]["epochs"] == (12 if plain else 10)  # where it grows, else
    stop = record["stopping"]["gcv"]
    six = [record["stopping"][r][w] for r in ("variance", "gcv", "left-out") for w in ("epoch", "epoch_by_clock")]
    middle = median(12 if epoch is None else epoch for epoch in six)
    assert not plain or record["stopping_epoch"]["epoch"] == pytest.approx(middle)
    assert plain or record["stopping_epoch"] is None
    i = next(i for i, value in enumerate(agreement) if value >= stop["agreement"])
    assert i - 0.5 <= stop["epoch"] <= i + 0.5


def test_without_clean_labels_and_with_missing_pairs(world):
    model, examples = world
    _, record = studied(model, Examples(examples.inputs, examples.given, 3), rank=8)
    assert set(record["stopping"]) == {"variance", "gcv", "left-out"}
    assert record["curves"]["accuracy"] is None
    assert "clean" not in record["energy"]["initial"]
    assert "median" not in record["order"]
    assert len(record["energy"]["initial"]["given"]) == len(record["energy"]["initial"]["rank"]) <= 8
    assert record["noise"]["wrong_share"] is record["noise"]["fall"] is record["stopping_epoch"] is None
    assert record["at"]["agreement"] < 1
    measured = RunCurves(Clock((0.5,) * 3, steps=10), [0.3, 0.5, 0.9], {})
    for rank, message in ((8, False), (None, True)):  # an epoch to stop at wants all pairs
        _, record = studied(model, examples, rank=rank, measured=measured)
        assert (record["stopping_epoch"] is not None) == message
