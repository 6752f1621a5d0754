"""The share to forget, epoch by epoch; the rest is in the common tests."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from selfdistill import noise
from selfdistill._core.errors import SettingError
from selfdistill._core.labels import held_out
from selfdistill.losses._cross_entropy import pair_cross_entropy
from selfdistill.rivals._method import Context, FirstStage
from selfdistill.rivals.han2018coteaching import SmallLoss, co_teaching, held_out_noise


@pytest.mark.parametrize(("rate", "ramp"), [(0.4, 4.0), (0.2, 1.0), (0.5, 2.5), (0.0, 3.0)])
def test_the_share_rises_from_none_to_the_noise_rate(rate, ramp):
    targets = SmallLoss(torch.tensor([0, 1]), 2, noise_rate=rate, ramp=ramp)
    for epoch in range(6):
        given, forget = targets.read(torch.tensor([1]))
        assert given.tolist() == [[0.0, 1.0]]
        assert 1 - forget.item() == pytest.approx(1 - rate * min(epoch / ramp, 1), abs=1e-6)  # the paper's R
        targets.write(torch.tensor([1]), torch.tensor([[0.5, 0.5]]))
        targets.end_epoch()


def test_what_is_kept_are_the_last_epochs_predictions():
    targets = SmallLoss(torch.tensor([0, 1]), 2, noise_rate=0.3, ramp=1.0)
    targets.write(torch.tensor([0]), torch.tensor([[0.25, 0.75]]))
    targets.end_epoch()
    assert targets.refined().tolist() == [[0.25, 0.75], [0.0, 1.0]]


@pytest.mark.parametrize(("options", "text"), [({"noise_rate": 1.0, "ramp": 1.0}, "noise_rate is 1.0"),
                                               ({"noise_rate": 0.1, "ramp": 0.0}, "ramp is 0.0 epochs")])  # fmt: skip
def test_values_out_of_range_are_refused(options, text):
    with pytest.raises(SettingError, match=text):
        SmallLoss(torch.tensor([0]), 2, **options)


def twin(logits, target, forget):
    """The loss of each network: mean cross-entropy over the R examples that are easiest for the other."""
    b = len(logits)
    losses = np.empty((b, 2))
    for i in range(b):
        for j in (0, 1):
            e = np.exp(logits[i, j] - logits[i, j].max())
            losses[i, j] = -sum(t * math.log(p) for t, p in zip(target[i], e / e.sum(), strict=True) if t)
    keep = max(1, math.floor(round((1 - forget) * b, 3)))
    total, chosen = 0.0, []
    for j in (0, 1):
        easiest = sorted(range(b), key=lambda i: losses[i, 1 - j])[:keep]
        chosen.append(set(easiest))
        total += sum(losses[i, j] for i in easiest) / keep
    return total, chosen


@given(st.integers(0, 10_000), st.integers(1, 12), st.sampled_from([0.0, 0.1, 0.2, 0.4, 0.5, 0.7, 0.9]))
@settings(max_examples=60)
def test_equals_its_naive_twin(seed, b, forget):
    rng = np.random.default_rng(seed)
    logits, target = rng.normal(0, 3, (b, 2, 4)), rng.dirichlet(np.ones(4), b)
    z = torch.tensor(logits, requires_grad=True)
    values = co_teaching(z, (torch.tensor(target), torch.tensor(forget)))
    total, chosen = twin(logits, target, forget)
    assert values.shape == (b,)
    assert values.mean().item() == pytest.approx(total, rel=1e-9)
    values.mean().backward()
    for j in (0, 1):  # only the chosen examples teach
        assert set(z.grad[:, j].abs().sum(-1).nonzero()[:, 0].tolist()) == chosen[j]


def test_with_nothing_to_forget_it_is_the_cross_entropy_of_both():
    g = torch.Generator().manual_seed(0)
    logits, target = torch.randn(6, 2, 3, generator=g), torch.randn(6, 3, generator=g).softmax(-1)
    torch.testing.assert_close(co_teaching(logits, (target, torch.tensor(0.0))), pair_cross_entropy(logits, target))


@pytest.mark.parametrize(("b", "forget", "kept"), [(10, 0.9, 1), (100, 0.33, 67), (5, 0.99, 1), (128, 0.35, 83)])
def test_the_number_kept_is_rounded_down_and_at_least_one(b, forget, kept):
    logits = torch.randn(b, 2, 3, generator=torch.Generator().manual_seed(0)).requires_grad_()
    co_teaching(logits, (torch.eye(3)[torch.zeros(b, dtype=torch.int64)], torch.tensor(forget))).sum().backward()
    assert (logits.grad.abs().sum(-1) > 0).sum(0).tolist() == [kept, kept]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_finite_value_and_gradient_at_logits_of_ten_thousand(dtype):
    z = torch.tensor([[[1e4, -1e4], [-1e4, 1e4]], [[-1e4, 1e4], [1e4, 0.0]]], dtype=dtype, requires_grad=True)
    value = co_teaching(z, (torch.tensor([[1.0, 0.0], [1.0, 0.0]]), torch.tensor(0.5)))
    value.sum().backward()
    assert value.isfinite().all()
    assert z.grad.isfinite().all()


@pytest.mark.parametrize("rate", [0.0, 0.2, 0.45])
def test_a_network_that_knows_the_true_classes_gives_the_realised_rate(rate):
    truth = torch.arange(20_000) % 4
    drawn = noise.draw(truth, noise.symmetric(4, rate, include_clean=False), seed=0)
    before = FirstStage(torch.eye(4)[truth], torch.eye(4)[truth])
    found = held_out_noise(Context(drawn.labels, 4, 1, 1, seed=3, first_stage=before))
    _, held = held_out(drawn.labels, 0.1, 3)
    assert found == pytest.approx((drawn.labels != truth)[held].float().mean().item())
    assert found == pytest.approx(drawn.realised_rate, abs=3 * (0.25 / 2000) ** 0.5)


def test_only_held_out_labels_are_asked_for_the_others_are_memorised():
    labels = torch.arange(100) % 2
    _, held = held_out(labels, 0.1, 0)
    predicted = torch.eye(2)[labels]
    predicted[held] = 1 - predicted[held]
    assert held_out_noise(Context(labels, 2, 1, 1, first_stage=FirstStage(predicted, predicted))) > 0.99


def test_without_a_training_before_it_says_so():
    with pytest.raises(SettingError, match=r"the noise rate is not known\. Pass noise_rate"):
        held_out_noise(Context(torch.tensor([0, 1]), 2, 1, 1))
