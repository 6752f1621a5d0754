"""The kept set against a twin that keeps a list, over predictions of the training set that come and go."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from selfdistill._core.errors import SettingError
from selfdistill.losses import cross_entropy, generalized_cross_entropy
from selfdistill.rivals.wang2019sce import symmetric_cross_entropy
from selfdistill.rivals.zhang2018gce import Truncated, refreshes, truncated_cross_entropy


@given(st.integers(0, 10_000), st.lists(st.booleans(), min_size=1, max_size=6))
@settings(max_examples=30)
def test_equals_its_naive_twin(seed, predicted):
    """Algorithm 1, example by example in float64; a dropped example comes back when its label is believed again."""
    rng = np.random.default_rng(seed)
    n, k, q, cut = 9, 3, 0.7, 0.5
    y = rng.integers(0, k, n)
    targets, w = Truncated(torch.from_numpy(y), k), [1] * n
    for there in predicted:
        seen, weights = rng.dirichlet([0.5] * k, (2, n))
        targets.write(torch.arange(n), torch.from_numpy(seen))
        if there:
            targets.take_train_predictions(torch.from_numpy(weights).float())
            for i in range(n):
                w[i] = int((1 - weights[i][y[i]] ** q) / q < (1 - cut**q) / q)
        targets.end_epoch()
        z = rng.normal(0, 2, (n, k))
        got = truncated_cross_entropy(torch.from_numpy(z), *targets.read(torch.arange(n)))
        for i in range(n):
            p = np.exp(z[i, y[i]]) / np.exp(z[i]).sum()
            expected = (1 - p**q) / q if w[i] else (1 - cut**q) / q
            assert got[i].item() == pytest.approx(expected, rel=1e-9)


def test_a_survey_is_staged_until_the_epoch_ends_and_goes_through_state_dict():
    labels = torch.tensor([0, 1, 1])
    a, b = Truncated(labels, 2), Truncated(labels, 2)
    a.take_train_predictions(torch.tensor([[0.9, 0.1], [0.9, 0.1], [0.5, 0.5]]))
    assert a.read(torch.arange(3)).kept.all()
    b.load_state_dict(a.state_dict())
    for targets in (a, b):
        targets.write(torch.tensor([0]), torch.tensor([[0.5, 0.5]]))
        targets.end_epoch()
        assert targets.read(torch.arange(3)).kept.tolist() == [True, False, False]
        targets.write(torch.tensor([0]), torch.tensor([[0.5, 0.5]]))
        targets.end_epoch()  # not predicted: as it was
        assert targets.read(torch.arange(3)).kept.tolist() == [True, False, False]


def test_the_papers_epochs_as_shares():
    assert [e + 1 for e in range(150) if refreshes(e, 120)] == [*range(40, 120, 10)]
    for epochs in range(1, 200):
        when = [e for e in range(epochs) if refreshes(e, epochs)]
        assert len(when) == (8 if epochs >= 12 else len(when))
        assert all(epochs / 3 <= e + 1 < epochs for e in when)


def test_memory_is_as_stated():
    n, k = 100, 7
    bytes_of = sum(v.nbytes for v in Truncated(torch.zeros(n, dtype=torch.int64), k).state_dict().values())
    assert bytes_of == 8 * n * k + 21 * n


def test_a_threshold_out_of_range_is_named():
    with pytest.raises(SettingError, match=r"threshold is 1\.0, but must be in \[0, 1\)"):
        Truncated(torch.tensor([0]), 2, threshold=1.0)


K = 5


def some(b=8):
    g = torch.Generator().manual_seed(0)
    z = 2 * torch.randn(b, K, generator=g, dtype=torch.float64)
    return z, torch.eye(K, dtype=torch.float64)[torch.randint(0, K, (b,), generator=g)]


def test_from_cross_entropy_to_mean_absolute_error():
    z, t = some()
    torch.testing.assert_close(generalized_cross_entropy(z, t, 1e-9), cross_entropy(z, t), rtol=1e-6, atol=1e-8)
    absolute = (z.softmax(-1) - t).abs().sum(-1)
    torch.testing.assert_close(generalized_cross_entropy(z, t, 1.0), absolute / 2)


@pytest.mark.parametrize("q", [0.1, 0.7, 1.0])
def test_the_sum_over_all_labels_is_bounded(q):
    """Lemma 1: between (K - K^(1-q))/q and (K - 1)/q, the same at q = 1, which makes the loss robust."""
    z, _ = some()
    total = sum(generalized_cross_entropy(z, torch.eye(K, dtype=torch.float64)[[j] * len(z)], q) for j in range(K))
    assert (total >= (K - K ** (1 - q)) / q - 1e-12).all()
    assert (total <= (K - 1) / q + 1e-12).all()


def test_the_gradient_is_that_of_cross_entropy_weighted_by_p_to_the_q():
    z, t = some()
    z.requires_grad_()
    generalized_cross_entropy(z, t).sum().backward()
    p = z.detach().softmax(-1)
    torch.testing.assert_close(z.grad, (p * t).sum(-1, keepdim=True) ** 0.7 * (p - t))


def test_with_the_kept_set_of_these_predictions_it_is_the_truncated_loss():
    z, t = some()
    kept = (z.softmax(-1) * t).sum(-1) > 0.5
    full, cut = generalized_cross_entropy(z, t), (1 - 0.5**0.7) / 0.7
    assert 0 < kept.sum() < len(kept)
    torch.testing.assert_close(truncated_cross_entropy(z, t, kept), full.clamp(max=cut))
    everything = torch.ones_like(kept)
    torch.testing.assert_close(truncated_cross_entropy(z, t, everything), full)


def test_dropped_examples_do_not_pull():
    z, t = some()
    z.requires_grad_()
    kept = torch.arange(len(z)) % 2 == 0
    truncated_cross_entropy(z, t, kept).sum().backward()
    assert (z.grad[~kept] == 0).all()
    assert (z.grad[kept] != 0).any()


def test_reverse_cross_entropy_at_minus_two_is_mean_absolute_error():
    """As Wang et al. 2019 state."""
    z, t = some()
    reverse = symmetric_cross_entropy(z, t, alpha=0.0, log_zero=-2.0)
    torch.testing.assert_close(reverse, (z.softmax(-1) - t).abs().sum(-1))
