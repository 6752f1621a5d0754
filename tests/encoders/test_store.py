"""The store: once encoded, kept; resumed after a kill; nothing of another encoder, no room, no bad numbers."""

from __future__ import annotations

import shutil
import subprocess
import sys
import textwrap
from collections import namedtuple
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from selfdistill._core.errors import DataError, Interrupted, ResourceError, RunError
from selfdistill.encoders._store import PROGRESS, FeatureStore, key_of


class Counting:
    """Three numbers of a text, and how often it was asked."""

    kind, name, fingerprint, dimension, side = "texts", "counting", "f" * 64, 3, 0

    def __init__(self):
        self.seen = []

    def prepare(self, example):
        return example

    def encode(self, prepared):
        self.seen += prepared
        return np.array([[len(one), one.count("a"), ord(one[0])] for one in prepared], np.float32)

    def cut(self, examples):
        return 0


def words(count):
    return [f"word {number} {'a' * (number % 7)}" for number in range(count)]


def filled(store, cells):
    bad = store.fill(
        cells, [key_of(cell.encode()) for cell in cells], lambda place: store.encoder.prepare(cells[place])
    )
    assert not bad
    return store.gather([key_of(cell.encode()) for cell in cells])


def expected(cells):
    return Counting().encode(cells)


@pytest.mark.parametrize("count", [0, 1, 31, 32, 33, 600, 1100])
def test_features_come_in_order_and_are_encoded_once(tmp_path, count):
    encoder, cells = Counting(), words(count)
    np.testing.assert_array_equal(filled(FeatureStore(tmp_path / "s", encoder), cells), expected(cells).reshape(-1, 3))
    assert encoder.seen == cells
    again = filled(FeatureStore(tmp_path / "s", encoder), cells[::-1])
    np.testing.assert_array_equal(again, expected(cells).reshape(-1, 3)[::-1])
    assert len(encoder.seen) == count


def test_equal_examples_are_encoded_once_and_new_ones_join(tmp_path):
    encoder = Counting()
    store = FeatureStore(tmp_path / "s", encoder)
    np.testing.assert_array_equal(filled(store, ["b", "a", "b"]), expected(["b", "a", "b"]))
    assert encoder.seen == ["b", "a"]
    np.testing.assert_array_equal(filled(FeatureStore(tmp_path / "s", encoder), ["c", "a"]), expected(["c", "a"]))
    assert encoder.seen == ["b", "a", "c"]


def test_any_tool_reads_the_folder(tmp_path):
    filled(FeatureStore(tmp_path / "s", Counting()), ["aa", "b"])
    table = pd.read_parquet(tmp_path / "s")
    assert table.columns.tolist() == ["name", "key", "features"]
    assert table["name"].tolist() == ["aa", "b"]
    np.testing.assert_array_equal(np.stack(table["features"]), expected(["aa", "b"]))


def test_without_a_folder_nothing_is_written(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.testing.assert_array_equal(filled(FeatureStore(None, Counting()), words(40)), expected(words(40)))
    assert not [*tmp_path.iterdir()]


def test_what_cannot_be_prepared_is_left_out_by_number():
    cells = words(70)

    def prepare(place):
        if place in {3, 65}:
            raise ValueError("broken")
        return cells[place]

    store = FeatureStore(None, Counting())
    bad = store.fill(cells, [key_of(cell.encode()) for cell in cells], prepare)
    assert {place: str(error) for place, error in bad.items()} == {3: "broken", 65: "broken"}
    assert len(store) == 68


@pytest.mark.parametrize(("fingerprint", "dimension"), [("0" * 64, 3), ("f" * 64, 4)])
def test_another_encoder_or_dimension_is_refused(tmp_path, fingerprint, dimension):
    filled(FeatureStore(tmp_path / "s", Counting()), ["a"])
    other = Counting()
    other.fingerprint, other.dimension = fingerprint, dimension
    with pytest.raises(RunError, match=r"s holds features of the encoder 'counting' \(ffffffff, dimension 3\), not of "
                       rf"'counting' \({fingerprint[:8]}, dimension {dimension}\). Name another folder"):  # fmt: skip
        FeatureStore(tmp_path / "s", other)


def test_a_folder_that_is_no_store_is_refused(tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(RunError, match="exists but holds no features"):
        FeatureStore(tmp_path, Counting())
    (tmp_path / "_encoder.json").write_text("{")
    with pytest.raises(RunError, match=r"_encoder.json is not of this version"):
        FeatureStore(tmp_path, Counting())


def test_a_damaged_file_is_named(tmp_path):
    filled(FeatureStore(tmp_path / "s", Counting()), ["a"])
    [shard] = (tmp_path / "s").glob("*.parquet")
    shard.write_bytes(shard.read_bytes()[:-9])
    with pytest.raises(RunError, match=r"\.parquet is damaged: .*Remove it: what it held is encoded again"):
        FeatureStore(tmp_path / "s", Counting())
    shard.unlink()
    np.testing.assert_array_equal(filled(FeatureStore(tmp_path / "s", Counting()), ["a"]), expected(["a"]))


def test_a_file_with_vectors_of_another_size_is_named(tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    FeatureStore(tmp_path / "s", Counting())
    two = pa.FixedSizeListArray.from_arrays(pa.array([1.0, 2.0], pa.float32()), 2)
    pq.write_table(pa.table({"name": ["a"], "key": [key_of(b"a")], "features": two}), tmp_path / "s" / "x.parquet")
    with pytest.raises(RunError, match="holds vectors of another size than 3"):
        filled(FeatureStore(tmp_path / "s", Counting()), ["a"])


@pytest.mark.parametrize(("made", "message"), [
    (np.full((2, 3), np.nan), "gives numbers that are not finite for b"),
    (np.zeros((2, 4)), r"gave an array of shape \[2, 4\], but must give \[2, 3\]"),
    (np.zeros(2), r"gave an array of shape \[2\], but must give \[2, 3\]"),
])  # fmt: skip
def test_bad_numbers_are_refused(tmp_path, made, message):
    encoder = Counting()
    encoder.encode = lambda prepared: made
    with pytest.raises(DataError, match=message):
        filled(FeatureStore(tmp_path / "s", encoder), ["b", "a"])
    assert not [*(tmp_path / "s").glob("*.parquet")]


def test_no_room_is_said_before_it_starts(tmp_path, monkeypatch):
    encoder = Counting()
    store = FeatureStore(tmp_path / "s", encoder)
    usage = namedtuple("usage", "free")
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage(2**20))
    with pytest.raises(ResourceError, match=r"has 1 MiB free, but features of 100,000 texts take 1 MiB.*`features`"):
        filled(store, words(100_000))
    assert not encoder.seen


def test_ctrl_c_keeps_what_is_done(tmp_path):
    encoder = Counting()

    def stop(kind, done, total):
        if done >= 640:
            raise KeyboardInterrupt

    token = PROGRESS.set(stop)
    try:
        with pytest.raises(Interrupted, match=r"stopped; 640 features are kept in .*s. Start again"):
            filled(FeatureStore(tmp_path / "s", encoder), words(1000))
    finally:
        PROGRESS.reset(token)
    assert encoder.seen == words(640)
    filled(FeatureStore(tmp_path / "s", encoder), words(1000))
    assert sorted(encoder.seen) == sorted(words(1000))


def test_a_kill_loses_no_more_than_a_file(tmp_path):
    """The process dies at once after 1,100 examples; what was written is there, whole, and the rest is encoded."""
    code = """
        import os, sys
        from pathlib import Path
        sys.path.insert(0, sys.argv[2])
        from test_store import Counting, words, filled
        from selfdistill.encoders._store import PROGRESS, FeatureStore
        PROGRESS.set(lambda kind, done, total: os._exit(9) if done >= 1100 else None)
        filled(FeatureStore(Path(sys.argv[1]), Counting()), words(2000))
    """
    left = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code), tmp_path / "s", Path(__file__).parent], timeout=60
    )
    assert left.returncode == 9
    encoder = Counting()
    np.testing.assert_array_equal(filled(FeatureStore(tmp_path / "s", encoder), words(2000)), expected(words(2000)))
    assert len(encoder.seen) == 2000 - 1024


def test_many_features_are_mapped(tmp_path, monkeypatch):
    monkeypatch.setattr("selfdistill.encoders._store._IN_MEMORY", 100)
    found = filled(FeatureStore(tmp_path / "s", Counting()), words(40))
    assert isinstance(found, np.memmap)
    np.testing.assert_array_equal(found, expected(words(40)))
    assert not [*(tmp_path / "s").glob(".gathered*")]
