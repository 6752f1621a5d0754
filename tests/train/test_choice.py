"""Images go to the closed form or to a network, whichever explains labels better that it has not seen."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from selfdistill._core.events import Stage
from selfdistill._core.settings import Settings
from selfdistill.data._source import from_arrays
from selfdistill.train import _choice
from selfdistill.train._choice import choose_method
from selfdistill.train._fit import fit

AUTO = Settings(method="auto")


@pytest.fixture
def bars():
    """Images of a bar in one of three places, in noise, a quarter of the labels wrong; too wide for a forest."""
    rng = np.random.default_rng(0)
    truth = rng.integers(3, size=100)
    pictures = rng.normal(size=(100, 18, 18)) + (np.arange(18)[None, :, None] // 6 == truth[:, None, None])
    given = np.where(rng.random(100) < 0.25, (truth + rng.integers(1, 3, 100)) % 3, truth)
    return from_arrays(pictures.astype(np.float32), given)


@pytest.fixture
def quick(monkeypatch):
    """Networks of one epoch."""

    def short(data, settings, **kwargs):
        return fit(data, settings if settings.method == "kernel" else replace(settings, epochs=1), **kwargs)

    monkeypatch.setattr(_choice, "fit", short)


@pytest.mark.parametrize(("nats", "expected"), [(9.0, "kernel"), (0.01, "selfdistill")])
def test_the_better_of_both_is_taken_and_both_numbers_are_told(bars, quick, monkeypatch, nats, expected):
    monkeypatch.setattr(_choice, "_nats", lambda fitted, inputs, given: nats)
    kernel = fit(bars, Settings(method="kernel").resolve(len(bars), "cpu")).closed.nats
    messages = []
    method, why = choose_method(AUTO, bars, tell=messages.append)
    assert method == expected
    assert f"{nats:.2f}" in why
    assert f"{kernel:.2f}" in why
    assert all(isinstance(one, Stage) for one in messages)
    assert messages[-1].text.startswith("kernel or network: trying the network, epoch 1 of ")


def test_a_network_is_judged_by_labels_that_it_has_not_seen(bars, quick, monkeypatch):
    seen = {}

    def judged(fitted, inputs, given):
        seen.update(trained=fitted.dynamics.labels, inputs=inputs, given=given)
        return 0.0

    monkeypatch.setattr(_choice, "_nats", judged)
    choose_method(AUTO, bars)
    assert len(seen["trained"]) + len(seen["given"]) == len(bars)
    assert 0.15 < len(seen["given"]) / len(bars) <= 0.2
    rows = (bars.inputs[:, None] == seen["inputs"][None]).flatten(2).all(2).any(1)
    torch.testing.assert_close(bars.labels[~rows], seen["trained"])


def test_nats_are_those_of_the_best_temperature(bars):
    fitted = fit(bars, Settings(method="selfdistill", epochs=1).resolve(len(bars), "cpu"))
    found = _choice._nats(fitted, bars.inputs, bars.labels)
    matrix = torch.from_numpy(fitted.table().noise.noise_matrix)
    with torch.no_grad():
        logits = fitted.model(bars.inputs).double().log_softmax(1)
    tried = [
        -((beta * logits).softmax(1) @ matrix).gather(1, bars.labels[:, None]).log().mean()
        for beta in torch.linspace(0.05, 2.7, 400, dtype=torch.float64)
    ]
    assert found == pytest.approx(float(min(tried)), abs=1e-3)


def test_many_images_and_images_without_content_get_a_network(bars, monkeypatch):
    blank = from_arrays(np.zeros((20, 8, 8), np.uint8), np.arange(20) % 2)
    assert choose_method(AUTO, blank)[0] == "selfdistill"
    monkeypatch.setattr(_choice, "_MOST", 99)
    assert choose_method(AUTO, bars)[0] == "selfdistill"
