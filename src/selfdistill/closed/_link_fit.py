"""Fit a noise link to given labels, by maximum likelihood."""

from __future__ import annotations

import functools
from dataclasses import replace
from typing import Any

import numpy as np
from scipy.optimize import Bounds, minimize
from scipy.special import expit, logit
from threadpoolctl import ThreadpoolController

from selfdistill.closed._given import Given, as_given
from selfdistill.closed._noise_link import Form, NoiseLink, even_matrix, softmax
from selfdistill.closed._votes import Ballots

_STARTS = (3.0, 6.0, 12.0, 24.0, 48.0)  # sharpness that the search begins with
_MOST_NOISE = 0.95  # share of labels that may be wrong
_CONFUSION = 10.0  # weight of the squared confusion; a hundredth of it overfits 2,000 rows
_BIAS = 1e-3  # weight of the squared bias, per row
STEPS = 12  # of L-BFGS for a link that is judged: more fit the rows that it sees, and explain others worse
_TOLERANCE = 1e-8  # relative, of the loss: far below its standard error
_LEAST_CURVATURE = 1e-6  # of the loss per row
_STRENGTH = 0.1  # pseudo-counts of the even spread, as a share of a class's rows
_CURVATURE = 0.05  # of the loss per row by its logarithm, roughly


def fit_link(
    scores: np.ndarray,
    given: np.ndarray | Given,
    form: Form,
    *,
    start: NoiseLink | None = None,
    sharpest: float = 0.0,
    rate: float | None = None,
    iterations: int = 60,
) -> NoiseLink:
    """Fit a link to given labels."""
    # Maximises the likelihood of the given labels, less 10 |A|^2, n |b|^2 / 1000 and the divergence of T's rows from
    # the even ones, which weigh like a tenth of a class's rows. Scores, [n, K], must not have seen the label of their
    # row. Without a start, sharpness is searched on a grid. A rate that is given is held.
    problem = _Problem(np.ascontiguousarray(np.asarray(scores, np.float64).T), given, form)
    if start is None:
        start = _first(problem)
    elif start.form.noise == "even" and form.noise == "own":
        start = replace(start, rows=np.log(start.matrix))
    lower, upper = problem.bounds(sharpest)
    if rate is not None:
        lower[problem.rate] = upper[problem.rate] = logit(max(rate, 1e-6) / _MOST_NOISE)
    packed = np.clip(problem.pack(start), lower, upper)
    unit = problem.units(packed)

    def scaled(vector: np.ndarray) -> tuple[float, np.ndarray]:
        loss, gradient = problem(vector * unit)
        return loss, gradient * unit

    with _blas().limit(limits=1, user_api="blas"):  # products of small matrices: more threads only wait for each other
        optimum = minimize(
            scaled,
            packed / unit,
            jac=True,
            method="L-BFGS-B",
            bounds=Bounds(lower / unit, upper / unit),
            options={"maxiter": iterations, "maxcor": 15, "ftol": _TOLERANCE},
        )
    return problem.unpack(np.clip(optimum.x * unit, lower, upper))


@functools.cache
def _blas() -> ThreadpoolController:
    return ThreadpoolController()


class _Problem:
    """Penalised negative log-likelihood per row and its gradient, as a function of one vector."""

    def __init__(self, scores: np.ndarray, given: np.ndarray | Given, form: Form) -> None:
        self.scores, self.form, self.k = scores, form, len(scores)  # [K, n]
        rows = as_given(given, self.k)
        self.labels, self.given, self.n, self.weights = rows, rows.codes, rows.total, rows.weights
        self.soft = None if rows.soft is None else rows.soft.T.astype(np.float64)
        self.each = np.arange(len(rows))
        self.place = _places(form.confusion, self.k)
        self.free = int(self.place.max(initial=-1)) + 1  # numbers of the confusion
        self.ballots = None
        if rows.votes is not None and rows.soft is not None:
            self.ballots = Ballots(rows.soft, rows.votes)
        hard = form.noise == "own" and self.soft is None
        self.onehot = self.weighted(np.eye(self.k)[self.given].T).T if hard else np.empty((0, self.k))

    @property
    def rate(self) -> int:
        """Where the rate of the even noise stands in the vector."""
        return -1 - (self.k * self.k if self.form.noise == "own" else 0)

    def weighted(self, values: np.ndarray) -> np.ndarray:
        """Multiply the last axis, which is that of rows, with the weights."""
        return values if self.weights is None else values * self.weights

    def summed(self, entries: np.ndarray) -> np.ndarray:
        """Sum entries of the confusion, ``[K, K]``, that are one number."""
        return np.asarray(np.bincount(self.place.ravel(), entries.ravel()))

    def pack(self, link: NoiseLink) -> np.ndarray:
        confusion = np.zeros(self.free)
        confusion[self.place] = link.confusion if self.free else 0.0
        votes, rate = self.of_votes([np.log(link.dependence)]), [logit(link.rate / _MOST_NOISE)]
        parts = [[np.log(link.sharpness)], link.bias, confusion, votes, rate]
        return np.concatenate([*parts, link.rows.ravel() if self.form.noise == "own" else []])

    def of_votes(self, numbers: list[float]) -> list[float]:
        """Give numbers that only votes have; none where each row has one label."""
        return numbers if self.ballots is not None else []

    def bounds(self, sharpest: float) -> tuple[np.ndarray, np.ndarray]:
        """Least and largest values: sharpness from ``sharpest`` to 1,000, rates from a millionth, finite logarithms."""
        own = self.k * self.k if self.form.noise == "own" else 0
        votes = self.of_votes([np.log(1e4)])
        limit = np.concatenate([[np.log(1e3)], np.full(self.k + self.free, 1e3), votes, [13.0], np.full(own, 30.0)])
        return np.concatenate([[np.log(max(sharpest, 1e-3))], -limit[1:]]), limit

    def unpack(self, vector: np.ndarray) -> NoiseLink:
        k, rest = self.k, vector[self.k + 1 + self.free :]
        confusion = vector[k + 1 :][self.place] if self.free else np.zeros((k, k))
        dependence = NoiseLink.dependence
        if self.ballots is not None:
            dependence, rest = float(np.exp(rest[0])), rest[1:]
        rate = _MOST_NOISE * expit(rest[0])
        rows = rest[1:].reshape(k, k) if self.form.noise == "own" else np.zeros((k, k))
        sharpness = float(np.exp(vector[0]))
        return NoiseLink(self.form, sharpness, vector[1 : k + 1], confusion, float(rate), rows, dependence)

    def units(self, vector: np.ndarray) -> np.ndarray:
        """Give the standard error of each number, were it alone and the true classes known: steps of one size."""
        link, k, n = self.unpack(vector), self.k, self.n
        mixed = self.scores + link.confusion.T @ self.scores
        prior = softmax(link.sharpness * mixed + link.bias[:, None])
        centred = mixed - (prior * mixed).sum(0)
        spread = self.weighted(prior * (1 - prior)) / n
        curvatures = [[link.sharpness**2 * np.vdot(self.weighted(prior), centred**2) / n], spread.sum(1) + 2 * _BIAS]
        if self.form.confusion != "none":
            curvatures.append(self.summed(link.sharpness**2 * (self.scores**2 @ spread.T) + 2 * _CONFUSION / n))
        curvatures.append(self.of_votes([_CURVATURE]))
        slope = link.rate * (1 - link.rate / _MOST_NOISE)
        even = slope**2 / (link.rate * (1 - link.rate))
        if self.form.noise == "even":
            curvatures.append([even])
        else:
            rows = self.weighted(prior).sum(1, keepdims=True) / n + _STRENGTH / k
            curvatures += [[_STRENGTH * even], (rows * link.matrix * (1 - link.matrix)).ravel()]
        return np.asarray(np.maximum(np.concatenate(curvatures), _LEAST_CURVATURE) ** -0.5)

    def __call__(self, vector: np.ndarray) -> tuple[float, np.ndarray]:
        link, n = self.unpack(vector), self.n
        mixed = self.scores
        if self.form.confusion != "none":
            mixed = mixed + link.confusion.T @ mixed
        prior = softmax(link.sharpness * mixed + link.bias[:, None])
        loss, residual, noise = (self._even_noise if self.form.noise == "even" else self._own_noise)(link, prior)
        loss += _BIAS * n * (link.bias**2).sum()
        gradient = [[link.sharpness * np.vdot(residual, mixed)], residual.sum(1) + 2 * _BIAS * n * link.bias]
        if self.form.confusion != "none":
            loss += _CONFUSION * (link.confusion**2).sum()
            full = link.sharpness * (self.scores @ residual.T) + 2 * _CONFUSION * link.confusion
            gradient.append(self.summed(full))
        return float(loss / n), np.concatenate([*gradient, *noise]) / n

    def _even_noise(self, link: NoiseLink, prior: np.ndarray) -> tuple[float, np.ndarray, list[Any]]:
        """Give loss, prior less posterior, and the gradient of the noise; T, with its two values, is not formed."""
        if self.soft is not None:
            likelihood, residual, counts, votes = self._of_distributions(prior, link)
            total, share = float(counts.sum()), float(np.trace(counts))
        else:
            wrong = link.rate / (self.k - 1)
            own = prior[self.given, self.each]
            evidence = np.maximum(own * (1 - link.rate) + (1 - own) * wrong, 1e-300)
            right = own * (1 - link.rate) / evidence
            residual = prior * (1 - wrong / evidence)
            residual[self.given, self.each] = own - right
            self._hold_even(link, prior, evidence, right, residual)
            likelihood, residual = float(self.weighted(np.log(evidence)).sum()), self.weighted(residual)
            total, share, votes = self.n, float(self.weighted(right).sum()), []
        slope = link.rate * (1 - link.rate / _MOST_NOISE)  # of the rate, by its logit
        change = -slope * ((total - share) / link.rate - share / (1 - link.rate))
        return -likelihood, residual, [votes, [change]]

    def _hold_even(
        self, link: NoiseLink, prior: np.ndarray, evidence: np.ndarray, right: np.ndarray, residual: np.ndarray
    ) -> None:
        """Put in what is known of settled rows."""
        if len(held := self.labels.held):
            classes = self.labels.learned[held]
            right[held] = classes == self.given[held]
            noise = np.where(right[held] == 1, 1 - link.rate, link.rate / (self.k - 1))
            evidence[held] = np.maximum(prior[classes, held] * noise, 1e-300)
            residual[:, held] = prior[:, held]
            residual[classes, held] -= 1

    def _own_noise(self, link: NoiseLink, prior: np.ndarray) -> tuple[float, np.ndarray, list[Any]]:
        """Give the same for T with rows of its own, and the divergence that draws them to the even ones."""
        k, matrix, votes = self.k, link.matrix, list[float]()
        if self.soft is not None:
            likelihood, residual, counts, votes = self._of_distributions(prior, link)
        else:
            posterior = prior * matrix.take(self.given, 1)
            self.labels.hold(posterior)
            evidence = np.maximum(posterior.sum(0), 1e-300)
            posterior /= evidence
            likelihood, counts = float(self.weighted(np.log(evidence)).sum()), posterior @ self.onehot
            residual = self.weighted(prior - posterior)
        strength, even = _STRENGTH * self.n / k, even_matrix(link.rate, k)
        ratio = np.log(even) - np.log(np.maximum(matrix, 1e-300))
        loss = strength * (even * ratio).sum() - likelihood
        change = np.full((k, k), 1 / (k - 1)) - np.eye(k) * (1 + 1 / (k - 1))
        slope = link.rate * (1 - link.rate / _MOST_NOISE)
        pull = -counts - strength * even
        rows = pull - pull.sum(1, keepdims=True) * matrix
        return float(loss), residual, [votes, [strength * slope * (change * (ratio + 1)).sum()], rows.ravel()]

    def _of_distributions(
        self, prior: np.ndarray, link: NoiseLink
    ) -> tuple[float, np.ndarray, np.ndarray, list[float]]:
        """Give log-likelihood, prior less posterior, expected counts ``[clean, given]``, and the votes' gradient."""
        assert self.soft is not None
        if self.ballots is not None:
            return self._of_votes(self.ballots, prior, link)
        matrix = link.matrix
        evidence = np.maximum(matrix.T @ prior, 1e-300)
        ratio = self.weighted(self.soft / evidence)
        residual = self.weighted(prior) - prior * (matrix @ ratio)
        likelihood = float(self.weighted(self.soft * np.log(evidence)).sum())
        return likelihood, residual, matrix * (prior @ ratio.T), []

    def _of_votes(
        self, ballots: Ballots, prior: np.ndarray, link: NoiseLink
    ) -> tuple[float, np.ndarray, np.ndarray, list[float]]:
        """Give the same for all votes of a row together."""
        logs = ballots.log_likelihood(link.matrix, link.dependence)
        top = logs.max(0)
        joint = prior * np.exp(logs - top)
        self.labels.hold(joint)
        evidence = np.maximum(joint.sum(0), 1e-300)
        joint /= evidence
        counts, slope = ballots.slopes(link.matrix, link.dependence, self.weighted(joint))
        likelihood = float(self.weighted(np.log(evidence) + top).sum())
        return likelihood, self.weighted(prior - joint), counts, [-slope]


def _places(confusion: str, k: int) -> np.ndarray:
    """Say which number each entry of the confusion is, int64 ``[K, K]``; empty where all are 0."""
    if confusion == "none":
        return np.empty((0, 0), np.int64)
    if confusion == "each":
        return np.arange(k * k).reshape(k, k)
    place = np.zeros((k, k), np.int64)
    place[np.triu_indices(k)] = np.arange(k * (k + 1) // 2)
    return np.maximum(place, place.T)


def _first(problem: _Problem) -> NoiseLink:
    """Search sharpness on a grid, with six steps of expectation maximisation for the noise each."""
    k, form = problem.k, problem.form
    best, chosen = -np.inf, (12.0, even_matrix(0.3, k))
    for sharpness in _STARTS:
        prior, matrix, likelihood = softmax(sharpness * problem.scores), even_matrix(0.3, k), -np.inf
        for _ in range(6):
            likelihood, right, counts = _expected(problem, prior, matrix)
            matrix = even_matrix(float(np.clip(1 - right, 1e-3, 0.9)), k)
            if form.noise == "own":
                matrix = counts + 0.1 + _STRENGTH * problem.n / k * matrix
                matrix /= matrix.sum(1, keepdims=True)
        if likelihood > best:
            best, chosen = likelihood, (sharpness, matrix)
    sharpness, matrix = chosen
    rate = float(np.clip(1 - np.trace(matrix) / k, 1e-3, 0.9))
    return NoiseLink(form, sharpness, np.zeros(k), np.zeros((k, k)), rate, np.log(matrix))


def _expected(problem: _Problem, prior: np.ndarray, matrix: np.ndarray) -> tuple[float, float, np.ndarray]:
    """Give the log-likelihood, the share of right labels, and, for own noise, the counts ``[clean, given]``."""
    if problem.soft is not None:
        rows, zero = np.log(np.maximum(matrix, 1e-300)), np.zeros((problem.k, problem.k))
        link = NoiseLink(Form("none", "own"), 1.0, zero[0], zero, 0.0, rows)
        likelihood, _, counts, _ = problem._of_distributions(prior, link)
        return likelihood, float(np.trace(counts) / counts.sum()), counts
    joint = prior * matrix[:, problem.given]
    problem.labels.hold(joint)
    evidence = np.maximum(joint.sum(0), 1e-300)
    joint /= evidence
    right = float(problem.weighted(joint[problem.given, problem.each]).sum())
    counts = joint @ problem.onehot if problem.form.noise == "own" else matrix
    return float(problem.weighted(np.log(evidence)).sum()), right / problem.n, counts
