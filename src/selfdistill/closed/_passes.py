"""All rounds on all rows, a block at a time: what is kept of a round are its coefficients and its link."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from selfdistill._core.dist import from_first, sum_over_processes
from selfdistill.closed._given import Given
from selfdistill.closed._moments import Moments, Regression, without_itself
from selfdistill.closed._noise_link import NoiseLink, fit_link
from selfdistill.closed._rounds import Candidate, Choice
from selfdistill.closed._spectrum import Spectrum

__all__ = ["Part", "Refined", "go_through"]

_LINK_ROWS = 20_000  # rows that the first round's link is fitted on again


@dataclass(frozen=True, eq=False)
class Part:
    """One regression of the mixture, with the rounds that lead to it.

    Attributes:
        chain: Its candidates.
        fits: Regressions of the rounds done.
        links: Their links.
    """

    chain: Sequence[Candidate]
    fits: list[Regression] = field(default_factory=list)
    links: list[NoiseLink] = field(default_factory=list)

    def scores(self, z: Tensor, hats: dict[float, Tensor], given: Given) -> np.ndarray:
        """Go through all rounds done with some rows; their targets are made anew and not kept.

        Args:
            z: Their features, ``[b, r]``.
            hats: Their leverages, by ridge.
            given: Their labels.

        Returns:
            Leave-one-out scores of the last round, float64 ``[b, K]``.
        """
        targets = given.targets(z.dtype).to(z.device)
        for link, fit in zip(self.links[:-1], self.fits[:-1], strict=True):
            targets = _posterior(link, _leave_out(fit, z, targets, hats), given).to(z)
        return _leave_out(self.fits[-1], z, targets, hats)


def _leave_out(fit: Regression, z: Tensor, targets: Tensor, hats: dict[float, Tensor]) -> np.ndarray:
    return without_itself(fit(z), targets, hats[fit.ridge]).double().cpu().numpy()


def _posterior(link: NoiseLink, scores: np.ndarray, given: Given) -> Tensor:
    return torch.from_numpy(link.posterior(scores, given)[0])


@dataclass(frozen=True, eq=False)
class Refined:
    """What the last pass leaves.

    Attributes:
        posterior: Refined distributions of the chosen part, float32 ``[n, K]``.
        prior: Mixture of the parts' priors, float32 ``[n, K]``.
        quality: Probability that the given label is right, by the mixture, float64 ``[n]``.
        parts: The regressions.
        moments: Of the refined distributions.
    """

    posterior: Tensor
    prior: Tensor
    quality: np.ndarray
    parts: list[Part]
    moments: Moments


def go_through(spectrum: Spectrum, given: Given, choice: Choice, *, shared: bool = False) -> Refined:
    """Go through the rounds of all chains on all rows.

    A pass computes the scores of all rounds done so far, the targets of the next, and adds up their moments; so nothing
    of the size of the labels is kept between passes.

    Args:
        spectrum: With the moments of the given labels.
        given: The labels.
        choice: Chains and weights.
        shared: Whether the rows are shared by processes.

    Returns:
        Refined labels, the same on each process. Cost: one pass for each round, with ``2 n r K`` FLOPs for each round
        done and each chain; memory ``8 n K`` bytes.
    """
    assert spectrum.first is not None
    parts = [Part(chain) for chain in choice.chains]
    moments = {id(part): spectrum.first for part in parts}
    for number in range(max(len(part.chain) for part in parts)):
        alive = [part for part in parts if number < len(part.chain)]
        for part in alive:
            part.fits.append(spectrum.solve(moments[id(part)], part.chain[number].ridge))
            part.links.append(part.chain[number].link)
        if number == 0:  # sharper than those of half the rows; later ones saw the given label at second hand
            _fit_first_links(spectrum, given, parts, shared)
        if further := [part for part in alive if number + 1 < len(part.chain)]:
            moments = _next_moments(spectrum, given, further, shared)
    return _last_pass(spectrum, given, parts, choice, shared)


def _fit_first_links(spectrum: Spectrum, given: Given, parts: list[Part], shared: bool) -> None:
    there = given.taught()
    there = np.arange(len(given)) if there is None else there
    rows = there[np.linspace(0, len(there) - 1, min(len(there), _LINK_ROWS)).astype(int)]

    def fit() -> list[NoiseLink]:
        scores: list[list[np.ndarray]] = [[] for _ in parts]
        for some in np.array_split(rows, -(-len(rows) // spectrum.step)):
            at = torch.from_numpy(some)
            z = spectrum.at(at)
            hats = spectrum.leverages(at, z, [part.fits[0].ridge for part in parts])
            for part, found in zip(parts, scores, strict=True):
                found.append(part.scores(z, hats, given[some]))
        return [
            fit_link(np.concatenate(found), given[rows], part.links[0].form, start=part.links[0], iterations=40)
            for part, found in zip(parts, scores, strict=True)
        ]

    for part, link in zip(parts, from_first(fit) if shared else fit(), strict=True):
        part.links[0] = link


def _next_moments(spectrum: Spectrum, given: Given, parts: list[Part], shared: bool) -> dict[int, Moments]:
    """Refine the labels by the last round of each part, and take their moments."""
    assert spectrum.first is not None
    centre = spectrum.first.mean.to(spectrum.mean.dtype)
    found = {id(part): Moments(len(spectrum.values), centre) for part in parts}
    for rows, z in spectrum.blocks():
        hats, some = spectrum.leverages(rows, z, _ridges(parts)), given[rows]
        for part in parts:
            refined = _posterior(part.links[-1], part.scores(z, hats, some), some)
            found[id(part)].add(z, refined.to(z), spectrum.weights(rows))
    for one in found.values():
        one.finish(shared=shared)
    return found


def _ridges(parts: list[Part]) -> list[float]:
    return [fit.ridge for part in parts for fit in part.fits]


def _last_pass(spectrum: Spectrum, given: Given, parts: list[Part], choice: Choice, shared: bool) -> Refined:
    assert spectrum.first is not None
    n, k = len(given), given.k
    posterior, prior, quality = torch.zeros(n, k), torch.zeros(n, k), torch.zeros(n, dtype=torch.float64)
    moments = Moments(len(spectrum.values), spectrum.first.mean.to(spectrum.mean.dtype))
    for rows, z in spectrum.blocks():
        hats, some = spectrum.leverages(rows, z, _ridges(parts)), given[rows]
        each, right, mixed = np.arange(len(some)), np.zeros(len(some)), np.zeros((len(some), k))
        for i, (part, weight) in enumerate(zip(parts, choice.weights, strict=True)):
            link, scores = part.links[-1], part.scores(z, hats, some)
            refined = link.posterior(scores, some)[0]
            right += weight * refined[each, some.codes]
            mixed += weight * link.prior(scores)
            if i == choice.chosen:
                posterior[rows] = torch.from_numpy(refined).float()
                moments.add(z, torch.from_numpy(refined).to(z), spectrum.weights(rows))
        prior[rows], quality[rows] = torch.from_numpy(mixed).float(), torch.from_numpy(right)
    if shared:
        for one in (posterior, prior, quality):
            one.copy_(sum_over_processes(one.to(z.device)))
    return Refined(posterior, prior, quality.clamp(0, 1).numpy(), parts, moments.finish(shared=shared))
