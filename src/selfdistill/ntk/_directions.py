"""Which outputs a kernel looks at: for each example R directions in the space of its C logits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal, get_args

import torch
from torch import Tensor

from selfdistill._core.errors import SettingError

Output = Literal["trace", "sum", "centered", "fisher", "full", "fisher_full"]


@dataclass(frozen=True)
class Directions:
    """The R directions v in the space of the C logits along which each example's outputs are differentiated."""

    # trace       the C logits, summed over                   R = C
    # sum         their sum                                   R = 1
    # centered    an orthonormal basis of what sums to 0      R = C - 1
    # fisher      sqrt(p_r) (e_r - p), with p = softmax(f)    R = C
    # full        the C logits, each a row of its own         R = C
    # fisher_full is to fisher what full is to trace.
    output: Output  # name
    classes: int  # C

    def __post_init__(self) -> None:
        if self.output not in get_args(Output):
            raise SettingError(f"output is {self.output!r}", f"Choose one of {', '.join(get_args(Output))}.")
        if self.output == "centered" and self.classes < 2:
            raise SettingError(
                f"output='centered' has no direction left where the network has {self.classes} output",
                "Use output='trace'.",
            )

    def refuse_more_axes(self, shape: tuple[int, ...]) -> None:
        """Refuse what softmax is part of where it is not said which axis holds the classes."""
        if len(shape) > 1 and self.output in {"centered", "fisher", "fisher_full"}:
            raise SettingError(
                f"output={self.output!r} needs one row of logits for each example, but the network returns "
                f"[n, {', '.join(map(str, shape))}]",
                "Use 'trace', 'sum' or 'full', or wrap the network in a module that picks a position.",
            )

    @property
    def traced(self) -> bool:
        """Whether directions are summed over, so that the kernel has a row for each example."""
        return self.output not in {"full", "fisher_full"}

    @property
    def count(self) -> int:
        """R."""
        return {"sum": 1, "centered": self.classes - 1}.get(self.output, self.classes)

    def of(self, logits: Tensor) -> Tensor:
        """Give the directions of some examples."""
        m, c = logits.shape
        if self.output in {"fisher", "fisher_full"}:
            p = logits.detach().softmax(-1)
            eye = torch.eye(c, dtype=p.dtype, device=p.device)
            return p.sqrt()[:, :, None] * (eye - p[:, None, :])
        if self.output == "sum":
            rows = logits.new_ones(1, c)
        elif self.output == "centered":
            rows = _helmert(c).to(logits)
        else:
            rows = torch.eye(c, dtype=logits.dtype, device=logits.device)
        return rows.expand(m, *rows.shape)


@dataclass(frozen=True)
class RandomDirection:
    """One random combination of the directions, the same for each example: what a check looks at."""

    base: Directions  # the directions
    count: ClassVar[int] = 1
    traced: ClassVar[bool] = True

    @property
    def weights(self) -> Tensor:
        """What the directions are multiplied by, float64 ``[R]``."""
        return torch.randn(self.base.count, generator=torch.Generator().manual_seed(1), dtype=torch.float64)

    def of(self, logits: Tensor) -> Tensor:
        """Give the combination: ``[m, 1, C]``."""
        return torch.einsum("r,mrc->mc", self.weights.to(logits), self.base.of(logits))[:, None]


def _helmert(c: int) -> Tensor:
    """Orthonormal rows ``[c - 1, c]``, each of which sums to 0 (Helmert's basis)."""
    rows = torch.zeros(c - 1, c, dtype=torch.float64)
    for r in range(1, c):
        rows[r - 1, :r], rows[r - 1, r] = 1.0, -float(r)
        rows[r - 1] /= (r * (r + 1)) ** 0.5
    return rows
