"""Files of labels and of transition matrices."""

import io
import json
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from selfdistill._core.errors import DataError
from selfdistill.noise import _files
from selfdistill.noise._files import check_file, load_arrays, read_labels, read_matrix, read_rows


class Bomb:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return exec, ("raise SystemExit('code was executed')",)


@pytest.mark.parametrize("name", ["labels.npy", "labels.npz"])
def test_pickles_are_refused_unread(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    content = io.BytesIO()
    np.save(content, np.array([Bomb()], dtype=object), allow_pickle=True)
    if path.suffix == ".npz":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("labels.npy", content.getvalue())
    else:
        path.write_bytes(content.getvalue())
    check_file(path)
    with pytest.raises(DataError, match="cannot be read as arrays of numbers or strings"):
        load_arrays(path)
    (tmp_path / "plain.npy").write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(DataError, match="cannot be read"):
        load_arrays(tmp_path / "plain.npy")


def test_truncated_archives(tmp_path: Path) -> None:
    path = tmp_path / "labels.npz"
    np.savez_compressed(path, a=np.arange(1000))
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match="no archive of arrays"):
        check_file(path)
    damaged = bytearray(whole)
    damaged[100:400] = bytes(300)
    path.write_bytes(damaged)
    with pytest.raises(DataError, match="cannot be read"):
        load_arrays(path)


def test_a_header_that_promises_too_much(tmp_path: Path) -> None:
    path = tmp_path / "labels.npy"
    np.save(path, np.zeros(10, dtype=np.int64))
    path.write_bytes(path.read_bytes().replace(b"(10,), }      ", b"(9999999,), } "))
    with pytest.raises(DataError, match="cannot be read"):
        load_arrays(path)


def test_the_ending_must_fit(tmp_path: Path) -> None:
    path = tmp_path / "labels.npz"
    np.savez(path, a=np.arange(3))
    path.rename(tmp_path / "labels.npy")
    with pytest.raises(DataError, match=r"does not fit its ending '\.npy'"):
        load_arrays(tmp_path / "labels.npy")


def test_bombs_are_refused_by_their_unpacked_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "labels.npz"
    np.savez_compressed(path, a=np.zeros(100_000, dtype=np.int64))
    assert path.stat().st_size < 10_000
    monkeypatch.setattr(_files, "_LARGEST", 100_000)
    with pytest.raises(DataError, match=r"holds 800,128 bytes, more than the limit of 100,000"):
        check_file(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"a,b\n1\n", "row 2 of .* has 1 fields, the one above has 2"),
        (b"a\n\xff\xfe\n", "no table of UTF-8 text"),
        (b"a\n" + b"x" * 200_000 + b"\n", "field larger than field limit"),
    ],
)
def test_files_that_are_none(content: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / "labels.csv"
    path.write_bytes(content)
    with pytest.raises(DataError, match=message):
        read_rows(path)


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"there is no file .*absent.csv. Check the path"):
        check_file(tmp_path / "absent.csv")


def test_every_format_gives_the_same(tmp_path: Path) -> None:
    labels = np.array([3, 0, 2, 1])
    np.save(tmp_path / "a.npy", labels.astype(np.uint8))
    np.save(tmp_path / "b.npy", labels.astype(np.float32))
    np.savez(tmp_path / "c.npz", only=labels)
    np.savez(tmp_path / "d.npz", clean_label=labels * 0, worse_label=labels)
    (tmp_path / "e.csv").write_text("label\n3\n0\n2\n1\n")
    (tmp_path / "f.tsv").write_text("id\tlabel\na\t3\nb\t0\nc\t2\nd\t1\n")
    (tmp_path / "g.txt").write_text("3\n0\n2\n1\n")
    columns = {"d.npz": "worse_label", "f.tsv": "label"}
    for path in tmp_path.iterdir():
        result = read_labels(path, column=columns.get(path.name), length=4)
        assert result.dtype == np.int64
        assert result.tolist() == labels.tolist(), path.name


def test_names_stay_names(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("\ufefflabel,note\nhip hop,x\nmétal ,y\n3,z\n", encoding="utf-8")
    assert read_labels(tmp_path / "a.csv", column="label").tolist() == ["hip hop", "métal", "3"]
    np.save(tmp_path / "b.npy", np.array(["cat", "dog"]))
    assert read_labels(tmp_path / "b.npy").tolist() == ["cat", "dog"]


def test_cifar10_labels_of_people(shared_data: Path) -> None:
    path = shared_data / "cifar10" / "cifar10n.npz"
    clean, worse = (read_labels(path, column=name, length=50_000) for name in ("clean_label", "worse_label"))
    assert (clean != worse).mean() == pytest.approx(0.4021, abs=5e-5)


def write(path: Path, content: object) -> Path:
    if path.suffix == ".npz":
        np.savez(path, **content)  # type: ignore[arg-type]
    elif path.suffix == ".npy":
        np.save(path, content)  # type: ignore[arg-type]
    else:
        path.write_text(str(content))
    return path


@pytest.mark.parametrize(
    ("name", "content", "column", "message"),
    [
        ("a.npz", {"x": [0], "y": [1]}, None, "holds several columns: x, y. Name the one with the labels"),
        ("a.npz", {"x": [0], "y": [1]}, "z", "holds no column 'z'. Use one of: x, y"),
        ("a.csv", "id,label\na,1\n", "lable", "holds no column 'lable'. Use one of: id, label"),
        ("a.csv", "x,x\na,1\n", "x", "names a column twice"),
        ("a.csv", "id,label\na,1\nb,\n", "label", r"lacks the labels of 1 examples, first in row 1 \(from 0\)"),
        ("a.npy", np.array([0.5, 1.0]), None, "no class numbers. Give integers or strings"),
        ("a.npy", np.array([np.nan, 1.0]), None, "no class numbers"),
        ("a.npy", np.array([True, False]), None, "no class numbers"),
        ("a.npy", np.zeros((3, 10), dtype=np.int64), None, r"labels of shape \(3, 10\). Give one label per example"),
        ("a.npy", np.zeros(3, dtype=np.int64), None, "holds 3 labels, but there are 2 examples"),
        ("a.pt", "", None, "files that can hold code, such as .pt and .pkl, are never read"),
    ],
)
def test_messages(name: str, content: object, column: str | None, message: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=message):
        read_labels(write(tmp_path / name, content), column=column, length=2)


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
        ("a.csv", "0.5,0.5\n0,x\n", None, "no table of numbers"),
        ("a.csv", "a,b\n0.5,0.5\n0,1\n", ["a", "c"], "has no row or column for c. It names: a, b"),
        ("a.csv", "a,a\n0.5,0.5\n0,1\n", None, "names a, a for 2 classes. Name each class once"),
        ("a.csv", "0.5,0.5\n0,1\n", ["a", "b", "c"], "a matrix of 2 classes, but the data have 3: a, b, c"),
        ("a.json", "[[1, 0], [0, 1]", None, "is no JSON"),
        ("a.json", '"word"', None, "holds no matrix"),
        ("a.json", '{"classes": "ab", "matrix": [[1, 0], [0, 1]]}', None, "classes that are no list"),
        ("a.json", '{"classes": ["a"], "matrix": [[1, 0], [0, 1]]}', None, "names a for 2 classes"),
        ("a.json", "[[1, NaN], [0, 1]]", None, r"entry \[0, 1\] of the transition matrix is nan"),
        ("a.yaml", "", None, "ending '.yaml', which is not one of .csv, .tsv, .json, .npy"),
    ],
)
def test_messages_of_matrices(name: str, content: str, classes: list[str] | None, message: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(DataError, match=message):
        read_matrix(tmp_path / name, classes=classes)
