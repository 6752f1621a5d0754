"""Given labels: one class each or a distribution, and how many rows each counts as."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from selfdistill._core.errors import DataError

_MOST_VOTES = 250  # of a row: memory and time grow with it
_WHOLE = 0.1  # distance of a number of votes from a whole one
_TOLERANCE = 4e-3  # distance of a distribution's sum from 1: sixteen-bit rows of a thousand classes stay below


@dataclass(frozen=True, eq=False)
class Given:
    """Given labels of some rows."""

    # A distribution stands for as many copies of the row as it has classes, each with one label and its probability as
    # weight.

    codes: np.ndarray  # Labels, int64 ``[n]``; of distributions the likeliest class.
    k: int  # Number of classes.
    soft: np.ndarray | None = None  # Distributions, ``[n, K]``; ``None`` where each row has one label.
    weights: np.ndarray | None = None  # How many rows each counts as, float64 ``[n]``; ``None``: one.
    # True labels of rows that somebody settled, int64 ``[n]``, -1 for all others; ``None``: of none.
    settled: np.ndarray | None = None
    # Of how many votes each distribution is made, int64 ``[n]``; ``None`` where it stands for one label.
    votes: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.codes)

    def __getitem__(self, rows: Any) -> Given:
        """Take some rows, by slice, mask or positions."""
        more = (None if part is None else part[rows] for part in (self.soft, self.weights, self.settled, self.votes))
        return Given(self.codes[rows], self.k, *more)

    @property
    def total(self) -> float:
        """Number of rows that all count as."""
        return float(len(self)) if self.weights is None else float(self.weights.sum())

    @property
    def learned(self) -> np.ndarray:
        """Labels to learn from: the settled ones, else the given ones, ``[n]``."""
        return self.codes if self.settled is None else np.where(self.settled >= 0, self.settled, self.codes)

    @property
    def held(self) -> np.ndarray:
        """Positions of settled rows."""
        return np.empty(0, np.int64) if self.settled is None else np.flatnonzero(self.settled >= 0)

    def hold(self, joint: np.ndarray) -> None:
        """Leave settled rows their settled class alone."""
        if len(rows := self.held):
            assert self.settled is not None
            classes = self.settled[rows]
            there = np.maximum(joint[classes, rows], 1e-300)
            joint[:, rows] = 0
            joint[classes, rows] = there

    def taught(self) -> np.ndarray | None:
        """Positions of rows that count; ``None`` where all do."""
        if self.weights is None or self.weights.all():
            return None
        return np.flatnonzero(self.weights)

    def mean(self, values: np.ndarray) -> float:
        """Mean over rows, each with its weight."""
        return float(np.average(values, weights=self.weights))

    def targets(self, dtype: torch.dtype) -> Tensor:
        """Write labels as distributions."""
        if self.soft is not None:
            rows, held = np.array(self.soft, np.float64), self.held
            rows[held] = np.eye(self.k)[self.learned[held]]
            return torch.from_numpy(rows).to(dtype)
        return torch.nn.functional.one_hot(torch.from_numpy(self.learned), self.k).to(dtype)


def as_given(labels: np.ndarray | Given, k: int) -> Given:
    """Take labels of one class each as given labels."""
    return labels if isinstance(labels, Given) else Given(labels, k)


def check_given(labels: Any, k: int, weights: Any = None, settled: Any = None, votes: Any = None) -> Given:
    """Check labels and weights that come from outside."""
    array = labels.detach().cpu().numpy() if isinstance(labels, Tensor) else np.asarray(labels)
    soft = None
    if array.ndim == 2:
        soft = _checked(array, k)
        codes = (soft >= soft.max(1, keepdims=True) - 1e-6).argmax(1).astype(np.int64)  # rounding breaks no tie
        present = np.flatnonzero(soft.any(0))
    else:
        codes = array.astype(np.int64)
        present = np.unique(codes)
    if len(present) < 2:
        raise DataError(f"the labels hold {len(present)} class, but at least 2 are needed", "Give more data.")
    if present[0] < 0 or present[-1] >= k:
        raise DataError(
            f"labels run from {present[0]} to {present[-1]}, outside 0 to {k - 1}", "Number the classes from 0."
        )
    sample_weights = None if weights is None else _weights(weights, codes, soft)
    vote_counts = None if votes is None else _votes(votes, soft)
    true_labels = None if settled is None else _settled(settled, codes, soft is not None and vote_counts is None, k)
    return Given(codes, k, soft, sample_weights, true_labels, vote_counts)


def _votes(votes: Any, soft: np.ndarray | None) -> np.ndarray:
    counts = np.asarray(votes.cpu() if isinstance(votes, Tensor) else votes)
    if soft is None or counts.shape != (len(soft),) or counts.dtype.kind not in "iu" or counts.min(initial=1) < 1:
        raise DataError(
            f"the numbers of votes are {counts.dtype} of shape {counts.shape}, least {counts.min(initial=1)}, but must "
            "be one positive integer for each distribution",
            "Give shares of votes as labels, and how many votes each row has.",
        )
    if counts.max() > _MOST_VOTES:
        raise DataError(
            f"row {counts.argmax()} has {counts.max():,} votes, but at most {_MOST_VOTES:,} are explained one by one",
            "Give shares without numbers of votes: each row then counts as one label.",
        )
    whole = soft * counts[:, None]
    apart = np.abs(whole - np.rint(whole)).max(1)
    if apart.max() > _WHOLE:
        row = int(apart.argmax())
        raise DataError(
            f"the shares of row {row} are not whole votes: {counts[row]} times {soft[row].max():.4g} is "
            f"{whole[row].max():.4g}",
            "Give how many votes each row's shares are made of.",
        )
    return counts.astype(np.int64)


def _settled(settled: Any, codes: np.ndarray, soft: bool, k: int) -> np.ndarray | None:
    classes = np.asarray(settled.cpu() if isinstance(settled, Tensor) else settled, np.int64)
    if soft:
        raise DataError(
            "labels are settled, but given labels are distributions",
            "Give each example one label, or say how many votes each distribution is made of.",
        )
    if classes.shape != codes.shape or classes.min(initial=-1) < -1 or classes.max(initial=-1) >= k:
        raise DataError(
            f"the settled labels have shape {classes.shape} and run from {classes.min(initial=-1)} to "
            f"{classes.max(initial=-1)}, but there are {len(codes):,} examples of {k:,} classes",
            "Give each example its class, or -1.",
        )
    return classes if (classes >= 0).any() else None


def _checked(soft: np.ndarray, k: int) -> np.ndarray:
    if soft.shape[1] != k or soft.dtype.kind != "f":
        raise DataError(
            f"the label distributions are {soft.dtype} of shape {soft.shape}, but must be floats with {k} columns",
            "Give one probability for each example and class.",
        )
    with np.errstate(invalid="ignore"):
        total = soft.sum(1, dtype=np.float64)
        wrong = np.flatnonzero(~(np.abs(total - 1) <= _TOLERANCE) | (soft.min(1) < 0))
    if len(wrong):
        raise DataError(
            f"row {wrong[0]} of the label distributions holds {soft[wrong[0]].min():.6g} to {soft[wrong[0]].max():.6g} "
            f"and sums to {total[wrong[0]]:.6g}, but must hold probabilities that sum to 1",
            "Divide each row by its sum.",
        )
    return soft if np.abs(total - 1).max() < 1e-5 else (soft / total[:, None]).astype(soft.dtype)


def _weights(weights: Any, codes: np.ndarray, soft: np.ndarray | None) -> np.ndarray | None:
    values = np.asarray(weights.detach().cpu() if isinstance(weights, Tensor) else weights, np.float64)
    if values.shape != codes.shape:
        raise DataError(
            f"there are {len(codes):,} labels, but the weights have shape {values.shape}", "Give every example one."
        )
    bad = np.flatnonzero(~(np.isfinite(values) & (values >= 0)))
    if len(bad):
        raise DataError(
            f"the weight of row {bad[0]} is {values[bad[0]]}, but must be 0 or more and finite",
            "A weight says how many rows a row counts as; 0 leaves it out.",
        )
    classes = len(np.unique(codes[values > 0])) if soft is None else int((soft[values > 0] > 0).any(0).sum())
    if classes < 2 or values.sum() < 2:
        raise DataError(
            f"weighted rows must hold at least 2 classes and weights that sum to at least 2, but hold {classes} and "
            f"sum to {values.sum():.6g}",
            "A weight says how many rows a row counts as: give weights whose mean is about 1.",
        )
    return None if (values == 1).all() else values
