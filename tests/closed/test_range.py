"""The range of plausible numbers of wrong labels holds the true one, and is as wide as the rows allow."""

import numpy as np
import pytest

from selfdistill.closed._given import Given
from selfdistill.closed._link_fit import fit_link
from selfdistill.closed._noise_link import FORMS
from selfdistill.closed._range import plausible_share


def drawn(n: int, rate: float, seed: int, k: int = 3, spread: float = 0.35) -> tuple[np.ndarray, Given, float]:
    rng = np.random.default_rng(seed)
    truth = rng.integers(k, size=n)
    scores = np.eye(k)[truth] + spread * rng.normal(size=(n, k))
    given = np.where(rng.random(n) < rate, (truth + rng.integers(1, k, size=n)) % k, truth)
    return scores, Given(given, k), float((given != truth).mean())


@pytest.mark.parametrize("rate", [0.05, 0.3])
def test_the_true_share_is_inside_in_nearly_all_draws(rate: float) -> None:
    inside = []
    for seed in range(20):
        scores, given, share = drawn(400, rate, seed)
        low, high = plausible_share(scores, given)
        inside.append(low <= share <= high)
        assert high - low < 0.4
    assert sum(inside) >= 18


def test_of_votes_the_share_of_wrong_majorities_is_inside() -> None:
    inside = []
    for seed in range(20):
        rng = np.random.default_rng(seed)
        truth = rng.integers(3, size=400)
        votes = np.where(rng.random((5, 400)) < 0.4, (truth + rng.integers(1, 3, size=(5, 400))) % 3, truth)
        shares = np.stack([(votes == c).mean(0) for c in range(3)], 1)
        codes = shares.argmax(1)
        scores = np.eye(3)[truth] + 0.35 * rng.normal(size=(400, 3))
        low, high = plausible_share(scores, Given(codes, 3, shares, None, None, np.full(400, 5)))
        inside.append(low <= (codes != truth).mean() <= high)
        assert high - low < 0.2
    assert sum(inside) >= 18  # the rate of the votes, .4, is in none


def test_a_share_that_is_given_is_kept() -> None:
    scores, given, _ = drawn(300, 0.2, 0)
    for form in FORMS:
        assert fit_link(scores, given, form, rate=0.35).rate == pytest.approx(0.35)
    np.testing.assert_allclose(np.diag(fit_link(scores, given, FORMS[0], rate=0.1).matrix), 0.9)


def test_its_ends_are_just_plausible() -> None:
    """Against every rate of a fine grid."""
    scores, given, _ = drawn(500, 0.2, 1)
    least = -fit_link(scores, given, FORMS[0]).posterior(scores, given)[1]
    kept = []
    for rate in np.arange(0.02, 0.5, 0.01):
        link = fit_link(scores, given, FORMS[0], rate=rate)
        behind = -link.posterior(scores, given)[1] - least
        if behind.mean() <= behind.std() / 500**0.5 or behind.sum() <= 1.92:
            kept.append(rate)
    assert plausible_share(scores, given) == pytest.approx((min(kept), max(kept)), abs=0.02)


def test_more_rows_and_weights_make_it_narrower() -> None:
    scores, given, _ = drawn(400, 0.2, 2)
    low, high = plausible_share(scores, given)
    four = Given(given.codes, 3, None, np.full(400, 4.0))
    for narrow in (plausible_share(scores, given, 1600.0), plausible_share(scores, four)):
        assert 0.35 < (narrow[1] - narrow[0]) / (high - low) < 0.7


def test_it_begins_at_zero_where_labels_are_right() -> None:
    scores, given, _ = drawn(400, 0.0, 0)
    low, high = plausible_share(scores, given)
    assert low == 0
    assert high < 0.05
