"""Every method by name: the targets it keeps and the loss it takes. A new one joins this table and its common tests."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from selfdistill import losses, targets
from selfdistill._core.errors import SettingError
from selfdistill.train._settings import VISIT_STEPS

__all__ = ["METHODS", "Method", "method"]

LossFn = Callable[[Tensor, Any], Tensor]


@dataclass(frozen=True)
class Method:
    """A method of training.

    Attributes:
        build: Given labels ``[n]``, number of classes, epochs, and steps per epoch, to targets.
        loss: Logits and what the targets read to one value per example.
        summary: One line for ``--help`` and the documentation.
    """

    build: Callable[[Tensor, int, int, int], targets.Targets[Any]]
    loss: LossFn
    summary: str


def _authors(number: int) -> Method:
    return Method(
        lambda labels, k, epochs, steps: targets.authors_loss(number, labels, k),
        losses.cross_entropy,
        f"the authors' loss {number} (Dong et al. 2019)",
    )


METHODS: dict[str, Method] = {
    "selfdistill": Method(
        lambda labels, k, epochs, steps: targets.Posterior(labels, k, stretch=max(1.0, VISIT_STEPS / steps)),
        losses.anchored_cross_entropy,
        "the default: previous epochs' predictions through a noise matrix learned on the way",
    ),
    "cross-entropy": Method(
        lambda labels, k, epochs, steps: targets.Given(labels, k),
        losses.cross_entropy,
        "plain training on the given labels",
    ),
    "memory": Method(
        lambda labels, k, epochs, steps: targets.Memory(labels, k, epochs=epochs, hardness=lambda progress: progress),
        losses.cross_entropy,
        "average of each example's predictions, its reading turned from soft to hard",
    ),
} | {f"dong-{number}": _authors(number) for number in range(1, 6)}


def method(name: str) -> Method:
    """Look a method up.

    Args:
        name: One of `METHODS`.

    Returns:
        The method.

    Raises:
        SettingError: No such method; names the nearest and all.
    """
    if name not in METHODS:
        near = difflib.get_close_matches(name, METHODS, n=1)
        hint = f"Did you mean {near[0]}? " if near else ""
        raise SettingError(f"method {name!r} does not exist", f"{hint}Choose one of: {', '.join(METHODS)}.")
    return METHODS[name]
