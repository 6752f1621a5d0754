from pathlib import Path

import numpy as np
import pytest

from selfdistill._core.errors import DataError
from selfdistill.noise import read_labels


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
