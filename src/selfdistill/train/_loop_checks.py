"""Mistakes in a loop that someone else wrote: batches that cannot be right."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from selfdistill._core.errors import DataError, SettingError
from selfdistill._core.labels import WHOLE
from selfdistill._core.shards import Shard

_OFTEN = 5  # visits to each example that is seen
_LEAST = 100  # examples from which chance can be told


def positions(index: Any, device: torch.device) -> Tensor:
    """Take an index in any form."""
    index = torch.as_tensor(index)
    if index.dtype not in WHOLE:
        raise SettingError(f"index is {index.dtype}, but positions are whole numbers", "Pass index.long().")
    found: Tensor = index.to(device, torch.int64)
    return found


def check_rows(index: Tensor, labels: Tensor | None, given: Tensor, shard: Shard, *, looks: bool) -> None:
    """Refuse rows that are not here, and labels that are not those given; on CUDA, where it waits, in `looks` alone."""
    if looks or not index.is_cuda:
        check_index(index, shard)
    if looks and labels is not None:
        check_labels(index, labels, given, shard)


def check_batch(index: Tensor, logits: Tensor, k: int) -> None:
    """Refuse what cannot be a batch in training."""
    if index.ndim != 1 or logits.shape != (len(index), k):
        raise SettingError(
            f"logits have shape {list(logits.shape)} and index {list(index.shape)}, but there are {k} classes",
            f"Pass logits [b, {k}] and index [b]; another number of classes needs another num_classes.",
        )
    if not logits.requires_grad:
        raise SettingError(
            "the logits have no gradient; `loss` is for training steps, because it records predictions",
            "For a validation loss take torch.nn.functional.cross_entropy.",
        )


def check_labels(index: Tensor, labels: Tensor, given: Tensor, shard: Shard) -> None:
    """Refuse labels of a batch that are not those that were given for ``index``, counted from the first row here."""
    own = given[index]
    if not torch.equal(labels.to(index), own):
        at = int((labels.to(index) != own).nonzero()[0])
        raise DataError(
            f"example {int(index[at]) + shard.start} has the label {int(labels[at])} in the batch, but "
            f"{int(own[at])} in the labels that were given",
            "Give the labels in the order and with the numbers of the data set that index counts.",
        )


def odd_visits(written: Tensor, visits: int, batch: int, shard: Shard) -> str | None:
    """Say what is odd about the rows that an epoch visited: few of them again and again, or one range alone."""
    n, seen = len(written), int(written.sum())
    if seen < n / 2 and visits >= _OFTEN * seen:
        return (
            f"The epoch noted {visits:,} predictions, but of {seen:,} of the {n:,} examples only. index is each "
            "example's position in the training set: see with_index. If it is right, call end_epoch after each pass."
        )
    first, last = int(written.int().argmax()), n - 1 - int(written.flip(0).int().argmax())
    if last - first + 1 - seen < batch < n - (last - first + 1):
        return (
            f"The epoch saw only the examples {shard.start + first} to {shard.start + last} of {shard.n:,}. Where "
            "index counts the examples of a part, or not from 0, labels of other examples are compared: call "
            "with_index(data) on the data set whose labels were given, before it is split."
        )
    return None


def agrees_by_chance(predicted: Tensor, labels: Tensor, k: int, shard: Shard) -> str | None:
    """Say that predictions ``[m]`` agree with labels no more than those of shuffled examples would."""
    pairs = [torch.bincount(part, minlength=k) for part in (predicted, labels, predicted[predicted == labels])]
    answers, given, right = shard.total(torch.stack(pairs)).double()
    n = float(answers.sum())
    chance, found = float((answers * given).sum()) / max(n, 1) ** 2, float(right.sum()) / max(n, 1)
    if n < _LEAST or found > chance + 3 * (chance * (1 - chance) / n) ** 0.5:
        return None
    return (
        f"The network agrees with {100 * found:.1f} % of the labels, no more than by chance. Either it has not learned "
        "anything yet, or index does not count the examples in the order of the labels: pass loss the labels of the "
        "batch too, and they are compared."
    )


def check_index(index: Tensor, shard: Shard) -> None:
    """Refuse an ``index``, counted from the first row here, of which some are no rows of this process."""
    least, most = (int(bound) + shard.start for bound in index.aminmax())
    if least >= shard.start and most < shard.stop:
        return
    if shard.spread and least >= 0 and most < shard.n:
        raise DataError(
            f"index goes from {least} to {most}, but this process keeps the examples {shard.start} to {shard.stop - 1}",
            "Draw from these: DataLoader(Subset(with_index(data), robust.rows), shuffle=True).",
        )
    raise DataError(
        f"index goes from {least} to {most}, but there are {shard.n:,} labels, 0 to {shard.n - 1}",
        "index is the position in the training set whose labels were given.",
    )
