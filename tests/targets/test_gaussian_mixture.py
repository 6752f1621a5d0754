"""The mixture against scikit-learn's, and against a slow loop."""

from __future__ import annotations

import math
import warnings

import numpy as np
import pytest
import torch
from sklearn.cluster import KMeans
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture

from selfdistill.targets import two_gaussians


def losses(seed, n=400, share=0.6):
    """As a network has them: many small, others large and spread, stretched to [0, 1]."""
    rng = np.random.default_rng(seed)
    x = np.where(rng.random(n) < share, rng.gamma(1.5, 0.2, n), rng.gamma(6, 0.4, n))
    return (x - x.min()) / (x.max() - x.min())


def fitted(x, **start):
    """Scikit-learn's, with the settings of the authors' code, and which of its components is the lower."""
    oracle = GaussianMixture(2, max_iter=10, tol=1e-2, reg_covar=5e-4, random_state=0, **start)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        oracle.fit(x[:, None])
    return oracle, oracle.means_[:, 0].argsort()


@pytest.mark.parametrize("share", [0.2, 0.5, 0.8])
@pytest.mark.parametrize("seed", range(4))
def test_equals_scikit_learn_from_the_same_start(seed, share):
    x = losses(seed, share=share)
    start = two_gaussians(torch.tensor(x), steps=0)
    oracle, order = fitted(
        x,
        weights_init=start.weights.numpy(),
        means_init=start.means.numpy()[:, None],
        precisions_init=1 / start.variances.numpy()[:, None, None],
    )
    found = two_gaussians(torch.tensor(x))
    np.testing.assert_allclose(found.means, oracle.means_[order, 0], rtol=1e-8)
    np.testing.assert_allclose(found.variances, oracle.covariances_[order, 0, 0], rtol=1e-8)
    np.testing.assert_allclose(found.weights, oracle.weights_[order], rtol=1e-8)
    np.testing.assert_allclose(found.lower(torch.tensor(x)), oracle.predict_proba(x[:, None])[:, order[0]], atol=1e-8)


@pytest.mark.parametrize("seed", range(4))
def test_divides_as_scikit_learn_does_from_its_own_start(seed):
    """Its clusters stop a little early, so that the start differs by a few values."""
    x = losses(seed)
    oracle, order = fitted(x)
    ours = two_gaussians(torch.tensor(x)).lower(torch.tensor(x)).numpy() > 0.5
    assert np.mean(ours != (oracle.predict_proba(x[:, None])[:, order[0]] > 0.5)) <= 0.02


@pytest.mark.parametrize("seed", range(4))
def test_the_start_is_two_clusters_hardly_wider_than_the_best(seed):
    x = losses(seed)
    best = KMeans(2, tol=0, n_init=10, random_state=0).fit(x[:, None]).inertia_
    low, high = two_gaussians(torch.tensor(x), steps=0).means.tolist()
    upper = abs(x - high) < abs(x - low)
    assert (low, high) == (pytest.approx(x[~upper].mean()), pytest.approx(x[upper].mean()))  # nothing moves any more
    assert np.minimum((x - low) ** 2, (x - high) ** 2).sum() <= 1.01 * best


def test_a_step_equals_its_naive_twin():
    x = losses(7, n=30)
    start, after = (two_gaussians(torch.tensor(x), steps=steps, tolerance=0.0) for steps in (3, 4))
    r = np.empty((30, 2))
    for i in range(30):
        for j in (0, 1):
            w, m, v = (float(part[j]) for part in start)
            r[i, j] = w * math.exp(-((x[i] - m) ** 2) / (2 * v)) / math.sqrt(2 * math.pi * v)
        r[i] /= r[i].sum()
    for j in (0, 1):
        total = sum(r[:, j])
        mean = sum(r[i, j] * x[i] for i in range(30)) / total
        assert float(after.weights[j]) == pytest.approx(total / 30)
        assert float(after.means[j]) == pytest.approx(mean)
        assert float(after.variances[j]) == pytest.approx(
            sum(r[i, j] * (x[i] - mean) ** 2 for i in range(30)) / total + 5e-4
        )


def test_two_values_and_one_far_away_are_fitted_without_dividing_by_zero():
    for x in ([0.0, 1.0], [0.0] * 50 + [1.0], [0.0] + [1.0] * 50):
        found = two_gaussians(torch.tensor(x))
        assert all(part.isfinite().all() for part in found)
        assert found.means[0] < found.means[1]
