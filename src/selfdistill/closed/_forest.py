"""A random forest as a linear smoother: exact out-of-bag scores of any targets, round after round."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from selfdistill.closed._given import Given
from selfdistill.networks._kernel_machine import Trees

_TREES = 100
_LEAVES = (1, 2, 5, 10, 20)  # rows of a leaf, at least
_LEAF_ROWS = 1000  # that the leaf is chosen on, at most
_LEAF_TREES = 30  # by which it is chosen
_BAG = 5000  # rows that a tree grows on, at most: it bounds the classifier's size
_DEEPEST = 60


class Forest:
    """Trees that given labels grow once, and whose leaves any targets can fill."""

    # A leaf holds the mean target of the rows in its tree's bag, so for fixed trees all scores are linear in the
    # targets. The out-of-bag score of a row is the mean over the trees whose bag it is not in: its own target has no
    # part in it.
    # Breiman (2001), "Random Forests", section 3.1 (out-of-bag estimates).

    def __init__(self, inputs: Tensor, given: Given, leaf: int = 5, trees: int = _TREES) -> None:
        from sklearn.ensemble import RandomForestClassifier  # takes a second

        n, taught = len(given), given.taught()
        learners = given if taught is None else given[taught]
        bag = _BAG if len(learners) > _BAG else None
        model = RandomForestClassifier(
            trees, min_samples_leaf=leaf, max_depth=_DEEPEST, max_samples=bag, random_state=0
        )
        model.fit((inputs if taught is None else inputs[taught]).numpy(), learners.learned)
        self.trees = _flat(model.estimators_)
        drawn = [rows if taught is None else taught[rows] for rows in model.estimators_samples_]
        bags = torch.from_numpy(np.stack([np.bincount(rows, minlength=n) for rows in drawn]))
        self._at = self.trees(inputs).T.contiguous()  # [trees, n]
        outside = (bags == 0).float()
        self._outside = outside / outside.sum(0).clamp(min=1)
        self._bags = bags.float() if given.weights is None else bags * torch.from_numpy(given.weights).float()
        self._weight = torch.zeros(self.trees.leaves, dtype=torch.float64)
        for at, bag in zip(self._at, self._bags.double(), strict=True):
            self._weight.index_add_(0, at, bag)

    def add(self, sums: Tensor, targets: Tensor, rows: slice | Tensor = slice(None)) -> None:
        """Add targets of some rows, ``[b, K]``, to the sums of their leaves, ``[leaves, K]``."""
        for at, bag in zip(self._at[:, rows], self._bags[:, rows].to(targets.dtype), strict=True):
            sums.index_add_(0, at, (targets * bag[:, None]).to(sums.dtype))

    def means(self, sums: Tensor) -> Tensor:
        """Turn sums over all rows into means, ``[leaves, K]``; zero where the rows of a leaf have no weight."""
        return sums / self._weight.to(sums.dtype).clamp(min=1e-12)[:, None]

    def fill(self, targets: Tensor) -> Tensor:
        """Fill the leaves with mean targets, ``[n, K]`` to ``[leaves, K]``."""
        sums = targets.new_zeros(self.trees.leaves, targets.shape[1])
        self.add(sums, targets)
        return self.means(sums)

    def out_of_bag(self, values: Tensor, rows: slice | Tensor = slice(None)) -> Tensor:
        """Score rows by the trees that have not seen them, ``[b, K]``; zero where each tree has."""
        ends, shares = self._at[:, rows], self._outside[:, rows].to(values.dtype)
        scores = values.new_zeros(ends.shape[1], values.shape[1])
        for at, share in zip(ends, shares, strict=True):
            scores.addcmul_(values[at], share[:, None])
        return scores

    def move(self, scores: Tensor, change: Tensor, rows: Tensor) -> None:
        """Move out-of-bag scores of all rows, ``[n, K]``, by what new targets of some change, ``[m, K]``."""
        sums = torch.zeros(self.trees.leaves, change.shape[1], dtype=torch.float64)
        self.add(sums, change, rows)
        values, touched = self.means(sums).to(scores.dtype), sums.any(1)
        for at, share in zip(self._at, self._outside, strict=True):
            reached = touched[at].nonzero().flatten()
            if len(reached):
                scores.index_add_(0, reached, values[at[reached]] * share[reached, None].to(scores.dtype))


def leaf_of_least_error(inputs: Tensor, given: Given) -> int:
    """Choose the size of leaves whose out-of-bag scores come nearest to the given labels: the forest's ridge."""
    # Sizes are tried upwards until one is worse than the one before.
    if len(given) > _LEAF_ROWS:
        sample = np.linspace(0, len(given) - 1, _LEAF_ROWS).astype(int)
        inputs, given = inputs[torch.from_numpy(sample)], given[sample]
    targets, least, best = given.targets(torch.float32), np.inf, _LEAVES[0]
    for leaf in _LEAVES:
        forest = Forest(inputs, given, leaf, _LEAF_TREES)
        error = given.mean((targets - forest.out_of_bag(forest.fill(targets))).square().sum(1).double().numpy())
        if error >= least:
            break
        least, best = error, leaf
    return best


class ForestFold:
    """A forest on some rows, and what it says of the others: `Fold`'s counterpart."""

    def __init__(self, inside: Tensor, outside: Tensor, inputs: Tensor, given: Given, leaf: int) -> None:
        self.inside, self.outside = inside, outside
        self._forest = Forest(inputs[inside], given[inside.numpy()], leaf)
        self._at = self._forest.trees(inputs[outside]).T.contiguous()

    def fit(self, targets: Tensor, ridge: float) -> Tensor:
        """Fill the leaves."""
        return self._forest.fill(targets)

    def predict(self, targets: Tensor, weights: Tensor) -> Tensor:
        """Score the rows outside."""
        return sum((weights[at] for at in self._at), start=weights.new_zeros(())) / len(self._at)

    def leave_one_out(self, targets: Tensor, weights: Tensor, ridge: float) -> Tensor:
        """Score the rows inside, out of bag."""
        return self._forest.out_of_bag(weights)


def _flat(estimators: list[Any]) -> Trees:
    """Number the splits and leaves of scikit-learn's trees through."""
    splits = [tree.tree_.feature >= 0 for tree in estimators]
    trees = Trees(int(sum(s.sum() for s in splits)), len(estimators))
    split, leaf = 0, 0
    for i, (one, inner) in enumerate(zip(estimators, splits, strict=True)):
        number = np.where(inner, split + np.cumsum(inner) - 1, ~(leaf + np.cumsum(~inner) - 1)).astype(np.int32)
        here = slice(split, split + int(inner.sum()))
        trees.column[here] = torch.from_numpy(one.tree_.feature[inner].astype(np.int32))
        trees.threshold[here] = torch.from_numpy(_below(one.tree_.threshold[inner]))
        sides = np.stack([number[one.tree_.children_left[inner]], number[one.tree_.children_right[inner]]], 1)
        trees.below[here] = torch.from_numpy(sides)
        trees.roots[i] = int(number[0])
        split, leaf = here.stop, leaf + int((~inner).sum())
    return trees


def _below(thresholds: np.ndarray) -> np.ndarray:
    """Round to float32 so that float32 numbers stay on their side: down."""
    single = thresholds.astype(np.float32)
    return np.where(single > thresholds, np.nextafter(single, np.float32(-np.inf)), single)
