"""How much is left: intervals that hold what they promise."""

import numpy as np
import pytest
from scipy.special import expit
from scipy.stats import beta

from selfdistill.review._estimate import Interval, Remaining, precision


@pytest.mark.parametrize(("wrong", "total"), [(0, 0), (0, 10), (7, 10), (10, 10)])
def test_precision_is_that_of_a_beta_posterior(wrong, total):
    found = precision(wrong, total)
    shape = beta(wrong + 0.5, total - wrong + 0.5)
    assert (found.low, found.high) == pytest.approx((shape.ppf(0.025), shape.ppf(0.975)))
    assert found.value == pytest.approx(shape.mean())
    assert found.low < found.value < found.high


def reviewed(rng, offset, slope, settled=150, n=2000):
    """Probabilities that a method gives, the labels that are wrong, and the most doubtful ones settled."""
    logits = rng.normal(-2.5, 2.0, n)
    wrong = rng.random(n) < expit(offset + slope * logits)
    held = np.zeros(n, bool)
    held[np.argsort(-logits)[:settled]] = True
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
    assert abs(np.mean(off)) < (0.25 if slope == 1 else 0.8)  # slopes far from 1 are not believed soon


def test_decisions_narrow_the_interval():
    rng = np.random.default_rng(0)
    widths = []
    for settled in (0, 50, 500):
        p, held, wrong = reviewed(rng, 0.0, 1.0, settled)
        found = Remaining(p, held, held & wrong).count(~held)
        widths.append((found.high - found.low) / found.value)
    assert widths[0] > widths[1] > widths[2]


def test_without_decisions_the_expectation_is_near_the_sum():
    p = expit(np.random.default_rng(0).normal(-2, 2, 3000))
    none = np.zeros(3000, bool)
    found = Remaining(p, none, none).count(~none)
    assert found.value == pytest.approx(p.sum(), rel=0.15)
    assert found.low < p.sum() < found.high


def test_nothing_left_is_nothing():
    all_ = np.ones(5, bool)
    assert Remaining(np.full(5, 0.5), all_, all_).count(~all_) == Interval(0.0, 0.0, 0.0)


def test_certain_probabilities_are_not_believed_wholly():
    p, none = np.array([0.0, 1.0]), np.zeros(2, bool)
    found = Remaining(p, none, none).count(~none)
    assert np.isfinite([found.value, found.low, found.high]).all()
    assert found.value == pytest.approx(1.0, abs=0.01)
