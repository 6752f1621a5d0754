"""Tables whose cells have types: Parquet, Arrow, JSON."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.feather as feather
import pyarrow.parquet as pq
from tests.corpus.case import LABELS, Case, N, columns
from tests.corpus.text_tables import text

PARQUET, JSON = "Parquet and Arrow", "JSON"
TABLE = pa.table(columns())
HALF = N // 2
VECTORS = np.random.default_rng(0).normal(size=(N, 4)).astype(np.float32)
EMBEDDED = {"numeric": (), "categorical": (), "text": (), "vector": ("embedding",)}


def parquet(name: str, table: pa.Table = TABLE) -> Callable[[Path], Any]:
    def make(folder: Path) -> None:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(table, folder / name)

    return make


def several(*makes: Callable[[Path], Any]) -> Callable[[Path], Any]:
    def make(folder: Path) -> None:
        for one in makes:
            one(folder)

    return make


def _stream(folder: Path) -> None:
    with pa.ipc.new_stream(folder / "a.arrows", TABLE.schema) as out:
        out.write_table(TABLE)


def _ipc(folder: Path) -> None:
    with pa.ipc.new_file(folder / "a.arrow", TABLE.schema) as out:
        out.write_table(TABLE)


def _with(**more: Any) -> pa.Table:
    return pa.table({"x": TABLE["x"], "z": TABLE["z"], **more})


def _embedded(kind: pa.DataType) -> pa.Table:
    return pa.table({"embedding": pa.array(VECTORS.tolist(), kind), "label": LABELS})


def _not_unicode() -> pa.Table:
    """Texts that are no UTF-8, which Arrow takes as they are."""
    texts = b"\xff" * N
    offsets = np.arange(N + 1, dtype=np.int32).tobytes()
    return _with(label=LABELS, w=pa.StringArray.from_buffers(N, pa.py_buffer(offsets), pa.py_buffer(texts)))


def _parquet() -> list[Case]:
    first, second = TABLE.slice(0, HALF), TABLE.slice(HALF)
    only = {"x": TABLE["x"], "z": TABLE["z"]}
    a, b = (pa.table(only).filter(pa.array([one == name for one in LABELS])) for name in "ab")
    by_class = sorted(LABELS)
    wide = first.set_column(1, "z", first["z"].cast(pa.float64()))
    bools = [one == "a" for one in LABELS]
    one: dict[str, Any] = {"group": PARQUET}
    folder = "parts/part-0000{}.parquet".format
    return [
        Case(name="Parquet", source="a.parquet", make=parquet("a.parquet"), shown=True, **one),
        Case(name="Parquet, .pq", source="a.pq", make=parquet("a.pq"), **one),
        Case(
            name="Feather",
            source="a.feather",
            make=lambda f: feather.write_feather(TABLE, f / "a.feather"),
            shown=True,
            **one,
        ),
        Case(
            name="Feather, not packed",
            source="a.feather",
            make=lambda f: feather.write_feather(TABLE, f / "a.feather", "uncompressed"),
            **one,
        ),
        Case(name="an Arrow file", source="a.arrow", make=_ipc, shown=True, **one),
        Case(name="an Arrow stream", source="a.arrows", make=_stream, shown=True, **one),
        Case(
            name="a folder of Parquet files",
            source="parts",
            shown=True,
            make=several(parquet(folder(0), first), parquet(folder(1), second)),
            **one,
        ),
        Case(
            name="a folder as Spark writes it",
            source="parts",
            make=several(
                parquet(folder(0), first),
                parquet(folder(1), second),
                lambda f: (f / "parts/_SUCCESS").touch(),
                lambda f: (f / "parts/.part-0.crc").touch(),
            ),
            **one,
        ),
        Case(
            name="numbered from 2 to 10",
            source="parts",
            make=several(parquet("parts/p2.parquet", first), parquet("parts/p10.parquet", second)),
            **one,
        ),
        Case(
            name="Parquet files of a training and a test part",
            source="data",
            shown=True,
            test=LABELS[HALF:],
            labels=LABELS[:HALF],
            make=several(
                parquet("data/train-00000-of-00001.parquet", first), parquet("data/test-00000-of-00001.parquet", second)
            ),
            **one,
        ),
        Case(
            name="a validation part beside",
            source="data",
            test=None,
            labels=LABELS[:HALF],
            says=["1 of 2 files"],
            make=several(parquet("data/train.parquet", first), parquet("data/validation.parquet", second)),
            **one,
        ),
        Case(
            name="folders named `label=a`",
            source="parts",
            shown=True,
            labels=by_class,
            make=several(parquet("parts/label=a/0.parquet", a), parquet("parts/label=b/0.parquet", b)),
            **one,
        ),
        Case(
            name="whole numbers in one file, decimals in another",
            source="parts",
            make=several(parquet(folder(0), wide), parquet(folder(1), second)),
            **one,
        ),
        Case(
            name="files of other columns",
            source="parts",
            error="has other columns than",
            make=several(
                parquet(folder(0), first), parquet(folder(1), second.append_column("w", [[1.0] * (N - HALF)]))
            ),
            **one,
        ),
        Case(
            name="columns in another order",
            source="parts",
            make=several(parquet(folder(0), first), parquet(folder(1), second.select(["label", "z", "x"]))),
            **one,
        ),
        Case(
            name="types that do not go together",
            source="parts",
            error="differ in the types of their columns",
            make=several(
                parquet(folder(0), first.set_column(1, "z", pa.array(["q"] * HALF))), parquet(folder(1), second)
            ),
            **one,
        ),
        Case(
            name="lists of numbers, embeddings",
            source="a.parquet",
            kinds=EMBEDDED,
            shown=True,
            make=parquet("a.parquet", _embedded(pa.list_(pa.float32()))),
            **one,
        ),
        Case(
            name="lists of one length",
            source="a.parquet",
            kinds=EMBEDDED,
            make=parquet("a.parquet", _embedded(pa.list_(pa.float32(), 4))),
            **one,
        ),
        Case(
            name="embeddings in Feather",
            source="a.feather",
            kinds=EMBEDDED,
            make=lambda f: feather.write_feather(_embedded(pa.large_list(pa.float64())), f / "a.feather"),
            **one,
        ),
        Case(
            name="a label of truth values",
            source="a.parquet",
            labels=list(map(str, bools)),
            make=parquet("a.parquet", _with(label=bools)),
            **one,
        ),
        Case(
            name="a label of numbers",
            source="a.parquet",
            labels=[str(int(b)) for b in bools],
            make=parquet("a.parquet", _with(label=[int(b) for b in bools])),
            **one,
        ),
        Case(
            name="a label of decimals that are whole",
            source="a.parquet",
            labels=[str(int(b)) for b in bools],
            make=parquet("a.parquet", _with(label=[float(b) for b in bools])),
            **one,
        ),
        Case(
            name="a label that is a dictionary",
            source="a.parquet",
            make=parquet("a.parquet", _with(label=pa.array(LABELS).dictionary_encode())),
            **one,
        ),
        Case(
            name="a class called null",
            source="a.parquet",
            labels=[{"a": "null"}.get(v, v) for v in LABELS],
            says=["is taken as a class"],
            make=parquet("a.parquet", _with(label=[{"a": "null"}.get(v, v) for v in LABELS])),
            **one,
        ),
        Case(
            name="a missing label",
            source="a.parquet",
            error="has no label in 1 of 12 rows: 0",
            make=parquet("a.parquet", _with(label=[None, *LABELS[1:]])),
            **one,
        ),
        Case(
            name="missing labels left out",
            source="a.parquet",
            labels=LABELS[1:],
            options={"drop_unlabelled": True},
            make=parquet("a.parquet", _with(label=[None, *LABELS[1:]])),
            **one,
        ),
        Case(
            name="labels that are lists",
            source="a.parquet",
            error="several labels for one example (multi-label)",
            make=parquet("a.parquet", _with(label=[[v, "c"] for v in LABELS])),
            **one,
        ),
        Case(
            name="no rows", source="a.parquet", make=parquet("a.parquet", TABLE.slice(0, 0)), error="has no rows", **one
        ),
        Case(
            name="texts that are no UTF-8",
            source="a.parquet",
            make=parquet("a.parquet", _not_unicode()),
            error="Invalid UTF8",
            **one,
        ),
        Case(
            name="texts that are no UTF-8, Arrow",
            source="a.feather",
            make=lambda f: feather.write_feather(_not_unicode(), f / "a.feather"),
            error="Invalid UTF8",
            **one,
        ),
        Case(
            name="no Parquet",
            source="a.parquet",
            make=text("a.parquet", "x,label\n"),
            error="not a Parquet file",
            **one,
        ),
        Case(
            name="no Arrow", source="a.feather", make=text("a.feather", "x,label\n"), error="not an Arrow file", **one
        ),
        Case(
            name="an Arrow stream cut short",
            source="a.arrows",
            error="not an Arrow file",
            make=several(_stream, lambda f: (f / "a.arrows").write_bytes((f / "a.arrows").read_bytes()[:300])),
            **one,
        ),
    ]


def _json() -> list[Case]:
    records = [dict(zip(("x", "z", "label"), row, strict=True)) for row in zip(*columns().values(), strict=True)]
    by_line = "".join(json.dumps(one) + "\n" for one in records)
    nested = [{"of": {"x": one["x"], "z": one["z"]}, "label": one["label"]} for one in records]
    inside = {"numeric": ("of.x", "of.z"), "categorical": (), "text": ()}
    vectors = [{"embedding": v, "label": c} for v, c in zip(VECTORS.tolist(), LABELS, strict=True)]
    gaps = [{k: v for k, v in one.items() if k != "z" or i} for i, one in enumerate(records)]
    mixed = [one | {"z": "many" if i == 3 else one["z"]} for i, one in enumerate(records)]
    in_pandas = {name: {str(i): v for i, v in enumerate(cells)} for name, cells in columns().items()}
    one: dict[str, Any] = {"group": JSON}

    def case(name: str, value: Any, source: str = "a.json", **more: Any) -> Case:
        content = value if isinstance(value, str | bytes) else json.dumps(value)
        return Case(name=name, source=source, make=text(source, content), **more, **one)

    return [
        case("JSON lines", by_line, "a.jsonl", shown=True),
        case("JSON lines, .ndjson", by_line, "a.ndjson"),
        case("JSON lines, .json", by_line),
        case("JSON lines, packed", gzip.compress(by_line.encode()), "a.jsonl.gz", shown=True),
        case("JSON lines with empty lines", by_line.replace("\n", "\n\n"), "a.jsonl"),
        case("JSON lines, one of them", json.dumps(records[0]), "a.jsonl", error="hold only the class 'a'"),
        case("a list of objects", records, shown=True),
        case("a list of objects over many lines", json.dumps(records, indent=2)),
        case("objects within an object", {"version": 3, "data": records}, shown=True),
        case("objects within an object, alone", {"rows": records}),
        case("an object of columns", columns(), shown=True),
        case("columns as pandas writes them", in_pandas, shown=True),
        case("objects within objects", nested, kinds=inside, shown=True),
        case("lists of numbers", vectors, kinds=EMBEDDED),
        case("a key that is missing", gaps),
        case(
            "numbers and a word in one column",
            mixed,
            kinds={"numeric": ("x",), "categorical": (), "text": ("z",)},
        ),
        case("a mark of UTF-8", b"\xef\xbb\xbf" + by_line.encode(), "a.jsonl"),
        case("UTF-16", by_line.encode("utf-16"), "a.jsonl"),
        case("columns of different lengths", columns() | {"x": [1.0]}, error="different lengths: 1 to 12"),
        case("a list of numbers", [1, 2, 3], error="a list of values that are not objects"),
        case("a number", "3", error="holds int"),
        case("nothing", "", error="is empty"),
        case("no JSON", "x,label\n1,a\n", error="is not JSON"),
        case("JSON cut short", json.dumps(records)[:-9], error="is not JSON"),
        case("a broken line", by_line + '{"x": 1', "a.jsonl", error="a.jsonl, line 13: not a JSON object"),
        case("objects deep in each other", "[" * 100_000 + "]" * 100_000, error="nested too deeply"),
        case("half of a character", '[{"x": "\\ud996", "label": "a"}]', error=r"holds '\ud996', half of a character"),
        case("a number of 5,000 digits", '[{"x": ' + "9" * 5000 + "}]", error="is not JSON"),
    ]


CASES = [*_parquet(), *_json()]
