"""Two networks that train side by side, each with its own weights."""

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__ = ["Pair"]


class Pair(nn.Module):
    r"""Two networks as one module.

    In training mode both networks' logits come out side by side; in evaluation mode, one set of logits whose softmax is
    the mean of both predictions:

    .. math:: z = \log \tfrac12 (\mathrm{softmax}(a(x)) + \mathrm{softmax}(b(x)))

    Args:
        a: A network, ``[n, ...] → [n, K]``.
        b: Another of the same kind.

    References:
        Han et al. (2018), arXiv 1804.06872 (two networks that teach each other).

    Example:
        >>> pair = Pair(nn.Linear(3, 2), nn.Linear(3, 2))
        >>> pair(torch.zeros(4, 3)).shape, pair.eval()(torch.zeros(4, 3)).shape
        (torch.Size([4, 2, 2]), torch.Size([4, 2]))
    """

    def __init__(self, a: nn.Module, b: nn.Module) -> None:
        super().__init__()
        self.a, self.b = a, b

    def forward(self, x: Tensor, which: int | None = None) -> Tensor:
        """Return logits ``[n, 2, K]`` in training mode, ``[n, K]`` in evaluation mode; of one network, if it is named.

        Args:
            x: Inputs ``[n, ...]``.
            which: 0 for the first network alone, 1 for the second.

        Returns:
            Logits.
        """
        if which is not None:
            one: Tensor = (self.a, self.b)[which](x)
            return one
        logits = torch.stack([self.a(x), self.b(x)], dim=1)
        if self.training:
            return logits
        return logits.float().log_softmax(-1).logsumexp(1) - torch.tensor(2.0, device=logits.device).log()
