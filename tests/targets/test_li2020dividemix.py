"""How labels are divided by their losses, and what is said of them."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from selfdistill.targets import Division, clean_probability, two_gaussians


def division(n=6, k=2, epochs=300, steps=4):
    return Division(torch.zeros(n, dtype=torch.int64), k, epochs=epochs, steps=steps)


def test_each_networks_losses_divide_by_themselves():
    targets = division()
    first = torch.tensor([0.9, 0.95, 0.85, 0.1, 0.05, 0.2])
    said = torch.stack([torch.stack([p, 1 - p], 1) for p in (first, first.flip(0))], 1)
    targets.survey(said)
    assert (targets.clean[:, 0] > 0.5).tolist() == [True] * 3 + [False] * 3
    assert torch.equal(targets.clean[:, 1], targets.clean[:, 0].flip(0))
    losses = -first.double().log()
    stretched = (losses - losses.min()) / (losses.max() - losses.min())
    torch.testing.assert_close(
        targets.clean[:, 0].double(), two_gaussians(stretched).lower(stretched), atol=1e-5, rtol=0
    )


def test_equal_losses_and_impossible_labels_stay_finite():
    assert clean_probability(torch.full((4,), 2.0)).tolist() == [0.5] * 4
    targets = division()
    said = torch.tensor([[1.0, 0.0]] * 3 + [[0.0, 1.0]] * 3)
    targets.survey(torch.stack([said, said], 1))
    np.testing.assert_allclose(targets.clean[:, 0], [1, 1, 1, 0, 0, 0], atol=1e-6)


def test_the_refined_label_trusts_the_given_one_as_far_as_both_networks_do():
    targets = division()
    targets.write(torch.arange(6), torch.tensor([[0.2, 0.8]]).expand(6, 2))
    targets.end_epoch()
    targets.clean.copy_(torch.tensor([[0.9, 0.7], [0.5, 0.5], [1.0, 0.0], [1.0, 0.1], [0.0, 0.0], [1.0, 1.0]]))
    expected = [0.8 + 0.2 * 0.2, 0.2, 0.2, 0.55 + 0.45 * 0.2, 0.2, 1.0]
    np.testing.assert_allclose(targets.refined()[:, 0], expected, rtol=1e-5)


@pytest.mark.parametrize(("epochs", "warm_up"), [(300, 10), (30, 1), (1, 1), (12, 1), (120, 4)])
def test_warm_up_and_rise_are_shares_of_the_papers(epochs, warm_up):
    targets = division(epochs=epochs)
    assert targets.warm_up == warm_up
    assert targets.risen(warm_up - 1, 3) == 0
    assert targets.risen(warm_up, 0) == 0
    assert targets.risen(warm_up + epochs, 0) == 1
    assert division().risen(10 + 8, 0) == pytest.approx(0.5)
    assert division().risen(10, 2) == pytest.approx(0.5 / 16)


def test_epochs_and_steps_are_counted():
    targets, p = division(), torch.full((2, 2), 0.5)
    for epoch in range(2):
        for step in range(3):
            assert targets.now() == (epoch, step)
            targets.write(torch.tensor([0, 1]), p)
        targets.end_epoch()
    assert targets.now() == (2, 0)
