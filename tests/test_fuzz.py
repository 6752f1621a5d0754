"""Every reader on damaged and random files: it reads, or says one line of our own; no other exception, no hang.

The quick form runs a few examples of each; ``-m slow`` runs many. Files that once failed are among the seeds.
"""

from __future__ import annotations

import datetime
import decimal
import faulthandler
import io
import json
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from PIL import Image

from selfdistill import train
from selfdistill._core.errors import SelfdistillError
from selfdistill._core.read_options import ReadOptions
from selfdistill._core.record import read_finished, read_record
from selfdistill.data._read import read, read_new
from selfdistill.data._source import from_arrays
from selfdistill.runs._directory import run as runs_run

HANGS = 60  # seconds after which a reader hangs: the process ends with a traceback of where
RNG = np.random.default_rng(0)
Y = np.arange(40) % 2


def bytes_of(write: Callable[[io.BytesIO], object]) -> bytes:
    file = io.BytesIO()
    write(file)
    return file.getvalue()


def zipped(**arrays: np.ndarray) -> bytes:
    return bytes_of(lambda file: np.savez_compressed(file, **arrays))


FRAME = pd.DataFrame(
    {"x": RNG.normal(size=40), "k": ["a", "b"] * 20, "t": [f"some words {i}" for i in range(40)], "label": Y}
)
TABLE = pa.table(FRAME).append_column("e", pa.array([[1.0, float(i)] for i in range(40)]))
PICTURES = [
    bytes_of(lambda file, kind=kind: Image.fromarray(RNG.integers(0, 255, (9, 9, 3)).astype(np.uint8)).save(file, kind))
    for kind in ("PNG", "JPEG", "GIF", "TIFF", "WEBP", "BMP")
]
SEEDS = {
    "csv": [
        FRAME.to_csv(index=False).encode(),
        FRAME.to_csv(index=False, sep=";", decimal=",").encode("utf-16"),
        b'a,label\n"',
    ],
    "npz": [zipped(x=RNG.normal(size=(40, 3)), y=Y), zipped(X=RNG.normal(size=(40, 8, 8)), labels=Y.astype(str))],
    "npy": [bytes_of(lambda file: np.save(file, RNG.normal(size=(40, 3))))],
    "parquet": [bytes_of(lambda file: pq.write_table(TABLE, file))],
    "image": PICTURES,
}


def damaged(seeds: list[bytes]) -> st.SearchStrategy[bytes]:
    """Bytes of a whole file with some changed, cut, doubled or put in; now and then nothing but random bytes."""
    place = st.floats(0, 1)
    kind = st.sampled_from(["set", "cut", "drop", "insert", "double"])
    edits = st.lists(st.tuples(place, kind, st.binary(max_size=9)), max_size=6)

    def apply(seed: bytes, edits: list[tuple[float, str, bytes]]) -> bytes:
        data = bytearray(seed)
        for where, kind, more in edits:
            at = int(where * len(data))
            if kind == "set":
                data[at : at + len(more)] = more
            elif kind == "cut":
                del data[at:]
            elif kind == "drop":
                del data[at : at + len(more)]
            else:
                data[at:at] = more if kind == "insert" else data[at : at + 50]
        return bytes(data)

    return st.one_of(st.builds(apply, st.sampled_from(seeds), edits), st.binary(max_size=200))


ODD = (
    *("", "1", "1,5", "1.234,5", "-9999", "nan", "inf", "1e999", "True", '"', "[1, 2]", "2020-01-01", "12 %", "\0"),
    *("\ud7ff", "=1+1", "#N/A", "../x", "\u202e"),
)


def texts() -> st.SearchStrategy[bytes]:
    """Tables of odd cells, in any dialect."""
    cell = st.one_of(st.text(max_size=8), st.sampled_from(ODD))
    row = st.integers(1, 5).map(lambda n: st.lists(cell, min_size=n, max_size=n))
    table = row.flatmap(lambda cells: st.lists(cells, min_size=1, max_size=25))

    def join(rows: list[list[str]], mark: str, end: str, code: str) -> bytes:
        head = [*[f"c{i}" for i in range(len(rows[0]) - 1)], "label"]
        return end.join(mark.join(row) for row in [head, *rows]).encode(code, "replace")

    ends, codes = st.sampled_from(["\n", "\r\n", "\r"]), st.sampled_from(["utf-8", "utf-16", "latin-1"])
    return st.builds(join, table, st.sampled_from([",", ";", "\t", "|"]), ends, codes)


CELLS: dict[pa.DataType, Callable[[int], object]] = {
    pa.int8(): int,
    pa.uint64(): lambda k: 2**64 - 1 - k,
    pa.float16(): np.float16,
    pa.float64(): lambda k: [0.0, np.nan, np.inf, -9999.0, 1e308][k],
    pa.string(): lambda k: ODD[k],
    pa.binary(): lambda k: bytes([125 + k]),
    pa.bool_(): bool,
    pa.date32(): lambda k: datetime.date(2020, 1, 1 + k),
    pa.timestamp("us"): lambda k: datetime.datetime(2020, 1, 1 + k),
    pa.duration("s"): lambda k: datetime.timedelta(k),
    pa.decimal128(9, 2): lambda k: decimal.Decimal(k),
    pa.list_(pa.float32()): lambda k: [float(k)] * k,
    pa.list_(pa.int8(), 2): lambda k: [k, None],
    pa.list_(pa.string()): lambda k: ["a"] * k,
    pa.struct([("a", pa.int8())]): lambda k: {"a": k},
    pa.dictionary(pa.int8(), pa.string()): str,
    pa.null(): lambda k: None,
}


def tables() -> st.SearchStrategy[bytes]:
    """Parquet files of columns of many types, with gaps."""
    values = st.lists(st.one_of(st.none(), st.integers(0, 4)), min_size=12, max_size=12)

    def write(columns: list[tuple[pa.DataType, list[int | None]]]) -> bytes:
        names = [*[f"c{i}" for i in range(len(columns) - 1)], "label"]
        arrays = [pa.array([None if k is None else CELLS[kind](k) for k in cells], kind) for kind, cells in columns]
        return bytes_of(lambda file: pq.write_table(pa.Table.from_arrays(arrays, names=names), file))

    return st.lists(st.tuples(st.sampled_from(list(CELLS)), values), min_size=1, max_size=5).map(write)


def archives() -> st.SearchStrategy[bytes]:
    """Zip files of arrays of odd shapes and types, and of things that are none."""
    kind = st.sampled_from(["f4", "i8", "U3", "?", "c8", "f2", "M8[s]", "S2", "u1"])
    shape = st.lists(st.integers(0, 6), max_size=4)
    names = st.sampled_from(["x.npy", "X.npy", "y.npy", "labels.npy", "arr_0.npy", "a/b.npy", "../x.npy", "x.txt"])

    def write(parts: list[tuple[str, str, list[int], bytes]]) -> bytes:
        def fill(file: io.BytesIO) -> None:
            with zipfile.ZipFile(file, "w") as archive, warnings.catch_warnings():
                warnings.simplefilter("ignore")
                for name, dtype, sides, tail in parts:
                    archive.writestr(name, bytes_of(lambda f: np.save(f, np.zeros(sides, dtype))) + tail)

        return bytes_of(fill)

    return st.lists(st.tuples(names, kind, shape, st.binary(max_size=3)), max_size=4).map(write)


def held(work: Callable[[], object]) -> None:
    """The property: it works, or one line of our own; and an end."""
    said = ""
    faulthandler.dump_traceback_later(HANGS, exit=True)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            work()
    except SelfdistillError as error:
        said = str(error)
    finally:
        faulthandler.cancel_dump_traceback_later()
    assert len(said) < 5000


def file_reader(ending: str) -> Callable[[Path, bytes], None]:
    def check(folder: Path, data: bytes) -> None:
        path = folder / f"a.{ending}"
        path.write_bytes(data)
        held(lambda: read(path, ReadOptions(labels=str(folder / "labels.txt") if ending == "npy" else None)))
        if ending in {"csv", "parquet"}:
            learned = read(folder / "known.csv")
            held(lambda: read_new(path, learned.preprocess, learned.classes))

    return check


def image_reader(folder: Path, data: bytes) -> None:
    for name in ("a", "b"):
        (folder / "images" / name).mkdir(parents=True, exist_ok=True)
    (folder / "images" / "a" / "1").write_bytes(data)
    (folder / "images" / "a" / "2.png").write_bytes(data)
    (folder / "images" / "b" / "1.png").write_bytes(PICTURES[0])
    held(lambda: read(folder / "images"))
    held(lambda: read(folder / "images", ReadOptions(skip_bad=True, image_size=8)))


def record_reader(folder: Path, data: bytes) -> None:
    (folder / "run" / "run.json").write_bytes(data)
    held(lambda: read_record(folder / "run"))
    held(lambda: read_finished(folder / "run"))


def records(seed: bytes) -> st.SearchStrategy[bytes]:
    """A record with any value exchanged for another, or removed."""
    whole = json.loads(seed)
    huge, deep = st.just(10**400), st.just([[[[[]]]]])
    plain = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=4))
    odd = st.one_of(plain, st.just([]), st.just({}), huge, deep)

    def places(value: object, path: tuple = ()) -> list[tuple]:
        found = [path] if path else []
        if isinstance(value, dict):
            found += [one for key in value for one in places(value[key], (*path, key))]
        return found

    def exchange(path: tuple, value: object, gone: bool) -> bytes:
        made = json.loads(seed)
        within = made
        for key in path[:-1]:
            within = within[key]
        if gone:
            del within[path[-1]]
        else:
            within[path[-1]] = value
        return json.dumps(made).encode()

    return st.one_of(st.builds(exchange, st.sampled_from(places(whole)), odd, st.booleans()), damaged([seed]))


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("fuzz")
    (folder / "labels.txt").write_text("\n".join(map(str, Y)))
    FRAME.to_csv(folder / "known.csv", index=False)
    data = from_arrays(RNG.normal(size=(40, 2)) + Y[:, None], Y)
    asked = train.Settings(network="mlp:4", epochs=1, method="cross-entropy").resolve(40, "cpu")
    runs_run(data, asked, folder / "run", source={"source": None, "read": {}, "test": None})
    return folder


READERS = {
    "csv": (st.one_of(damaged(SEEDS["csv"]), texts()), file_reader("csv")),
    "npz": (st.one_of(damaged(SEEDS["npz"]), archives()), file_reader("npz")),
    "npy": (damaged(SEEDS["npy"]), file_reader("npy")),
    "parquet": (st.one_of(damaged(SEEDS["parquet"]), tables()), file_reader("parquet")),
    "image": (damaged(PICTURES), image_reader),
}
COMMON = {"deadline": None, "database": None, "suppress_health_check": list(HealthCheck)}


@pytest.mark.parametrize("reader", READERS)
def test_a_reader_reads_or_says_one_line(place, reader):
    fuzz(place, reader, 20 if reader == "csv" else 50)


@pytest.mark.slow
@pytest.mark.parametrize("reader", READERS)
def test_a_reader_on_many_files(place, reader):
    fuzz(place, reader, 3000)


def fuzz(place, reader, examples):
    files, check = READERS[reader]

    @settings(max_examples=examples, derandomize=examples < 100, **COMMON)
    @given(files)
    def run(data):
        check(place, data)

    for seed in SEEDS[reader]:
        check(place, seed)
    run()


def fuzz_records(place, examples):
    seed = (place / "run" / "run.json").read_bytes()

    @settings(max_examples=examples, derandomize=examples < 100, **COMMON)
    @given(records(seed))
    @example(b"[" * 100_000)
    @example(b'{"schema": true}')
    def run(data):
        record_reader(place, data)

    try:
        run()
    finally:
        (place / "run" / "run.json").write_bytes(seed)


def test_the_reader_of_records(place):
    fuzz_records(place, 50)


@pytest.mark.slow
def test_the_reader_of_records_on_many(place):
    fuzz_records(place, 3000)
