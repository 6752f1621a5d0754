"""Records, models, tables and checkpoints of strangers, with digests that are right or none: one line for any.

A small form runs with all tests; the whole by name: ``pytest -m slow tests/test_run_strangers.py``.
"""

from __future__ import annotations

import copy
import json
import random
import shutil
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from tests.commands import COMMANDS, RUNS

from selfdistill._core.files import digest
from selfdistill._core.record import read_json_record, write_json_record

SIZES = [pytest.param("small"), pytest.param("whole", marks=pytest.mark.slow)]
ODD = [None, "x\x1b", "\ud800", -1, [], {}, 10**30, [[1]], 1e308]


def places(value: Any, above: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    inner = value.items() if isinstance(value, dict) else enumerate(value[:1]) if isinstance(value, list) else ()
    for name, one in inner:
        yield (*above, name)
        yield from places(one, (*above, name))


def changed(whole: Any, rng: random.Random) -> Any:
    value = copy.deepcopy(whole)
    *above, name = rng.choice(list(places(value)))
    part = value
    for one in above:
        part = part[one]
    if rng.random() < 0.15:
        del part[name]
    else:
        part[name] = rng.choice(ODD)
    return value


@pytest.fixture(scope="module")
def one_line(call: Callable[..., tuple[int, str]]) -> Callable[[list[str], object], str]:
    """Run a command, which ends well, or with one line of error; give that."""

    def checked(command: list[str], what: object) -> str:
        code, output = call(*command)
        assert code in {0, 2}, (command, what)
        last = output.splitlines()[-1:]
        assert code == 0 or [line for line in output.splitlines() if line.startswith("error: ")] == last, what
        return "" if code == 0 else last[0]

    return checked


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_a_malformed_record_is_one_line(here, one_line, tmp_path, command, size):
    run = Path(next(word for word in command if word in RUNS))
    whole, rng = read_json_record(run), random.Random(1)
    shutil.copytree(here, tmp_path / "fresh")
    for _ in range(150 if size == "whole" else 10):
        record = changed(whole, rng)
        write_json_record(run, record)
        one_line(command, record)
        shutil.rmtree(run)
        shutil.copytree(tmp_path / "fresh" / run, run)
        for left in ("s", "air"):
            shutil.rmtree(left, ignore_errors=True)
        Path("r.csv").unlink(missing_ok=True)


def without_digests(run: Path) -> None:
    record = {name: value for name, value in read_json_record(run).items() if name not in {"digest", "files"}}
    (run / "run.json").write_text(json.dumps(record | {"schema": 1}))


def opened(path: str) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    with safe_open(path, framework="pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no mapping)
        return tensors, json.loads(file.metadata()["description"])


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("run", ["run", "closed"])
def test_a_malformed_description_of_a_model_is_one_line(here, one_line, run, size):
    without_digests(Path(run))
    tensors, description = opened(f"{run}/model.safetensors")
    rng = random.Random(2)
    for _ in range(400 if size == "whole" else 30):
        altered = changed(description, rng)
        save_file(tensors, f"{run}/model.safetensors", {"description": json.dumps(altered)})
        one_line(["predict", run, "t.csv", "--out", "p.csv", "--force"], altered)


FORMS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "float64": lambda t: t.double() if t.dtype != torch.float64 else t.float(),
    "float16": lambda t: t.half(),
    "float8": lambda t: t.to(torch.float8_e4m3fn),
    "int64": lambda t: t.long() if t.dtype != torch.int64 else t.int(),
    "complex": lambda t: t.to(torch.complex64),
    "longer": lambda t: torch.cat([t, t]) if t.ndim else t.expand(2),
    "shorter": lambda t: t[:-1] if t.ndim else t.expand(0),
    "NaN": lambda t: t * torch.nan if t.is_floating_point() else t.expand(2, *t.shape),
}


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("run", ["run", "closed"])
def test_tensors_of_another_form_are_one_line(here, one_line, run, size):
    without_digests(Path(run))
    tensors, description = opened(f"{run}/model.safetensors")
    rng, harms = random.Random(4), [(name, how) for name in tensors for how in FORMS]
    for name, how in harms if size == "whole" else rng.sample(harms, 40):
        changed = tensors | {name: FORMS[how](tensors[name]).contiguous()}
        save_file(changed, f"{run}/model.safetensors", {"description": json.dumps(description)})
        assert "is damaged" in one_line(["predict", run, "t.csv", "--out", "p.csv", "--force"], (name, how))


@pytest.mark.parametrize("name", ["preprocess.other", "other", "network.other"])
def test_tensors_that_nobody_asked_for_are_refused(here, one_line, name):
    without_digests(Path("closed"))
    tensors, description = opened("closed/model.safetensors")
    odd = torch.zeros(3).to(torch.float8_e4m3fn)
    save_file(tensors | {name: odd}, "closed/model.safetensors", {"description": json.dumps(description)})
    assert "is damaged" in one_line(["predict", "closed", "t.csv", "--out", "p.csv", "--force"], name)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("run", ["run", "closed"])
def test_a_malformed_table_is_one_line(here, one_line, run, size):
    without_digests(Path(run))
    path, rng = Path(run, "labels.parquet"), random.Random(3)
    whole = path.read_bytes()
    for _ in range(600 if size == "whole" else 60):
        content = bytearray(whole)
        for place in rng.sample(range(max(0, len(whole) - 2500), len(whole)), rng.choice([1, 1, 3])):
            content[place] = rng.choice([0, 255, content[place] ^ (1 << rng.randrange(8))])
        path.write_bytes(content)
        one_line(["refine", run, "--relabel", "--out", "r.csv"], content[-2500:])
        Path("r.csv").unlink(missing_ok=True)


def columns(n: int) -> dict[str, pa.Array]:
    return {
        "whole numbers": pa.array([1] * n),
        "bytes": pa.array([b"x\xff"] * n),
        "nothing": pa.nulls(n),
        "float64": pa.array([0.5] * n),
        "lists": pa.array([[0.5, 0.5]] * n),
        "empty cells in lists": pa.array([[None, None]] * n, pa.list_(pa.float32(), 2)),
        "categories": pa.array(["x"] * n).dictionary_encode(),
        "times": pa.array([0] * n, pa.timestamp("ns")),
    }


@pytest.mark.parametrize("kind", columns(1))
def test_columns_of_another_type_and_empty_cells_are_one_line(here, one_line, kind):
    without_digests(Path("closed"))
    whole = pq.read_table("closed/labels.parquet")
    names = [name for name in whole.column_names if name not in {"times_forgotten", "suggested_label"}]
    for name in names:
        place = whole.column_names.index(name)
        empty = pa.concat_arrays([pa.nulls(1, whole[name].type), whole[name].combine_chunks()[1:]])
        for column in (columns(len(whole))[kind], empty):
            pq.write_table(whole.set_column(place, name, column), "closed/labels.parquet")
            message = one_line(["refine", "closed", "--format", "fiftyone", "--out", "r.json"], (name, kind))
            assert "labels.parquet is damaged" in message, (name, kind)


# Checkpoints, with a digest that is right: the one before is used, or one line says what is wrong.


def leaves(value: Any, above: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, one in inner:
        yield (*above, name)
        yield from leaves(one, (*above, name))


def put(content: Any, place: tuple[Any, ...], value: Any) -> None:
    *above, name = place
    for one in above:
        content = content[one]
    if value is ...:
        del content[name]
    else:
        content[name] = value


def odd(value: Any, rng: random.Random) -> Any:
    if not isinstance(value, torch.Tensor) or rng.random() < 0.2:
        return rng.choice([..., *ODD, 0, 2.5, True, float("nan"), torch.zeros(3), torch.zeros(1).expand(10**6, 10**3)])
    huge = torch.full_like(value, float("inf")) if value.is_floating_point() else value + 10**9
    less = value[:-1] if value.ndim else value[None]
    return rng.choice([value.double(), value.long(), value.to_sparse(), less, huge])


def save(content: Any, path: Path) -> None:
    torch.save(content, path)
    path.with_suffix(".json").write_text(json.dumps({"sha256": digest(path), "bytes": path.stat().st_size}))


@pytest.mark.parametrize("size", SIZES)
def test_a_malformed_checkpoint_is_one_line(here, one_line, tmp_path, size):
    shutil.copytree("stopped", tmp_path / "fresh")
    rng = random.Random(5)
    for _ in range(600 if size == "whole" else 60):
        shutil.rmtree("stopped")
        shutil.copytree(tmp_path / "fresh", "stopped")
        before, last = sorted(Path("stopped/checkpoint").glob("*.pt"))
        last.unlink()
        content = torch.load(before, weights_only=True)
        place = rng.choice(list(leaves(content)))
        value = content
        for name in place:
            value = value[name]
        put(content, place, odd(value, rng))
        save(content, before)
        one_line(["fit", "--resume", "stopped"], place)


CHECKPOINTS: dict[str, tuple[tuple[Any, ...], Any]] = {
    "other numbers": (("parts", "model", "hidden.0.weight"), torch.zeros(4, 9, dtype=torch.float64)),
    "no numbers": (("parts", "model", "hidden.0.bias"), torch.full((4,), torch.nan)),
    "other labels": (("parts", "dynamics", "labels"), torch.full((40,), 10**9)),
    "counters": (("counters", "epoch"), 10**6),
    "no random state": (("counters", "rng"), ...),
    "curves": (("counters", "curves"), [{}]),
    "another optimizer": (("parts", "optimizer", "param_groups", 0, "momentum"), 0.5),
    "nothing": (("parts",), ...),
}


@pytest.mark.parametrize("what", CHECKPOINTS)
def test_where_a_checkpoint_is_whole_but_unfit_the_one_before_is_used(here, call, what):
    assert call("fit", "--resume", "stopped")[0] == 0
    wanted = {name: Path("stopped", name).read_bytes() for name in ("model.safetensors", "labels.parquet")}
    shutil.rmtree("stopped")
    shutil.copytree("run", "stopped")
    record = {
        name: v for name, v in read_json_record(Path("stopped")).items() if name not in {"curves", "result", "files"}
    }
    write_json_record(Path("stopped"), record | {"status": "interrupted"})
    before, last = sorted(Path("stopped/checkpoint").glob("*.pt"))
    content = torch.load(last, weights_only=True)
    put(content, *CHECKPOINTS[what])
    save(content, last)
    code, output = call("fit", "--resume", "stopped")
    assert code == 0, output
    assert f"warning: checkpoint {last.name} cannot be used: " in output
    assert f"{before.name} is used instead" in output
    assert wanted == {name: Path("stopped", name).read_bytes() for name in wanted}
    for path in (before, last):  # now none fits
        save(content, path)
    Path("stopped/model.safetensors").unlink()
    code, output = call("fit", "--resume", "stopped")
    assert code == 2
    assert "does not fit this run: " in output.splitlines()[-1]


@pytest.mark.parametrize("command", ["air", "distill"])
def test_checkpoints_of_another_run_or_network_are_refused(here, call, command):
    path = sorted(Path("run/checkpoint").glob("*.pt"))[0]
    words = {
        "air": ["air", "run", "--examples", "10", "--out", "air"],
        "distill": ["distill", path, "--epochs", "1", "--student", "mlp:2", "--out", "s"],
    }[command]
    whole = torch.load(path, weights_only=True)
    for place, value, message in (
        (("about", "id"), "another", "is of another run"),
        (("parts", "model", "hidden.0.bias"), torch.zeros(3), "holds no weights of this network"),
        (("parts", "model", "hidden.0.bias"), torch.full((4,), torch.nan), "holds numbers that are not finite"),
        (("parts", "model"), [1], "holds no weights of this network"),
    ):
        content = copy.deepcopy(whole)
        put(content, place, value)
        save(content, path)
        code, err = call(*words)
        assert code == 2
        assert message in err.splitlines()[-1]


# Memory by claim: files that take next to no room on disk.


def test_a_record_of_any_size_is_refused_before_it_is_read(here, one_line):
    with Path("closed/run.json").open("r+b") as file:
        file.truncate(2**40)  # a hole
    assert "it has 1,099,511,627,776 bytes" in one_line(["predict", "closed", "t.csv", "--out", "p.csv"], "")


def test_a_compressed_checkpoint_is_refused(here, one_line):
    for path in Path("stopped/checkpoint").glob("*.pt"):
        with zipfile.ZipFile(path) as file:
            parts = {name: file.read(name) for name in file.namelist()}
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
            for name, content in parts.items():
                file.writestr(name, content)
        path.with_suffix(".json").write_text(json.dumps({"sha256": digest(path), "bytes": path.stat().st_size}))
    assert "it is compressed" in one_line(["fit", "--resume", "stopped"], "")


def test_a_table_of_any_number_of_equal_rows_is_refused_before_it_is_read(here, one_line, monkeypatch):
    without_digests(Path("closed"))
    monkeypatch.setattr("selfdistill.data._limits._EXPAND_LIMIT", 2**20)
    rows = pq.read_table("closed/labels.parquet")
    rows = pa.concat_tables([rows.slice(0, 1)] * 10_000)
    pq.write_table(rows, "closed/labels.parquet")
    record = json.loads(Path("closed/run.json").read_text())
    record["data"]["examples"] = len(rows)
    Path("closed/run.json").write_text(json.dumps(record))
    assert Path("closed/labels.parquet").stat().st_size < 100_000
    message = one_line(["refine", "closed", "--format", "aum", "--out", "r.csv"], "")
    assert "closed/labels.parquet unpacks to" in message
