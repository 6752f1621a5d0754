"""The authors' family of self-distillation targets (Dong, Hou, Lu & Zhang 2019, arXiv 1910.01255).

The paper gives the target as a mixture of the given label and the network's own prediction under a label function h;
the five losses of its authors' code are settings of that one mixture, see `authors_loss`, and so is the sequential form
of its abstract, see `sequential`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Literal, final

import torch
from torch import Tensor

from selfdistill._core.dist import sum_over_processes
from selfdistill._core.errors import SettingError
from selfdistill._core.labels import one_hot
from selfdistill.targets._base import LabelTargets

LabelFunction = Callable[[Tensor], Tensor]
"""h: logits ``[b, K]`` (or log-probabilities, the same up to a constant) to a distribution ``[b, K]``."""


def hard(logits: Tensor) -> Tensor:
    """Label function h: the one-hot argmax."""
    return one_hot(logits.argmax(-1), logits.shape[-1])


def identity(logits: Tensor) -> Tensor:
    """Label function h: the prediction itself, softmax at temperature 1."""
    return _at_least_single(logits).softmax(-1)


def _at_least_single(logits: Tensor) -> Tensor:
    return logits.to(torch.promote_types(logits.dtype, torch.float32))


def temperature(value: float) -> LabelFunction:
    """Label function h: softmax of logits / value; below 1 it sharpens, towards 0 it is `hard`."""
    if value < 0:
        raise SettingError(f"temperature is {value}, but must be at least 0", "0 is the hard label, 1 the prediction.")
    return hard if value == 0 else partial(_tempered, value)


def _tempered(value: float, logits: Tensor) -> Tensor:
    return (_at_least_single(logits) / value).softmax(-1)


@dataclass(frozen=True)
class Agreement:
    """Weight of the own prediction = cap × share of examples whose argmax equals the given label."""

    # `"batch"`: this batch (over all processes), as the authors; `"epoch"`: the whole last epoch
    over: Literal["batch", "epoch"]
    cap: float = 1.0  # largest weight; 1, or 0.9 in the authors' loss 5


@final
class SelfDistillation(LabelTargets[Tensor]):
    r"""A mixture of the given label and the network's own prediction.

    .. math:: t_i = \alpha\, e_{y_i} + (1 - \alpha)\, h(z_i)

    With an instant prediction, h = identity and cross-entropy this is only a smaller step: the gradient in the logits
    is :math:`\alpha\,(p - e_y)`. Anything better needs a hard or sharpened h, or a lag. With an agreement weight,
    labels that are wrong more than half of the time lock in: on a wrong example the own weight must exceed 1/2 to
    keep the truth.

    Args:
        labels: Given labels y, int64 ``[n]``.
        num_classes: K.
        own: Whose prediction z: ``"instant"``, this batch's (detached); ``"previous"``, the previous epoch's. In the
            first epoch there is no previous one, and the target is the given label.
        function: h; `hard`, `identity` or ``temperature(t)``.
        given_weight: α: a number in [0, 1]; a function of progress (share of epochs done); or an `Agreement`.
        epochs: Number of epochs that a scheduled α spans.

    Raises:
        SettingError: A constant α outside [0, 1], or an unknown ``own``.

    References:
        Dong, Hou, Lu & Zhang (2019), arXiv 1910.01255.

    Example:
        >>> targets = SelfDistillation(torch.tensor([0]), 2, function=hard, given_weight=0.75)
        >>> targets.read(torch.tensor([0]), torch.tensor([[-1.0, 1.0]])).tolist()
        [[0.75, 0.25]]
    """

    epoch: Tensor
    alpha: Tensor

    def __init__(
        self,
        labels: Tensor,
        num_classes: int,
        *,
        own: Literal["instant", "previous"] = "instant",
        function: LabelFunction = hard,
        given_weight: float | Callable[[float], float] | Agreement = Agreement("batch"),
        epochs: int = 1,
    ) -> None:
        super().__init__(labels, num_classes)
        if own not in {"instant", "previous"}:
            raise SettingError(f"own is {own!r}, but must be 'instant' or 'previous'", "Pass one of the two.")
        if isinstance(given_weight, int | float) and not 0 <= given_weight <= 1:
            raise SettingError(f"given_weight is {given_weight}, but must be in [0, 1]", "1 is plain training.")
        self.own, self.function, self.given_weight, self.epochs = own, function, given_weight, epochs
        self.register_buffer("epoch", torch.zeros((), dtype=torch.int64))
        self.register_buffer("alpha", torch.tensor(self._alpha(0.0, agreement=0.0)))

    def _alpha(self, progress: float, agreement: float) -> float:
        if isinstance(self.given_weight, Agreement):
            return 1.0 - self.given_weight.cap * agreement
        return float(self.given_weight(progress) if callable(self.given_weight) else self.given_weight)

    @torch.no_grad()
    def read(self, index: Tensor, logits: Tensor | None = None) -> Tensor:
        """Return the targets of ``index``, ``[b, K]``; an instant prediction or a batch agreement needs ``logits``."""
        per_batch = isinstance(self.given_weight, Agreement) and self.given_weight.over == "batch"
        if logits is None and (self.own == "instant" or per_batch):
            raise SettingError("logits are missing, but this target looks at them", "Call read(index, logits).")
        given = self.given(index)
        previous = self.value[index].log() if self.own == "previous" else None
        own = self.function(logits if previous is None else previous)  # type: ignore[arg-type]  # checked above
        alpha = self._batch_alpha(index, logits) if per_batch and logits is not None else self.alpha
        return torch.lerp(own, given.to(own.dtype), alpha.to(own.dtype))

    def _batch_alpha(self, index: Tensor, logits: Tensor) -> Tensor:
        assert isinstance(self.given_weight, Agreement)
        right = (logits.argmax(-1) == self.labels[index]).sum()
        counts = sum_over_processes(torch.stack([right, torch.full_like(right, len(index))]).float())
        return 1.0 - self.given_weight.cap * counts[0] / counts[1]

    def commit(self, mean: Tensor, written: Tensor) -> None:
        """Keep the predictions, set α from the schedule or this epoch's agreement."""
        super().commit(mean, written)
        self.epoch += 1
        right = ((mean.argmax(-1) == self.labels) & written).sum()
        right, seen = self.shard.total(torch.stack([right, written.sum()])).tolist()
        agreement = right / max(seen, 1)
        self.alpha.fill_(self._alpha(min(self.epoch.item() / self.epochs, 1.0), agreement))


def authors_loss(number: int, labels: Tensor, num_classes: int, *, t: float = 0.0) -> SelfDistillation:
    """Build one of the five losses of the authors' code as a setting of `SelfDistillation`."""
    # number   own         h                weight of the own prediction, 1 − α
    # 1        instant     identity         0.2
    # 2        previous    identity         0.1
    # 3        instant     hard             agreement of the batch with the given labels
    # 4        instant     hard             0.1
    # 5        instant     temperature(t)   0.9 × agreement of the batch
    # The authors' loss is KL(target ‖ prediction), averaged over the batch; `losses.cross_entropy` has the same
    # gradient.
    # Dong, Hou, Lu & Zhang (2019), arXiv 1910.01255; constants from the authors' published loss functions.
    build = {
        1: lambda: SelfDistillation(labels, num_classes, function=identity, given_weight=0.8),
        2: lambda: SelfDistillation(labels, num_classes, own="previous", function=identity, given_weight=0.9),
        3: lambda: SelfDistillation(labels, num_classes, function=hard, given_weight=Agreement("batch")),
        4: lambda: SelfDistillation(labels, num_classes, function=hard, given_weight=0.9),
        5: lambda: SelfDistillation(labels, num_classes, function=temperature(t), given_weight=Agreement("batch", 0.9)),
    }
    if number not in build:
        raise SettingError(f"the authors' loss {number} does not exist", "Choose 1 to 5.")
    return build[number]()


def _fading(epochs: int, early: float, progress: float) -> float:
    return math.exp(-max(progress * epochs - early, 0.0) / early)


def sequential(labels: Tensor, num_classes: int, *, epochs: int, early: float = 5.0) -> SelfDistillation:
    """Build the sequential form: each epoch is taught by the hard predictions of the one before."""
    # t_i = \alpha_k\, e_{y_i} + (1 - \alpha_k)\, e_{\arg\max p_i^{(k-1)}}, \qquad
    # \alpha_k = e^{-\max(k - w,\, 0) / w}
    # with k the epochs done and w = ``early``. That the network of the previous epoch teaches is what the paper's
    # abstract says; that h is the hard label follows from the theory (a soft one only stops the clock); the schedule is
    # ours: the given label must lose its weight before wrong ones are memorised, in visits to an example and not as a
    # share of the run.
    # Dong, Hou, Lu & Zhang (2019), arXiv 1910.01255, abstract.
    if early <= 0:
        raise SettingError(f"early is {early}, but must be above 0", "Leave it out: 5 epochs.")
    return SelfDistillation(
        labels,
        num_classes,
        own="previous",
        function=hard,
        given_weight=partial(_fading, epochs, early),
        epochs=epochs,
    )
