"""The labels that outputs stand for, kept up to date while the outputs move in the eigenbasis."""

from __future__ import annotations

from typing import final

import numpy as np
from scipy.special import softmax

__all__ = ["HardLabels", "SoftLabels"]

_SLACK = 1e-9  # of margins: far above rounding of outputs and of the sum of movements, far below margins that matter


@final
class HardLabels:
    """One-hot predictions of ``F = V state``, of which only those are computed anew that may have changed."""

    # Row i of F is v_i times the state with |v_i| = 1, so a step with column norms d1 >= d2 >= ... changes the
    # difference of two outputs by at most d1 + d2. An example with margin m (largest output less the second) keeps its
    # label until these sums add up to m.

    def __init__(self, vectors: np.ndarray, outputs: np.ndarray, given: np.ndarray) -> None:
        self.vectors, self.given = vectors, given
        self.classes = outputs.argmax(1)
        self.coefficients = vectors.T @ np.eye(outputs.shape[1])[self.classes]
        self.agreement = float((self.classes == given).mean())
        self.total = 0.0
        self.until = _margins(outputs)
        self.rows_evaluated = self.flips = 0

    def moved(self, step: np.ndarray) -> None:
        """Take note of a step of the state, ``[n, C]``."""
        norms = np.sqrt(np.einsum("ij,ij->j", step, step))
        first, second = np.partition(norms, -2)[-2:]
        self.total += float(first + second)

    def look(self, state: np.ndarray) -> None:
        """Bring labels and their coefficients up to date with the state, ``[n, C]``."""
        rows = np.flatnonzero(self.until <= self.total)
        if not len(rows):
            return
        part = self.vectors if len(rows) == len(self.vectors) else self.vectors[rows]
        outputs = part @ state
        self.rows_evaluated += len(rows)
        self.until[rows] = self.total + _margins(outputs)
        found, old = outputs.argmax(1), self.classes[rows]
        changed = np.flatnonzero(found != old)
        if not len(changed):
            return
        self.flips += len(changed)
        difference = np.zeros((len(changed), state.shape[1]))
        order = np.arange(len(changed))
        difference[order, found[changed]] = 1
        difference[order, old[changed]] = -1
        self.coefficients += part[changed].T @ difference
        self.classes[rows] = found
        self.agreement = float((self.classes == self.given).mean())


@final
class SoftLabels:
    """Softmax of outputs over a temperature; all of them are computed anew each time."""

    def __init__(self, vectors: np.ndarray, outputs: np.ndarray, given: np.ndarray, temperature: float) -> None:
        self.vectors, self.given, self.temperature = vectors, given, temperature
        self.classes = outputs.argmax(1)
        self.rows_evaluated = self.flips = 0
        self._read(outputs)

    def moved(self, step: np.ndarray) -> None:
        """Take note of a step; there is nothing to note here."""

    def look(self, state: np.ndarray) -> None:
        """Bring labels and their coefficients up to date with the state, ``[n, C]``."""
        self.rows_evaluated += len(self.vectors)
        self._read(self.vectors @ state)

    def _read(self, outputs: np.ndarray) -> None:
        found = outputs.argmax(1)
        self.flips += int((found != self.classes).sum())
        self.classes = found
        self.coefficients = self.vectors.T @ softmax(outputs / self.temperature, axis=1)
        self.agreement = float((found == self.given).mean())


def _margins(outputs: np.ndarray) -> np.ndarray:
    """Largest output of each row less the second, less what rounding may hide."""
    top = np.partition(outputs, -2, axis=1)[:, -2:]
    margins: np.ndarray = (top[:, 1] - top[:, 0]) * (1 - _SLACK) - _SLACK * np.abs(outputs).max()
    return margins
