"""Each example's position, through shuffles, splits and workers."""

from __future__ import annotations

import pytest
import torch
from torch.utils.data import DataLoader, IterableDataset, TensorDataset, random_split

from selfdistill import with_index
from selfdistill._core.errors import DataError

X, Y = torch.arange(20.0)[:, None], torch.arange(20) % 3


class Stream(IterableDataset):
    def __iter__(self):
        return ({"x": x, "y": y} for x, y in zip(X, Y, strict=True))


def test_positions_follow_a_shuffle_and_a_split():
    part, _ = random_split(with_index(TensorDataset(X, Y)), [12, 8], generator=torch.Generator().manual_seed(0))
    seen = []
    for x, y, index in DataLoader(part, 5, shuffle=True):
        assert torch.equal(x, X[index])
        assert torch.equal(y, Y[index])
        seen += index.tolist()
    assert sorted(seen) == sorted(part.indices)


def test_any_kind_of_item_and_of_position():
    assert with_index([{"x": 1.0}] * 3)[2] == {"x": 1.0, "index": 2}
    assert with_index([[1.0, 0]])[0] == (1.0, 0, 0)
    assert with_index("abc")[1] == ("b", 1)
    assert with_index("abc")[-1] == ("c", 2)
    assert with_index("abc")[torch.tensor(1)] == ("b", 1)
    assert len(with_index("abc")) == 3


def test_a_stream_is_counted_by_its_only_reader():
    for workers in (0, 1):
        batches = list(DataLoader(with_index(Stream()), 8, num_workers=workers))
        assert torch.equal(torch.cat([b["index"] for b in batches]), torch.arange(20))
    with pytest.raises(DataError, match=r"read by 2 workers or processes, each of which would count from 0"):
        list(DataLoader(with_index(Stream()), 8, num_workers=2))


def test_an_index_that_is_there_is_not_overwritten():
    with pytest.raises(DataError, match=r"has an 'index' of its own. Give it another name"):
        with_index([{"index": 7}])[0]


def test_a_hugging_face_data_set_gets_a_column():
    datasets = pytest.importorskip("datasets")
    indexed = with_index(datasets.Dataset.from_dict({"x": [0.5, 1.5]}))
    assert indexed[1] == {"x": 1.5, "index": 1}
    assert indexed.select([1])[0]["index"] == 1
    stream = with_index(datasets.Dataset.from_dict({"x": [0.5, 1.5]}).to_iterable_dataset())
    assert list(stream) == [{"x": 0.5, "index": 0}, {"x": 1.5, "index": 1}]
    with pytest.raises(DataError, match=r"Rename it: dataset.rename_column"):
        with_index(indexed)
