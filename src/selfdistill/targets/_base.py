"""What every target is: per-sample state that is read, written and committed at the end of an epoch."""

from __future__ import annotations

import sys
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, TypeVar, final

import numpy as np
import torch
from torch import Tensor, nn

from selfdistill._core.dist import world
from selfdistill._core.errors import SettingError
from selfdistill._core.labels import checked_labels, one_hot
from selfdistill._core.row_blocks import row_blocks, row_one_hot
from selfdistill._core.sample_mean import SampleMean
from selfdistill._core.shards import current_shard

T_co = TypeVar("T_co", covariant=True)

EVERY = slice(None)
LOOKS = 3
"""Writes of an epoch that are looked at."""
_OFF = 1e-2  # a row of sixteen-bit probabilities sums to 1 within a few thousandths


@dataclass(slots=True)
class _Noted:
    """What was written since the last end of an epoch to ``n`` examples; to set attributes of a module is slow."""

    n: int
    k: int
    writes: int = 0
    rows: int = 0
    by_position: int = 0
    writers: int = 1
    most: int = 0  # rows from which end_epoch seems forgotten


class Targets(nn.Module, ABC, Generic[T_co]):
    """Per-sample state: what the network is asked to match, example by example.

    The state lives in buffers: it is in ``state_dict``, moves with ``.to()``, and is merged over processes in
    `end_epoch`. `read` changes nothing, `write` stages, `end_epoch` commits. A target of your own implements `read`
    and, where it keeps more than the last epoch's predictions, `renewed` or `commit`.

    Memory: ``8 n K`` bytes.

    Args:
        value: The refined label distributions before training, ``[n, K]``, rows sum to 1.
    """

    value: Tensor
    in_blocks: ClassVar[bool] = True
    """Whether the state may lie in files, and over processes: nothing of ``n K`` entries is made in memory."""
    common: ClassVar[frozenset[str]] = frozenset()
    """Buffers with axes of which none counts examples."""

    def __init__(self, value: Tensor) -> None:
        super().__init__()
        self.register_buffer("value", value)
        self.staged = SampleMean(*value.shape)
        self.shard = current_shard(len(value))
        self._noted = _Noted(*value.shape)

    @property
    def writes(self) -> int:
        """How often `write` was called since the last `end_epoch`."""
        return self._noted.writes

    @abstractmethod
    def read(self, index: Tensor, logits: Tensor | None = None) -> T_co:
        """Say what to match.

        Args:
            index: Positions in the training set, int64 ``[b]``.
            logits: The network's outputs on this batch, ``[b, K]``, for targets that look at them.

        Returns:
            Distributions ``[b, K]``, or what the loss of this target takes.
        """

    def write(self, index: Tensor, probabilities: Tensor) -> None:
        """Stage the network's predictions ``[b, K]`` on the examples ``index``.

        Raises:
            SettingError: Another number of rows or classes; or, seen in the first writes of an epoch, rows that are no
                probabilities, or positions in the batch as ``index``.
        """  # noqa: DOC502 (raised by what is called)
        self.note(index, probabilities, sure=False)

    def note(self, index: Tensor, probabilities: Tensor | np.ndarray, *, sure: bool = True) -> None:
        """Do what `write` does; where predictions are ``sure`` to be right, without a look at them."""
        if not sure:
            if torch.compiler.is_compiling():
                self.staged.stage(index, probabilities)
                return
            if self._noted.writes < LOOKS or probabilities.shape != (len(index), self._noted.k):
                self._look(index, torch.as_tensor(probabilities))
        noted = self._noted
        noted.writes += 1
        noted.rows += len(probabilities)
        if noted.rows > noted.most:
            self._warn()
        staged: Any = self._modules["staged"]  # an attribute of a module takes longer
        staged.stage(index, probabilities)

    def _look(self, index: Tensor, probabilities: Tensor) -> None:
        """Refuse what is no prediction."""
        noted, b = self._noted, len(index)
        noted.writers = 1 if self.shard.spread else world()
        if probabilities.shape != (b, noted.k):
            raise SettingError(
                f"predictions of shape {list(probabilities.shape)} were written for {b} examples of {noted.k} classes",
                f"Pass probabilities [{b}, {noted.k}].",
            )
        check_probabilities(probabilities)
        noted.most = 2 * noted.n // noted.writers + b
        noted.by_position += b < noted.n and torch.equal(index, torch.arange(b, device=index.device))
        if noted.by_position == LOOKS:
            raise SettingError(
                f"{LOOKS} batches of {b} all had the index 0 to {b - 1}, but there are {noted.n:,} examples",
                "index is each example's position in the training set, not in the batch: see with_index.",
            )

    def _warn(self) -> None:
        """Warn where ``end_epoch`` seems forgotten."""
        noted = self._noted
        noted.most = sys.maxsize
        warnings.warn(
            f"{noted.rows * noted.writers:,} predictions were written since the last end_epoch, but there are "
            f"{noted.n:,} examples. Call end_epoch() after each epoch: until then nothing is learned from them.",
            UserWarning,
            stacklevel=4,
        )

    @torch.no_grad()
    def end_epoch(self) -> tuple[Tensor, Tensor]:
        """Commit what was staged, merged over processes.

        Returns:
            The epoch's mean predictions ``[n, K]``, and which examples were written, bool ``[n]``; of the rows that
            are kept here.

        Raises:
            SettingError: Nothing was written, or rows that are no probabilities.
        """
        mean, written = self.staged.merge()
        if not int(self.shard.total(written.sum())):
            raise SettingError(
                "end_epoch was called, but nothing was written since the last one",
                "Call write (or the loss of RobustTargets) in each step, and end_epoch once after each epoch.",
            )
        for rows in row_blocks(*mean.shape):
            check_probabilities(mean[rows] + (~written[rows] / mean.shape[1])[:, None])
        self._noted = _Noted(self._noted.n, self._noted.k)
        self.commit(mean, written)
        return mean, written

    def commit(self, mean: Tensor, written: Tensor) -> None:
        """Take an epoch's mean predictions ``[n, K]`` of the examples that were written, bool ``[n]``."""
        for rows in row_blocks(*mean.shape):
            value = self.value[rows]
            value.copy_(torch.where(written[rows, None], self.renewed(mean[rows], value), value))

    def renewed(self, mean: Tensor, value: Tensor) -> Tensor:
        """Return what takes the place of ``value``, ``[m, K]`` of some examples, after their mean predictions."""
        return mean

    def refined(self, rows: slice = EVERY) -> Tensor:
        """Return the refined label distributions of all examples, or of some: ``[n, K]``, rows sum to 1."""
        return self.value[rows]


class LabelTargets(Targets[T_co]):
    """Targets that keep the given labels.

    Args:
        labels: Given labels, int64 ``[n]``.
        num_classes: K.
    """

    labels: Tensor

    def __init__(self, labels: Tensor, num_classes: int) -> None:
        labels = checked_labels(labels, num_classes)
        super().__init__(row_one_hot(labels, num_classes))
        self.num_classes = num_classes
        self.register_buffer("labels", labels.clone())

    def given(self, index: Tensor) -> Tensor:
        """Return the given labels of ``index`` one-hot, float32 ``[b, K]``."""
        return one_hot(self.labels.index_select(0, index), self.num_classes)


@final
class GivenLabels(LabelTargets[Tensor]):
    """Targets of plain training: the given label, one-hot.

    Args:
        labels: Given labels, int64 ``[n]``.
        num_classes: K.

    Example:
        >>> targets = GivenLabels(torch.tensor([1, 0]), 2)
        >>> targets.read(torch.tensor([0])).tolist()
        [[0.0, 1.0]]
    """

    def read(self, index: Tensor, logits: Tensor | None = None) -> Tensor:
        """Return the given labels of ``index`` one-hot, ``[b, K]``."""
        return self.given(index)


@final
class FixedTargets(Targets[Tensor]):
    """Targets that someone else made: the labels that a first training refined, or a teacher's predictions.

    Memory: ``12 n K`` bytes.

    Args:
        target: Distributions ``[n, K]``, rows sum to 1.

    Raises:
        SettingError: ``target`` has not two axes.

    Example:
        >>> targets = FixedTargets(torch.tensor([[0.25, 0.75]]))
        >>> targets.write(torch.tensor([0]), torch.tensor([[1.0, 0.0]]))
        >>> _ = targets.end_epoch()
        >>> targets.read(torch.tensor([0])).tolist(), targets.refined().tolist()
        ([[0.25, 0.75]], [[1.0, 0.0]])
    """

    target: Tensor

    def __init__(self, target: Tensor) -> None:
        if target.ndim != 2:
            raise SettingError(f"target has {target.ndim} axes, but must have two", "Pass distributions [n, K].")
        target = target.detach().float()
        super().__init__(target.clone())
        self.register_buffer("target", target.clone())

    def read(self, index: Tensor, logits: Tensor | None = None) -> Tensor:
        """Return the targets of ``index``, ``[b, K]``."""
        return self.target.index_select(0, index)


def never_hard(progress: float) -> float:
    """Leave a memory as it is, whatever the progress."""
    return 0.0


@final
class Memory(Targets[Tensor]):
    r"""Exponential average of each example's predictions over epochs, started at the given label.

    .. math::

        m_i^{(0)} = e_{y_i}, \qquad m_i^{(k+1)} = \beta\, m_i^{(k)} + (1 - \beta)\, \bar p_i^{(k)}, \qquad
        t_i = (1 - s)\, m_i + s\, e_{\arg\max m_i}

    The weight of the given label falls geometrically, as :math:`\beta^k`. ``hardness`` s turns the target from the
    average itself (0) to its argmax (1).

    Args:
        labels: Given labels, int64 ``[n]``.
        num_classes: K.
        momentum: β in [0, 1); per epoch.
        hardness: s as a function of progress, the share of epochs done, in [0, 1].
        epochs: Number of epochs that ``hardness`` spans.

    Raises:
        SettingError: ``momentum`` outside [0, 1) or ``epochs`` below 1.

    References:
        Laine & Aila (2017), arXiv 1610.02242 (temporal ensembling); Huang et al. (2020), arXiv 2002.10319, start at the
        given label; Lu & He (2022), arXiv 2205.01156 (the geometric decay).

    Example:
        >>> memory = Memory(torch.tensor([0]), 2, momentum=0.5)
        >>> memory.write(torch.tensor([0]), torch.tensor([[0.0, 1.0]]))
        >>> memory.read(torch.tensor([0])).tolist()  # staged, not yet committed
        [[1.0, 0.0]]
        >>> _ = memory.end_epoch()
        >>> memory.read(torch.tensor([0])).tolist()
        [[0.5, 0.5]]
    """

    epoch: Tensor
    hardness: Tensor

    def __init__(
        self,
        labels: Tensor,
        num_classes: int,
        *,
        momentum: float = 0.9,
        hardness: Callable[[float], float] = never_hard,
        epochs: int = 1,
    ) -> None:
        check_momentum(momentum, "0.9 is a good start.")
        if epochs < 1:
            raise SettingError(f"epochs is {epochs}, but must be at least 1", "Pass the number of epochs of the run.")
        super().__init__(row_one_hot(checked_labels(labels, num_classes), num_classes))
        self.momentum = momentum
        self.epochs = epochs
        self._schedule = hardness
        self.register_buffer("epoch", torch.zeros((), dtype=torch.int64))
        self.register_buffer("hardness", torch.tensor(float(hardness(0.0))))

    @torch.no_grad()
    def read(self, index: Tensor, logits: Tensor | None = None) -> Tensor:
        """Return the targets of ``index``, ``[b, K]``."""
        value = self.value[index]
        return torch.lerp(value, one_hot(value.argmax(-1), value.shape[-1]), self.hardness)

    def renewed(self, mean: Tensor, value: Tensor) -> Tensor:
        """Return the average of memory and predictions."""
        return torch.lerp(mean, value, self.momentum)

    def commit(self, mean: Tensor, written: Tensor) -> None:
        """Average the predictions into the memory and move the schedule on."""
        super().commit(mean, written)
        self.epoch += 1
        self.hardness.fill_(self._schedule(min(self.epoch.item() / self.epochs, 1.0)))


def check_probabilities(rows: Tensor) -> None:
    """Refuse rows ``[b, K]`` that are no distributions; what is no number at all passes, the loss tells of it."""
    off = (rows.sum(-1, dtype=torch.float32) - 1).abs().max() if rows.is_floating_point() else torch.tensor(1.0)
    if bool((off > _OFF) | (rows.min() < -_OFF)):
        worst = int((rows.float().sum(-1) - 1).abs().argmax())
        raise SettingError(
            f"the predictions of a row sum to {float(rows[worst].sum()):.4g} and go down to {float(rows.min()):.4g}, "
            "but must be probabilities",
            "Write logits.softmax(-1), not the logits.",
        )


def check_momentum(momentum: float, hint: str, name: str = "momentum") -> None:
    """Refuse a momentum outside [0, 1)."""
    if not 0 <= momentum < 1:
        raise SettingError(f"{name} is {momentum}, but must be in [0, 1)", hint)


def check_logits(logits: Tensor | None) -> Tensor:
    """Refuse to read without logits."""
    if logits is None:
        raise SettingError("logits are missing, but this target looks at them", "Call read(index, logits).")
    return logits
