"""The bench of stopping rules: runs that choose and runs that report, and what an epoch costs."""

from __future__ import annotations

import math

import pytest
import torch

from benchmarks import air_stopping
from selfdistill.air import _stopping
from selfdistill.air._clock import Clock
from selfdistill.theory import Spectrum


def test_runs_that_report_are_others_than_those_that_choose():
    development, final = (air_stopping.PARTS[part] for part in ("development", "final"))
    assert len(development) >= 24
    shared = {run.data for run in development} & {run.data for run in final}
    assert shared == {"cifar10"}  # of which the final part takes other rows
    for runs in (development, final):
        assert len(set(runs)) == len(runs)
        assert {"constant", "one-cycle"} == {run.recipe for run in runs}
        assert {"rules", "weak"} <= {run.noise for run in runs}


def test_fresh_runs_are_of_tables_that_no_other_part_has():
    fresh = {run.data for run in air_stopping.PARTS["fresh"]}
    assert not fresh & {run.data for part in ("development", "final") for run in air_stopping.PARTS[part]}
    assert (air_stopping.BELOW, air_stopping.ABOVE) == (_stopping._BELOW, _stopping._ABOVE)


def test_what_an_epoch_costs():
    test = torch.tensor([0.1, 0.5, 0.8, 0.6])
    found = air_stopping.Trained(test, test, test, test, test, Clock((0.1,) * 3, 4))
    for epoch, lost in ((2.4, 0.0), (1.4, 0.3), (math.inf, 0.2), (99.0, 0.2)):
        assert air_stopping.judged(epoch, found)["lost"] == pytest.approx(lost)
    assert air_stopping.judged(math.inf, found)["epoch"] is None


def test_fifths_are_those_of_the_fall():
    spectrum = Spectrum.of(torch.diag(torch.arange(20.0, 0.0, -1.0)))
    residual = torch.rand(20, 3, generator=torch.Generator().manual_seed(0)) + 0.5
    fifths = air_stopping.fifths(spectrum, residual)
    assert sum(fifths) / 5 == pytest.approx(1, abs=1e-3)
    assert fifths[1] / fifths[4] == pytest.approx(_stopping.tail_fall(spectrum, residual), rel=1e-3)
