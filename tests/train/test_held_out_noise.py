"""The noise rate from held-out labels."""

from __future__ import annotations

import pytest
import torch

from selfdistill import noise, train
from selfdistill._core.errors import SettingError
from selfdistill.train._held_out_noise import held_out_noise
from selfdistill.train._kept import held_out


@pytest.mark.parametrize("rate", [0.0, 0.2, 0.45])
def test_a_network_that_knows_the_true_classes_gives_the_realised_rate(rate):
    truth = torch.arange(20_000) % 4
    drawn = noise.draw(truth, noise.symmetric(4, rate, include_clean=False), seed=0)
    before = train.Before(torch.eye(4)[truth], torch.eye(4)[truth])
    found = held_out_noise(train.Context(drawn.labels, 4, 1, 1, seed=3, before=before))
    _, held = held_out(drawn.labels, 0.1, 3)
    assert found == pytest.approx((drawn.labels != truth)[held].float().mean().item())
    assert found == pytest.approx(drawn.realised_rate, abs=3 * (0.25 / 2000) ** 0.5)


def test_only_held_out_labels_are_asked_for_the_others_are_memorised():
    labels = torch.arange(100) % 2
    _, held = held_out(labels, 0.1, 0)
    said = torch.eye(2)[labels]
    said[held] = 1 - said[held]
    assert held_out_noise(train.Context(labels, 2, 1, 1, before=train.Before(said, said))) > 0.99


def test_without_a_training_before_it_says_so():
    with pytest.raises(SettingError, match=r"the noise rate is not known\. Pass noise_rate"):
        held_out_noise(train.Context(torch.tensor([0, 1]), 2, 1, 1))
