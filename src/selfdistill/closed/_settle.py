"""Learning from labels that a person settles one by one: what is factorised and chosen stays, all else follows."""

from __future__ import annotations

import copy
from dataclasses import replace

import numpy as np
import torch

from selfdistill.closed._given import Given
from selfdistill.closed._link_fit import fit_link
from selfdistill.closed._moments import Moments
from selfdistill.closed._noise_link import NoiseLink
from selfdistill.closed._passes import Refined, go_through
from selfdistill.closed._prepare import Prepared
from selfdistill.closed._rounds import Candidate, Choice, least_sharpness

_OTHERS = 2500  # rows without a settled label that a link is fitted on again
_STEPS = 15  # of L-BFGS, from where the link was


def settle(prepared: Prepared, settled: np.ndarray, *, links: bool = True) -> Refined:
    """Refine all labels anew, with those held that somebody settled."""
    # Kernel, factorisation, ridges, rounds and trees stay as they were chosen, so all scores are exact: they equal
    # those of ridge regressions on the clamped labels, each row left out. The cross products of the first round move by
    # those of the m settled rows with what changes of their targets; later rounds are passes. Links, and with them the
    # noise matrix, are fitted again by likelihood: of a settled row that of both its labels, p_c T_cy. That holds
    # whatever the order in which rows were chosen to be settled, since only labels that are known decided it.
    given = replace(prepared.given, settled=np.asarray(settled, np.int64))
    spectrum = copy.copy(prepared.spectrum)
    spectrum.first = _moved(prepared, given)
    choice = relinked(prepared, given) if links else prepared.choice
    return go_through(spectrum, given, choice, forest=prepared.forest, shared=prepared.shared)


def _moved(prepared: Prepared, given: Given) -> Moments:
    """Move the moments of the targets by those rows that differ."""
    spectrum, first = prepared.spectrum, prepared.spectrum.first
    assert first is not None
    before = np.full(len(given), -1) if prepared.given.settled is None else prepared.given.settled
    rows = np.flatnonzero(given.settled != before)
    moments = copy.copy(first)
    if not len(rows):
        return moments
    at = torch.from_numpy(rows)
    z, weights = spectrum.at(at), spectrum.weights(at)
    change = (given[rows].targets(torch.float64) - prepared.given[rows].targets(torch.float64)).to(z.device)
    if weights is not None:
        change = change * weights[:, None]
    moments.cross = first.cross + z.double().T @ change
    moments.mean = first.mean + change.sum(0) / spectrum.total
    return moments


def relinked(prepared: Prepared, given: Given) -> Choice:
    """Fit all links again, to the labels that are settled too."""
    sample = given[prepared.chosen_on]
    held = sample.held
    if not len(held):
        return prepared.choice
    others = np.setdiff1d(np.arange(len(sample)), held)
    taken = others[np.linspace(0, len(others) - 1, min(len(others), _OTHERS)).astype(int)]
    rows = np.concatenate([held, taken])
    counts = np.ones(len(rows)) if sample.weights is None else sample.weights[rows].copy()
    counts[len(held) :] *= len(others) / max(len(taken), 1)
    part = replace(sample[rows], weights=counts)

    def fitted(candidate: Candidate) -> Candidate:
        assert candidate.scores is not None
        sharpest = least_sharpness(candidate.round, given.k)
        scores = candidate.scores[rows].astype(np.float64)
        link: NoiseLink = fit_link(
            scores, part, candidate.form, start=candidate.link, sharpest=sharpest, iterations=_STEPS
        )
        return replace(candidate, link=link)

    return replace(prepared.choice, chains=tuple(tuple(map(fitted, chain)) for chain in prepared.choice.chains))
