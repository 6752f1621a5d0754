import io
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from selfdistill._core.errors import DataError, RunError, SettingError
from selfdistill._core.read_options import ReadOptions
from selfdistill._core.record import write_json_record
from selfdistill.data._read import read as data_read
from selfdistill.runs._directory import run
from selfdistill.runs._model_file import load_model
from selfdistill.runs._predict import Predictions, predict, write_predictions
from selfdistill.runs._run import fit, load
from selfdistill.train import Settings


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("predict")
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(rng.normal(size=(50, 3)), columns=list("abc"))
    frame["label"] = np.where(frame["a"] > 0, "yes", "no")
    frame.to_csv(folder / "table.csv", index=False)
    read = data_read(folder / "table.csv")
    run(read, Settings(epochs=2, network="mlp:8").resolve(50, "cpu"), folder / "run", source={})
    return folder, read


def test_it_equals_the_network_on_the_training_inputs(finished):
    folder, read = finished
    found = predict(folder / "run", folder / "table.csv")
    model = load_model(folder / "run" / "model.safetensors")
    expected = model.network(read.inputs).softmax(-1)
    assert torch.allclose(found.probabilities, expected, atol=1e-6)
    assert torch.allclose(found.probabilities.sum(-1), torch.ones(50))
    assert found.accuracy == pytest.approx((expected.argmax(-1) == read.labels).float().mean().item())
    assert found.known == 50


def test_the_batch_size_does_not_change_the_result(finished):
    folder, _ = finished
    whole, small = (predict(folder / "run", folder / "table.csv", batch_size=b) for b in (1024, 7))
    assert torch.allclose(whole.probabilities, small.probabilities, atol=1e-6)


def test_the_label_column_may_be_left_unread(finished):
    folder, _ = finished
    found = predict(folder / "run", folder / "table.csv", ReadOptions(ignore=("label",)))
    assert found.labels is None
    assert found.accuracy is None


def test_an_unfinished_run_says_how_to_finish_it(finished, tmp_path):
    folder, _ = finished
    record = json.loads((folder / "run" / "run.json").read_text())
    write_json_record(tmp_path, record | {"status": "running"})
    with pytest.raises(RunError, match=r"is not finished. Finish it with: selfdistill fit --resume"):
        predict(tmp_path, folder / "table.csv")


def made(n=5):
    probabilities = torch.rand(n, 2, generator=torch.Generator().manual_seed(0))
    probabilities /= probabilities.sum(-1, keepdim=True)
    ids = np.array([f"{i},x" for i in range(n)], dtype=object)
    return Predictions(ids, ("a b", "ü"), probabilities, torch.tensor([0, 1, -1, 0, 1])[:n])


def test_unlabelled_rows_do_not_count():
    found = made()
    right = found.probabilities.argmax(-1) == found.labels
    assert found.known == 4
    assert found.accuracy == pytest.approx(right[[0, 1, 3, 4]].float().mean().item())


def test_csv_is_the_same_in_blocks_and_whole(monkeypatch):
    whole, parts = io.StringIO(), io.StringIO()
    write_predictions(made(), whole)
    monkeypatch.setattr("selfdistill.runs._predict._BLOCK", 2)
    write_predictions(made(), parts)
    assert whole.getvalue() == parts.getvalue()
    assert whole.getvalue().splitlines()[0] == "id,predicted_label,confidence,p_a b,p_ü"


@pytest.mark.parametrize(("name", "read"), [("p.csv", pd.read_csv), ("p.parquet", pd.read_parquet)])
def test_files_hold_the_table(tmp_path, name, read):
    write_predictions(made(), tmp_path / name)
    found, expected = read(tmp_path / name), made().table()
    assert list(found) == list(expected)
    assert found["id"].tolist() == expected["id"].tolist()
    assert found["predicted_label"].tolist() == expected["predicted_label"].tolist()
    assert np.allclose(found["confidence"], expected["confidence"], atol=1e-5)
    assert [p.name for p in tmp_path.iterdir()] == [name]


def test_another_ending_is_refused(tmp_path):
    with pytest.raises(SettingError, match=r"ends in '.txt'. Name a file that ends in .csv or .parquet"):
        write_predictions(made(), tmp_path / "p.txt")


@pytest.mark.parametrize("method", ["kernel", "selfdistill"])
def test_a_table_is_predicted_in_a_process_that_has_trained_nothing(tmp_path: Path, method: str) -> None:
    x = np.random.default_rng(0).normal(size=(60, 2)).round(3)
    table = tmp_path / "t.csv"
    table.write_text("\n".join(["a,b,label", *(f"{a},{b},{'xy'[int(a > 0)]}" for a, b in x)]))
    fit(
        table,
        label="label",
        method=method,
        out=tmp_path / "run",
        say=None,
        **({} if method == "kernel" else {"epochs": 2, "network": "mlp:8"}),
    )
    here = load(tmp_path / "run").predict(table)
    command = [sys.executable, "-m", "selfdistill", "predict", "run", "t.csv", "--out", "p.csv"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert pd.read_csv(tmp_path / "p.csv")["predicted_label"].tolist() == here["predicted_label"].tolist()


def test_a_table_in_memory_is_no_path(tmp_path: Path) -> None:
    table = tmp_path / "t.csv"
    table.write_text("a,label\n" + "1,x\n2,y\n" * 20)
    run = fit(table, label="label", out=tmp_path / "run", say=None)
    with pytest.raises(DataError, match=r"new is a DataFrame, not a path\. Write it to a file"):
        run.predict(pd.read_csv(table))  # type: ignore[arg-type]
