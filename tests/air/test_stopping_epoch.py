"""The median of the estimates, and the range around it, beside the runs that they were made from."""

from __future__ import annotations

import json
import math
from pathlib import Path
from statistics import mean

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from selfdistill._core.errors import SettingError
from selfdistill.air import stopping_epoch

RECORD = Path(__file__).parents[2] / "benchmarks" / "records" / "air_stopping.jsonl"
SIX = [f"{rule}, {way}" for rule in ("variance", "gcv", "left-out") for way in ("fitted", "matched")]


def runs(part):
    found = [json.loads(line) for line in RECORD.read_text().splitlines()]
    return [run for run in found if run["part"] == part]


def told(run):
    estimates = [run["stops"][name]["epoch"] for name in SIX]
    return stopping_epoch([math.inf if one is None else one for one in estimates], len(run["test"]) - 1)


@given(st.lists(st.floats(0, 100) | st.just(math.inf), min_size=1, max_size=8), st.integers(1, 60))
def test_the_median_lies_in_its_range_and_in_the_run(estimates, epochs):
    found = stopping_epoch(estimates, epochs)
    assert found.epoch == pytest.approx(np.median(np.minimum(estimates, epochs)))
    assert 0 <= found.earliest <= found.epoch + 1e-9
    assert found.epoch - 1e-9 <= found.latest <= epochs


def test_the_range_is_that_of_the_development_runs_and_holds_in_others():
    development = runs("development")
    assert len(development) >= 24
    ratios = sorted((run["best"] + 0.5) / (told(run).epoch + 0.5) for run in development)
    bare = stopping_epoch([9.5], 1000)
    assert (bare.earliest + 0.5) / 10 == pytest.approx(ratios[3], abs=0.01)  # three of 36 lie beyond each end
    assert (bare.latest + 0.5) / 10 == pytest.approx(ratios[-4], abs=0.01)
    held = [told(run).earliest <= run["best"] <= told(run).latest for run in runs("final")]
    assert (sum(held), len(held)) == (29, 36)


def test_the_median_loses_less_than_any_of_its_estimates():
    """As the documentation says, in the runs that chose it and in the others."""
    for part in ("development", "final"):
        found = runs(part)
        lost = mean(max(run["test"]) - run["test"][round(told(run).epoch)] for run in found)
        assert all(lost < mean(run["stops"][name]["lost"] for run in found) for name in SIX)


def test_no_estimates_are_refused():
    with pytest.raises(SettingError, match="no estimates"):
        stopping_epoch([], 10)
