from __future__ import annotations

import torch

from selfdistill.air import Interval


def test_middle_width_and_json():
    found = Interval(torch.tensor([0.25, 0.5]), torch.tensor([0.75, 0.5]))
    assert found.middle.tolist() == [0.5, 0.5]
    assert found.width.tolist() == [0.5, 0.0]
    assert found.listed() == [[0.25, 0.75], 0.5]
    assert Interval.exact(torch.tensor(2)).listed() == 2
