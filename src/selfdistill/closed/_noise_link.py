"""From scores that have not seen a label to a prior of the true class, and through a noise matrix to a posterior."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from selfdistill.closed._given import Given, as_given
from selfdistill.closed._votes import Ballots


@dataclass(frozen=True)
class Form:
    """What is free in a link."""

    # Which classes' scores also speak for another class: ``"none"``, ``"both"`` ways alike, or ``"each"`` way by
    # itself.
    confusion: Literal["none", "both", "each"]
    # ``"even"``: wrong labels spread evenly over the other classes, one rate for all; ``"own"``: each class has its own
    # row, drawn to the even one.
    noise: Literal["even", "own"]

    @property
    def name(self) -> str:
        """Both in a word."""
        return f"{self.noise} noise, confusion {self.confusion}"


FORMS = (Form("none", "even"), Form("none", "own"), Form("both", "even"), Form("both", "own"), Form("each", "own"))
"""Every form that is tried; each begins where a simpler one ended."""


@dataclass(frozen=True, eq=False)
class NoiseLink:
    """Prior of the true class and noise matrix."""

    # From scores f, [n, K]: p = softmax(sharpness (f + f A) + b), and label j with probability sum over c of p_c T_cj.

    form: Form  # What was free.
    sharpness: float
    bias: np.ndarray  # b, ``[K]``.
    confusion: np.ndarray  # A, ``[K, K]``.
    rate: float  # Share of wrong labels of the even noise.
    rows: np.ndarray  # Logarithms of T's rows, ``[K, K]``, where each class has its own.
    dependence: float = 0.1  # d, how much the votes of one row depend on each other, from 0 on; see `Ballots`.

    @property
    def matrix(self) -> np.ndarray:
        """T, ``[clean, given]``, rows sum to 1."""
        return even_matrix(self.rate, len(self.bias)) if self.form.noise == "even" else softmax(self.rows.T.copy()).T

    @property
    def calibration(self) -> np.ndarray:
        """The matrix B with ``logits = f B + b``."""
        return np.asarray(self.sharpness * (np.eye(len(self.bias)) + self.confusion))

    def prior(self, scores: np.ndarray) -> np.ndarray:
        """Compute the probabilities of the true class that the given label is no part of."""
        return self._prior(scores).T

    def _prior(self, scores: np.ndarray) -> np.ndarray:
        """Of classes first: sums over a leading axis are several times faster."""
        return softmax(self.calibration.T @ np.asarray(scores, np.float64).T + self.bias[:, None])

    def posterior(self, scores: np.ndarray, given: np.ndarray | Given) -> tuple[np.ndarray, np.ndarray]:
        """Compute the probabilities of the true class, the given label known."""
        given = as_given(given, len(self.bias))
        joint = self._prior(scores)
        if given.votes is not None:
            assert given.soft is not None
            logs = Ballots(given.soft, given.votes).log_likelihood(self.matrix, self.dependence)
            top = logs.max(0)
            joint *= np.exp(logs - top)
            given.hold(joint)
            evidence = np.maximum(joint.sum(0), 1e-300)
            return (joint / evidence).T, np.log(evidence) + top
        if given.soft is not None:
            evidence = np.maximum(self.matrix.T @ joint, 1e-300)
            joint *= self.matrix @ (given.soft.T / evidence)
            return joint.T, (given.soft.T * np.log(evidence)).sum(0)
        joint *= self.matrix[:, given.codes]
        given.hold(joint)
        evidence = np.maximum(joint.sum(0), 1e-300)
        joint /= evidence
        return joint.T, np.log(evidence)


def even_matrix(rate: float, k: int) -> np.ndarray:
    """Spread wrong labels evenly over the other classes."""
    matrix = np.full((k, k), rate / (k - 1))
    np.fill_diagonal(matrix, 1 - rate)
    return matrix


def softmax(logits: np.ndarray) -> np.ndarray:
    """Over the first axis, in place."""
    logits -= logits.max(0)
    np.exp(logits, out=logits)
    logits /= logits.sum(0)
    return logits
