"""What a reader is told."""

import dataclasses

import pytest

from selfdistill._core.read_options import ReadOptions


def test_options_are_frozen_and_hashable():
    with pytest.raises(dataclasses.FrozenInstanceError):
        ReadOptions().label = "x"
    assert hash(ReadOptions(ignore=("a",))) == hash(ReadOptions(ignore=("a",)))
