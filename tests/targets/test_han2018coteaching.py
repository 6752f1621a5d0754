"""The share to forget, epoch by epoch; the rest is in the common tests."""

from __future__ import annotations

import pytest
import torch

from selfdistill._core.errors import SettingError
from selfdistill.targets import SmallLoss


@pytest.mark.parametrize(("rate", "ramp"), [(0.4, 4.0), (0.2, 1.0), (0.5, 2.5), (0.0, 3.0)])
def test_the_share_rises_from_none_to_the_noise_rate(rate, ramp):
    targets = SmallLoss(torch.tensor([0, 1]), 2, noise_rate=rate, ramp=ramp)
    for epoch in range(6):
        given, forget = targets.read(torch.tensor([1]))
        assert given.tolist() == [[0.0, 1.0]]
        assert 1 - forget.item() == pytest.approx(1 - rate * min(epoch / ramp, 1), abs=1e-6)  # the paper's R
        targets.end_epoch()


def test_what_is_kept_are_the_last_epochs_predictions():
    targets = SmallLoss(torch.tensor([0, 1]), 2, noise_rate=0.3, ramp=1)
    targets.write(torch.tensor([0]), torch.tensor([[0.25, 0.75]]))
    targets.end_epoch()
    assert targets.refined().tolist() == [[0.25, 0.75], [0.0, 1.0]]


@pytest.mark.parametrize(("options", "text"), [({"noise_rate": 1.0, "ramp": 1}, "noise_rate is 1.0"),
                                               ({"noise_rate": 0.1, "ramp": 0}, "ramp is 0 epochs")])  # fmt: skip
def test_values_out_of_range_are_refused(options, text):
    with pytest.raises(SettingError, match=text):
        SmallLoss(torch.tensor([0]), 2, **options)
