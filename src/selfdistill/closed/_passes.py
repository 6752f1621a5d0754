"""All rounds on all rows, a block at a time: what is kept of a round are its coefficients and its link."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor

from selfdistill._core.dist import from_first, sum_over_processes
from selfdistill.closed._forest import Forest
from selfdistill.closed._given import Given
from selfdistill.closed._link_fit import STEPS, fit_link
from selfdistill.closed._moments import Moments, Regression, without_itself
from selfdistill.closed._noise_link import NoiseLink
from selfdistill.closed._range import plausible_share
from selfdistill.closed._rounds import Candidate, Choice
from selfdistill.closed._spectrum import Spectrum

_LINK_ROWS = 5_000  # rows that the first round's link is fitted on again
_FIRST = 0.003  # weight in the ranking of how near the scores of first rounds are to the given label


@dataclass(frozen=True, eq=False)
class Block:
    """Some rows."""

    at: slice | Tensor  # positions
    z: Tensor  # features, [b, r]
    hats: dict[float, Tensor]  # leverages, by ridge
    given: Given
    scores: dict[Regression | Grown, np.ndarray] = field(default_factory=dict)  # parts share their first fits


@dataclass(frozen=True, eq=False)
class Grown:
    """A filled forest."""

    forest: Forest
    values: Tensor  # of the leaves, [leaves, K]


@dataclass(frozen=True, eq=False)
class Part:
    """One regression of the mixture, with the rounds that lead to it."""

    chain: Sequence[Candidate]
    fits: list[Regression | Grown] = field(default_factory=list)
    links: list[NoiseLink] = field(default_factory=list)

    def scores(self, block: Block) -> np.ndarray:
        """Score some rows, ``[b, K]``, by the last round without their own targets, made anew and not kept."""
        targets = block.given.targets(block.z.dtype).to(block.z.device)
        for link, fit in zip(self.links[:-1], self.fits[:-1], strict=True):
            targets = _posterior(link, _leave_out(fit, block, targets), block.given).to(block.z)
        return _leave_out(self.fits[-1], block, targets)


def _leave_out(fit: Regression | Grown, block: Block, targets: Tensor) -> np.ndarray:
    if fit not in block.scores:
        if isinstance(fit, Grown):
            scores = fit.forest.out_of_bag(fit.values, block.at)
        else:
            scores = without_itself(fit(block.z), targets, block.hats[fit.ridge])
        block.scores[fit] = scores.double().cpu().numpy()
    return block.scores[fit]


def _posterior(link: NoiseLink, scores: np.ndarray, given: Given) -> Tensor:
    return torch.from_numpy(link.posterior(scores, given)[0])


class _Sums:
    """Sums over rows that a fit needs of its targets: moments with the spectrum, or those of a forest's leaves."""

    def __init__(self, spectrum: Spectrum, forest: Forest | None) -> None:
        assert spectrum.first is not None
        self._forest, centre = forest, spectrum.first.mean.to(spectrum.mean.dtype)
        self._moments = Moments(len(spectrum.values), centre) if forest is None else None
        self._leaves = None if forest is None else torch.zeros(forest.trees.leaves, len(centre), dtype=torch.float64)

    def add(self, block: Block, targets: Tensor, weights: Tensor | None) -> None:
        if self._moments is not None:
            self._moments.add(block.z, targets.to(block.z), weights)
        elif self._forest is not None and self._leaves is not None and isinstance(block.at, slice):
            self._forest.add(self._leaves, targets, block.at)

    def fit(self, spectrum: Spectrum, ridge: float, *, shared: bool) -> Regression | Grown:
        if self._moments is not None:
            return spectrum.solve(self._moments.finish(shared=shared), ridge)
        assert self._forest is not None
        assert self._leaves is not None
        values = sum_over_processes(self._leaves) if shared else self._leaves
        return Grown(self._forest, self._forest.means(values).float())


@dataclass(frozen=True, eq=False)
class Refined:
    """What the last pass leaves."""

    posterior: Tensor  # refined distributions of the chosen part, float32 [n, K]
    prior: Tensor  # mixture of the parts' priors, float32 [n, K]
    quality: np.ndarray  # probability that the given label is right, by the mixture, float64 [n]; of settled rows, too
    parts: list[Part]
    moments: Moments  # of the refined distributions
    plausible: tuple[float, float]  # shares of wrong labels


def go_through(
    spectrum: Spectrum, given: Given, choice: Choice, *, forest: Forest | None = None, shared: bool = False
) -> Refined:
    """Go through the rounds of all chains on all rows."""
    # A pass computes the scores of all rounds done so far, the targets of the next, and adds up what the next fit needs
    # of them; so nothing of the size of the labels is kept between passes.
    assert spectrum.first is not None
    parts, firsts = [Part(chain) for chain in choice.chains], [Part([first]) for first in choice.firsts]
    fits: dict[tuple[str, float], Regression | Grown] = {}
    for part in (*parts, *firsts):
        source, ridge = key = part.chain[0].source, part.chain[0].ridge
        if key not in fits:
            if source == "kernel":
                fits[key] = spectrum.solve(spectrum.first, ridge)
            else:
                assert forest is not None
                fits[key] = Grown(forest, forest.fill(given.targets(torch.float32)))
        part.fits.append(fits[key])
        part.links.append(part.chain[0].link)
    plausible = _fit_first_links(spectrum, given, parts, choice.chosen)
    for number in range(1, max(len(part.chain) for part in parts)):
        _next_fits(spectrum, given, [part for part in parts if number < len(part.chain)], forest, shared)
    return _last_pass(spectrum, given, parts, firsts, choice, plausible, shared)


def ranked(right: np.ndarray, firsts: Sequence[tuple[np.ndarray, NoiseLink]], codes: np.ndarray) -> np.ndarray:
    """Mix into the probabilities of given labels, lightly, how near scores of first rounds, ``[n, K]``, are to them."""
    # What explains all labels of a rule to the last one gives each a probability of nearly 1, whose order says nothing.
    # The weight is so small that probabilities stay what they are wherever they differ.
    each, near = np.arange(len(codes)), np.zeros(len(codes))
    for scores, link in firsts:
        others = scores.copy()
        others[each, codes] = -np.inf
        ahead = np.clip((1 + scores[each, codes] - others.max(1)) / 2, 0, 1)
        near += (link.prior(scores)[each, codes] + ahead) / 2
    return np.asarray((1 - _FIRST) * right + _FIRST * near / len(firsts))


def link_rows(given: Given) -> np.ndarray:
    """Positions of the rows that the first round's links are fitted on again."""
    taught = given.taught()
    taught = np.arange(len(given)) if taught is None else taught
    rows: np.ndarray = taught[np.linspace(0, len(taught) - 1, min(len(taught), _LINK_ROWS)).astype(int)]
    return rows


def _fit_first_links(spectrum: Spectrum, given: Given, parts: list[Part], chosen: int) -> tuple[float, float]:
    """Fit them again: sharper than those of half the rows; later ones saw the given label at second hand."""
    rows = link_rows(given)

    def fit() -> tuple[list[NoiseLink], tuple[float, float]]:
        scores: list[list[np.ndarray]] = [[] for _ in parts]
        for chunk in np.array_split(rows, -(-len(rows) // spectrum.step)):
            at = torch.from_numpy(chunk)
            z = spectrum.at(at)
            block = Block(at, z, spectrum.leverages(at, z, _ridges(parts)), given[chunk])
            for part, blocks in zip(parts, scores, strict=True):
                blocks.append(part.scores(block))
        links = [
            fit_link(np.concatenate(blocks), given[rows], part.links[0].form, start=part.links[0], iterations=STEPS)
            for part, blocks in zip(parts, scores, strict=True)
        ]
        return links, plausible_share(np.concatenate(scores[chosen]), given[rows], given.total)

    links, plausible = from_first(fit)
    for part, link in zip(parts, links, strict=True):
        part.links[0] = link
    return plausible


def _next_fits(spectrum: Spectrum, given: Given, parts: list[Part], forest: Forest | None, shared: bool) -> None:
    """Refine the labels by the last round of each part, and fit them."""
    sums = [_Sums(spectrum, forest if part.chain[0].source == "forest" else None) for part in parts]
    for block in _blocks(spectrum, given, parts):
        for part, one in zip(parts, sums, strict=True):
            refined = _posterior(part.links[-1], part.scores(block), block.given)
            one.add(block, refined, spectrum.weights(block.at))
    for part, one in zip(parts, sums, strict=True):
        candidate = part.chain[len(part.fits)]
        part.fits.append(one.fit(spectrum, candidate.ridge, shared=shared))
        part.links.append(candidate.link)


def _blocks(spectrum: Spectrum, given: Given, parts: list[Part]) -> Iterator[Block]:
    for rows, z in spectrum.blocks():
        yield Block(rows, z, spectrum.leverages(rows, z, _ridges(parts)), given[rows])


def _ridges(parts: list[Part]) -> list[float]:
    return [fit.ridge for part in parts for fit in part.fits if isinstance(fit, Regression)]


def _last_pass(
    spectrum: Spectrum,
    given: Given,
    parts: list[Part],
    firsts: list[Part],
    choice: Choice,
    plausible: tuple[float, float],
    shared: bool,
) -> Refined:
    assert spectrum.first is not None
    n, k = len(given), given.k
    posterior, prior, quality = torch.zeros(n, k), torch.zeros(n, k), torch.zeros(n, dtype=torch.float64)
    moments = Moments(len(spectrum.values), spectrum.first.mean.to(spectrum.mean.dtype))
    for block in _blocks(spectrum, given, [*parts, *firsts]):
        rows, z, some = block.at, block.z, block.given
        each, right, mixed = np.arange(len(some)), np.zeros(len(some)), np.zeros((len(some), k))
        for i, (part, weight) in enumerate(zip(parts, choice.weights, strict=True)):
            link, scores = part.links[-1], part.scores(block)
            refined = link.posterior(scores, some)[0]
            unheld = refined if some.settled is None else link.posterior(scores, replace(some, settled=None))[0]
            right += weight * unheld[each, some.codes]
            mixed += weight * link.prior(scores)
            if i == choice.chosen:
                posterior[rows] = torch.from_numpy(refined).float()
                moments.add(z, torch.from_numpy(refined).to(z), spectrum.weights(rows))
        right = ranked(right, [(first.scores(block), first.links[0]) for first in firsts], some.codes)
        prior[rows], quality[rows] = torch.from_numpy(mixed).float(), torch.from_numpy(right)
    if shared:
        for one in (posterior, prior, quality):
            one.copy_(sum_over_processes(one.to(z.device)))
    return Refined(posterior, prior, quality.clamp(0, 1).numpy(), parts, moments.finish(shared=shared), plausible)
