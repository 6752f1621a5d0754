"""Views: the same pixels for the same example whatever the batch, so that teacher and student see the same."""

from __future__ import annotations

import pytest
import torch

from selfdistill._core.errors import SettingError
from selfdistill.data import Augment
from selfdistill.distill import Views, views_of


def test_a_view_of_an_example_does_not_depend_on_the_batch(digits):
    views = Views("crop:2,flip", 3, digits, seed=5)
    index = torch.randperm(len(digits), generator=torch.Generator().manual_seed(0))[:50]
    for view in range(3):
        whole = views.apply(digits.inputs, torch.arange(len(digits)), view)
        assert torch.equal(views.apply(digits.inputs[index], index, view), whole[index])
    assert not torch.equal(views.drawn[0], views.drawn[1])
    again = Views("crop:2,flip", 3, digits, seed=5)
    assert torch.equal(again.drawn, views.drawn)
    assert not torch.equal(Views("crop:2,flip", 3, digits, seed=6).drawn, views.drawn)


def test_one_image_at_a_time_is_a_slow_twin(digits):
    views = Views("crop:1", 1, digits, seed=0)
    assert views.augment == Augment(crop=1, fill=views.augment.fill)
    for i in (0, 7):
        down, right = views.drawn[0, i, :2].tolist()
        image, found = digits.inputs[i, 0], views.apply(digits.inputs[i : i + 1], torch.tensor([i]), 0)[0, 0]
        for row in range(1, 7):
            for column in range(1, 7):
                assert found[row, column] == image[row + down, column + right]


def test_the_spec_is_written_out(digits):
    assert Views(" Flip, crop:2 ", 1, digits, 0).spec == "crop:2,flip"


def test_views_that_change_nothing_are_refused(digits):
    assert views_of("none", 0, digits, 0) is None
    with pytest.raises(SettingError, match=r"4 views were asked for, but nothing is changed in them.*--augment"):
        views_of("none", 4, digits, 0)
    with pytest.raises(SettingError, match="views is -1"):
        views_of("flip", -1, digits, 0)
