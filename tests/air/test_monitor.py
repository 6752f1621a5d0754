"""The monitor's cost is counted with a clock of our own, and stays within its share whatever measuring costs."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from selfdistill._core.errors import SettingError
from selfdistill._core.events import BatchDone, EpochDone, RunStarted
from selfdistill.air import AirMonitor, network_kernel
from selfdistill.air._monitor import choose_examples
from selfdistill.data._read import read
from selfdistill.networks._build import build
from selfdistill.theory import Spectrum
from selfdistill.train import Settings
from selfdistill.train._fit import fit


class World:
    """A network that trains in no time on a clock that is set by hand."""

    def __init__(self, epoch_seconds=10.0, cost=1.0, power=2.0, **options):
        self.clock, self.epoch_seconds, self.cost, self.power = 0.0, epoch_seconds, cost, power
        torch.manual_seed(0)
        self.model = nn.Linear(3, 2)
        self.x, self.y = torch.randn(80, 3), torch.arange(80) % 2
        self.calls = []
        options = {"examples": 40, "ranks": (2,)} | options
        self.monitor = AirMonitor(self.model, self.x, self.y, self.kernel, now=lambda: self.clock, **options)

    def kernel(self, model, inputs):
        assert not model.training
        self.calls.append(len(inputs))
        self.clock += self.cost * (len(inputs) / 40) ** self.power
        return Spectrum.of(inputs @ inputs.T + float(model.weight.detach().sum()) ** 2)

    def run(self, epochs, first=0):
        self.monitor(RunStarted(epochs, first, 80, 2))
        for epoch in range(first, epochs):
            self.clock += self.epoch_seconds
            with torch.no_grad():
                self.model.weight.add_(0.1)
            self.monitor(BatchDone(epoch, 1, 40))
            self.monitor(EpochDone(epoch))
            assert self.monitor.trained == pytest.approx((epoch - first + 1) * self.epoch_seconds)
        return self.monitor


def test_measures_begin_at_the_start_and_space_themselves_out():
    monitor = World(epoch_seconds=10, cost=2.0).run(100)
    assert monitor.spent <= 0.10 * monitor.trained
    names = [found.name for found in monitor.snapshots]
    assert names[0] == "start"
    assert monitor.snapshots[0].epoch == 0
    assert 45 <= len(names) <= 50  # 100 seconds allow 50 measurements of 2
    assert monitor.snapshots[1].drift > 0
    assert [found.seconds for found in monitor.snapshots] == pytest.approx([2.0] * len(names))
    assert "measurements in" in monitor.summary


def test_cheap_measures_come_every_few_epochs():
    monitor = World(epoch_seconds=100, cost=0.1, every=5).run(21)
    assert [found.epoch for found in monitor.snapshots] == [0, 5, 10, 15, 20]


class Uneven(World):
    """The start costs 2 s, the second measurement 30 s, and each later one 3 s."""

    def kernel(self, model, inputs):
        self.cost = {3: 2.0, 4: 30.0}.get(len(self.calls), 3.0 if len(self.calls) > 4 else 2.0)
        return super().kernel(model, inputs)


def test_the_forecast_stays_that_of_the_dearest_measurement():
    monitor = Uneven(epoch_seconds=10).run(120)  # a second of measuring is allowed for each epoch
    epochs = [found.epoch for found in monitor.snapshots]
    assert [found.seconds for found in monitor.snapshots[:4]] == pytest.approx([2, 30, 3, 3])
    assert set(np.diff(epochs[2:])) == {3}
    assert monitor.spent + 30 - 3 <= 0.10 * monitor.trained


@settings(max_examples=40)
@given(st.floats(0.01, 200), st.floats(1, 2), st.floats(0.01, 1), st.integers(1, 30))
def test_the_budget_holds_but_for_the_first_looks(cost, power, budget, epochs):
    world = World(epoch_seconds=5, cost=cost, power=power, budget=budget)
    monitor = world.run(epochs)
    looks = cost * sum((m / 40) ** power for m in world.calls[:3])
    assert monitor.spent <= max(budget * monitor.trained, looks) * (1 + 1e-9)


def test_the_subset_is_made_as_small_as_the_run_can_pay_for():
    world = World(epoch_seconds=10, cost=100.0, examples=80)
    monitor = world.run(100)  # 100 seconds for measuring; a whole one would take 400
    assert world.calls[:3] == [5, 5, 10]
    size = len(monitor.examples)
    assert 100 * (size / 40) ** 2 == pytest.approx(100 / 5, rel=0.5) or size == 50
    assert set(world.calls[3:]) <= {size}
    assert monitor.spent <= 0.10 * monitor.trained


def test_too_dear_to_measure_is_told():
    world = World(epoch_seconds=1, cost=500.0)
    monitor = world.run(10)
    assert world.calls == [3, 3, 5]
    assert monitor.snapshots == []
    assert "nothing was measured: it would take about 500.0 s, and 10 % of the 10.0 s" in monitor.summary


def test_training_is_left_as_it_was():
    torch.manual_seed(1)
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.ReLU(), nn.Dropout(0.5), nn.Linear(4, 2))
    model[0].weight.grad = torch.ones(4, 3)
    clock = [0.0]
    x, y = torch.randn(30, 3), torch.arange(30) % 2
    monitor = AirMonitor(model, x, y, network_kernel(), clean=y, ranks=(3,), now=lambda: clock[0])
    state, rng = {k: v.clone() for k, v in model.state_dict().items()}, torch.get_rng_state()
    monitor(RunStarted(1, 0, 30, 1))
    clock[0] = 100.0
    monitor(EpochDone(0))
    assert [found.name for found in monitor.snapshots] == ["start", "epoch 1"]
    assert all(torch.equal(v, state[k]) for k, v in model.state_dict().items())
    assert torch.equal(torch.get_rng_state(), rng)
    assert model.training
    assert model[1].training
    assert bool((model[0].weight.grad == 1).all())


def test_it_listens_to_the_loop():
    digits = read("digits")
    net = build("mlp:16", (1, 8, 8), 10, seed=0, stats=digits.preprocess.stats)

    def cheap(model, inputs):
        features = model.standardise(inputs).flatten(1)
        return Spectrum.of(features @ features.T)

    monitor = AirMonitor(net, digits.inputs, digits.labels, cheap, examples=60, ranks=(5,), budget=1.0)
    fitted = fit(digits, Settings(epochs=6, network="mlp:16").resolve(1797, "cpu"), model=net, tell=monitor)
    assert 0 < monitor.spent <= monitor.trained
    assert monitor.snapshots[0].name == "start"
    assert monitor.snapshots[-1].accuracy is None
    trained = sum(epoch["seconds"] for epoch in fitted.curves)
    assert monitor.trained >= trained
    assert monitor.snapshots[-1].agreement > monitor.snapshots[0].agreement


def test_a_resumed_run_begins_where_it_stood():
    assert World(epoch_seconds=100, cost=0.1).run(5, first=3).snapshots[0].name == "epoch 3"


def test_examples_are_chosen_by_class():
    labels = torch.tensor([0] * 900 + [1] * 90 + [2] * 10)
    chosen = choose_examples(labels, 100)
    assert torch.bincount(labels[chosen]).tolist() == [90, 9, 1]
    assert len(chosen.unique()) == 100
    assert torch.equal(chosen, choose_examples(labels, 100))
    assert not torch.equal(chosen, choose_examples(labels, 100, seed=1))


def test_what_is_refused():
    with pytest.raises(SettingError, match="every is 0"):
        World(every=0)
    with pytest.raises(SettingError, match=r"budget is 1.5, but must be in \(0, 1\]"):
        World(budget=1.5)
    with pytest.raises(SettingError, match="examples is 1, but a kernel needs"):
        World(examples=1)
