"""A share of wrong labels is told for errors at random, and withheld for errors that follow from the inputs."""

from __future__ import annotations

import json
import math
from pathlib import Path
from statistics import mean

import pytest
import torch

from selfdistill.air import noise_share, one_hot, tail_fall, wrong_share
from selfdistill.air._noise_share import _ABOVE, _BELOW, _FLAT
from selfdistill.air._stopping import label_noise_variance

RECORD = Path(__file__).parents[2] / "benchmarks" / "records" / "air_stopping.jsonl"


def rule_errors(spectrum, truth):
    """Change the labels of the examples that a few directions of the kernel pick: a rule that looks at them."""
    picked = spectrum.vectors[:, 2:8].sum(1) > 0.02
    return torch.where(picked, (truth + 1) % 10, truth)


def residual(labels):
    y = one_hot(labels, 10)
    return y - y.mean(0)


def test_errors_at_random_are_told_and_errors_by_rule_are_not(digits):
    spectrum, truth, given = digits
    found = noise_share(spectrum, residual(given), 10)
    wrong = float((given != truth).double().mean())
    assert found.low < wrong < found.high
    assert found.share == wrong_share(label_noise_variance(spectrum, residual(given)), 10)
    ruled = rule_errors(spectrum, truth)
    assert float((ruled != truth).double().mean()) > 0.2
    assert noise_share(spectrum, residual(ruled), 10) is None


def test_the_fall_is_that_of_the_mean_energies(gram):
    from selfdistill.theory import Spectrum

    spectrum = Spectrum.of(gram)  # 30 examples
    z = torch.randn(30, 2, generator=torch.Generator().manual_seed(0)).double()
    energy = [float(sum((v * column).sum() ** 2 for column in z.T)) for v in spectrum.vectors.T]
    assert tail_fall(spectrum, z) == pytest.approx(mean(energy[6:12]) / mean(energy[24:]))
    assert tail_fall(Spectrum.of(gram, k=12), z) is None
    assert noise_share(Spectrum.of(gram, k=12), z, 2) is None


def test_withheld_where_the_records_say_so():
    """No run of rules or weak models is told a share, and what is told is seldom too little."""
    found = [json.loads(line) for line in RECORD.read_text().splitlines()]
    told = [run for run in found if run["fifths"][1] / run["fifths"][4] <= _FLAT]
    assert len(told) > 40
    assert not {run["noise"] for run in told} & {"rules", "weak"}
    assert min(run["told"] - run["wrong"] for run in told) > -0.1
    assert min(run["told"] - run["wrong"] for run in found) < -0.3


def test_the_range_is_that_of_all_development_runs_and_holds_in_nine_of_ten_others():
    found = [json.loads(line) for line in RECORD.read_text().splitlines()]
    errors = [run["told"] - run["wrong"] for run in found if run["part"] == "development"]
    assert (math.ceil(100 * max(errors)) / 100, math.ceil(-100 * min(errors)) / 100) == (_BELOW, _ABOVE)
    told = [r for r in found if r["part"] != "development" and r["fifths"][1] / r["fifths"][4] <= _FLAT]
    held = [r["told"] - _BELOW <= r["wrong"] <= r["told"] + _ABOVE for r in told]
    assert (sum(held), len(held)) == (32, 35)
    assert {r["part"] for r in told} == {"final", "fresh"}
