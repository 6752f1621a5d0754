"""A teacher's logits over a training set, dense or the largest few, in sixteen bits, and the targets made of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, final

import torch
from torch import Tensor, nn

from selfdistill._core.errors import SettingError
from selfdistill.targets._base import LabelTargets

DENSE_BYTES = 2**30
"""Up to this size all logits are kept."""
_ENTRIES = 10
_LEAST = -60_000.0  # the least of float16 is -65,504; exp of it is 0 at any temperature below 500


def choose_entries(rows: int, classes: int) -> int | None:
    """Choose by size how many logits of each row are kept."""
    return None if 2 * rows * classes <= DENSE_BYTES or classes <= _ENTRIES else _ENTRIES


@final
class SoftLogits(nn.Module):
    """Logits less their largest, in float16, of each example."""

    # Probabilities in sixteen bits do not do: below 3e-8 they are 0, where at temperature 4 a class may still hold 1 %.
    # Of logits less their largest every temperature can be taken. With float16 rounding, to first order,
    # |\hat q_c - q_c| \le 2^{-11} (1/e + \log K) \qquad \text{at every temperature,}
    # 1.3e-3 for 10 classes, 3.6e-3 for 1,000. With k entries the k likeliest classes are kept and the rest is spread
    # evenly: exact in sum at temperature 1, too large above it, for the mean of roots is below the root of the mean.
    # Memory: ``2 n K`` bytes dense; with k entries ``n (3 k + 2)`` up to 256 classes, ``n (4 k + 2)`` up to 32,767. It
    # is no state: a checkpoint does not hold it, a file does.

    value: Tensor
    kept: Tensor
    rest: Tensor

    def __init__(self, n: int, classes: int, *, k: int | None = None) -> None:
        super().__init__()
        if k is not None and not 1 <= k < classes:
            raise SettingError(
                f"{k} logits of each example are to be kept, but there are {classes} classes",
                f"Keep 1 to {classes - 1}, or all of them.",
            )
        self.classes, self.k = classes, k
        index = torch.uint8 if classes <= 256 else torch.int16 if classes <= 2**15 - 1 else torch.int32
        self.register_buffer("value", torch.zeros(n, k or classes, dtype=torch.float16), persistent=False)
        some = n if k is not None else 0
        self.register_buffer("kept", torch.zeros(some, k or 0, dtype=index), persistent=False)
        self.register_buffer("rest", torch.zeros(some, dtype=torch.float16), persistent=False)

    @property
    def shape(self) -> tuple[int, int]:
        """Number of examples and of classes."""
        return len(self.value), self.classes

    def write(self, rows: slice, logits: Tensor) -> None:
        """Fill rows with logits ``[b, K]``, up to a constant per row; minus infinity is legal."""
        shifted = (logits.float() - logits.float().amax(-1, keepdim=True)).clamp(min=_LEAST)
        if self.k is None:
            self.value[rows] = shifted.half()
            return
        top = shifted.topk(self.k, dim=-1)
        others = shifted.scatter(-1, top.indices, -torch.inf).logsumexp(-1)
        even = others - torch.tensor(float(self.classes - self.k)).log()
        self.value[rows] = top.values.half()
        self.kept[rows] = top.indices.to(self.kept.dtype)
        self.rest[rows] = even.clamp(min=_LEAST).half()

    def logits(self, index: Tensor) -> Tensor:
        """Read the logits less their largest of examples ``index``, int64 ``[b]``: float32 ``[b, K]``, at most 0."""
        value = self.value[index].float()
        if self.k is None:
            return value
        spread = self.rest[index].float()[:, None].expand(-1, self.classes)
        return spread.scatter(1, self.kept[index].long(), value)

    def probabilities(self, index: Tensor, temperature: float = 1.0) -> Tensor:
        """Read soft labels of examples ``index`` at a temperature above 0: float32 ``[b, K]``, rows sum to 1."""
        return (self.logits(index) / temperature).softmax(-1)

    def describe(self) -> dict[str, Any]:
        """Return ``kind``, ``bytes`` and ``tolerance`` (of a probability), for the record."""
        parts = (self.value, self.kept, self.rest)
        bound = 2**-11 * (torch.tensor(1.0).exp().reciprocal() + torch.tensor(float(self.classes)).log())
        return {
            "kind": "float16 logits" if self.k is None else f"top-{self.k} float16 logits",
            "bytes": sum(part.numel() * part.element_size() for part in parts),
            "tolerance": round(float(bound), 5),
        }


@final
class TeacherTargets(LabelTargets[Any]):
    """What to match, from a teacher's stored logits; the teacher itself is not asked again.

    The student's own predictions are kept for the record only.

    Args:
        labels: Given labels, int64 ``[n]``.
        store: The teacher's logits.
        reading: From given labels as distributions and the teacher's logits, both ``[b, K]``, to what the loss takes.

    Example:
        >>> store = SoftLogits(1, 2)
        >>> store.write(slice(0, 1), torch.tensor([[0.25, 0.75]]).log())
        >>> targets = TeacherTargets(torch.tensor([0]), store, lambda given, teacher: teacher.softmax(-1))
        >>> targets.read(torch.tensor([0])).round(decimals=2).tolist()
        [[0.25, 0.75]]
    """

    def __init__(self, labels: Tensor, store: SoftLogits, reading: Callable[[Tensor, Tensor], Any]) -> None:
        super().__init__(labels, store.shape[1])
        self.store, self.reading = store, reading

    def read(self, index: Tensor, logits: Tensor | None = None) -> Any:
        """Return what the loss takes for the examples ``index``."""
        return self.reading(self.given(index), self.store.logits(index))
