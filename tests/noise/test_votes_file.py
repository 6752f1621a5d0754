"""Votes from every format are the same, and whatever is no vote is refused with its place and the way out."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from selfdistill._core.errors import DataError
from selfdistill.noise import check_votes, read_votes

CLASSES = ("cat", "dog", "eel")
VOTES = np.array([[49, 1, 0], [0, 20, 30], [2, 2, 46]])


def test_every_format_gives_the_same_whatever_the_order_of_named_columns(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", counts=VOTES.astype(np.uint8), labels=VOTES.argmax(1))
    np.savez(tmp_path / "b.npz", first=VOTES * 0 + 1, second=VOTES.astype(np.float32))
    np.save(tmp_path / "c.npy", VOTES)
    frame = pd.DataFrame(VOTES, columns=CLASSES)[["eel", "cat", "dog"]]
    frame.to_csv(tmp_path / "d.csv", index=False)
    frame.to_csv(tmp_path / "e.tsv", index=False, sep="\t")
    frame.assign(id=["x", "y", "z"]).to_parquet(tmp_path / "f.parquet")
    for path in tmp_path.iterdir():
        name = "second" if path.name == "b.npz" else None
        found = read_votes(path, classes=CLASSES, array=name, ids=["x", "y", "z"])
        assert found.dtype == torch.float64
        assert found.tolist() == VOTES.tolist(), path.name


def test_cifar10h_is_on_the_side_of_the_labels(shared_data: Path) -> None:
    path = shared_data / "cifar10" / "cifar10h_counts.npz"
    found = read_votes(path, classes=[str(c) for c in range(10)])
    labels = np.load(path)["test_labels"]
    assert (found.argmax(1).numpy() == labels).mean() == pytest.approx(0.992, abs=5e-4)
    assert found.sum(1).min() >= 45


def write(path: Path, content: object) -> Path:
    if path.suffix == ".npz":
        np.savez(path, **content)  # type: ignore[arg-type]
    elif path.suffix == ".npy":
        np.save(path, content)  # type: ignore[arg-type]
    elif path.suffix == ".parquet" and isinstance(content, pd.DataFrame):
        content.to_parquet(path)
    else:
        path.write_text(str(content))
    return path


HEAD = "cat,dog,eel\n"


@pytest.mark.parametrize(
    ("name", "content", "array", "message"),
    [
        ("a.npz", {"x": VOTES, "y": VOTES}, None, r"2 arrays of two axes, but one is taken: x \[3, 3\], y .* Name the"),
        ("a.npz", {"x": VOTES}, "z", "holds no array 'z'. Use one of: x"),
        ("a.npz", {"x": VOTES[0]}, None, r"0 arrays of two axes, but one is taken: x \[3\]. Give counts"),
        (
            "a.npy",
            VOTES[:, :2],
            None,
            r"votes of shape \[3, 2\], but there are 3 classes \(cat, dog, eel\). Give one row",
        ),
        ("a.npy", VOTES[:2], None, "2 rows of votes, but there are 3 examples. Give one row per example"),
        ("a.npy", VOTES * -1, None, "has -49 votes for 'cat' in row 0 .* below 0. Give counts of at least 0"),
        ("a.npy", np.where(VOTES == 1, np.inf, VOTES), None, "votes for 'dog' in row 0 .*, not finite. Give counts"),
        ("a.npy", VOTES * [[1], [0], [1]], None, "nobody voted in row 1 .*, one of 1 such rows. Give each row"),
        ("a.npy", np.array([["a", "b", "c"]]), None, "holds votes of type <U1, which are no numbers. Save counts"),
        ("a.csv", "cat,dog\n1,2\n", None, "has no column for 'eel'; its columns are 'cat', 'dog'. Give one column per"),
        (
            "a.csv",
            "cat,dog,eel,unsure\n1,2,3,4\n",
            None,
            "has columns that are no class of the data; .* 'unsure'. Give",
        ),
        ("a.csv", "cat,dog,cat\n1,2,3\n", None, "names a column twice"),
        ("a.csv", HEAD + "1,2,3\n1,,3\n1,2,3\n", None, "has '' for 'dog' in row 1 .*, which is no number. Give counts"),
        (
            "a.csv",
            "id," + HEAD + "x,1,2,3\nz,1,2,3\ny,1,2,3\n",
            None,
            "has the id 'z' in row 1 .*, but the data 'y'. B",
        ),
        ("a.csv", HEAD + "1,2,3\n" * 3, "counts", "is a table, which has no array 'counts'. Leave the name"),
        ("a.parquet", "no", None, "is truncated or no Parquet file: .*. Write it again"),
        ("a.parquet", pd.DataFrame({"cat": [1], "dog": [None], "eel": [1]}), None, "has None for 'dog' in row 0"),
        ("a.pkl", "", None, "has the ending '.pkl', which is not one of .npz, .npy, .csv, .tsv, .parquet, .pq"),
    ],
)
def test_messages(name: str, content: object, array: str | None, message: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=message):
        read_votes(write(tmp_path / name, content), classes=CLASSES, array=array, ids=["x", "y", "z"])


def test_a_missing_file_and_votes_in_memory(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"there is no file .*none.csv\. Check"):
        read_votes(tmp_path / "none.csv", classes=CLASSES)
    assert torch.equal(check_votes(torch.from_numpy(VOTES), CLASSES, rows=3), torch.from_numpy(VOTES).double())
    with pytest.raises(DataError, match=r"votes has votes of shape \[3\]"):
        check_votes(torch.ones(3), CLASSES)
