from __future__ import annotations

import math

import pytest

from selfdistill._core.options import Option


@pytest.mark.parametrize(
    ("limits", "good", "bad", "words"),
    [
        ({"low": 1}, 1, 0, "must be at least 1"),
        ({"low": 1, "high": 3}, 3, 4, "must be at most 3"),
        ({"above": 0, "below": 1}, 0.5, 1.0, "must be in (0, 1)"),
        ({"low": 0, "below": 1}, 0.0, 1.5, "must be in [0, 1)"),
        ({"above": 0}, 2.0, 0.0, "must be finite and above 0"),
        ({}, -1.0, math.nan, "must be finite"),
    ],
)
def test_a_number_out_of_range_is_told_the_range(limits, good, bad, words):
    option = Option("X", "", **limits)
    assert option.problem(good) is None
    assert option.problem(bad) == words
