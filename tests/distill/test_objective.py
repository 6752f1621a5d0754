"""Names and numbers of objectives: what is refused, and what is filled in."""

from __future__ import annotations

import pytest

from selfdistill._core.errors import SettingError
from selfdistill.distill import objective


def test_numbers_left_out_are_filled_in():
    assert objective("hinton")[2] == {"temperature": 4.0, "weight": 0.9}
    assert objective("born-again", mixing=-2.0)[2] == {"mixing": -2.0}
    assert objective("top-2")[2] == {}


@pytest.mark.parametrize("t", [0.0, -1.0, float("inf"), float("nan")])
def test_temperatures_without_a_softmax_are_refused(t):
    with pytest.raises(SettingError, match=r"temperature is .*, but must be finite and above 0"):
        objective("hinton", temperature=t)


def test_other_numbers_out_of_range_are_refused():
    with pytest.raises(SettingError, match=r"weight is 1.5, but must be in \[0, 1\]"):
        objective("hinton", weight=1.5)
    for name in ("alpha", "beta"):
        with pytest.raises(SettingError, match=f"{name} is -1.0, but must be finite and at least 0. 1 and 8 are usual"):
            objective("dkd", **{name: -1.0})
    with pytest.raises(SettingError, match="mixing is nan, but must be finite"):
        objective("born-again", mixing=float("nan"))


def test_a_number_that_it_does_not_take_and_a_name_that_is_none_are_refused():
    with pytest.raises(SettingError, match=r"'refinery' takes no temperature. Leave --temperature out, or .* hinton"):
        objective("refinery", temperature=2.0)
    with pytest.raises(SettingError, match=r"'hintn' does not exist. Did you mean hinton\? Choose one of: hinton, ref"):
        objective("hintn")


@pytest.mark.parametrize("value", [[4.0], "4", True])
def test_what_is_no_number_is_named(value):
    with pytest.raises(SettingError, match=r"temperature is .*, but must be a number"):
        objective("hinton", temperature=value)
