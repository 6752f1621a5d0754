"""How many wrong labels would explain the given ones about as well as the number that was counted."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from selfdistill.closed._given import Given
from selfdistill.closed._link_fit import fit_link
from selfdistill.closed._noise_link import FORMS, NoiseLink

_RATES = (0.0, 0.01, 0.02, 0.035, 0.05, 0.075, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.45, 0.5, 0.6, 0.7, 0.8, 0.9)
_LOST = 1.92  # nats: half the 95 % quantile of chi-squared with one degree of freedom
_ROWS = 2500  # that each rate is fitted on, at most


def plausible_share(scores: np.ndarray, given: Given, rows: float | None = None) -> tuple[float, float]:
    """Give the least and largest share of wrong labels that the given labels do not speak against."""
    # For each rate of even noise all else is fitted, and the loss of the given labels is compared with that of the best
    # rate. A rate is plausible if it loses at most 1.92 nats, as the likelihood ratio has it, or at most one standard
    # error of the difference, which holds without the model; where the loss is quadratic in the rate, both give 95 %.
    # All this is of errors that hit all classes alike and do not follow the inputs.
    if len(given) > _ROWS:
        rows = rows or given.total
        some = np.linspace(0, len(given) - 1, _ROWS).astype(int)
        scores, given = scores[some], given[some]
    n, k = rows or given.total, given.k
    best = fit_link(scores, given, FORMS[0])
    rates = [rate for rate in _RATES if rate <= (k - 1) / k]
    near = int(np.argmin(np.abs(np.array(rates) - best.rate)))
    walks = (range(near, -1, -1), range(near, len(rates)))
    shares = [_end(scores, given, n, best, [rates[i] for i in walk]) for walk in walks]
    if given.soft is None:
        return shares[0], shares[1]
    wrong = _wrong(best, scores, given)
    chance = 1.96 * (given.mean(wrong * (1 - wrong)) / n) ** 0.5  # of labels whose votes leave it open
    return max(0.0, shares[0] - chance), min(1.0, shares[1] + chance)


def _end(scores: np.ndarray, given: Given, n: float, best: NoiseLink, rates: list[float]) -> float:
    """Walk from the best rate until one is more than a standard error behind; between rates, on a straight line."""
    least = -best.posterior(scores, given)[1]
    before, share, link = 0.0, _share(best, scores, given, best.rate), best
    for rate in rates:
        link = fit_link(scores, given, FORMS[0], start=replace(link, rate=max(rate, 1e-6)), rate=rate, iterations=40)
        wrong, losses = _share(link, scores, given, rate), -link.posterior(scores, given)[1]
        behind = given.mean(losses - least)
        spread = given.mean((losses - least - behind) ** 2) ** 0.5
        lost = min(n * behind / _LOST, n**0.5 * behind / max(spread, 1e-12))
        if lost > 1:
            return float(share + (wrong - share) * (1 - before) / (lost - before))
        before, share = max(lost, 0.0), wrong
    return share


def _share(link: NoiseLink, scores: np.ndarray, given: Given, rate: float) -> float:
    """Say how many labels are wrong: the rate, which of distributions is that of each vote, not of their label."""
    return rate if given.soft is None else given.mean(_wrong(link, scores, given))


def _wrong(link: NoiseLink, scores: np.ndarray, given: Given) -> np.ndarray:
    return np.asarray(1 - link.posterior(scores, given)[0][np.arange(len(given)), given.codes])
