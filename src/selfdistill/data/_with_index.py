"""A data set that tells each example's position, which targets need to find its state again."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sized
from typing import Any, cast

from torch.utils.data import Dataset, IterableDataset, get_worker_info

from selfdistill._core.dist import world
from selfdistill._core.errors import DataError

__all__ = ["with_index"]


def with_index(dataset: Any) -> Any:
    """Let a data set give each example's position beside it; whatever shuffles or splits it afterwards keeps it right.

    Args:
        dataset: A Hugging Face ``datasets.Dataset``; or anything with ``__len__`` and ``__getitem__``; or an iterable
            data set, whose order must be the same in each epoch, read by at most one worker and one process.

    Returns:
        The data set with one thing more per example: a mapping gets the key ``"index"`` (a Hugging Face data set the
        column), a tuple or list ends with it, anything else becomes a pair. Positions are from 0, of ``dataset`` as it
        was passed: wrap before ``random_split`` to keep those of the whole, after it to have those of the part.

    Raises:
        DataError: It has an ``"index"`` already; or an iterable data set is read by several workers or processes.

    Example:
        >>> with_index([("a", 0), ("b", 1)])[1]
        ('b', 1, 1)
        >>> with_index([{"x": 0.5}])[0]
        {'x': 0.5, 'index': 0}
    """
    if all(hasattr(dataset, name) for name in ("add_column", "column_names", "__len__")):
        if "index" in dataset.column_names:
            raise DataError(_TAKEN, "Rename it: dataset.rename_column('index', 'id').")
        return dataset.add_column("index", list(range(len(dataset))))
    if hasattr(dataset, "__getitem__") and hasattr(dataset, "__len__"):
        return _Indexed(dataset)
    return _IndexedStream(dataset)


_TAKEN = "the data set has an 'index' of its own"


def _joined(item: Any, index: int) -> Any:
    if isinstance(item, Mapping):
        if "index" in item:
            raise DataError(_TAKEN, "Give it another name.")
        return {**item, "index": index}
    return (*item, index) if isinstance(item, tuple | list) else (item, index)


class _Indexed(Dataset[Any]):
    """Of a data set with a length."""

    def __init__(self, dataset: Any) -> None:
        self.dataset = dataset

    def __len__(self) -> int:
        return len(cast("Sized", self.dataset))

    def __getitem__(self, index: int) -> Any:
        index = int(index)
        return _joined(self.dataset[index], index if index >= 0 else index + len(self))


class _IndexedStream(IterableDataset[Any]):
    """Of a stream."""

    def __init__(self, dataset: Any) -> None:
        self.dataset = dataset

    def __iter__(self) -> Iterator[Any]:
        worker = get_worker_info()
        readers = (worker.num_workers if worker else 1) * world()
        if readers > 1:
            raise DataError(
                f"the stream is read by {readers} workers or processes, each of which would count from 0",
                "Read it with num_workers=0 in one process, or let the data hold each example's number themselves.",
            )
        return (_joined(item, index) for index, item in enumerate(self.dataset))
