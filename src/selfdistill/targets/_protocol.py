"""What every target obeys."""

from __future__ import annotations

from typing import Any, Protocol, TypeVar, runtime_checkable

import torch
from torch import Tensor

__all__ = ["Targets", "one_hot"]

T_co = TypeVar("T_co", covariant=True)


@runtime_checkable
class Targets(Protocol[T_co]):
    """Per-sample state: what the network is asked to match, example by example.

    A target is an ``nn.Module`` whose state lives in buffers: it is in ``state_dict``, moves with ``.to()``, and merges
    over processes in `end_epoch`. `read` changes nothing, `write` stages, `end_epoch` commits.
    """

    def read(self, index: Tensor, logits: Tensor | None = None) -> T_co:
        """Say what to match.

        Args:
            index: Positions in the training set, int64 ``[b]``.
            logits: The network's outputs on this batch, ``[b, K]``, for targets that look at them.

        Returns:
            A distribution ``[b, K]``, or what the loss that goes with this target takes.
        """
        ...

    def write(self, index: Tensor, probabilities: Tensor) -> None:
        """Stage the network's predictions ``[b, K]`` on the examples ``index``."""
        ...

    def end_epoch(self) -> tuple[Tensor, Tensor]:
        """Commit what was staged, merged over processes.

        Returns:
            The epoch's mean predictions ``[n, K]``, and which examples were written, bool ``[n]``.
        """
        ...

    def refined(self) -> Tensor:
        """Return the refined label distributions, ``[n, K]``, rows sum to 1."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """Return the state, as ``nn.Module`` does."""
        ...

    def load_state_dict(self, state_dict: dict[str, Any]) -> Any:
        """Take the state back, as ``nn.Module`` does."""
        ...

    def to(self, device: torch.device) -> Any:
        """Move the state, as ``nn.Module`` does."""
        ...


def one_hot(labels: Tensor, num_classes: int) -> Tensor:
    """Turn labels into one-hot rows.

    Args:
        labels: int64 ``[n]``, values in ``[0, num_classes)``.
        num_classes: K.

    Returns:
        float32 ``[n, K]``.

    Example:
        >>> one_hot(torch.tensor([1]), 3).tolist()
        [[0.0, 1.0, 0.0]]
    """
    return torch.zeros(len(labels), num_classes, device=labels.device).scatter_(1, labels[:, None], 1.0)
