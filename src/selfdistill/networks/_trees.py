"""A forest of binary decision trees as flat arrays: where rows end, and what the leaves there say."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from selfdistill._core.errors import DataError

__all__ = ["Trees"]

_DEEPEST = 64  # splits between a root and a leaf, at most


class Trees(nn.Module):
    """Binary trees with axis-parallel splits: a row goes left where its column is at most the threshold.

    Splits and leaves are numbered through all trees. A number from 0 means a split, a negative one, ``~leaf``, a leaf.

    Args:
        splits: Number of splits of all trees together.
        trees: Number of trees, so that there are ``splits + trees`` leaves.

    Attributes:
        column: Column that a split looks at, int32 ``[splits]``.
        threshold: float32 ``[splits]``.
        below: Where a split sends a row, left and right, int32 ``[splits, 2]``; a child's number is above its own.
        roots: int32 ``[trees]``.

    Example:
        >>> trees = Trees(1, 1)
        >>> trees.below[0] = torch.tensor([~0, ~1])
        >>> trees.roots[0] = 0
        >>> trees(torch.tensor([[-1.0], [1.0]])).tolist()
        [[0], [1]]
    """

    column: Tensor
    threshold: Tensor
    below: Tensor
    roots: Tensor

    def __init__(self, splits: int, trees: int) -> None:
        super().__init__()
        self.register_buffer("column", torch.zeros(splits, dtype=torch.int32))
        self.register_buffer("threshold", torch.zeros(splits))
        self.register_buffer("below", torch.full((splits, 2), -1, dtype=torch.int32))
        self.register_buffer("roots", torch.full((trees,), -1, dtype=torch.int32))

    @property
    def leaves(self) -> int:
        """Number of leaves."""
        return len(self.column) + len(self.roots)

    def check(self, columns: int) -> None:
        """Refuse arrays that are no trees, such as those of a damaged file.

        Args:
            columns: Numbers per row.

        Raises:
            DataError: A column, child or root that does not exist, or a circle.
        """
        splits, below = len(self.column), self.below
        above = torch.arange(splits, device=below.device)[:, None]
        right = bool(((below > above) | (below < 0)).all()) and bool((self.roots < max(splits, 1)).all())
        inside = all(bool(((n < splits) & (n >= -self.leaves)).all()) for n in (below, self.roots))
        if not (right and inside and bool(((self.column >= 0) & (self.column < columns)).all())):
            raise DataError("the trees of this classifier are damaged", "Fit it again.")

    def forward(self, rows: Tensor) -> Tensor:
        """Find the leaves that rows end in.

        Args:
            rows: ``[b, d]``.

        Returns:
            Leaf of each row in each tree, int64 ``[b, trees]``. Cost: ``b`` times trees comparisons for each level.

        Raises:
            DataError: Trees deeper than 64 splits.
        """
        at = self.roots.long().expand(len(rows), -1).clone()
        if not len(self.column):
            return ~at
        for _ in range(_DEEPEST):
            inside = at >= 0
            if not bool(inside.any()):
                return ~at
            split = at.clamp(min=0)
            right = rows.gather(1, self.column[split].long()) > self.threshold[split]
            at = torch.where(inside, self.below[split, right.long()].long(), at)
        if bool((at >= 0).any()):
            raise DataError(f"a tree of this classifier is deeper than {_DEEPEST} splits", "Fit it again.")
        return ~at
