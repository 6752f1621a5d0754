"""Cross-entropy of labels, of pairs, and the precision that losses compute in."""

from __future__ import annotations

import inspect

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from selfdistill._core.errors import SettingError
from selfdistill.losses import anchored_cross_entropy, cross_entropy, generalized_cross_entropy
from selfdistill.losses._cross_entropy import (
    at_least_single,
    each_cross_entropy,
    label_cross_entropy,
    pair_cross_entropy,
)


@given(b=st.integers(1, 9), k=st.integers(2, 7), scale=st.sampled_from([1e-3, 1.0, 50.0, 1e4]), seed=st.integers(0, 99))
@settings(max_examples=100)
def test_cross_entropy_to_a_label_is_that_to_its_one_hot_row_to_the_bit(b, k, scale, seed):
    g = torch.Generator().manual_seed(seed)
    labels, weights = torch.randint(0, k, (b,), generator=g), torch.rand(b, generator=g)
    logits = [(scale * torch.randn(b, k, generator=torch.Generator().manual_seed(seed))).requires_grad_() for _ in "ab"]
    rows = torch.nn.functional.one_hot(labels, k).float()
    values = label_cross_entropy(logits[0], labels), cross_entropy(logits[1], rows)
    assert torch.equal(*values)
    for value in values:
        (value * weights).sum().backward()
    assert torch.equal(logits[0].grad, logits[1].grad)


def test_each_is_the_cross_entropy_of_one_network_and_the_pair_their_sum():
    g = torch.Generator().manual_seed(0)
    logits, target = torch.randn(5, 2, 4, generator=g).mul(9), torch.randn(5, 4, generator=g).softmax(-1)
    both = torch.stack([cross_entropy(logits[:, j], target) for j in (0, 1)], 1)
    torch.testing.assert_close(each_cross_entropy(logits, target), both)
    torch.testing.assert_close(pair_cross_entropy(logits, target), both.sum(1))


def test_half_precision_is_lifted_and_large_logits_stay_finite():
    logits = torch.tensor([[[1e4, -1e4], [-1e4, 1e4]]], dtype=torch.bfloat16, requires_grad=True)
    value = pair_cross_entropy(logits, torch.tensor([[0.0, 1.0]]))
    value.sum().backward()
    assert value.dtype == torch.float32
    assert value.isfinite().all()
    assert logits.grad.isfinite().all()


@pytest.mark.parametrize(
    ("given", "computed"),
    [(torch.float16, torch.float32), (torch.bfloat16, torch.float32), (torch.float32,) * 2, (torch.float64,) * 2],
)
def test_half_is_lifted_and_the_rest_left_alone(given, computed):
    assert at_least_single(torch.zeros(1, dtype=given)).dtype == computed


@pytest.mark.parametrize("loss", [cross_entropy, generalized_cross_entropy, anchored_cross_entropy])
@pytest.mark.parametrize(
    ("target", "shown"),
    [
        (torch.tensor([0, 1, 1]), "shape [3]"),  # labels; would be broadcast to rows
        (torch.ones(1, 3) / 3, "shape [1, 3]"),
        ((torch.ones(3, 3) / 3, 0.7), "type tuple"),
    ],
)
def test_a_target_that_is_no_distribution_of_these_logits_is_refused(loss, target, shown):
    plain = inspect.unwrap(loss)  # without the shape checker, which users do not have
    with pytest.raises(SettingError) as caught:
        plain(torch.zeros(3, 3), target)
    taken = "cross_entropy" if loss is anchored_cross_entropy else loss.__name__
    assert str(caught.value).startswith(
        f"losses.{taken} takes distributions of the logits' shape [3, 3], but got a target of {shown}"
    )


def test_distributions_are_no_targets_of_the_anchored_loss():
    with pytest.raises(SettingError, match=r"takes what targets\.Posterior reads, but got distributions"):
        inspect.unwrap(anchored_cross_entropy)(torch.zeros(2, 3), torch.ones(2, 3) / 3)
