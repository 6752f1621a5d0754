"""Sources are recognised, and what does not fit is refused in one line."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

import selfdistill
from selfdistill._core.errors import DataError
from selfdistill._core.read_options import ReadOptions
from selfdistill.data._copy import write_with_labels
from selfdistill.data._read import read, read_new, read_test


@pytest.fixture
def path(tmp_path):
    return tmp_path / "songs.csv"


def test_csv_and_parquet_agree(tmp_path):
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "id": [f"s{i}" for i in range(40)],
            "x": rng.normal(size=40),
            "k": rng.choice(["p", "q"], 40),
            "label": rng.choice(["a", "b"], 40),
        }
    )
    frame.loc[3, "x"] = np.nan
    for name in ("a.csv", "a.csv.gz"):
        frame.to_csv(tmp_path / name, index=False)
    frame.to_parquet(tmp_path / "a.parquet")
    first, *others = [read(tmp_path / name) for name in ("a.csv", "a.csv.gz", "a.parquet")]
    assert first.ids[3] == "s3"
    assert first.counts == {"missing_values": 1}
    for other in others:
        assert other.fingerprint == first.fingerprint


def test_digits_know_the_truth():
    data = read("digits")
    assert torch.equal(data.truth, data.labels)
    assert data.inputs.dtype == torch.uint8
    assert data.inputs.max() == 16


def test_a_quoted_newline_and_odd_labels(path):
    path.write_text(
        'x,label,t\n1,"größe, ""x""","two\nlines of text"\n2, b ,"one line, really"\n3, b ,"and three more"\n'
    )
    data = read(path)
    assert data.classes == (" b ", 'größe, "x"')
    assert len(data) == 3


BAD = {
    "unknown column": (
        "x,label\n1,a\n2,b\n",
        {"label": "lable"},
        r"has no column 'lable' \(`label`\). Did you mean 'label'\?",
    ),
    "no label column": ("x,z\n1,a\n2,b\n", {}, r"no column named label, target, class or y"),
    "one class": ("x,label\n1,a\n2,a\n", {}, r"hold only the class 'a', but training needs at least 2 classes"),
    "missing labels": (
        "x,label\n1,a\n2,\n3,b\n4, \n",
        {},
        r"has no label in 2 of 4 rows: 1, 3 \(from 0\).*`drop_unlabelled`",
    ),
    "infinite": ("x,label\n1,a\ninf,b\n", {}, r"column 'x' holds an infinite value in row 1"),
    "ids repeat": ("x,name,label\n1,p,a\n2,p,b\n", {"id": "name"}, r"repeats the id 'p' \(rows 0 and 1\)"),
    "id missing": ("x,name,label\n1,p,a\n2,,b\n", {"id": "name"}, r"has no id in row 1"),
    "not a number": (
        "x,label\n1,a\nmany,b\n",
        {"numeric": ("x",)},
        r"column 'x' holds numbers, but row 1 .* has 'many'",
    ),
    "no features": ("label\na\nb\n", {}, r"has no feature column left"),
    "empty": ("", {}, r"is empty"),
    "header only": ("x,label\n", {}, r"has a header but no rows"),
    "short row": ("x,label\n1,a\n2\n", {}, r"line 3: 1 fields, but the header has 2"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_tables(path, name):
    text, options, problem = BAD[name]
    path.write_text(text)
    with pytest.raises(DataError, match=problem) as caught:
        read(path, ReadOptions(**options))
    assert "\n" not in str(caught.value)
    assert caught.value.hint


def test_missing_labels_can_be_left_out(path):
    path.write_text("x,label\n1,a\n2,\n3,b\n4,nan\n")
    data = read(path, ReadOptions(drop_unlabelled=True))
    assert data.ids.tolist() == ["0", "2"]
    assert data.counts["dropped_unlabelled"] == 2


def test_sources_that_are_not_there(tmp_path):
    (tmp_path / "songs.csv").write_text("x")
    with pytest.raises(DataError, match=r"song.csv does not exist. Did you mean 'songs.csv'\? Give a file \(CSV"):
        read(tmp_path / "song.csv")
    with pytest.raises(DataError, match="does not exist"):
        read("/nowhere/at/all")
    with pytest.raises(DataError, match=r"the folder .* holds no images, IDX files or CIFAR batches"):
        read(tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"the folder .* is empty"):
        read(tmp_path / "empty")
    (tmp_path / "a.docx").write_text("x")
    with pytest.raises(DataError, match=r"a.docx is of an unknown kind \(.docx\)"):
        read(tmp_path / "a.docx")


def test_a_folder_named_digits_comes_first(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert len(read("digits")) == 1797
    (tmp_path / "digits").mkdir()
    with pytest.raises(DataError, match="the folder digits is empty"):
        read("digits")


def test_test_tables(path, tmp_path):
    path.write_text("id,x,vote,label\np,1,a,a\nq,2,b,b\nr,3,a,a\n")
    data = read(path)
    assert data.preprocess.roles.ignored == ("vote",)
    test = tmp_path / "test.csv"
    test.write_text("label,x,id\nb,2,z\n")
    inputs, labels, ids = read_test(test, data)
    assert (inputs.item(), labels.tolist(), ids.tolist()) == (0.0, [1], ["z"])
    assert read_test(None, data) is None
    assert read_test(None, data, source=path) is None
    for text, problem in [
        ("x,label\n1,c\n", r"holds the class 'c' \(row 0, counted from 0\), which was not in training"),
        ("z,label\n1,a\n", r"differ from training: missing 'x'; not known from training: 'z'"),
        ("x,label\n1,\n", r"has no label in 1 of 1 rows"),
        ("x\n1\n", r"has no labels"),
        ("x,label\n1,a\nbig,b\n", r"column 'x' holds numbers, but row 1 .* has 'big'"),
    ]:
        test.write_text(text)
        with pytest.raises(DataError, match=problem):
            read_test(test, data)


def test_new_tables(path, tmp_path):
    path.write_text("x,label\n1,a\n2,b\n3,a\n")
    data = read(path)
    new = tmp_path / "new.csv"
    new.write_text("x\n2\n\n5\n")
    got = read_new(new, data.preprocess, data.classes)
    assert got.labels is None
    assert got.ids.tolist() == ["0", "1"]
    assert got.inputs[0].tolist() == [0.0]
    new.write_text("x,label\n2,b\n3,\n")
    assert read_new(new, data.preprocess, data.classes).labels.tolist() == [1, -1]
    new.write_text("x,label\n2,never\n")
    with pytest.raises(DataError, match=r"holds the class 'never' .* `ignore`"):
        read_new(new, data.preprocess, data.classes)
    assert read_new(new, data.preprocess, data.classes, ReadOptions(ignore=("label",))).labels is None
    np.savez(tmp_path / "new.npz", X=np.zeros((2, 1)))
    with pytest.raises(DataError):
        read_new(tmp_path / "new.npz", data.preprocess, data.classes)
    with pytest.raises(DataError, match="is a table, but training had grey images"):
        read_new(new, read("digits").preprocess, ("0",))


def test_heavy_libraries_are_not_loaded_before_they_are_needed():
    code = (
        "import sys, selfdistill.data; print([m for m in ('pandas', 'pyarrow', 'sklearn', 'PIL') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def _null_table(path, labels):
    frame = pd.DataFrame({"x": np.linspace(0, 1, len(labels)).round(3), "label": labels})
    if path.suffix == ".csv":
        frame.to_csv(path, index=False)
    else:
        frame.to_parquet(path)
    return path


def test_a_class_called_null(tmp_path):
    path = _null_table(tmp_path / "d.csv", ["null", "ok"] * 20)
    data = read(path)
    assert data.classes == ("null", "ok")
    assert any("'null' is taken as a class" in message and "--drop-unlabelled" in message for message in data.warnings)
    test = _null_table(tmp_path / "t.csv", ["null"] + ["ok"] * 39)
    _, labels, _ = read_test(test, data)
    assert labels.tolist() == [0] + [1] * 39
    assert read_new(test, data.preprocess, data.classes).labels.tolist() == labels.tolist()
    rare = ["null", *["ok", "bad"] * 20]
    with pytest.raises(DataError, match=r"no label in 1 of 41 rows: 0 \(from 0\), where 'null' counts as missing"):
        read(_null_table(tmp_path / "r.csv", rare))
    assert read(_null_table(tmp_path / "r.parquet", rare)).classes == ("bad", "null", "ok")
    copy = write_with_labels(path, ReadOptions(), ["ok", "null"] * 20, tmp_path / "copy.csv")
    assert copy.read_text().splitlines()[1] == "0.0,ok,null"


def test_new_text_is_in_the_encoding_of_training_where_it_is_not_utf8(tmp_path):
    def write(name, encoding, words):
        (tmp_path / name).write_bytes("".join(["word,label\n", *(f"{w},{c}\n" for w, c in words)]).encode(encoding))
        return tmp_path / name

    words = [("žluť", "a"), ("kůň", "b")] * 6
    data = read(write("old.csv", "cp852", words), ReadOptions(encoding="cp852"))
    short = write("new.csv", "cp852", words[:2])  # too short to tell by its looks
    new = read_new(short, data.preprocess, data.classes, usual_encoding="cp852")
    assert new.warnings == ()
    assert (new.inputs == data.inputs[:2]).all()
    decoded = read_new(write("u.csv", "utf-8", words[:2]), data.preprocess, data.classes, usual_encoding="cp852")
    assert (decoded.inputs == new.inputs).all()
    other = read_new(write("w.csv", "cp1250", words), data.preprocess, data.classes, ReadOptions(encoding="cp1250"))
    assert (other.inputs == data.inputs).all()


def test_what_was_decided_of_new_data_is_told(tmp_path):
    rows = [f"{word},{label}\n" for word, label in [("Köln schön größer", "a"), ("Zürich über später", "b")] * 9]
    (tmp_path / "a.csv").write_bytes("".join(["word,label\n", *rows]).encode())
    data = read(tmp_path / "a.csv")
    (tmp_path / "b.csv").write_bytes("".join(["word,label\n", *rows]).encode("cp1252"))
    new = read_new(tmp_path / "b.csv", data.preprocess, data.classes)
    assert re.match(r".*b.csv is not UTF-8 and is read as cp1252, such as 'Köln'; --encoding", new.warnings[0])


def test_predict_remembers_the_encoding_that_the_run_was_told(tmp_path):
    rows = [f"{word},{label}\n" for word, label in [("žluť", "a"), ("kůň", "b")] * 12]
    (tmp_path / "old.csv").write_bytes("".join(["word,label\n", *rows]).encode("cp852"))
    (tmp_path / "new.csv").write_bytes("".join(["word\n", "žluť\n", "kůň\n"]).encode("cp852"))
    run = selfdistill.fit(tmp_path / "old.csv", out=tmp_path / "run", say=None, encoding="cp852", method="kernel")
    assert run.predict(tmp_path / "new.csv")["predicted_label"].tolist() == ["a", "b"]


def test_texts_in_folders_go_into_a_table_by_the_command_that_is_given(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for kind in ("ham", "it's spam"):
        Path("my mail", kind).mkdir(parents=True)
        for i in range(3):
            Path("my mail", kind, f"{i}.txt").write_text(f"some words {kind} {i}")
    with pytest.raises(DataError, match="the folder my mail holds texts in folders") as refused:
        read("my mail")
    command = shlex.split(refused.value.hint.partition(": ")[2])
    subprocess.run([sys.executable, *command[1:]], check=True)
    data = read("texts.parquet")
    assert data.classes == ("ham", "it's spam")
    assert data.preprocess.kinds["text"] == ("text",)
