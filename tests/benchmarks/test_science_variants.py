"""Methods with other hyper-parameters than their papers': the paper's numbers give the method itself, others do not."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from benchmarks.science.cell import run_cell
from benchmarks.science.data_sets import load, missing
from benchmarks.science.suite import read_suite
from benchmarks.science.variants import variant

from selfdistill._core.errors import SettingError
from selfdistill.runs import noisy_digits
from selfdistill.targets._posterior import PosteriorTarget
from selfdistill.train import Settings
from selfdistill.train._fit import fit

PAPER = {
    "selfdistill": {"noise_step": 0.2, "settled": 0.35},
    "gce": {"q": 0.7},
    "sce": {"alpha": 0.1, "beta": 1.0},
    "elr": {"strength": 3.0, "momentum": 0.7},
    "sat": {"start": 0.3},
    "selc": {"start": 0.15},
    "sop": {"rate": 10.0},
}
OTHER = {
    "selfdistill": {"noise_step": 1.0, "settled": 1.0, "unsettled": 2.0},
    "gce": {"q": 0.3},
    "sce": {"alpha": 1.0},
    "elr": {"strength": 9.0},
    "sat": {"start": 0.5},
    "selc": {"start": 0.5},
    "sop": {"rate": 1.0},
}


def losses_of(method: str, numbers: dict[str, float] | None) -> list[float]:
    data, _ = noisy_digits(0)
    settings = Settings(method=method, network="mlp:16", epochs=7).resolve(len(data), "cpu")
    made = None if numbers is None else variant(method, numbers)
    return [epoch["loss"] for epoch in fit(data, settings, method=made).curves]


@pytest.mark.parametrize("method", PAPER)
def test_the_papers_numbers_are_the_method_and_others_are_not(method: str) -> None:
    own = losses_of(method, None)
    assert losses_of(method, PAPER[method]) == own
    assert losses_of(method, OTHER[method]) != own


def test_the_default_with_a_reverse_term_is_its_loss_and_that_term() -> None:
    logits, target = torch.tensor([[1.0, -1.0, 0.5]], dtype=torch.float64), torch.tensor([[0.7, 0.3, 0.0]]).double()
    anchored = PosteriorTarget(target, target, 0.7, torch.tensor(2.0))
    plain, more = (variant("selfdistill", {"reverse": weight}).loss(logits, anchored) for weight in (0.0, 0.5))
    p = logits.softmax(-1)[0]
    reverse = -(p[0] * math.log(0.7) + p[1] * math.log(0.3) - 4.0 * p[2])
    torch.testing.assert_close(more - plain, 0.5 * reverse[None])
    for strength, share in ((0.0, 1.0), (0.25, 0.75), (1.0, 0.0), (2.0, 0.0)):  # the anchor has half of its 2 at 1
        found = anchored._replace(strength=torch.tensor(strength))
        plain, more = (variant("selfdistill", {"fading": weight}).loss(logits, found) for weight in (0.0, 8.0))
        torch.testing.assert_close(more - plain, 8 * share * reverse[None])


@pytest.mark.parametrize(
    ("method", "numbers", "message"),
    [
        ("dividemix", {"q": 0.5}, "dividemix"),
        ("gce", {"p": 0.5}, "'p'"),
        ("elr", {"strength": "much"}, "'much'"),
    ],
)
def test_what_cannot_be_varied_is_named(method: str, numbers: dict[str, float], message: str) -> None:
    with pytest.raises(SettingError, match=message):
        variant(method, numbers)


def test_a_cell_trains_its_variant(tmp_path: Path) -> None:
    """With q near 1 generalized cross-entropy is the mean absolute error, at most 1; with the paper's q at most 1/q."""
    suite = read_suite("smoke")
    cell = suite.cells()[0] | {"row": "mae", "method": "gce", "numbers": {"q": 1.0}}
    cell["settings"] = cell["settings"] | {"epochs": 1}
    record = run_cell(cell, tmp_path)
    assert 0 < record["curves"]["loss"][0] <= 1
    assert record["cell"]["numbers"] == {"q": 1.0}


def test_the_tuning_suite_keeps_off_the_official_test_images(shared_data: Path) -> None:
    if missing("fashion", [], shared_data):
        pytest.skip(f"fashion is not unpacked at {shared_data}")
    cell = read_suite("tuning").cells()[0]
    prepared = load(cell, shared_data)
    official = load(cell | {"data": "fashion"}, shared_data).test[0]
    assert len(prepared.test[1]) == 10_000
    assert not torch.equal(prepared.test[0], official)
    assert int(prepared.train.ids.astype(int).max()) < 50_000
