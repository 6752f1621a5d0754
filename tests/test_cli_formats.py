"""From a file of each format to a refined copy, through the command line; and what comes through a pipe."""

from __future__ import annotations

import importlib.util
import io
import json
import sys
import zipfile
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import scipy.sparse
from sklearn.datasets import load_digits
from sklearn.metrics import roc_auc_score
from tests.corpus.stored_tables import database
from tests.corpus.workbooks import write_xlsx

from selfdistill import SelfDistillClassifier
from selfdistill._core.errors import DataError
from selfdistill._core.read_options import ReadOptions
from selfdistill.data import _place
from selfdistill.data._read import read, read_test

pytestmark = pytest.mark.usefixtures("few_trees")

N = 60


@pytest.fixture
def frame() -> pd.DataFrame:
    """Two classes that are far apart, with four labels turned."""
    rng = np.random.default_rng(0)
    y = np.arange(N) % 2
    X = (rng.normal(size=(N, 3)) + 6 * y[:, None]).round(3)
    given = y.copy()
    given[:4] = 1 - given[:4]
    return pd.DataFrame(X, columns=list("pqr")).assign(label=np.array(["no", "yes"])[given])


def _write(frame: pd.DataFrame, source: str) -> None:
    name = Path(source.partition("::")[0])
    rows = [list(frame), *frame.to_numpy().tolist()]
    if name.suffix == ".jsonl":
        frame.to_json(name, orient="records", lines=True)
    elif name.suffix == ".xlsx":
        write_xlsx(name, {"one": rows, "two": rows})
    elif name.suffix == ".db":
        cells = ", ".join(f"({', '.join(map(repr, row))})" for row in rows[1:])
        database("CREATE TABLE t (p, q, r, label)", f"INSERT INTO t VALUES {cells}", name=str(name))(Path())
    elif name.suffix == ".txt":
        body = "\n".join("   ".join(map(str, row)) for row in rows)
        name.write_text(f"# made by hand\n{body}\n")
    elif name.suffix == ".csv":
        name.write_text("sep=;\n" + frame.to_csv(sep=";", index=False).replace("\n", ";\n").replace("label;", "label"))
    else:
        name.mkdir()
        frame[:20].to_parquet(name / "0.parquet")
        frame[20:].to_parquet(name / "1.parquet")


@pytest.mark.parametrize("source", ["a.jsonl", "a.xlsx::two", "a.db", "a.txt", "a.csv", "parts"])
def test_fit_refine_and_predict(source, frame, tmp_path, monkeypatch, cli):
    if ".xlsx" in source and importlib.util.find_spec("python_calamine") is None:
        pytest.skip("python_calamine is not installed")
    monkeypatch.chdir(tmp_path)
    _write(frame, source)
    code, _, err = cli("fit", source, "--out", "run")
    assert code == 0, err
    ending = "parquet" if source in {"a.db", "parts"} else "csv"
    code, _, err = cli("refine", "run", "--relabel", "--out", f"copy.{ending}")
    assert code == 0, err
    copy = read(f"copy.{ending}", ReadOptions(label="refined_label"))
    assert [copy.classes[i] for i in copy.labels.tolist()] == ["no", "yes"] * (N // 2)
    assert copy.preprocess.kinds["numeric"] == ("p", "q", "r")
    assert cli("refine", "run", "--drop", "--out", "less.csv")[0] == 0
    assert len(read("less.csv")) == N - 4
    assert cli("noise", source, "--symmetric", "0.2", "--exclude-clean", "--out", "noisy.csv")[0] == 0
    assert len(read("noisy.csv")) == N
    code, out, err = cli("predict", "run", source)
    assert code == 0, err
    assert pd.read_csv(io.StringIO(out))["predicted_label"].tolist() == ["no", "yes"] * (N // 2)


def test_sparse_and_one_hot_arrays_are_copied(frame, tmp_path, monkeypatch, cli):
    monkeypatch.chdir(tmp_path)
    X = frame[["p", "q", "r"]].to_numpy()
    scipy.sparse.save_npz("sparse.npz", scipy.sparse.csr_array(X))
    Path("y.txt").write_text("\n".join(frame["label"]) + "\n")
    np.savez("hot.npz", embeddings=X, labels=np.eye(2)[(frame["label"] == "yes").astype(int)])
    for name, options, wanted in (("sparse", ["--labels", "y.txt"], ["no", "yes"]), ("hot", [], ["0", "1"])):
        assert cli("fit", f"{name}.npz", *options, "--out", name)[0] == 0
        assert cli("refine", name, "--relabel", "--out", f"{name}-copy.npz")[0] == 0
        copy = read(f"{name}-copy.npz", ReadOptions(label="refined_label"))
        assert [copy.classes[i] for i in copy.labels.tolist()] == wanted * (N // 2)
        assert cli("refine", name, "--drop", "--out", f"{name}-less.npz")[0] == 0
        less = read(f"{name}-less.npz")
        assert len(less) == N - 4
        assert np.allclose(less.preprocess.apply(X[4:]), less.inputs)


def test_labels_with_line_breaks_and_quotation_marks_are_relabelled_row_by_row(frame, tmp_path, monkeypatch, cli):
    monkeypatch.chdir(tmp_path)
    frame["label"] = frame["label"].map({"no": 'a\nb, "c"', "yes": 'd\r\n"'})
    frame.loc[0, "label"] = frame.loc[1, "label"]
    frame.to_csv("a.csv", index=False)
    assert cli("fit", "a.csv", "--out", "run")[0] == 0
    assert cli("refine", "run", "--relabel", "--out", "copy.csv")[0] == 0
    copy = read("copy.csv", ReadOptions(label="refined_label"))
    assert len(copy) == N
    assert [copy.classes[i] for i in copy.labels.tolist()] == ['a\nb, "c"', 'd\r\n"'] * (N // 2)


def test_votes_are_refined_beside_their_columns(frame, tmp_path, monkeypatch, cli):
    monkeypatch.chdir(tmp_path)
    frame["ann"], frame["bob"] = frame["label"], frame["label"].where(frame.index % 3 > 0, "")
    frame.drop(columns="label").to_csv("a.csv", index=False)
    assert cli("fit", "a.csv", "--annotator", "ann", "--annotator", "bob", "--out", "run")[0] == 0
    assert json.loads(Path("run/run.json").read_text())["data"]["read"]["annotator"] == ["ann", "bob"]
    assert cli("refine", "run", "--relabel", "--out", "copy.csv")[0] == 0
    assert pd.read_csv("copy.csv")["refined_label"].tolist() == ["no", "yes"] * (N // 2)
    frame[["p", "q", "r"]].to_csv("new.csv", index=False)
    assert cli("predict", "run", "new.csv")[0] == 0


@pytest.fixture
def pipe(monkeypatch, tmp_path):
    """Let content be what comes by standard input."""
    with ExitStack() as files:

        def give(content: bytes) -> None:
            (tmp_path / "piped").write_bytes(content)
            monkeypatch.setattr(sys, "stdin", files.enter_context((tmp_path / "piped").open()))
            _place._spooled.cache_clear()

        yield give


@pytest.mark.parametrize("form", ["csv", "json", "parquet", "npz", "zip"])
def test_standard_input_is_read_by_its_first_bytes(form, frame, pipe):
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as inside:
        inside.writestr("d.csv", frame.to_csv(index=False))
    content = {
        "csv": frame.to_csv(index=False, sep="\t").encode(),
        "json": frame.to_json(orient="records").encode(),
        "parquet": frame.to_parquet(),
        "npz": _npz(frame),
        "zip": archive.getvalue(),
    }[form]
    pipe(content)
    found = read("-")
    assert (len(found), found.classes) == (N, ("no", "yes"))
    assert read_test(None, found, source="-") is None


def _npz(frame: pd.DataFrame) -> bytes:
    file = io.BytesIO()
    np.savez(file, X=frame[["p", "q", "r"]].to_numpy(), y=frame["label"].to_numpy(str))
    return file.getvalue()


def test_a_run_on_standard_input_cannot_be_refined_and_says_so(frame, tmp_path, monkeypatch, pipe, cli):
    monkeypatch.chdir(tmp_path)
    pipe(frame.to_csv(index=False).encode())
    assert cli("fit", "-")[0] == 0
    assert [run.name for run in Path("runs").iterdir()] == ["input-001"]
    code, _, err = cli("refine", "runs/input-001", "--drop", "--out", "x.csv")
    assert code == 2
    assert "was trained on standard input, which cannot be read again" in err
    assert cli("refine", "runs/input-001", "--format", "aum", "--out", "aum.csv")[0] == 0
    pipe(b"")
    assert "error: standard input is empty" in cli("fit", "-")[2]


def test_a_workbook_without_its_library_says_what_to_install(tmp_path, monkeypatch):
    write_xlsx(tmp_path / "a.xlsx", {"one": [["x", "label"], [1, "a"]]})
    monkeypatch.setitem(sys.modules, "python_calamine", None)
    with pytest.raises(DataError, match=r"needs python-calamine. pip install 'selfdistill\[excel\]'"):
        read(tmp_path / "a.xlsx")


@pytest.mark.filterwarnings("ignore")
def test_of_positive_and_unlabelled_data_the_lowest_quality_finds_the_positive():
    """What the error advises where one class has labels and the other rows have none."""
    X, y = load_digits(return_X_y=True)
    X, positive = X[:500], y[:500] == 3
    seen = positive & (np.random.default_rng(0).random(500) < 0.5)
    found = SelfDistillClassifier().fit(X, np.where(seen, "positive", "unlabelled")).get_label_issues()
    assert roc_auc_score(positive[~seen], -found["label_quality"].to_numpy()[~seen]) > 0.95
