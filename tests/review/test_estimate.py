"""How much is left: intervals that hold what they promise."""

import numpy as np
import pytest
from scipy.special import expit

from selfdistill.issues._reliability import Interval
from selfdistill.review._estimate import Remaining


def reviewed(rng, offset, slope, decided=150, n=2000):
    """Probabilities that a method gives, the labels that are wrong, and the most doubtful ones decided."""
    logits = rng.normal(-2.5, 2.0, n)
    wrong = rng.random(n) < expit(offset + slope * logits)
    held = np.zeros(n, bool)
    held[np.argsort(-logits)[:decided]] = True
    return expit(logits), held, wrong


@pytest.mark.parametrize(("offset", "slope"), [(0.0, 1.0), (-0.7, 1.0), (0.7, 1.0), (0.3, 0.75), (-0.3, 1.4)])
def test_nineteen_of_twenty_intervals_hold_the_number_that_is_left(offset, slope):
    rng, inside, off = np.random.default_rng(1), [], []
    for _ in range(40):
        p, held, wrong = reviewed(rng, offset, slope)
        found, left = Remaining(p, held, held & wrong).count(~held), int((~held & wrong).sum())
        inside.append(found.low <= left <= found.high)
        off.append(found.value / left - 1)
    assert np.mean(inside) > 0.85  # 0.95 less three standard errors
    assert abs(np.mean(off)) < (0.4 if (offset, slope) == (0, 1) else 1.0)  # what the prior says is given up slowly


def test_decisions_narrow_the_interval_near_them_and_little_far_away():
    rng = np.random.default_rng(0)
    near, far = [], []
    for decided in (0, 50, 500):
        p, held, wrong = reviewed(rng, 0.0, 1.0, decided)
        made = Remaining(p, held, held & wrong)
        for widths, rows in ((near, ~held & (p > 0.2)), (far, ~held & (p < 0.02))):
            found = made.count(rows)
            widths.append(np.log((found.high + 1) / (found.low + 1)))
    assert near[0] > 1.3 * near[2]
    assert far[2] > 0.7 * far[0]


def test_without_decisions_somewhat_more_than_the_sum_is_expected():
    p = expit(np.random.default_rng(0).normal(-2, 2, 3000))
    none = np.zeros(3000, bool)
    found = Remaining(p, none, none).count(~none)
    assert p.sum() < found.value < 1.5 * p.sum()
    assert found.low < p.sum() < found.high


def test_the_posterior_is_that_of_a_long_search():
    rng = np.random.default_rng(3)
    p, held, wrong = reviewed(rng, 0.5, 1.0, 60, 300)
    made = Remaining(p, held, held & wrong)
    away = made._centres[:, None] - made._centres
    prior = 0.25 + 0.15**2 * np.outer(made._centres - 3, made._centres - 3) + np.exp(-0.5 * (away / 1.5) ** 2)
    prior += 1e-6 * np.eye(len(prior))
    inverse, total, hits = np.linalg.inv(prior), made._histogram(held), made._histogram(held & wrong)

    def loss(f):
        return (
            0.5 * (f - 0.5) @ inverse @ (f - 0.5)
            - hits @ (made._centres + f)
            + total @ np.logaddexp(0, made._centres + f)
        )

    mode, covariance = made._posterior(prior, total, hits)
    assert all(loss(mode) <= loss(mode + 0.1 * prior @ rng.normal(size=len(mode))) for _ in range(200))
    chance = expit(made._centres + mode)
    np.testing.assert_allclose(
        covariance, np.linalg.inv(inverse + np.diag(total * chance * (1 - chance))), rtol=1e-3, atol=1e-5
    )


def test_kept_labels_lower_what_is_expected():
    p = np.concatenate([np.full(20, 0.95), expit(np.linspace(-7, 2, 100))])
    held = np.arange(120) < 6
    none = np.zeros(120, bool)
    first, then = Remaining(p, none, none).count(~none), Remaining(p, held, none).count(~held)
    assert then.value < 0.6 * first.value
    assert then.high < first.high


def test_nothing_left_is_nothing():
    all_ = np.ones(5, bool)
    assert Remaining(np.full(5, 0.5), all_, all_).count(~all_) == Interval(0.0, 0.0, 0.0)


def test_certain_probabilities_are_not_believed_wholly():
    p, none = np.array([0.0, 1.0]), np.zeros(2, bool)
    found = Remaining(p, none, none).count(~none)
    assert np.isfinite([found.value, found.low, found.high]).all()
    assert found.value == pytest.approx(1.0, abs=0.01)
