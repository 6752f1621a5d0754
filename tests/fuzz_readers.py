"""The readers that are fuzzed: whole files of each, what inputs are made of them, and how they are read."""

from __future__ import annotations

import contextlib
import json
import shutil
import sqlite3
import warnings
from collections.abc import Callable, Generator
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import torch
from hypothesis import strategies as st
from PIL import Image
from safetensors.numpy import save
from tests import fuzz_inputs as made
from tests.conftest import MeanColours
from tests.corpus.workbooks import write_xlsx

from selfdistill import train
from selfdistill._core.errors import SelfdistillError
from selfdistill._core.files import digest
from selfdistill._core.read_options import ReadOptions
from selfdistill._core.record import read_finished, read_json_record, read_record, write_json_record
from selfdistill.data import _encoded
from selfdistill.data._read import read, read_new
from selfdistill.data._source import from_arrays
from selfdistill.data.formats._idx import write_idx
from selfdistill.encoders._store import FeatureStore
from selfdistill.runs._decisions import Journal, read_journal
from selfdistill.runs._directory import run as runs_run
from selfdistill.runs._label_table import read_label_table, soft_blocks
from selfdistill.runs._model_file import load_model
from selfdistill.train import _checkpoint as checkpoints

RNG = np.random.default_rng(0)
Y = np.arange(40) % 2
FRAME = pd.DataFrame(
    {"x": RNG.normal(size=40), "k": ["a", "b"] * 20, "t": [f"some words {i}" for i in range(40)], "label": Y}
)
TABLE = pa.table(FRAME).append_column("e", pa.array([[1.0, float(i)] for i in range(40)]))
CSV = FRAME.to_csv(index=False).encode()
PICTURES = [
    made.bytes_of(
        lambda file, kind=kind: Image.fromarray(RNG.integers(0, 255, (9, 9, 3)).astype(np.uint8)).save(file, kind)
    )
    for kind in ("PNG", "JPEG", "GIF", "TIFF", "WEBP", "BMP")
]


@dataclass(frozen=True)
class Reader:
    """One reader.

    Attributes:
        seeds: Whole files, in the folder of `make_place`.
        inputs: What to try, made of whole files.
        check: Reads one input.
    """

    seeds: Callable[[Path], list[bytes]]
    inputs: Callable[[list[bytes]], st.SearchStrategy[bytes]]
    check: Callable[[Path, bytes], object]


def make_place(folder: Path) -> Path:
    """A folder with what readers need beside an input: labels, a table that was learned from, a run."""
    (folder / "labels.txt").write_text("\n".join(map(str, Y)))
    (folder / "known.csv").write_bytes(CSV)
    data = from_arrays(RNG.normal(size=(40, 2)) + Y[:, None], Y)
    asked = train.Settings(network="mlp:4", epochs=1, method="cross-entropy").resolve(40, "cpu")
    runs_run(data, asked, folder / "run", source={"source": "known.csv", "read": {}, "test": None})
    for name in ("a", "b"):
        (folder / "images" / name).mkdir(parents=True, exist_ok=True)
    return folder


def file_reader(ending: str, again: bool = False) -> Callable[[Path, bytes], None]:
    def check(folder: Path, data: bytes) -> None:
        path = folder / f"a.{ending}"
        path.write_bytes(data)
        if again:
            learned = read(folder / "known.csv")
            attempt(lambda: read_new(path, learned.preprocess, learned.classes))
        read(path, ReadOptions(labels=str(folder / "labels.txt") if ending == "npy" else None))

    return check


def attempt(work: Callable[[], object]) -> bool:
    """The property: it works, or says one line of our own (false)."""
    message = ""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            work()
    except SelfdistillError as error:
        message = str(error)
    assert "\n" not in message, f"an error of several lines: {message!r}"
    assert len(message) < 5000, "a long error"
    return not message


def workbook() -> list[bytes]:
    path = Path("seed.xlsx")
    rows = [["x", "k", "label"], *([float(x), k, int(y)] for x, k, y in zip(FRAME.x, FRAME.k, Y, strict=True))]
    write_xlsx(path, {"One": rows, "Two": []})
    return [path.read_bytes()]


def database() -> list[bytes]:
    path = Path("seed.db")
    path.unlink(missing_ok=True)
    with closing(sqlite3.connect(path)) as base:
        FRAME.to_sql("t", base, index=False)
    return [path.read_bytes()]


def idx_reader(folder: Path, data: bytes) -> None:
    (folder / "idx").mkdir(exist_ok=True)
    half = len(data) // 2 if len(data) != 40 * 17 + 24 else 40 * 16 + 16
    (folder / "idx" / "train-images-idx3-ubyte").write_bytes(data[:half])
    (folder / "idx" / "train-labels-idx1-ubyte").write_bytes(data[half:])
    read(folder / "idx")


def idx(folder: Path) -> list[bytes]:
    write_idx(folder / "i", RNG.integers(0, 9, (40, 4, 4), np.uint8))
    write_idx(folder / "l", Y.astype(np.uint8))
    return [(folder / "i").read_bytes() + (folder / "l").read_bytes()]


def cifar_reader(folder: Path, data: bytes) -> None:
    (folder / "cifar").mkdir(exist_ok=True)
    (folder / "cifar" / "data_batch_1.bin").write_bytes(data)
    read(folder / "cifar")


def packed_reader(folder: Path, data: bytes) -> None:
    marks = {b"\x1f\x8b": "gz", b"BZ": "bz2", b"\xfd7": "xz", b"\x28\xb5": "zst", b"PK": "zip"}
    path = folder / f"p.csv.{marks.get(data[:2], 'gz')}"
    path.write_bytes(data)
    read(path)


def saved_reader(folder: Path, data: bytes) -> None:
    """One of the three files of a saved data set, by the input's first byte, is the rest of it."""
    import datasets

    datasets.disable_progress_bars()
    path = folder / "saved"
    datasets.Dataset.from_pandas(FRAME).save_to_disk(path)
    files = sorted(one for one in path.iterdir() if one.is_file())
    files[data[0] % len(files) if data else 0].write_bytes(data[1:])
    read(path)


def saved(folder: Path) -> list[bytes]:
    import datasets

    datasets.disable_progress_bars()
    datasets.Dataset.from_pandas(FRAME).save_to_disk(folder / "saved")
    files = sorted(one for one in (folder / "saved").iterdir() if one.is_file())
    return [bytes([number]) + file.read_bytes() for number, file in enumerate(files)]


def image_reader(folder: Path, data: bytes) -> None:
    (folder / "images" / "a" / "1").write_bytes(data)
    (folder / "images" / "a" / "2.png").write_bytes(data)
    (folder / "images" / "b" / "1.png").write_bytes(PICTURES[0])
    attempt(lambda: read(folder / "images", ReadOptions(skip_bad=True, image_size=8)))
    read(folder / "images")


@contextlib.contextmanager
def with_encoder(folder: Path) -> Generator[ReadOptions]:
    """Options that read photos by an encoder without weights, with a fresh store."""
    before = _encoded.load_encoder
    _encoded.load_encoder = lambda name, fetch=True: MeanColours()  # type: ignore[assignment]
    shutil.rmtree(folder / "kept", ignore_errors=True)
    try:
        yield ReadOptions(skip_bad=True, encoder="photos", features=str(folder / "kept"))
    finally:
        _encoded.load_encoder = before


def photo_reader(folder: Path, data: bytes) -> None:
    """As `image_reader`, through an encoder."""
    (folder / "images" / "a" / "1").write_bytes(data)
    (folder / "images" / "b" / "1.png").write_bytes(PICTURES[0])
    with with_encoder(folder) as asked:
        read(folder / "images", asked)


def photo_table_reader(folder: Path, data: bytes) -> None:
    (folder / "photos.csv").write_bytes(data)
    (folder / "images" / "b" / "1.png").write_bytes(PICTURES[0])
    with with_encoder(folder) as asked:
        read(folder / "photos.csv", replace(asked, image_column="path"))


def record_reader(folder: Path, data: bytes) -> None:
    path = folder / "run" / "run.json"
    whole = path.read_bytes()
    path.write_bytes(data)
    try:
        attempt(lambda: read_record(folder / "run"))
        read_finished(folder / "run")
    finally:
        path.write_bytes(whole)


def findings_reader(folder: Path, data: bytes) -> None:
    """With a record that names the digest of the damaged file: a stranger's run."""
    run, path = folder / "run", folder / "run" / "labels.parquet"
    whole, record = path.read_bytes(), (run / "run.json").read_bytes()
    path.write_bytes(data)
    try:
        content = read_json_record(run)
        write_json_record(run, content | {"files": content["files"] | {path.name: digest(path)}})
        found = read_label_table(run)
        list(soft_blocks(run, found.classes))
    finally:
        path.write_bytes(whole)
        (run / "run.json").write_bytes(record)


def model_reader(folder: Path, data: bytes) -> None:
    (folder / "model").mkdir(exist_ok=True)
    (folder / "model" / "model.safetensors").write_bytes(data)
    load_model(folder / "model" / "model.safetensors")


def checkpoint_parts() -> dict[str, Any]:
    network = torch.nn.Linear(2, 2)
    return {"model": network, "optimizer": torch.optim.Adam(network.parameters())}


def checkpoint_reader(folder: Path, data: bytes) -> None:
    """With the digest of the damaged file: a stranger's."""
    path, parts = folder / "steps" / "step-000000001.pt", checkpoint_parts()
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(data)
    path.with_suffix(".json").write_text(json.dumps({"sha256": digest(path), "bytes": len(data)}))
    attempt(lambda: checkpoints.load(path, parts, torch.device("cpu"), {"id": "a"}))
    checkpoints.load_checkpoint(path, parts["model"])


def checkpoint(folder: Path) -> list[bytes]:
    parts = checkpoint_parts()
    parts["model"](torch.zeros(1, 2)).sum().backward()
    parts["optimizer"].step()
    return [checkpoints.save(folder / "steps", 1, parts, {"epoch": 1}, {"id": "a"}).read_bytes()]


def journal_reader(folder: Path, data: bytes) -> None:
    path = folder / "run.decisions.jsonl"
    path.write_bytes(data)
    attempt(lambda: read_journal(path))
    Journal(path, "id", [str(i) for i in range(40)], ["0", "1"]).close()


def journal(folder: Path) -> list[bytes]:
    path = folder / "run.decisions.jsonl"
    path.unlink(missing_ok=True)
    kept = Journal(path, "id", [str(i) for i in range(40)], ["0", "1"])
    kept.add("label", [3, 4], ["0", "1"])
    kept.add("unsure", [5])
    kept.undo()
    kept.add("skip", [6])
    kept.close()
    return [path.read_bytes()]


def features_reader(folder: Path, data: bytes) -> None:
    """The first byte chooses which file of a store is the rest of it."""
    path = folder / "store"
    path.mkdir(exist_ok=True)
    (path / "_encoder.json").write_text(json.dumps(ABOUT))
    (path / "a.parquet").unlink(missing_ok=True)
    (path / ("_encoder.json" if data[:1] == b"0" else "a.parquet")).write_bytes(data[1:])
    store = FeatureStore(path, MeanColours())
    store.gather(list(store._places))


ABOUT = {"format": "selfdistill-features-1", "encoder": "photos", "fingerprint": f"{1:064d}", "dimension": 48}


def features(folder: Path) -> list[bytes]:
    cells = pa.FixedSizeListArray.from_arrays(pa.array(np.zeros(96, np.float32)), 48)
    shard = pa.table({"name": ["a", "b"], "key": ["c" * 32, "d" * 32], "features": cells})
    return [b"0" + json.dumps(ABOUT).encode(), b"1" + made.write_parquet(shard)]


NUMBERS = {"x": RNG.normal(size=(40, 3)).astype(np.float32), "y": Y}
UTF16 = FRAME.to_csv(index=False, sep=";", decimal=",").encode("utf-16")
PATHS = b"path,label\n" + b"".join(b"images/b/1.png,%d\n" % y for y in Y[:8]) + b"none.png,1\n"
READERS = {
    "csv": Reader(
        lambda place: [CSV, UTF16, b'a,label\n"'],
        lambda seeds: st.one_of(made.damaged(seeds), made.texts()),
        file_reader("csv", again=True),
    ),
    "numerals": Reader(
        lambda place: [UTF16],
        lambda seeds: st.one_of(made.numerals(), made.damaged(seeds)),
        file_reader("csv", again=True),
    ),
    "json": Reader(
        lambda place: [FRAME.to_json(orient="records").encode()],
        lambda seeds: st.one_of(made.damaged(seeds), made.rows_of_json(lines=False)),
        file_reader("json"),
    ),
    "jsonl": Reader(
        lambda place: [FRAME.to_json(orient="records", lines=True).encode()],
        lambda seeds: st.one_of(made.damaged(seeds), made.rows_of_json(lines=True)),
        file_reader("jsonl"),
    ),
    "excel": Reader(
        lambda place: workbook(),
        lambda seeds: st.one_of(made.damaged(seeds), made.repacked(seeds)),
        file_reader("xlsx"),
    ),
    "sqlite": Reader(lambda place: database(), made.damaged, file_reader("db")),
    "parquet": Reader(
        lambda place: [made.write_parquet(TABLE)],
        lambda seeds: st.one_of(made.damaged(seeds), made.tables()),
        file_reader("parquet", again=True),
    ),
    "arrow": Reader(
        lambda place: [made.write_arrow(TABLE)],
        lambda seeds: st.one_of(made.damaged(seeds), made.tables(made.write_arrow)),
        file_reader("feather"),
    ),
    "npz": Reader(
        lambda place: made.arrays(),
        lambda seeds: st.one_of(made.damaged(seeds), made.repacked(seeds), made.archives()),
        file_reader("npz"),
    ),
    "npy": Reader(
        lambda place: [made.bytes_of(lambda file: np.save(file, RNG.normal(size=(40, 3))))],
        made.damaged,
        file_reader("npy"),
    ),
    "safetensors": Reader(
        lambda place: [save(NUMBERS)],
        lambda seeds: st.one_of(made.damaged(seeds), made.headers(save(NUMBERS))),
        file_reader("safetensors"),
    ),
    "idx": Reader(idx, made.damaged, idx_reader),
    "cifar": Reader(
        lambda place: [b"".join(bytes([i % 2]) + bytes([i]) * 3072 for i in range(4))], made.damaged, cifar_reader
    ),
    "packed": Reader(lambda place: made.packed(CSV), made.damaged, packed_reader),
    "saved": Reader(saved, made.damaged, saved_reader),
    "image": Reader(lambda place: PICTURES, made.damaged, image_reader),
    "photo": Reader(lambda place: PICTURES, made.damaged, photo_reader),
    "photo table": Reader(lambda place: [PATHS], made.damaged, photo_table_reader),
    "record": Reader(
        lambda place: [(place / "run" / "run.json").read_bytes(), b"[" * 100_000, b'{"schema": true}'],
        lambda seeds: made.records(seeds[0]),
        record_reader,
    ),
    "findings": Reader(lambda place: [(place / "run" / "labels.parquet").read_bytes()], made.damaged, findings_reader),
    "model": Reader(
        lambda place: [(place / "run" / "model.safetensors").read_bytes()],
        lambda seeds: st.one_of(made.damaged(seeds), made.headers(seeds[0])),
        model_reader,
    ),
    "checkpoint": Reader(
        checkpoint, lambda seeds: st.one_of(made.damaged(seeds), made.repacked(seeds)), checkpoint_reader
    ),
    "journal": Reader(journal, lambda seeds: st.one_of(made.damaged(seeds), made.journals(seeds[0])), journal_reader),
    "features": Reader(features, made.damaged, features_reader),
}
