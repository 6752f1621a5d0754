"""The share of flagged labels that are wrong, with its interval."""

import pytest
from scipy.stats import beta

from selfdistill.issues._reliability import precision


@pytest.mark.parametrize(("wrong", "total"), [(0, 0), (0, 10), (7, 10), (10, 10)])
def test_precision_is_that_of_a_beta_posterior(wrong, total):
    found = precision(wrong, total)
    shape = beta(wrong + 0.5, total - wrong + 0.5)
    assert (found.low, found.high) == pytest.approx((shape.ppf(0.025), shape.ppf(0.975)))
    assert found.value == pytest.approx(shape.mean())
    assert found.low < found.value < found.high
