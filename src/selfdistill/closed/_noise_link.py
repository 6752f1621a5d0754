"""From scores that have not seen a label to a prior of the true class, and through a noise matrix to a posterior."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from selfdistill.closed._given import Given, as_given
from selfdistill.closed._votes import Ballots

__all__ = ["FORMS", "Form", "NoiseLink", "even_matrix", "softmax"]


@dataclass(frozen=True)
class Form:
    """What is free in a link.

    Attributes:
        confusion: Which classes' scores also speak for another class: ``"none"``, ``"both"`` ways alike, or ``"each"``
            way by itself.
        noise: ``"even"``: wrong labels spread evenly over the other classes, one rate for all; ``"own"``: each class
            has its own row, drawn to the even one.
    """

    confusion: Literal["none", "both", "each"]
    noise: Literal["even", "own"]

    @property
    def name(self) -> str:
        """Both in a word."""
        return f"{self.noise} noise, confusion {self.confusion}"


FORMS = (Form("none", "even"), Form("none", "own"), Form("both", "even"), Form("both", "own"), Form("each", "own"))
"""Every form that is tried; each begins where a simpler one ended."""


@dataclass(frozen=True, eq=False)
class NoiseLink:
    r"""Prior of the true class and noise matrix.

    .. math:: p_i = \mathrm{softmax}\bigl(\beta\,(f_i + f_i A) + b\bigr), \qquad
              P(y_i = j) = \sum_c p_i(c)\,T_{cj} .

    Attributes:
        form: What was free.
        sharpness: :math:`\beta`.
        bias: b, ``[K]``.
        confusion: A, ``[K, K]``.
        rate: Share of wrong labels of the even noise.
        rows: Logarithms of T's rows, ``[K, K]``, where each class has its own.
        dependence: d, how much the votes of one row depend on each other, from 0 on; see `Ballots`.
    """

    form: Form
    sharpness: float
    bias: np.ndarray
    confusion: np.ndarray
    rate: float
    rows: np.ndarray
    dependence: float = 0.1

    @property
    def matrix(self) -> np.ndarray:
        """T, ``[clean, given]``, rows sum to 1."""
        return even_matrix(self.rate, len(self.bias)) if self.form.noise == "even" else softmax(self.rows.T.copy()).T

    @property
    def calibration(self) -> np.ndarray:
        """The matrix B with ``logits = f B + b``."""
        return np.asarray(self.sharpness * (np.eye(len(self.bias)) + self.confusion))

    def prior(self, scores: np.ndarray) -> np.ndarray:
        """Compute the probabilities of the true class that the given label is no part of.

        Args:
            scores: f, ``[n, K]``.

        Returns:
            p, float64 ``[n, K]``.
        """
        return self._prior(scores).T

    def _prior(self, scores: np.ndarray) -> np.ndarray:
        """Of classes first: sums over a leading axis are several times faster."""
        return softmax(self.calibration.T @ np.asarray(scores, np.float64).T + self.bias[:, None])

    def posterior(self, scores: np.ndarray, given: np.ndarray | Given) -> tuple[np.ndarray, np.ndarray]:
        """Compute the probabilities of the true class, the given label known.

        Args:
            scores: f, ``[n, K]``.
            given: Labels, ``[n]``, or distributions, over which both results are expectations.

        Returns:
            q, float64 ``[n, K]``, and the log-likelihood of each given label in nats, ``[n]``; of settled rows, that of
            both labels.
        """
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
