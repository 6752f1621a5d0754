"""Files of transition matrices."""

import json
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch

from selfdistill._core.errors import DataError
from selfdistill.noise import _files
from selfdistill.noise._files import check_file, load_array, read_matrix, read_rows


class Bomb:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return exec, ("raise SystemExit('code was executed')",)


def test_pickles_are_refused_unread(tmp_path: Path) -> None:
    path = tmp_path / "matrix.npy"
    np.save(path, np.array([Bomb()], dtype=object), allow_pickle=True)
    check_file(path)
    with pytest.raises(DataError, match="cannot be read as an array of numbers"):
        load_array(path)
    path.write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(DataError, match="cannot be read"):
        load_array(path)


def test_a_header_that_promises_too_much(tmp_path: Path) -> None:
    path = tmp_path / "matrix.npy"
    np.save(path, np.zeros(10, dtype=np.int64))
    path.write_bytes(path.read_bytes().replace(b"(10,), }      ", b"(9999999,), } "))
    with pytest.raises(DataError, match="cannot be read"):
        load_array(path)


def test_the_ending_must_fit(tmp_path: Path) -> None:
    path = tmp_path / "matrix.npz"
    np.savez(path, a=np.arange(3))
    path.rename(tmp_path / "matrix.npy")
    with pytest.raises(DataError, match=r"does not fit its ending '\.npy'"):
        load_array(tmp_path / "matrix.npy")


def test_a_large_file_is_refused_before_it_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "matrix.npy"
    np.save(path, np.zeros(100))
    monkeypatch.setattr(_files, "_LARGEST", 800)
    with pytest.raises(DataError, match=r"holds 928 bytes, more than the limit of 800"):
        read_matrix(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"a,b\n1\n", "row 2 of .* has 1 fields, the one above has 2"),
        (b"a\n\xff\xfe\n", "not a table in UTF-8"),
        (b"a\n" + b"x" * 200_000 + b"\n", "field larger than field limit"),
    ],
)
def test_files_that_are_none(content: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / "matrix.csv"
    path.write_bytes(content)
    with pytest.raises(DataError, match=message):
        read_rows(path)


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"there is no file .*absent.csv. Check the path"):
        check_file(tmp_path / "absent.csv")


T = [[0.75, 0.25, 0.0], [0.0, 0.5, 0.5], [0.125, 0.0, 0.875]]
CLASSES = ["ant", "bee", "cow"]


def rows(separator: str = ",", names: bool = False) -> list[str]:
    return [
        separator.join(([name] if names else []) + [str(x) for x in row]) for name, row in zip(CLASSES, T, strict=True)
    ]


def test_every_format_gives_the_same_matrix(tmp_path: Path) -> None:
    texts = {
        "plain.csv": rows(),
        "header.csv": ["ant,bee,cow", *rows()],
        "index.csv": rows(names=True),
        "both.csv": [",ant,bee,cow", *rows(names=True)],
        "corner.tsv": ["clean\tant\tbee\tcow", *rows("\t", names=True)],
        "list.json": [json.dumps(T)],
        "dict.json": [json.dumps({"classes": CLASSES, "matrix": T})],
    }
    for name, lines in texts.items():
        (tmp_path / name).write_text("\n".join(lines) + "\n")
    np.save(tmp_path / "array.npy", np.array(T))
    expected = torch.tensor(T, dtype=torch.float64)
    for path in tmp_path.iterdir():
        assert torch.equal(read_matrix(path), expected), path.name
        assert torch.equal(read_matrix(path, classes=CLASSES), expected), path.name


@pytest.mark.parametrize("name", ["header.csv", "index.csv", "both.csv", "dict.json"])
def test_named_classes_are_put_into_order(name: str, tmp_path: Path) -> None:
    lines = {
        "header.csv": ["ant,bee,cow", *rows()],
        "index.csv": rows(names=True),
        "both.csv": ["x,ant,bee,cow", *rows(names=True)],
        "dict.json": [json.dumps({"classes": CLASSES, "matrix": T})],
    }[name]
    (tmp_path / name).write_text("\n".join(lines))
    order = ["cow", "ant", "bee"]
    result = read_matrix(tmp_path / name, classes=order)
    for i, clean in enumerate(order):
        for j, label in enumerate(order):
            assert result[i, j] == T[CLASSES.index(clean)][CLASSES.index(label)]


def test_columns_follow_rows_where_only_the_file_names_classes(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(",bee,ant\nant,0.25,0.75\nbee,1,0\n")
    assert read_matrix(tmp_path / "a.csv").tolist() == [[0.75, 0.25], [0.0, 1.0]]


def test_classes_whose_names_are_numbers(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(",1,0\n1,0.5,0.5\n0,0,1\n")
    assert read_matrix(tmp_path / "a.csv", classes=["0", "1"]).tolist() == [[1.0, 0.0], [0.5, 0.5]]


@pytest.mark.parametrize(
    ("name", "content", "classes", "message"),
    [
        ("a.csv", "0.5,0.4\n0,1\n", None, r"a.csv: row 0 of the transition matrix sums to 0.9"),
        ("a.csv", "0.5,0.5\n0,x\n", None, "not a table of numbers"),
        ("a.csv", "a,b\n0.5,0.5\n0,1\n", ["a", "c"], "has no row or column for c. It names: a, b"),
        ("a.csv", "a,a\n0.5,0.5\n0,1\n", None, "names a, a for 2 classes. Name each class once"),
        ("a.csv", "0.5,0.5\n0,1\n", ["a", "b", "c"], "a matrix of 2 classes, but the data have 3: a, b, c"),
        ("a.json", "[[1, 0], [0, 1]", None, "is not JSON"),
        ("a.json", '"word"', None, "holds no matrix"),
        ("a.json", '{"classes": "ab", "matrix": [[1, 0], [0, 1]]}', None, "classes that are not a list"),
        ("a.json", '{"classes": ["a"], "matrix": [[1, 0], [0, 1]]}', None, "names a for 2 classes"),
        ("a.json", "[[1, NaN], [0, 1]]", None, r"entry \[0, 1\] of the transition matrix is nan"),
        ("a.yaml", "", None, "ending '.yaml', which is not one of .csv, .tsv, .json, .npy"),
    ],
)
def test_messages_of_matrices(name: str, content: str, classes: list[str] | None, message: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(DataError, match=message):
        read_matrix(tmp_path / name, classes=classes)
