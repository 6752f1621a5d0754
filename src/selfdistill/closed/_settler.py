"""Learning from decisions one after the other: only what a decision changes is computed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from selfdistill.closed._dense import thin
from selfdistill.closed._given import Given
from selfdistill.closed._link_fit import STEPS, fit_link
from selfdistill.closed._moments import without_itself
from selfdistill.closed._noise_link import NoiseLink
from selfdistill.closed._passes import link_rows, ranked
from selfdistill.closed._prepare import Prepared
from selfdistill.closed._rounds import Candidate
from selfdistill.closed._settle import relinked, settle

_LEAST = 1e-4  # by which a refined label must have moved before the next round learns of it
_KEPT_BYTES = 2**30  # if targets and scores of all rounds take more, all is computed anew each time


@dataclass(eq=False)
class _Fit:
    """Scores of one round, and the targets that they follow from, float32 or float64 ``[n, K]`` each."""

    candidate: Candidate
    targets: Tensor
    fitted: Tensor  # by the regression on all rows, or out of bag


class Settler:
    """Keeps targets and scores of all rounds, and moves them by what decisions change."""

    # Scores are linear in their targets: m decisions move those of the first round by Z (values + ridge)^-1 Z_m'
    # change, a product of rank m. The refined labels that this moves are the changes of the next round's targets.

    def __init__(self, prepared: Prepared) -> None:
        self._prepared, n, k = prepared, len(prepared.given), prepared.given.k
        chains = prepared.choice.chains
        firsts = {(first.source, first.ridge) for first in (*prepared.choice.firsts, *(chain[0] for chain in chains))}
        count = len(firsts) + sum(len(chain) - 1 for chain in chains)
        self._kept = 2 * prepared.spectrum.mean.element_size() * n * k * count <= _KEPT_BYTES
        self._hats: dict[float, Tensor] = {}
        self._chains: list[list[_Fit]] = []
        self._firsts: list[_Fit] = []
        self.links: list[list[NoiseLink]] = []

    def settle(self, settled: np.ndarray, *, links: bool = True) -> tuple[np.ndarray, np.ndarray]:
        """Refine all labels, with those held that somebody settled."""
        prepared = self._prepared
        given = replace(prepared.given, settled=np.asarray(settled, np.int64))
        if not self._kept:
            result = settle(prepared, settled)
            return result.posterior.numpy(), result.quality
        links = links or not self._chains
        if links:
            self._begin(given)
        for fit in self._firsts:
            self._learn([fit], [given.targets(fit.targets.dtype)], 0.0)
        if links:
            self._link_first(given)
        for number in range(1, max(map(len, self._chains))):
            active = [(c, at) for c, at in zip(self._chains, self.links, strict=True) if number < len(c)]
            refined = [self._refined(c[number - 1], at[number - 1], given) for c, at in active]
            self._learn([c[number] for c, _ in active], refined, _LEAST)
        return self._mixed(given)

    def _begin(self, given: Given) -> None:
        """Begin with targets that are the same for all rows, which any regression fits, and with links fitted again."""
        prepared = self._prepared
        like = prepared.spectrum.mean
        choice = relinked(prepared, given)
        self.links = [[candidate.link for candidate in chain] for chain in choice.chains]
        firsts: dict[tuple[str, float], _Fit] = {}

        def fit(candidate: Candidate) -> _Fit:
            each = torch.full((len(given), given.k), 1 / given.k, dtype=like.dtype)
            if candidate.round > 1:
                return _Fit(candidate, each, each.clone())
            return firsts.setdefault((candidate.source, candidate.ridge), _Fit(candidate, each, each.clone()))

        self._chains = [[fit(candidate) for candidate in chain] for chain in choice.chains]
        self._ranking = [fit(first) for first in prepared.choice.firsts]
        self._firsts = list(firsts.values())
        if not self._hats:
            ridges = [c.ridge for chain in choice.chains for c in chain if c.source == "kernel"]
            ridges += [first.ridge for first in choice.firsts if first.source == "kernel"]
            parts = [prepared.spectrum.leverages(rows, z, ridges) for rows, z in prepared.spectrum.blocks()]
            self._hats = {ridge: torch.cat([part[ridge] for part in parts]).cpu() for ridge in set(ridges)}

    def _learn(self, fits: Sequence[_Fit], targets: Sequence[Tensor], least: float) -> None:
        """Move the targets of fits, and with them the scores."""
        regressions = []
        for fit, new in zip(fits, targets, strict=True):
            rows = ((new - fit.targets).abs().amax(1) > least).nonzero().flatten()
            if not len(rows):
                continue
            change = new[rows] - fit.targets[rows]
            fit.targets[rows] = new[rows]
            if fit.candidate.source == "kernel":
                regressions.append((fit, rows, change))
            else:
                assert self._prepared.forest is not None
                self._prepared.forest.move(fit.fitted, change, rows)
        if regressions:
            self._move_regressions(regressions)

    def _move_regressions(self, changed: list[tuple[_Fit, Tensor, Tensor]]) -> None:
        spectrum, coefficients, places = self._prepared.spectrum, [], []
        for fit, rows, change in changed:
            cross = spectrum.values.new_zeros(len(spectrum.values), change.shape[1])
            for at, part in zip(torch.split(rows, spectrum.step), torch.split(change, spectrum.step), strict=True):
                w = spectrum.weights(at)
                counted = part.to(spectrum.mean) if w is None else part.to(spectrum.mean) * w[:, None]
                cross += thin(spectrum.at(at).T, counted).double()
                fit.fitted += (counted.sum(0, dtype=torch.float64) / spectrum.total).to(fit.fitted)
            columns = change.any(0).nonzero().flatten()
            coefficients.append((cross / (spectrum.values + fit.candidate.ridge)[:, None])[:, columns.to(cross.device)])
            places.append(columns)
        together = torch.cat(coefficients, 1).to(spectrum.mean)
        for block, z in spectrum.blocks():
            moves = torch.split((z @ together).cpu(), [len(columns) for columns in places], 1)
            for (fit, _, _), columns, part in zip(changed, places, moves, strict=True):
                fit.fitted[block, columns] += part

    def _scores(self, fit: _Fit, rows: slice | Tensor = slice(None)) -> np.ndarray:
        if fit.candidate.source == "forest":
            return fit.fitted[rows].double().numpy()
        hats = self._hats[fit.candidate.ridge][rows]
        return without_itself(fit.fitted[rows], fit.targets[rows], hats).double().numpy()

    def _refined(self, fit: _Fit, link: NoiseLink, given: Given) -> Tensor:
        return torch.from_numpy(link.posterior(self._scores(fit), given)[0]).to(fit.targets)

    def _link_first(self, given: Given) -> None:
        """Fit the links of the first round again, as a run does."""
        rows = link_rows(given)
        for chain, links in zip(self._chains, self.links, strict=True):
            scores = self._scores(chain[0], torch.from_numpy(rows))
            links[0] = fit_link(scores, given[rows], links[0].form, start=links[0], iterations=STEPS)

    def _mixed(self, given: Given) -> tuple[np.ndarray, np.ndarray]:
        choice, each = self._prepared.choice, np.arange(len(given))
        right, posterior = np.zeros(len(given)), np.empty(0)
        scores = {id(fit): self._scores(fit) for fit in self._firsts}  # most chains end there
        for i, (chain, links, weight) in enumerate(zip(self._chains, self.links, choice.weights, strict=True)):
            last = chain[-1]
            known = scores[id(last)] if id(last) in scores else self._scores(last)
            refined = links[-1].posterior(known, replace(given, settled=None))[0]
            right += weight * refined[each, given.codes]
            if i == choice.chosen:
                posterior = refined.astype(np.float32)
        firsts = [(scores[id(fit)], first.link) for fit, first in zip(self._ranking, choice.firsts, strict=True)]
        right = ranked(right, firsts, given.codes)
        held, settled = given.held, given.learned
        posterior[held] = 0
        posterior[held, settled[held]] = 1
        return posterior, np.clip(right, 0, 1)
