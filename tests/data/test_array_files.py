"""Features as people have them: embeddings in npz, npy with labels beside, safetensors."""

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file, save_file

from selfdistill._core.errors import DataError
from selfdistill._core.read_options import ReadOptions
from selfdistill.data._copy import write_refined, write_with_labels
from selfdistill.data._read import read, read_new, read_test

X = np.random.default_rng(0).normal(size=(6, 3)).astype(np.float32)
Y = np.array([0, 1, 2, 0, 1, 2])
WORDS = np.array(list("abcabc"))


@pytest.fixture
def at(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.save("x.npy", X)
    np.save("y.npy", Y)
    pd.DataFrame({"kind": WORDS}).to_csv("one.csv", index=False)
    pd.DataFrame({"n": Y, "kind": WORDS, "label": WORDS[::-1]}).to_csv("several.csv", index=False)
    (tmp_path / "y.txt").write_text("a\nb\nc\na\nb\nc\n")
    save_file({"embeddings": torch.from_numpy(X), "labels": torch.from_numpy(Y)}, "e.safetensors", {"made": "by me"})
    return tmp_path


@pytest.mark.parametrize("name", ["embeddings", "embedding", "arr_0"])
def test_usual_names_of_features(at, name):
    np.savez("a.npz", **{name: X, "y": Y})
    assert torch.equal(read("a.npz").inputs, read("x.npy", ReadOptions(labels="y.npy")).inputs)


def test_the_array_that_is_told(at):
    np.savez("a.npz", X=X[:, :1], clip=X, y=Y)
    data = read("a.npz", ReadOptions(inputs="clip"))
    assert data.inputs.shape == (6, 3)
    with pytest.raises(DataError, match=r"has no array 'clop' \(`inputs`\). Did you mean 'clip'"):
        read("a.npz", ReadOptions(inputs="clop"))
    new = read_new("a.npz", data.preprocess, data.classes, ReadOptions(inputs="clip"))
    assert torch.equal(new.inputs, data.inputs)
    np.savez("new.npz", X=X)  # another name than in training
    assert torch.equal(
        read_new("new.npz", data.preprocess, data.classes, ReadOptions(inputs="clip")).inputs, new.inputs
    )
    assert read_test(None, data, ReadOptions(inputs="clip"), source="a.npz") is None


@pytest.mark.parametrize(
    ("labels", "classes"),
    [
        (ReadOptions(labels="y.npy"), ("0", "1", "2")),
        (ReadOptions(labels="one.csv"), ("a", "b", "c")),
        (ReadOptions(labels="several.csv", label="kind"), ("a", "b", "c")),
        (ReadOptions(labels="y.txt"), ("a", "b", "c")),
    ],
)
def test_labels_in_a_file_of_their_own(at, labels, classes):
    for features in ("x.npy", "a.npz", "b.safetensors"):
        np.savez("a.npz", X=X)
        save_file({"X": torch.from_numpy(X)}, "b.safetensors")
        data = read(features, labels)
        assert data.classes == classes
        assert data.labels.tolist() == Y.tolist()


def test_of_several_columns_the_usual_name(at):
    assert read("x.npy", ReadOptions(labels="several.csv")).labels.tolist() == Y[::-1].tolist()


@pytest.mark.parametrize(
    ("source", "options", "problem"),
    [
        ("x.npy", {}, "x.npy has no labels: an npy file holds one array.*`labels` FILE"),
        ("x.npy", {"labels": "gone.txt"}, r"gone.txt \(`labels`\) does not exist"),
        ("x.npy", {"labels": "x.safetensors"}, r"is of an unknown kind \(.safetensors\)"),
        ("x.npy", {"labels": "short.csv"}, "6 examples, but short.csv 5 labels.*The first line of a CSV file"),
        ("x.npy", {"labels": "gap.txt"}, r"has no label in 1 of 6 rows: 2 \(from 0\)"),
        ("x.npy", {"labels": "y.npy", "inputs": "x"}, "inputs x does not apply: x.npy is an array"),
        ("several.csv", {"labels": "y.npy"}, "labels y.npy does not apply: several.csv is a table"),
        ("trap.npy", {"labels": "y.npy"}, "trap.npy holds Python objects, which are not read: they could run code"),
        ("cut.npy", {"labels": "y.npy"}, "cut.npy is truncated: 720 bytes by its header"),
        ("word.npy", {"labels": "y.npy"}, "word.npy is truncated or not an npy file"),
        ("nan.npy", {"labels": "y.npy"}, "the inputs hold NaN in row 4, column 1"),
        ("nan.safetensors", {}, "the inputs hold NaN in row 4, column 1"),
        ("cut.safetensors", {}, "cut.safetensors is truncated or not a safetensors file"),
    ],
)
def test_what_cannot_be_used(at, source, options, problem):
    (at / "x.safetensors").write_bytes(b"")
    (at / "short.csv").write_text("a\nb\nc\na\nb\nc\n")
    (at / "gap.txt").write_text("a\nb\n\na\nb\nc\n")
    np.save("trap.npy", np.array([print], dtype=object), allow_pickle=True)
    whole = (at / "x.npy").read_bytes()
    (at / "cut.npy").write_bytes(whole[:20] + whole[20:128].replace(b"(6, 3)", b"(60,3)") + whole[128:])
    (at / "word.npy").write_text("no array")
    bad = X.copy()
    bad[4, 1] = np.nan
    np.save("nan.npy", bad)
    save_file({"X": torch.from_numpy(bad), "y": torch.from_numpy(Y)}, "nan.safetensors")
    (at / "cut.safetensors").write_bytes((at / "e.safetensors").read_bytes()[:-20])
    with pytest.raises(DataError, match=problem) as refused:
        read(source, ReadOptions(**options))
    assert refused.value.hint


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_types_of_numbers(at, dtype):
    np.save("t.npy", X.astype(dtype))
    data = read("t.npy", ReadOptions(labels="y.npy"))
    assert data.inputs.dtype == torch.float32
    save_file({"X": torch.from_numpy(X.astype(dtype)), "y": torch.from_numpy(Y)}, "t.safetensors")
    assert torch.equal(read("t.safetensors").inputs, data.inputs)
    assert torch.equal(read_new("t.npy", data.preprocess, data.classes).inputs, data.inputs)


def test_bfloat16(at):
    save_file({"X": torch.from_numpy(X).bfloat16(), "y": torch.from_numpy(Y)}, "b.safetensors")
    torch.testing.assert_close(read("b.safetensors").inputs, read("e.safetensors").inputs, rtol=0.05, atol=0.05)


def test_features_are_mapped_not_copied(at):
    from selfdistill.data._stored import read_npy

    assert isinstance(read_npy(at / "x.npy"), np.memmap)
    np.save("none.npy", X[:0])
    with pytest.raises(DataError, match="6 labels"):
        read("none.npy", ReadOptions(labels="y.npy"))


def test_refined_copies(at):
    column = ("refined_label", np.array([0, 1, 2, 0, 1, 1]).astype(str))
    write_refined("e.safetensors", ReadOptions(), at / "r.safetensors", column=column)
    back = load_file("r.safetensors")
    assert back["refined_label"].tolist() == [0, 1, 2, 0, 1, 1]
    assert torch.equal(back["embeddings"], torch.from_numpy(X))
    keep = np.array([True, True, False, True, True, True])
    write_refined("e.safetensors", ReadOptions(), at / "k.safetensors", keep=keep)
    assert load_file("k.safetensors")["labels"].tolist() == [0, 1, 0, 1, 2]
    write_refined("e.safetensors", ReadOptions(), at / "w.safetensors", column=("label_weight", np.ones(6)))
    assert load_file("w.safetensors")["label_weight"].tolist() == [1.0] * 6
    write_refined("x.npy", ReadOptions(labels="y.txt"), at / "r.npz", column=("refined_label", WORDS))
    data = read("r.npz", ReadOptions(label="refined_label"))
    assert data.classes == ("a", "b", "c")
    with np.load("r.npz") as file:
        np.testing.assert_array_equal(file["X"], X)
    np.savez("a.npz", X=X, other=X)
    write_refined("a.npz", ReadOptions(labels="y.txt"), at / "a2.npz", column=("refined_label", WORDS))
    with np.load("a2.npz") as file:
        assert file["given_label"].tolist() == WORDS.tolist() == file["refined_label"].tolist()
        np.testing.assert_array_equal(file["other"], X)
    with pytest.raises(DataError, match=r"cannot take a copy of e.safetensors.*safetensors or .npz"):
        write_refined("e.safetensors", ReadOptions(), at / "r.csv", column=column)


def test_rows_without_a_label_stay_in_copies(at):
    (at / "gap.txt").write_text("a\nb\n\na\nb\nc\n")
    options = ReadOptions(labels="gap.txt", drop_unlabelled=True)
    assert len(read("x.npy", options)) == 5
    write_refined("x.npy", options, at / "r.npz", column=("refined_label", np.array(list("ababc"))))
    with np.load("r.npz") as file:
        assert file["refined_label"].tolist() == ["a", "b", "", "a", "b", "c"]


def test_noisy_copies_become_npz(at):
    for source, options in (("x.npy", ReadOptions(labels="y.txt")), ("e.safetensors", ReadOptions())):
        before = read(source, options)
        name = at / f"{source}.npz"
        write_with_labels(source, options, [before.classes[0]] * 5 + [before.classes[1]], name)
        made = read(name)
        assert next(made.classes[k] for k in made.truth.tolist() if k >= 0) == before.classes[0]
        assert made.labels.tolist() == [0] * 5 + [1]
