"""Targets that do not change."""

from __future__ import annotations

import pytest
import torch

from selfdistill._core.errors import SettingError
from selfdistill.targets import Fixed


def test_the_target_stays_and_the_refined_labels_are_the_last_predictions():
    g = torch.Generator().manual_seed(0)
    target, first, second = torch.randn(3, 4, 3, generator=g).softmax(-1)
    targets = Fixed(target)
    assert torch.equal(targets.refined(), target)
    for p, index in ((first, torch.arange(4)), (second, torch.tensor([2, 0]))):
        targets.write(index, p[index])
        targets.end_epoch()
        assert torch.equal(targets.read(torch.tensor([3, 1])), target[[3, 1]])
    assert torch.equal(targets.refined(), torch.stack([second[0], first[1], second[2], first[3]]))


def test_it_holds_a_copy():
    target = torch.eye(2)
    targets = Fixed(target)
    target.zero_()
    assert torch.equal(targets.read(torch.arange(2)), torch.eye(2))


def test_labels_are_no_distributions():
    with pytest.raises(SettingError, match=r"target has 1 axes, but must have two. Pass distributions \[n, K\]."):
        Fixed(torch.tensor([0, 1]))
