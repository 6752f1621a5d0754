"""Files for fuzzing: whole ones with damage, and ones made of odd parts."""

from __future__ import annotations

import bz2
import datetime
import decimal
import functools
import gzip
import io
import json
import lzma
import struct
import warnings
import zipfile
from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet as pq
import scipy.sparse
from hypothesis import strategies as st

Edits = list[tuple[float, str, bytes]]
ODD = (
    *("", "1", "1,5", "1.234,5", "-9999", "nan", "inf", "1e999", "True", '"', "[1, 2]", "2020-01-01", "12 %", "\0"),
    *("\ud7ff", "=1+1", "#N/A", "../x", "\u202e"),
)


def bytes_of(write: Callable[[io.BytesIO], object]) -> bytes:
    file = io.BytesIO()
    write(file)
    return file.getvalue()


def edited(seed: bytes, edits: Edits) -> bytes:
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


EDITS = st.lists(
    st.tuples(st.floats(0, 1), st.sampled_from(["set", "cut", "drop", "insert", "double"]), st.binary(max_size=9)),
    max_size=6,
)


def damaged(seeds: list[bytes]) -> st.SearchStrategy[bytes]:
    """Bytes of a whole file with some changed, cut, doubled or put in; now and then nothing but random bytes."""
    return st.one_of(st.builds(edited, st.sampled_from(seeds), EDITS), st.binary(max_size=200))


def repacked(seeds: list[bytes]) -> st.SearchStrategy[bytes]:
    """Zip files with damage in one of their files, and the right sums: what lies within is read, not refused."""

    def apply(seed: bytes, which: int, edits: Edits) -> bytes:
        try:
            with zipfile.ZipFile(io.BytesIO(seed)) as archive:
                parts = [(one.filename, archive.read(one)) for one in archive.infolist()]
        except Exception:  # a seed that was kept need not be whole
            return edited(seed, edits)

        def fill(file: io.BytesIO) -> None:
            with zipfile.ZipFile(file, "w") as archive, warnings.catch_warnings():
                warnings.simplefilter("ignore")
                for number, (name, data) in enumerate(parts):
                    archive.writestr(name, edited(data, edits) if number == which % len(parts) else data)

        return bytes_of(fill) if parts else seed

    return st.builds(apply, st.sampled_from(seeds), st.integers(0, 9), EDITS)


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


def numerals() -> st.SearchStrategy[bytes]:
    """Tables of two columns of numbers as people write them, each in its own way, with odd cells among them."""
    way = st.tuples(
        st.sampled_from([".,", ",.", ", ", ".'", ", ", ",\u00a0", "."]),
        st.sampled_from(
            ["{}", "{} %", "€ {}", "{} kg", "-{}", "\u2212{}", "({})", "$-{}", "{}€/m", "{}e3", "{}\u0661"]
        ),
        st.integers(0, 3),
        st.lists(
            st.tuples(st.integers(0, 24), st.one_of(st.sampled_from(ODD), st.text("0123456789., -%", max_size=6)))
        ),
    )
    numbers = st.lists(st.floats(0, 1e7), min_size=25, max_size=25)

    def column(marks: str, form: str, digits: int, odd: list[tuple[int, str]], values: list[float]) -> list[str]:
        written = str.maketrans({".": marks[0], ",": marks[1:]})
        cells = [form.format(f"{value:,.{digits}f}".translate(written)) for value in values]
        for place, cell in odd:
            cells[place] = cell
        return cells

    def join(ways: list[Any], values: list[list[float]], mark: str, quote: str) -> bytes:
        columns = [column(*one, numbers) for one, numbers in zip(ways, values, strict=True)]
        rows = [["a", "b", "label"], *([*cells, "xyz"[k % 3]] for k, cells in enumerate(zip(*columns, strict=True)))]
        return "\n".join(mark.join(f"{quote}{cell}{quote}" for cell in row) for row in rows).encode()

    marks, quotes = st.sampled_from([",", ";", "\t"]), st.sampled_from(["", '"'])
    return st.builds(
        join, st.lists(way, min_size=2, max_size=2), st.lists(numbers, min_size=2, max_size=2), marks, quotes
    )


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


def write_parquet(table: pa.Table) -> bytes:
    return bytes_of(lambda file: pq.write_table(table, file))


def write_arrow(table: pa.Table) -> bytes:
    return bytes_of(lambda file: pyarrow.feather.write_feather(table, file, "uncompressed"))


def tables(write: Callable[[pa.Table], bytes] = write_parquet) -> st.SearchStrategy[bytes]:
    """Files of columns of many types, with gaps."""
    values = st.lists(st.one_of(st.none(), st.integers(0, 4)), min_size=12, max_size=12)

    def make(columns: list[tuple[pa.DataType, list[int | None]]]) -> bytes:
        names = [*[f"c{i}" for i in range(len(columns) - 1)], "label"]
        arrays = [pa.array([None if k is None else CELLS[kind](k) for k in cells], kind) for kind, cells in columns]
        return write(pa.Table.from_arrays(arrays, names=names))

    return st.lists(st.tuples(st.sampled_from(list(CELLS)), values), min_size=1, max_size=5).map(make)


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


def arrays() -> list[bytes]:
    """Whole files of named arrays: numbers, images, two parts, a sparse matrix."""
    rng, labels = np.random.default_rng(0), np.arange(40) % 2
    sparse = scipy.sparse.random(40, 5, 0.3, "csr", random_state=0)
    images = rng.integers(0, 9, (40, 4, 4), np.uint8)
    parts = [
        {"x": rng.normal(size=(40, 3)), "y": labels},
        {"X": rng.integers(0, 3, (40, 8, 8)) / 2, "labels": labels.astype(str)},
        {"train_images": images, "train_labels": labels, "test_images": np.zeros((2, 4, 4))},
        {"data": sparse.data, "indices": sparse.indices, "indptr": sparse.indptr, "shape": sparse.shape, "y": labels}
        | {"format": np.array(b"csr")},
    ]
    return [bytes_of(lambda file, part=part: np.savez_compressed(file, **part)) for part in parts]


def packed(table: bytes) -> list[bytes]:
    """A table in each way of packing."""

    def pack(file: io.BytesIO) -> None:
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("a.csv", table)

    zstd = pa.compress(table, "zstd", asbytes=True)
    return [gzip.compress(table), bz2.compress(table), lzma.compress(table), zstd, bytes_of(pack)]


PLAIN = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=4))
VALUES = st.one_of(PLAIN, st.just([]), st.just({}), st.just(10**400), st.just([[[[[]]]]]), st.lists(PLAIN, max_size=3))


def rows_of_json(*, lines: bool) -> st.SearchStrategy[bytes]:
    """Rows of odd values, one record each."""
    row = st.dictionaries(st.sampled_from(["label", "a", "b", "c", ""]), VALUES, max_size=4)

    def write(rows: list[dict[str, Any]]) -> bytes:
        return "\n".join(map(json.dumps, rows)).encode() if lines else json.dumps(rows).encode()

    return st.lists(row, max_size=12).map(write)


def places(value: object, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Paths to all values of a JSON document; of a list, to its first three."""
    found = [path] if path else []
    if isinstance(value, dict):
        found += [one for key in value for one in places(value[key], (*path, key))]
    if isinstance(value, list):
        found += [one for key in range(min(len(value), 3)) for one in places(value[key], (*path, key))]
    return found


def exchange(seed: bytes, path: tuple[Any, ...], value: object, gone: bool) -> bytes:
    made = json.loads(seed)
    within = functools.reduce(lambda found, key: found[key], path[:-1], made)
    if gone:
        del within[path[-1]]
    else:
        within[path[-1]] = value
    return json.dumps(made).encode()


def exchanged(seed: bytes) -> st.SearchStrategy[bytes]:
    """A JSON document with any value exchanged for another, or removed."""
    return st.builds(exchange, st.just(seed), st.sampled_from(places(json.loads(seed))), VALUES, st.booleans())


def records(seed: bytes) -> st.SearchStrategy[bytes]:
    return st.one_of(exchanged(seed), damaged([seed]))


def journals(seed: bytes) -> st.SearchStrategy[bytes]:
    """Lines of JSON of which one has a value exchanged."""
    lines = seed.splitlines()

    def with_line(number: int) -> st.SearchStrategy[bytes]:
        joined = [*lines[:number], b"", *lines[number + 1 :]]
        return exchanged(lines[number]).map(
            lambda line: b"".join(one + b"\n" for one in [*joined[:number], line, *joined[number + 1 :]])
        )

    return st.integers(0, len(lines) - 1).flatmap(with_line)


def headers(seed: bytes) -> st.SearchStrategy[bytes]:
    """A safetensors file whose header has a value exchanged, be it within the description that it holds as text."""
    size = struct.unpack("<Q", seed[:8])[0]
    header, rest = json.loads(seed[8 : 8 + size]), seed[8 + size :]

    def whole(made: bytes) -> bytes:
        return struct.pack("<Q", len(made)) + made + rest

    def described(text: bytes) -> bytes:
        return json.dumps(header | {"__metadata__": {"description": text.decode()}}).encode()

    outer = exchanged(json.dumps(header).encode()).map(whole)
    if "__metadata__" not in header:
        return outer
    inner = exchanged(header["__metadata__"]["description"].encode())
    return st.one_of(outer, inner.map(described).map(whole))
