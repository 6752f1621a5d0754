"""Batches of a set that lies on the device as one tensor."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor

from selfdistill._core.errors import SettingError
from selfdistill._core.rng import torch_generator


class Batch(NamedTuple):
    """One batch. The index is never optional: per-sample targets live by it.

    Attributes:
        inputs: Network inputs, ``[b, ...]``.
        index: Position of each example in the training set, int64 ``[b]``.
        labels: Given (possibly wrong) labels, int64 ``[b]``.
        weight: 1 for a real example, 0 for one that only pads the shard of a process; ``None`` where all are real.
        total: Real examples of this step over all processes.
    """

    inputs: Tensor
    index: Tensor  # type: ignore[assignment]  # the field's word; hides tuple.index, which no batch needs
    labels: Tensor
    weight: Tensor | None
    total: int


_TOGETHER = 2**20  # bytes of inputs


def eval_batches(
    inputs: Tensor, labels: Tensor | None = None, batch_size: int = 1024, *, device: torch.device | str | None = None
) -> Iterator[Batch]:
    """Cut a set in order; the last batch holds what is left.

    Args:
        inputs: ``[n, ...]``.
        labels: int64 ``[n]``; ``None``: every label is −1.
        batch_size: Examples per batch.
        device: Where the batches go; ``None``: where the inputs lie.

    Yields:
        Batches whose index is that of the set.

    Raises:
        SettingError: ``batch_size`` is below 1.

    Example:
        >>> [len(batch.index) for batch in eval_batches(torch.zeros(5, 2), batch_size=2)]
        [2, 2, 1]
    """
    if batch_size < 1:
        raise SettingError(f"batch_size is {batch_size}, but must be at least 1", "Pass a larger batch_size.")
    place = inputs.device if device is None else torch.device(device)
    for start in range(0, len(inputs), batch_size):
        part = inputs[start : start + batch_size].to(place)
        index = torch.arange(start, start + len(part), device=place)
        given = torch.full_like(index, -1) if labels is None else labels[start : start + batch_size].to(place)
        yield Batch(part, index, given, None, len(part))


class TensorLoader:
    """Shuffled batches of a set that stays on the device.

    The permutation of epoch ``e`` depends on ``seed`` and ``e`` alone: not on the device, not on the number of
    processes, and there is no state to save. It is cut into global batches of ``batch_size``; a leftover smaller than
    ``2 * world`` joins the batch before it, because batch normalisation needs two examples per process. Process
    ``rank`` takes ``batch[rank::world]``. Where that leaves some processes one short, they repeat the first example of
    the batch with weight 0, so that all take equally many.

    Args:
        inputs: ``[n, ...]``.
        labels: int64 ``[n]``.
        batch_size: Examples per step over all processes.
        seed: Master seed of the run.
        device: Where the set is kept.
        shuffle: Permute each epoch; else the data's order.
        rank: This process, in ``[0, world)``.
        world: Number of processes.
        only: Positions of the examples to draw, int64 ``[m]``; the others are held out, the batches' ``index`` stays
            that of the whole set. ``None``: all.

    Raises:
        SettingError: A setting out of range, or no data.

    Example:
        >>> loader = TensorLoader(torch.zeros(5, 2), torch.arange(5), 2, seed=0, shuffle=False)
        >>> [batch.labels.tolist() for batch in loader.epoch(0)]
        [[0, 1], [2, 3, 4]]
    """

    def __init__(
        self,
        inputs: Tensor,
        labels: Tensor,
        batch_size: int,
        *,
        seed: int,
        device: torch.device | str = "cpu",
        shuffle: bool = True,
        rank: int = 0,
        world: int = 1,
        only: Tensor | None = None,
    ) -> None:
        if batch_size < 1:
            raise SettingError(f"batch_size is {batch_size}, but must be at least 1", "Pass a larger batch_size.")
        if not 0 <= rank < world:
            raise SettingError(f"rank is {rank} of {world} processes", "Pass 0 <= rank < world.")
        if len(inputs) != len(labels) or not len(labels):
            raise SettingError(
                f"{len(inputs)} inputs and {len(labels)} labels", "Pass as many labels as inputs, at least one."
            )
        self.inputs = inputs.to(device)
        self.labels = labels.to(device)
        self.only = None if only is None else only.to(device)
        self.batch_size, self.seed, self.shuffle, self.rank, self.world = batch_size, seed, shuffle, rank, world

    @property
    def drawn(self) -> int:
        """Examples per epoch."""
        return len(self.labels) if self.only is None else len(self.only)

    def _cuts(self) -> list[int]:
        n = self.drawn
        cuts = [*range(0, n, self.batch_size), n]
        if len(cuts) > 2 and cuts[-1] - cuts[-2] < min(2 * self.world, self.batch_size):
            del cuts[-2]
        return cuts

    def __len__(self) -> int:
        """Steps per epoch."""
        return len(self._cuts()) - 1

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """Yield this process's part of every batch.

        Args:
            epoch: Which permutation.
            start: First step, to go on in the middle of an epoch.

        Yields:
            Batches; ``weight`` is ``None`` where no process is padded in the step.
        """
        n, device = self.drawn, self.labels.device
        order = (
            torch.randperm(n, generator=torch_generator(self.seed, "shuffle", epoch))
            if self.shuffle
            else torch.arange(n)
        )
        order = order.to(device) if self.only is None else self.only[order.to(device)]
        cuts = self._cuts()
        steps = list(pairwise(cuts))[start:]
        together = self._together()
        for some in (steps[i : i + together] for i in range(0, len(steps), together)):
            parts = [self._share(order[first:last]) for first, last in some]
            index = parts[0][0] if len(parts) == 1 else torch.cat([part for part, _ in parts])
            # Half the time of self.inputs[index], and the rows are scattered over memory
            inputs, labels = self.inputs.index_select(0, index), self.labels.index_select(0, index)
            sizes = [len(part) for part, _ in parts]
            for (part, weight), (first, last), x, y in zip(
                parts, some, torch.split(inputs, sizes), torch.split(labels, sizes), strict=True
            ):
                yield Batch(x, part, y, weight, last - first)

    def _together(self) -> int:
        """Steps whose rows are gathered at once: each gathering costs its call."""
        row = self.inputs[0].numel() * self.inputs.element_size()
        return max(_TOGETHER * self.world // max(row * self.batch_size, 1), 1)

    def _share(self, whole: Tensor) -> tuple[Tensor, Tensor | None]:
        """Cut this process's part out of a batch's positions, and weigh what pads it."""
        if self.world == 1:
            return whole, None
        index, weight = whole[self.rank :: self.world], None
        if len(whole) % self.world:
            size = -(-len(whole) // self.world)
            short = size - len(index)
            weight = torch.ones(size, device=whole.device)
            weight[size - short :] = 0.0
            index = torch.cat([index, whole[:1].expand(short)])
        return index, weight

    def eval_batches(self, batch_size: int | None = None) -> Iterator[Batch]:
        """Yield the whole set in order, unshuffled and not split over processes.

        Args:
            batch_size: Examples per batch; ``None``: as in training.

        Returns:
            The batches.
        """
        return eval_batches(self.inputs, self.labels, batch_size or self.batch_size)
