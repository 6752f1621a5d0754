"""A run from Python against the same run from the command line."""

import json
import shutil

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

import selfdistill
from selfdistill._core.errors import DataError, RunError, SettingError

pytestmark = pytest.mark.usefixtures("few_trees")


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """A table whose labels are wrong in ten rows, and new rows."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(160, 3))
    names = np.array(["no", "yes"])[(X[:, 0] + X[:, 1] > 0).astype(int)]
    wrong = rng.permutation(120)[:10]
    given = names[:120].copy()
    given[wrong] = np.where(given[wrong] == "no", "yes", "no")
    folder = tmp_path_factory.mktemp("table")
    pd.DataFrame(X[:120], columns=list("abc")).assign(answer=given).to_csv(folder / "t.csv", index=False)
    pd.DataFrame(X[120:], columns=list("abc")).to_csv(folder / "new.csv", index=False)
    return folder, wrong, names[120:]


@pytest.fixture(scope="module")
def run(table):
    folder, _, _ = table
    return selfdistill.fit(folder / "t.csv", label="answer", out=folder / "run", say=None)


def test_it_is_the_command_lines_run(run, table, cli):
    folder, _, _ = table
    code, shown, err = cli("fit", folder / "t.csv", "--label", "answer", "--out", folder / "other")
    assert code == 0, err
    for name in ("labels.parquet", "model.safetensors"):
        assert (run.folder / name).read_bytes() == (folder / "other" / name).read_bytes()
    shown = shown.replace(str(folder / "other"), str(run.folder))
    ours, theirs = ([line for line in text.splitlines() if " in " not in line] for text in (str(run.report()), shown))
    assert ours == theirs  # but for seconds


def test_labels_predictions_and_record(run, table):
    folder, wrong, truth = table
    found = run.labels
    assert len(found) == 120
    is_wrong = np.isin(np.arange(120), wrong)
    assert roc_auc_score(is_wrong, -found.label_quality) > 0.85
    new = run.predict(folder / "new.csv")
    assert list(new.columns) == ["id", "predicted_label", "confidence", "p_no", "p_yes"]
    assert (new.predicted_label.to_numpy() == truth).mean() > 0.8
    assert run.classes == ("no", "yes")
    assert selfdistill.load(str(run.folder)).record == run.record


def test_refine_and_air(run, tmp_path):
    done = run.refine(tmp_path / "clean.csv", how="drop")
    assert len(pd.read_csv(tmp_path / "clean.csv")) == done.rows == 120 - done.issues
    spectrum = run.air(tmp_path / "air")
    assert spectrum["closed"] == run.record.as_json()["closed"] == run.air()["closed"]
    assert json.loads((tmp_path / "air" / "air.json").read_text())["closed"] == spectrum["closed"]
    assert list((tmp_path / "air").glob("*.svg"))


def test_air_of_a_network(table, tmp_path):
    folder, _, _ = table
    run = selfdistill.fit(
        folder / "t.csv", label="answer", method="selfdistill", network="mlp:8", epochs=2, out=tmp_path / "n", say=None
    )
    found = run.air(examples=30, rank=5)
    assert [one["name"] for one in found["moments"]] == ["initial", "trained"]
    with pytest.raises(SettingError, match="examples is 1"):
        run.air(examples=1)


def test_sentences_come_as_they_are(table, tmp_path):
    folder, _, _ = table
    messages = []
    selfdistill.fit(folder / "t.csv", label="answer", out=tmp_path / "run", say=messages.append)
    assert messages[0].startswith("Reading ")
    assert f"Run directory: {tmp_path / 'run'}" in messages
    assert any(one.endswith("(`method` selfdistill trains a network)") for one in messages)


@pytest.mark.parametrize(
    ("source", "options", "error", "words"),
    [
        (pd.DataFrame(), {}, DataError, "SelfDistillClassifier"),
        ("t.csv", {"epoch": 3}, SettingError, r"'epoch' does not exist. Did you mean epochs\?"),
        ("t.csv", {"report": True}, SettingError, r"option of the command line only. From Python: fit\(...\).report\("),
        ("t.csv", {"json": True}, SettingError, "option of the command line only"),
        ("t.csv", {"processes": 2}, SettingError, "selfdistill fit DATA --processes N"),
        ("nowhere.csv", {}, DataError, "nowhere.csv"),
        ("t.csv", {"label": "answer", "seed": -1}, SettingError, "-1"),
    ],
)
def test_what_cannot_be_is_refused(source, options, error, words, table, tmp_path, monkeypatch):
    monkeypatch.chdir(table[0])
    with pytest.raises(error, match=words):
        selfdistill.fit(source, out=tmp_path / "run", say=None, **options)
    assert not (tmp_path / "run").exists()


def test_decisions_are_held_and_a_run_goes_on(run, table, tmp_path):
    folder, wrong, _ = table
    given = pd.read_csv(folder / "t.csv").answer
    pd.DataFrame({"id": wrong, "label": given[wrong]}).to_csv(tmp_path / "d.csv", index=False)
    held = selfdistill.fit(
        folder / "t.csv", label="answer", decisions=tmp_path / "d.csv", out=tmp_path / "run", say=None
    )
    assert (held.labels.refined_label[wrong] == given[wrong]).all()
    assert not (run.labels.refined_label[wrong] == given[wrong]).all()
    again = selfdistill.fit(resume=held.folder, say=None)
    assert again == held
    assert again.record == held.record


def test_paths_may_be_options(tmp_path):
    np.save(tmp_path / "x.npy", np.arange(40.0).reshape(40, 1))
    pd.DataFrame({"label": np.arange(40) // 20}).to_csv(tmp_path / "y.csv", index=False)
    run = selfdistill.fit(tmp_path / "x.npy", labels=tmp_path / "y.csv", out=tmp_path / "run", say=None)
    assert run.record.data.read.labels == str(tmp_path / "y.csv")


def test_what_is_no_run_is_refused(tmp_path):
    with pytest.raises(RunError, match=r"run\.json"):
        selfdistill.load(tmp_path)


def test_a_damaged_table_is_refused(run, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(run.folder, copy)
    table = bytearray((copy / "labels.parquet").read_bytes())
    table[len(table) // 2] ^= 1
    (copy / "labels.parquet").write_bytes(table)
    with pytest.raises(RunError, match="damaged"):
        _ = selfdistill.load(copy).labels
