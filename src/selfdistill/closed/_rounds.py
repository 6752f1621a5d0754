"""How many rounds of self-distillation, with which noise and ridge: chosen by labels that each model has not seen."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from selfdistill.closed._fold import Fold
from selfdistill.closed._forest import ForestFold, leaf_of_least_error
from selfdistill.closed._given import Given, as_given
from selfdistill.closed._link_fit import STEPS, fit_link
from selfdistill.closed._noise_link import FORMS, Form, NoiseLink
from selfdistill.closed._spectrum import Spectrum

ROUNDS = 3
_LINK_ROWS = 2500  # rows that a link is fitted on, at most; it is judged on all others
_SMALLER = (4.0, 16.0)  # later rounds fit cleaner targets: their ridge is the first one's divided by one of these
_LEAST_WEIGHT = 0.02  # in the mixture; lighter ones are left out
_MOST_WRONG = 0.5  # share of wrong labels up to which rows of T for each class are believed
_HOPELESS = 8.0  # standard errors behind in the first round; none came back from there but the plain form with own rows
_MOST_OWN = 200  # classes up to which each may have a noise row of its own: K^2 numbers
_ROWS_PER_CONFUSION = 5  # rows for each number of a confusion matrix


@dataclass(frozen=True, eq=False)
class Candidate:
    """One model of the given labels."""

    source: str  # What its scores are: ``"kernel"`` for ridge regression, or ``"forest"``.
    form: Form  # What is free in its link.
    round: int  # 1 for regression of the given labels, r for r - 1 distillations of it.
    ridge: float  # Penalty of this round; for a forest the least number of rows of a leaf.
    # Negative log-likelihood of each given label, which neither scores nor link have seen, in nats, ``[n]``.
    losses: np.ndarray
    link: NoiseLink  # Fitted on the scores of all rows, each predicted by the other half.
    wrong: float  # Expected share of wrong labels, by these scores.
    weights: np.ndarray | None = None  # How many rows each row counts as, ``[n]``; ``None``: one.
    scores: np.ndarray | None = None  # Of each row by the other half, float32 ``[n, K]``.

    @property
    def nats(self) -> float:
        """Mean loss."""
        return float(np.average(self.losses, weights=self.weights))

    @property
    def name(self) -> str:
        """Source, round and noise in a few words."""
        return f"{self.source}, round {self.round}, {self.form.name}"


@dataclass(frozen=True, eq=False)
class Choice:
    """What explains the given labels."""

    chains: tuple[tuple[Candidate, ...], ...]  # For each source and form its candidates, by round, up to the best one.
    weights: tuple[float, ...]  # Weight of the last candidate of each chain in the mixture; sums to 1.
    chosen: int  # Position of the chain that counts the wrong labels and refines them.
    tried: tuple[Candidate, ...]  # All candidates.

    @property
    def best(self) -> Candidate:
        """The chosen candidate."""
        return self.chains[self.chosen][-1]

    @property
    def firsts(self) -> list[Candidate]:
        """Of the kernel, and of the forest where the mixture has one, the first round that explains best."""
        firsts = []
        for source in ("kernel", "forest"):
            if source == "kernel" or any(chain[0].source == source for chain in self.chains):
                tried = (c for c in self.tried if c.source == source and c.round == 1)
                firsts.append(min(tried, key=lambda c: c.nats))
        return firsts


def choose(chains: list[list[Candidate]], rounds: int | None = None) -> Choice:
    """Weigh forms by likelihood, and choose the one that counts."""
    # Of each form the first round counts that no other is ahead of by more than a standard error. Weights are half
    # those of stacking, which maximise the likelihood of the given labels under the mixture, and half exp(-z / 2),
    # with z the standard errors that a candidate is behind the best.
    # Yao, Vehtari, Simpson & Gelman (2018), arXiv 1704.02030, section 3.1 (stacking of predictive distributions).
    tried = [c for chain in chains for c in chain]
    kept = [tuple(chain[: chain.index(_end(chain, rounds)) + 1]) for chain in chains]
    ends = [chain[-1] for chain in kept]
    best = min(ends, key=lambda c: c.nats)
    near_best = np.exp([-0.5 * _standard_errors(c, best) for c in ends])
    counts = _counting(ends)
    stacked = _stacked(np.stack([-chain[-1].losses for chain in kept], 1), best.weights)
    weights = (stacked + near_best / near_best.sum()) / 2
    heavy = [i for i, w in enumerate(weights) if w >= _LEAST_WEIGHT or kept[i][-1] is counts]
    total = sum(weights[i] for i in heavy)
    return Choice(
        tuple(kept[i] for i in heavy),
        tuple(float(weights[i] / total) for i in heavy),
        next(j for j, i in enumerate(heavy) if kept[i][-1] is counts),
        tuple(tried),
    )


def _counting(ends: list[Candidate]) -> Candidate:
    """Take, within one standard error of the best, the one that expects most wrong labels, times exp(-z / 4)."""
    # Noise taken for overlap of classes is not found, while one rate for all classes is seldom made up. Rows of T for
    # each class can stand for overlap, too: they have no say where they call most labels wrong, nor where one rate
    # explains the labels best.
    sound = [c for c in ends if c.form.noise == "even" or c.wrong <= _MOST_WRONG] or ends
    best = min(sound, key=lambda c: c.nats)
    if best.form.noise == "even":
        sound = [c for c in sound if c.form.noise == "even"]
    behind = [_standard_errors(c, best) for c in sound]
    near = [(c.wrong * np.exp(-z / 4), -z, c) for c, z in zip(sound, behind, strict=True) if z <= 1]
    return max(near, key=lambda one: one[:2])[2]


def _end(chain: list[Candidate], rounds: int | None) -> Candidate:
    """Take the first round that no other is ahead of by more than a standard error: more must pay."""
    if rounds is not None:
        return next(c for c in chain if c.round == rounds)
    best = min(chain, key=lambda c: c.nats)
    return next(c for c in chain if _standard_errors(c, best) <= 1)


def _standard_errors(one: Candidate, best: Candidate) -> float:
    """By how many standard errors a candidate is behind, row by row."""
    behind, w = one.losses - best.losses, best.weights
    mean = float(np.average(behind, weights=w))
    spread = float(np.average((behind - mean) ** 2, weights=w) / (len(behind) if w is None else w.sum())) ** 0.5
    return mean / spread if spread > 0 else 0.0


def _stacked(likelihoods: np.ndarray, rows: np.ndarray | None = None, steps: int = 100) -> np.ndarray:
    """Maximise the mean log of a mixture of likelihoods, ``[n, M]`` in logarithms, over its weights."""
    scaled = np.exp(likelihoods - likelihoods.max(1, keepdims=True))
    weights = np.full(likelihoods.shape[1], 1 / likelihoods.shape[1])
    each = np.full(len(scaled), 1 / len(scaled)) if rows is None else rows / rows.sum()
    for _ in range(steps):
        weights = weights * (each / (scaled @ weights) @ scaled)
    return weights


def ridge_of_least_error(spectrum: Spectrum, targets: Tensor) -> float:
    """Choose the ridge whose leave-one-out predictions come nearest to the targets: early stopping at its best."""
    ridges = spectrum.scale * 2.0 ** torch.arange(-8, 9, dtype=torch.float64)
    return float(ridges[spectrum.errors(targets, ridges).argmin()])


def soft_targets(labels: np.ndarray | Given, k: int, dtype: torch.dtype) -> Tensor:
    """Write labels, ``[n]`` or `Given`, as distributions ``[n, K]``."""
    return as_given(labels, k).targets(dtype)


def choose_rounds(
    spectrum: Spectrum,
    given: np.ndarray | Given,
    k: int,
    *,
    inputs: Tensor | None = None,
    rounds: int | None = None,
    ridge: float | None = None,
    tell: Callable[[Candidate], None] = lambda candidate: None,
) -> Choice:
    """Try forms of noise and numbers of rounds on two halves, each judged by the labels of the other."""
    # Scores of a row come from a regression on the half that it is not in; within that half, refined labels come from
    # leave-one-out or out-of-bag scores. So the label of a row has no part in what is said of it, after any number of
    # rounds.
    given, dtype = as_given(given, k), spectrum.mean.dtype
    forms = _forms(len(given), k)
    first = ridge_of_least_error(spectrum, soft_targets(given, k, dtype)) if ridge is None else ridge
    second = two_halves(given.codes)
    halves = _Halves("kernel", spectrum.halves(second), given, dtype)
    chains = halves.chains(forms, first, [first / s for s in _SMALLER], rounds, tell)
    if inputs is not None:
        one, two = (~second).nonzero().flatten(), second.nonzero().flatten()
        leaf = leaf_of_least_error(inputs, given)
        folds = [ForestFold(one, two, inputs, given, leaf), ForestFold(two, one, inputs, given, leaf)]
        plain = [form for form in forms if form.confusion == "none"]
        chains += _Halves("forest", folds, given, dtype).chains(plain, leaf, [leaf], rounds, tell)
    return choose([chain for chain in chains if rounds in (None, len(chain))], rounds)


def _forms(n: int, k: int) -> list[Form]:
    """Leave out what so few rows cannot tell, and what two classes do not have."""
    confused = k > 2 and n >= _ROWS_PER_CONFUSION * k * k
    return [f for f in FORMS if (f.confusion == "none" or confused) and (f.noise == "even" or k <= _MOST_OWN)]


def _simpler(form: Form, chains: dict[Form, list[Candidate]]) -> NoiseLink | None:
    """Begin a form with confusion where the one without ended; otherwise it would take the noise for confusion."""
    plain = chains.get(Form("none", form.noise))
    return plain[0].link if plain and form.confusion != "none" else None


def _survivors(chains: dict[Form, list[Candidate]]) -> list[Form]:
    """Take on the best even form, the plain one with own rows, and the best of the others, if they have a chance."""
    # Rounds may turn the order: in the first, confusion can stand for noise from class to class.
    order = sorted(chains, key=lambda one: chains[one][0].nats)
    groups = [[f for f in order if f.noise == "even"], [f for f in order if f == Form("none", "own")]]
    groups.append([f for f in order if f.noise == "own" and f.confusion != "none"])
    best, plain = chains[order[0]][0], Form("none", "own")
    near = [f for f in order if f == plain or _standard_errors(chains[f][0], best) <= _HOPELESS]
    return [group[0] for group in groups if group and group[0] in near]


@dataclass(frozen=True, eq=False)
class _Fit:
    """Regression on one half."""

    targets: Tensor
    weights: Tensor
    ridge: float


def two_halves(given: np.ndarray) -> Tensor:
    """Split rows at random, with a fixed seed, in two halves alike in given labels: bool ``[n]``."""
    order = np.random.default_rng(len(given)).permutation(len(given))
    order = order[np.argsort(given[order], kind="stable")]
    second = torch.zeros(len(given), dtype=torch.bool)
    second[torch.from_numpy(order[1::2].copy())] = True
    return second


class _Halves:
    """Two halves of the rows, and what each says of the other."""

    def __init__(self, source: str, folds: Sequence[Fold | ForestFold], given: Given, dtype: torch.dtype) -> None:
        self.source, self.folds, self.given, self.k, self.dtype = source, folds, given, given.k, dtype

    def chains(
        self,
        forms: list[Form],
        first: float,
        later: list[float],
        rounds: int | None,
        tell: Callable[[Candidate], None],
    ) -> list[list[Candidate]]:
        """Judge round 1 of all forms, and further rounds of those with a chance; the ridge of round 2 is chosen."""
        given = [soft_targets(self.given[f.inside.numpy()], self.k, self.dtype) for f in self.folds]
        fits, scores = self.try_ridge([given], first)[0]
        chains: dict[Form, list[Candidate]] = {}
        for form in forms:
            judged = self.judged(scores, form, 1, _simpler(form, chains))
            chains[form] = [self.candidate(scores, first, form, 1, judged)]
            tell(chains[form][0])
        inside = self.leave_one_out(fits)
        going = dict.fromkeys(_survivors(chains), (inside, later))  # scores of the rows fitted, and ridges to try
        last = ROUNDS if rounds is None else rounds
        for number in range(2, last + 1):
            tried = self.next_round(chains, going)
            for form, choices in tried.items():
                candidate, fits = self.best_ridge(choices, form, number, chains[form][-1].link)
                chains[form].append(candidate)
                tell(candidate)
                del going[form]
                worse = rounds is None and _standard_errors(candidate, chains[form][-2]) > 1
                if number < last and not worse:  # a round that made it worse is the last
                    going[form] = (self.leave_one_out(fits), [candidate.ridge])
        return list(chains.values())

    def next_round(
        self, chains: dict[Form, list[Candidate]], going: dict[Form, tuple[list[np.ndarray], list[float]]]
    ) -> dict[Form, dict[float, tuple[list[_Fit], np.ndarray]]]:
        """Refine labels and fit them, those of all forms with the same ridge at once; give fits and scores by ridge."""
        refined = {form: self.refine(inside, chains[form][-1].link) for form, (inside, _) in going.items()}
        tried: dict[Form, dict[float, tuple[list[_Fit], np.ndarray]]] = {form: {} for form in going}
        for ridge in sorted({ridge_of for _, ridges in going.values() for ridge_of in ridges}, reverse=True):
            forms = [form for form, (_, ridges) in going.items() if ridge in ridges]
            for form, result in zip(forms, self.try_ridge([refined[f] for f in forms], ridge), strict=True):
                tried[form][ridge] = result
        return tried

    def try_ridge(self, targets: list[list[Tensor]], ridge: float) -> list[tuple[list[_Fit], np.ndarray]]:
        """Fit each form's targets, side by side, and predict each row by the half that it is not in."""
        results: list[tuple[list[_Fit], np.ndarray]] = [([], np.empty((len(self.given), self.k))) for _ in targets]
        for i, fold in enumerate(self.folds):
            together = torch.cat([targets_of[i] for targets_of in targets], 1)
            weights = fold.fit(together, ridge)
            scores = fold.predict(together, weights).double()
            parts = (torch.chunk(targets_of, len(targets), 1) for targets_of in (together, weights, scores))
            for (fits, all_scores), q, w, predicted in zip(results, *parts, strict=True):
                fits.append(_Fit(q, w, ridge))
                all_scores[fold.outside.numpy()] = predicted.numpy()
        return results

    def leave_one_out(self, fits: list[_Fit]) -> list[np.ndarray]:
        """Predict each row by the others of its own half."""
        pairs = zip(self.folds, fits, strict=True)
        return [fold.leave_one_out(fit.targets, fit.weights, fit.ridge).double().numpy() for fold, fit in pairs]

    def refine(self, inside: list[np.ndarray], link: NoiseLink) -> list[Tensor]:
        """Refine the labels of each half by itself, from scores that leave one out."""
        pairs = zip(self.folds, inside, strict=True)
        refined = [link.posterior(scores, self.given[fold.inside.numpy()])[0] for fold, scores in pairs]
        return [torch.from_numpy(each).to(self.dtype) for each in refined]

    def best_ridge(
        self, choices: dict[float, tuple[list[_Fit], np.ndarray]], form: Form, number: int, start: NoiseLink
    ) -> tuple[Candidate, list[_Fit]]:
        """Take the ridge by which either half predicts the labels of the other best."""
        judged = {one: self.judged(scores, form, number, start) for one, (_, scores) in choices.items()}
        ridge = min(judged, key=lambda one: self.given.mean(judged[one][1]))
        fits, scores = choices[ridge]
        return self.candidate(scores, ridge, form, number, judged[ridge]), fits

    def judged(
        self, scores: np.ndarray, form: Form, number: int, start: NoiseLink | None
    ) -> tuple[NoiseLink, np.ndarray]:
        """Fit the link on either half; give the last, and the loss of each label by the link of the other half."""
        losses, sides = np.empty(len(self.given)), [fold.inside.numpy() for fold in self.folds]
        link, sharpest = start, least_sharpness(number, self.k)
        for one, other in (sides, sides[::-1]):
            rows = _spread(one)
            link = fit_link(scores[rows], self.given[rows], form, start=link, sharpest=sharpest, iterations=STEPS)
            losses[other] = -link.posterior(scores[other], self.given[other])[1]
        assert link is not None
        return link, losses

    def candidate(
        self, scores: np.ndarray, ridge: float, form: Form, number: int, judged: tuple[NoiseLink, np.ndarray]
    ) -> Candidate:
        """Fit the link on all rows."""
        rows, sharpest = _spread(np.arange(len(self.given))), least_sharpness(number, self.k)
        link = fit_link(scores[rows], self.given[rows], form, start=judged[0], sharpest=sharpest, iterations=STEPS)
        posterior = link.posterior(scores, self.given)[0]
        wrong = 1 - self.given.mean(posterior[np.arange(len(scores)), self.given.codes])
        kept = scores.astype(np.float32)
        return Candidate(self.source, form, number, ridge, judged[1], link, wrong, self.given.weights, kept)


def least_sharpness(number: int, k: int) -> float:
    """Give the least sharpness of a round's link, 0 in the first round."""
    # Scores of later rounds are estimates of the true class: where they say one class alone, the prior must give it
    # 99 %. Without this, noise and lack of sharpness cannot be told apart.
    return 0.0 if number == 1 else float(np.log(99 * (k - 1)))


def _spread(rows: np.ndarray) -> np.ndarray:
    """Take at most 2,500 rows, evenly."""
    return rows if len(rows) <= _LINK_ROWS else rows[np.linspace(0, len(rows) - 1, _LINK_ROWS).astype(int)]
