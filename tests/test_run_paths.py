"""No file of a run directory says where on the machine it, or what it was made from, lies."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from safetensors import safe_open

from selfdistill.cli import main


def run(*arguments: object) -> None:
    with pytest.raises(SystemExit) as left:
        main([str(a) for a in arguments])
    assert not left.value.code


def words(file: Path) -> str:
    """All text that a file holds, packed columns and metadata too."""
    text = file.read_bytes().decode("latin-1")
    if file.suffix == ".parquet":
        table = pq.read_table(file)
        text += f"{table.to_pydict()} {table.schema.metadata}"
    if file.suffix == ".safetensors":
        with safe_open(file, "np") as inside:
            text += f"{inside.metadata()}"
    return text


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of runs, everything given by its absolute path."""
    there = tmp_path_factory.mktemp("some-where")
    x = np.random.default_rng(0).normal(size=(40, 2)).round(3)
    table = there / "t.csv"
    table.write_text("\n".join(["a,b,label,truth", *(f"{a},{b},{'xy'[int(a > b)]},{'xy'[int(a > 0)]}" for a, b in x)]))
    few = ["--truth", "truth", "--label", "label"]
    network = ["--epochs", "2", "--network", "mlp:4", "--keep-epochs", "2"]
    run("fit", table, *few, *network, "--test", table, "--out", there / "run")
    run("fit", table, *few, *network, "--method", "cross-entropy", "--out", there / "plain")
    run("fit", table, *few, "--out", there / "closed")
    with pytest.MonkeyPatch.context() as patch:  # figures hold no text of ours but their own
        patch.setattr("selfdistill.runs._air.save_figures", lambda folder, record: [])
        run("air", there / "plain", "--examples", "20")
    run("refine", there / "run", "--relabel", "--out", there / "refined.csv")
    run("distill", there / "run", "--epochs", "2", "--student", "mlp:2", "--out", there / "student")
    return there


@pytest.mark.parametrize("name", ["run", "plain", "closed", "student"])
def test_no_file_of_a_run_holds_an_absolute_path(made: Path, name: str) -> None:
    files = [file for file in (made / name).rglob("*") if file.is_file()]
    assert {"run.json", "labels.parquet"} <= {file.name for file in files} or name == "student"
    absolute = {
        str(file.relative_to(made)) for file in files for place in (made, Path.cwd()) if str(place) in words(file)
    }
    assert absolute == set()
