"""The correction's targets against loops over examples; the estimate of T on predictions whose T is known."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from selfdistill._core.errors import SettingError
from selfdistill.losses import cross_entropy
from selfdistill.rivals import patrini2017correction
from selfdistill.rivals.patrini2017correction import (
    anchor_matrix,
    backward_corrected,
    backward_targets,
    conditioned,
    forward_corrected,
    forward_targets,
    growth,
)


def noise_of(k, seed):
    rng = np.random.default_rng(seed)
    return 0.5 * np.eye(k) + 0.5 * rng.dirichlet([1.0] * k, k)


@given(st.integers(0, 10_000), st.integers(2, 5))
@settings(max_examples=25)
def test_forward_and_backward_equal_loops_over_the_whole_matrix(seed, k):
    rng = np.random.default_rng(seed)
    n, T = 7, noise_of(k, seed)
    y = rng.integers(0, k, n)
    forward = forward_targets(torch.from_numpy(y), torch.from_numpy(T))
    backward = backward_targets(torch.from_numpy(y), torch.from_numpy(T))
    for _ in range(3):
        z = rng.normal(0, 2, (n, k))
        order = rng.permutation(n)
        index, logits = torch.from_numpy(order), torch.from_numpy(z[order])
        got = (
            patrini2017correction.forward_corrected(logits, forward.read(index)),
            patrini2017correction.backward_corrected(logits, backward.read(index)),
        )
        for row, i in enumerate(order):
            p = np.exp(z[i]) / np.exp(z[i]).sum()
            through = sum(p[c] * T[c, y[i]] for c in range(k))
            assert got[0][row].item() == pytest.approx(-math.log(through), rel=1e-5)
            corrected = np.linalg.inv(T) @ -np.log(p)  # all losses corrected, then the given label's is taken
            assert got[1][row].item() == pytest.approx(corrected[y[i]], rel=1e-4, abs=1e-5)


def predictions(truth, T, seed=0, certain=6.0):
    """What a network that has not memorised says of the given labels: p T, with p mostly sure of the truth."""
    rng = np.random.default_rng(seed)
    z = certain * np.eye(len(T))[truth] + rng.normal(size=(len(truth), len(T)))
    p = np.exp(z) / np.exp(z).sum(1, keepdims=True)
    return torch.from_numpy(p @ T).float()


def test_anchors_equal_a_loop_that_takes_the_largest_below_the_percentile():
    rng = np.random.default_rng(0)
    p = torch.from_numpy(rng.dirichlet([0.4] * 4, 500)).float()
    found = anchor_matrix(p, torch.from_numpy(rng.integers(0, 4, 500)))
    for c in range(4):
        threshold = np.percentile(p[:, c].numpy(), 97, method="higher")
        best = max((v, i) for i, v in enumerate(p[:, c].tolist()) if v < threshold)[1]
        torch.testing.assert_close(found[c].float(), p[best].clamp(min=1e-7), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("k", [4, 40])
def test_anchors_find_a_known_matrix_also_where_classes_are_rare(k):
    """With 40 classes of 2.5 % each, the example at the 97th percentile of a class is of another class."""
    rng = np.random.default_rng(1)
    T = 0.7 * np.eye(k) + 0.3 * np.roll(np.eye(k), 1, axis=1)
    truth = rng.integers(0, k, 4000)
    given_labels = np.array([rng.choice(k, p=T[c]) for c in truth])
    found = anchor_matrix(predictions(truth, T), torch.from_numpy(given_labels))
    assert np.abs(found.numpy() - T).max() < 0.03
    torch.testing.assert_close(found.sum(1), torch.ones(k, dtype=torch.float64))


def test_growth_is_the_condition_number_in_the_maximum_norm():
    for seed in range(5):
        T = noise_of(4, seed)
        assert growth(torch.from_numpy(T)) == pytest.approx(np.linalg.cond(T, np.inf), rel=1e-9)
    symmetric = torch.full((10, 10), 0.89 / 9) + torch.eye(10) * (0.11 - 0.89 / 9)
    assert growth(symmetric) == pytest.approx(160, rel=0.05)
    assert growth(torch.full((3, 3), 1 / 3)) == math.inf or growth(torch.full((3, 3), 1 / 3)) > 1e12


def test_a_given_singular_matrix_is_refused_and_the_way_out_is_named():
    labels = torch.tensor([0, 1, 2])
    for T in (torch.full((3, 3), 1 / 3), torch.eye(3)[[0, 1, 1]], torch.eye(3).lerp(torch.full((3, 3), 1 / 3), 0.995)):
        with pytest.raises(SettingError, match=r"grow (inf|[\d.e+]+) times, but 100 is the most.*method 'forward'"):
            backward_targets(labels, T)
    forward_targets(labels, torch.full((3, 3), 1 / 3))  # needs no inverse


ALIKE = torch.randn(50, 3, generator=torch.Generator().manual_seed(0)).mul(1e-3).softmax(-1)


@pytest.mark.parametrize("p", [torch.full((50, 3), 1 / 3), ALIKE, torch.eye(3)[[1, 2, 0] * 20], torch.eye(3)[[0] * 50]])
def test_an_estimated_singular_matrix_is_mixed_with_the_identity(p):
    """No class stands out, or hardly; each stands out; all examples are of one class: the loss stays finite."""
    labels = torch.arange(len(p)) % 3
    targets = backward_targets(labels, None, p)
    assert targets.rows.isfinite().all()
    assert targets.rows.abs().sum(1).max() <= 100 * (1 + 1e-5)
    torch.testing.assert_close(targets.rows.sum(1), torch.ones(3), rtol=1e-4, atol=1e-4)
    estimate = anchor_matrix(p, labels)
    assert (targets.identity_share > 0) == (growth(estimate) > 100)
    value = patrini2017correction.backward_corrected(torch.tensor([[1e4, 0.0, -1e4]]), targets.read(torch.tensor([1])))
    assert value.isfinite().all()


def test_the_mixture_is_the_first_that_can_be_inverted():
    singular = torch.full((4, 4), 0.25)
    mixed, share = conditioned(singular, most=10.0)
    torch.testing.assert_close(mixed, (1 - share) * singular.double() + share * torch.eye(4, dtype=torch.float64))
    before = share - 0.05
    assert growth(mixed) <= 10 < growth((1 - before) * singular + before * torch.eye(4))
    fine = torch.from_numpy(noise_of(4, 0))
    assert conditioned(fine)[1] == 0
    assert torch.equal(conditioned(fine)[0], fine)


def test_a_label_that_the_matrix_excludes_is_named():
    with pytest.raises(SettingError, match=r"column 1 of the noise matrix is all 0, but 2 examples have that label"):
        forward_targets(torch.tensor([0, 1, 1]), torch.tensor([[1.0, 0.0], [1.0, 0.0]]))
    for build in (forward_targets, backward_targets):
        with pytest.raises(SettingError, match="no predictions to estimate it from"):
            build(torch.tensor([0, 1]), None)


def tensor_noise(k, seed):
    g = torch.Generator().manual_seed(seed)
    return 0.5 * torch.eye(k, dtype=torch.float64) + 0.5 * torch.randn(k, k, generator=g).double().softmax(-1)


@given(st.integers(0, 10_000), st.integers(2, 6))
@settings(max_examples=25)
def test_backward_is_unbiased(seed, k):
    """Theorem 1: the mean over given labels drawn from T, weight by weight, is the loss on the clean label."""
    noise = tensor_noise(k, seed)
    z = torch.randn(1, k, generator=torch.Generator().manual_seed(seed + 1), dtype=torch.float64)
    inverse = torch.linalg.inv(noise)
    for clean in range(k):
        mean = sum(noise[clean, given] * backward_corrected(z, inverse[None, given]) for given in range(k))
        torch.testing.assert_close(mean, cross_entropy(z, torch.eye(k, dtype=torch.float64)[None, clean]))


@given(st.integers(0, 10_000), st.integers(2, 5))
@settings(max_examples=10)
def test_forward_has_the_minimiser_of_the_clean_loss(seed, k):
    """Theorem 2: where labels of an example follow q T, gradient descent on the expected loss ends at q."""
    noise = tensor_noise(k, seed)
    q = torch.randn(k, generator=torch.Generator().manual_seed(seed + 1), dtype=torch.float64).softmax(-1)
    given_share = q @ noise
    z = torch.zeros(k, k, dtype=torch.float64, requires_grad=True)  # the same logits for each given label
    optimizer = torch.optim.LBFGS(
        [z], max_iter=500, tolerance_grad=1e-12, tolerance_change=1e-15, line_search_fn="strong_wolfe"
    )

    def closure():
        optimizer.zero_grad()
        loss = (given_share * forward_corrected(z.mean(0).expand(k, k), noise.T)).sum()
        loss.backward()
        return loss

    optimizer.step(closure)
    torch.testing.assert_close(z.mean(0).softmax(-1), q, atol=1e-4, rtol=0)


def test_without_noise_both_are_cross_entropy():
    z = torch.tensor([[1.0, -2.0, 0.5], [30.0, 0.0, -30.0]], dtype=torch.float64)
    t = torch.eye(3, dtype=torch.float64)[[1, 2]]
    torch.testing.assert_close(forward_corrected(z, t), cross_entropy(z, t))
    torch.testing.assert_close(backward_corrected(z[:1], t[:1]), cross_entropy(z[:1], t[:1]))


def test_forward_goes_on_exactly_where_probabilities_underflow():
    z = torch.tensor([[0.0, 5000.0, -5000.0]], dtype=torch.float64)
    likelihood = torch.tensor([[0.75, 0.0, 0.25]], dtype=torch.float64)
    torch.testing.assert_close(forward_corrected(z, likelihood).item(), 5000 - math.log(0.75))


def test_backward_is_bounded_though_its_weights_are_negative():
    z = torch.tensor([[9e3, -9e3]], requires_grad=True)
    value = backward_corrected(z, torch.tensor([[3.0, -2.0]]))
    torch.testing.assert_close(value.item(), 2 * math.log(1e-7), rtol=1e-5, atol=0)
