from __future__ import annotations

import pickle

import pytest

from selfdistill._core import errors
from selfdistill._core.advice import Door


def tree(cls):
    return [cls, *[leaf for sub in cls.__subclasses__() for leaf in tree(sub)]]


@pytest.mark.parametrize("cls", tree(errors.SelfdistillError))
def test_every_error_reads_as_problem_and_way_out_and_survives_pickling(cls):
    error = cls("epochs is 0", "Pass 1 or more.")
    assert str(error) == "epochs is 0. Pass 1 or more."
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is cls
    assert str(again) == str(error)
    assert str(cls("plain")) == "plain."


def test_bad_input_exits_with_2_and_is_a_value_error():
    assert issubclass(errors.DataError, ValueError)
    assert errors.DataError.exit_code == errors.ResourceError.exit_code == 2
    assert errors.Interrupted.exit_code == 130


def test_an_option_is_named_as_it_is_where_the_error_is_read():
    error = errors.SettingError("held_out is 2, but must be in (0, 1)", param="held_out")
    assert error.at(Door(dashes=True)) == "--held-out is 2, but must be in (0, 1)."
    assert str(error) == "held_out is 2, but must be in (0, 1)."
