"""A teacher's logits over a training set, dense or the largest few, in sixteen bits: soft labels at any temperature."""

from __future__ import annotations

from typing import Any, final

import torch
from torch import Tensor, nn

from selfdistill._core.errors import SettingError

__all__ = ["SoftLogits", "choose_entries"]

DENSE_BYTES = 2**30
"""Up to this size all logits are kept."""
_ENTRIES = 10
_LEAST = -60_000.0  # the least of float16 is -65,504; exp of it is 0 at any temperature below 500


def choose_entries(rows: int, classes: int) -> int | None:
    """Choose by size how many logits of each row are kept.

    Args:
        rows: Examples times views.
        classes: K.

    Returns:
        ``None`` for all, where that takes up to 1 GiB; else 10.

    Example:
        >>> choose_entries(50_000, 100), choose_entries(1_280_000, 1000)
        (None, 10)
    """
    return None if 2 * rows * classes <= DENSE_BYTES or classes <= _ENTRIES else _ENTRIES


@final
class SoftLogits(nn.Module):
    r"""Logits less their largest, in float16, for each view of each example.

    Probabilities in sixteen bits do not do: below 3e-8 they are 0, where at temperature 4 a class may still hold 1 %.
    Of logits less their largest every temperature can be taken. With float16 rounding, to first order,

    .. math:: |\hat q_c - q_c| \le 2^{-11} (1/e + \log K) \qquad \text{at every temperature,}

    1.3e-3 for 10 classes, 3.6e-3 for 1,000. With k entries the k likeliest classes are kept and the rest is spread
    evenly: exact in sum at temperature 1, too large above it, for the mean of roots is below the root of the mean.

    Memory: ``2 v n K`` bytes dense; with k entries ``v n (3 k + 2)`` up to 256 classes, ``v n (4 k + 2)`` up to 32,767.
    It is no state: a checkpoint does not hold it, a file does.

    Args:
        views: Views of each example.
        n: Examples.
        classes: K.
        k: Entries kept per row; ``None``: all.

    Raises:
        SettingError: k below 1, or not below K.

    Example:
        >>> store = SoftLogits(1, 1, 4, k=2)
        >>> store.write(0, slice(0, 1), torch.tensor([[0.5, 0.25, 0.125, 0.125]]).log())
        >>> [round(p, 3) for p in store.probabilities(torch.tensor([0]))[0].tolist()]
        [0.5, 0.25, 0.125, 0.125]
    """

    value: Tensor
    kept: Tensor
    rest: Tensor

    def __init__(self, views: int, n: int, classes: int, *, k: int | None = None) -> None:
        super().__init__()
        if k is not None and not 1 <= k < classes:
            raise SettingError(
                f"{k} logits of each example are to be kept, but there are {classes} classes",
                f"Keep 1 to {classes - 1}, or all of them.",
            )
        self.classes, self.k = classes, k
        index = torch.uint8 if classes <= 256 else torch.int16 if classes <= 2**15 - 1 else torch.int32
        self.register_buffer("value", torch.zeros(views, n, k or classes, dtype=torch.float16), persistent=False)
        some = n if k is not None else 0
        self.register_buffer("kept", torch.zeros(views, some, k or 0, dtype=index), persistent=False)
        self.register_buffer("rest", torch.zeros(views, some, dtype=torch.float16), persistent=False)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Views, examples and classes."""
        return self.value.shape[0], self.value.shape[1], self.classes

    def write(self, view: int, rows: slice, logits: Tensor) -> None:
        """Fill rows.

        Args:
            view: Which view.
            rows: Which examples.
            logits: ``[b, K]``, up to a constant per row; minus infinity is legal.
        """
        shifted = (logits.float() - logits.float().amax(-1, keepdim=True)).clamp(min=_LEAST)
        if self.k is None:
            self.value[view, rows] = shifted.half()
            return
        top = shifted.topk(self.k, dim=-1)
        others = shifted.scatter(-1, top.indices, -torch.inf).logsumexp(-1)
        even = others - torch.tensor(float(self.classes - self.k)).log()
        self.value[view, rows] = top.values.half()
        self.kept[view, rows] = top.indices.to(self.kept.dtype)
        self.rest[view, rows] = even.clamp(min=_LEAST).half()

    def logits(self, index: Tensor, view: int = 0) -> Tensor:
        """Read logits less their largest.

        Args:
            index: Examples, int64 ``[b]``.
            view: Which view.

        Returns:
            float32 ``[b, K]``, at most 0.
        """
        value = self.value[view][index].float()
        if self.k is None:
            return value
        spread = self.rest[view][index].float()[:, None].expand(-1, self.classes)
        return spread.scatter(1, self.kept[view][index].long(), value)

    def probabilities(self, index: Tensor, view: int = 0, temperature: float = 1.0) -> Tensor:
        """Read soft labels.

        Args:
            index: Examples, int64 ``[b]``.
            view: Which view.
            temperature: T, above 0.

        Returns:
            float32 ``[b, K]``, rows sum to 1.
        """
        return (self.logits(index, view) / temperature).softmax(-1)

    def describe(self) -> dict[str, Any]:
        """Return ``kind``, ``views``, ``bytes`` and ``tolerance`` (of a probability), for the record."""
        parts = (self.value, self.kept, self.rest)
        bound = 2**-11 * (torch.tensor(1.0).exp().reciprocal() + torch.tensor(float(self.classes)).log())
        return {
            "kind": "float16 logits" if self.k is None else f"top-{self.k} float16 logits",
            "views": self.shape[0],
            "bytes": sum(part.numel() * part.element_size() for part in parts),
            "tolerance": round(float(bound), 5),
        }
