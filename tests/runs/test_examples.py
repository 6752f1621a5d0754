"""Single examples of runs, seen as they lie in their files: by Pillow, NumPy and pandas, which read them without us."""

from __future__ import annotations

import io
import shutil
import struct
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from selfdistill._core.errors import DataError
from selfdistill.runs._examples import Examples, open_examples
from selfdistill.runs._run import fit

pytestmark = pytest.mark.usefixtures("few_trees")

SHORT = {"method": "memory", "network": "linear", "epochs": 1, "augment": "none", "say": None}
N = 40


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def shown(examples: Examples, index: int, side: int = 32) -> np.ndarray:
    with Image.open(io.BytesIO(examples.thumbnail(index, side))) as image:
        assert image.format in {"PNG", "JPEG"}
        assert max(image.size) == side
        return np.asarray(image, float)


def photos(folder: Path) -> dict[str, tuple[int, int, int]]:
    """Photos of one colour each, 40 x 20; a class name with all that pages and paths stumble over."""
    colours, rng = {}, np.random.default_rng(0)
    for name in ("a <b>", "käse"):
        (folder / name).mkdir(parents=True)
        for i in range(4):
            colours[f"{name}/{i}.png"] = tuple(int(one) for one in rng.integers(0, 256, 3))
            Image.new("RGB", (40, 20), colours[f"{name}/{i}.png"]).save(folder / name / f"{i}.png")
    return colours


@pytest.mark.parametrize("where", ["photos", "photos/", "photos.zip", "nested.zip"])
def test_photos_of_a_folder_or_an_archive_are_read_one_by_one(where: str):
    colours = photos(Path("photos"))
    shutil.make_archive("photos", "zip", "photos")
    shutil.make_archive("nested", "zip", ".", "photos")
    fit(where, out="run", **SHORT)
    examples = open_examples(Path("run"))
    assert (examples.kind, examples.missing, len(examples)) == ("image", "", 8)
    for index in range(8):
        picture = shown(examples, index)
        assert picture.shape == (16, 32, 3)
        np.testing.assert_allclose(picture.mean((0, 1)), colours[examples.name(index)], atol=4)


def test_a_photo_that_is_gone_is_refused_alone_and_a_folder_that_is_gone_leaves_names():
    photos(Path("photos"))
    fit("photos", out="run", **SHORT)
    (Path("photos") / "käse" / "1.png").unlink()
    (Path("photos") / "käse" / "2.png").write_bytes(b"\x89PNG\r\n\x1a\n broken")
    examples = open_examples(Path("run"))
    names = [examples.name(index) for index in range(8)]
    for gone in ("käse/1.png", "käse/2.png"):
        with pytest.raises(DataError, match=gone):
            examples.thumbnail(names.index(gone), 32)
    assert len(examples.thumbnail(names.index("käse/3.png"), 32)) > 100
    shutil.rmtree("photos")
    examples = open_examples(Path("run"))
    assert examples.kind == "vector"
    assert "photos does not exist" in examples.missing
    assert (examples.name(0), examples.text(0), examples.cells(0)) == (names[0], "", [])
    with pytest.raises(DataError, match="no images"):
        examples.thumbnail(0, 32)


def test_a_name_never_leads_out_of_the_folder(monkeypatch: pytest.MonkeyPatch):
    photos(Path("photos"))
    fit("photos", out="run", **SHORT)
    Image.new("RGB", (8, 8)).save("secret.png")
    examples = open_examples(Path("run"))
    for name in ("../secret.png", str(Path("secret.png").absolute())):
        examples.names[0] = name
        with pytest.raises(DataError, match="does not exist"):
            examples.thumbnail(0, 32)


@pytest.mark.parametrize("form", ["npz", "npy", "idx", "cifar"])
def test_images_in_arrays_are_those_of_their_rows(form: str):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (N, 3, 2, 2) if form == "cifar" else (N, 8, 8)).astype(np.uint8)
    if form == "cifar":  # four patches of colour: what JPEG keeps
        images = images.repeat(16, 2).repeat(16, 3)
    labels, read = rng.integers(0, 2, N).astype(np.uint8), {}
    if form == "npz":
        np.savez("data.npz", X=images, y=labels)
    elif form == "npy":
        np.save("data.npy", images)
        np.save("labels.npy", labels)
        read = {"labels": "labels.npy"}
    elif form == "idx":
        Path("data.idx").mkdir()
        head = struct.pack(">HBB3I", 0, 8, 3, N, 8, 8)
        Path("data.idx/train-images-idx3-ubyte").write_bytes(head + images.tobytes())
        Path("data.idx/train-labels-idx1-ubyte").write_bytes(struct.pack(">HBBI", 0, 8, 1, N) + labels.tobytes())
    else:
        Path("data.cifar").mkdir()
        rows = np.concatenate([labels[:, None], images.reshape(N, -1)], axis=1)
        Path("data.cifar/data_batch_1.bin").write_bytes(rows.tobytes())
    fit(f"data.{form}", out="run", **read, **SHORT)
    examples = open_examples(Path("run"))
    assert examples.kind == "image"
    for index in (0, N - 1):
        expected = images[index].transpose(1, 2, 0) if form == "cifar" else images[index].repeat(4, 0).repeat(4, 1)
        difference = np.abs(shown(examples, index) - expected).mean()
        assert difference < (5 if form == "cifar" else 1)
        assert np.abs(shown(examples, index) - expected[::-1]).mean() > 20


def frame() -> pd.DataFrame:
    rng = np.random.default_rng(0)
    return pd.DataFrame(
        {
            "size": rng.normal(size=200).round(3),
            "colour": rng.choice(["red", "blue"], 200),
            "given": np.repeat(["x", "y"], 100),
            "row": [f"r{i}" for i in range(200)],
        }
    )


def test_cells_far_from_those_of_the_same_label_are_marked():
    table = frame()
    table.loc[:99, "size"] += 10
    table.loc[3, "size"] = 0.5  # usual under y, not under x
    table.loc[150, "colour"] = "<i>pink</i>"
    table.loc[151, "size"] = np.nan
    table.to_csv("t.csv", index=False)
    fit("t.csv", label="given", id="row", out="run", **SHORT)
    examples = open_examples(Path("run"))
    marked = {i: [name for name, _, unusual in examples.cells(i) if unusual] for i in range(200)}
    assert marked[3] == ["size"]
    assert (marked[150], marked[151]) == (["colour"], ["size"])
    assert {name: value for name, value, _ in examples.cells(150)}["colour"] == "<i>pink</i>"
    assert ("size", "", True) in examples.cells(151)
    assert sum(map(bool, marked.values())) < 10
    naive = {
        i
        for i, size in enumerate(table["size"])
        if abs(size - (own := table["size"][table["given"] == table["given"][i]]).median())
        > 3.5 * 1.4826 * (own - own.median()).abs().median()
    }
    assert {i for i, names in marked.items() if "size" in names} - {151} == naive
    assert (examples.kind, examples.name(3), examples.text(3)) == ("table", "r3", "")


def test_a_search_finds_what_a_loop_over_all_cells_finds():
    table = frame()
    table["text"] = [f"Row {i} of STRASSE <b>\u05e9\u05dc\u05d5\u05dd</b> {chr(97 + i % 7) * 4}" for i in range(200)]
    table.loc[5, "colour"] = None
    table.to_csv("t.csv", index=False)
    fit("t.csv", label="given", id="row", text=("text",), out="run", **SHORT)
    examples = open_examples(Path("run"))
    for words in ("stra\u00dfe", "ROW 17", "BLUE", "aaaa", "-0.1", "</B>", "\u05dc\u05d5", ".*", "r17"):
        held = [
            any(words.casefold() in one.casefold() for one in (examples.text(i), *(c for _, c, _ in examples.cells(i))))
            for i in range(200)
        ]
        assert examples.search(words).tolist() == held, words
    assert examples.search("row 17").sum() == 11
    assert examples.texts_of(np.array([3, 0])) == [examples.text(3), examples.text(0)]
    assert examples.row(7).to_pylist()[0]["colour"] == table["colour"][7]


def test_texts_are_given_whole():
    words = ["how far is the moon from here", "why do cats purr <script>alert(1)</script>", "x" * 10_000]
    table = pd.DataFrame({"text": [f"{words[i % 3]} {i}" for i in range(N)], "label": ["a", "b"] * (N // 2)})
    table.to_csv("t.csv", index=False)
    fit("t.csv", out="run", **SHORT)
    examples = open_examples(Path("run"))
    assert examples.kind == "text"
    assert [examples.text(i) for i in range(N)] == table["text"].tolist()
    table[:20].to_csv("t.csv", index=False)
    assert "other rows" in open_examples(Path("run")).missing


def test_the_demonstration_shows_its_digits():
    from sklearn.datasets import load_digits

    fit(out="run", **(SHORT | {"network": "mlp:4"}))
    examples, digits = open_examples(Path("run")), load_digits().images
    assert (examples.kind, examples.missing, len(examples)) == ("image", "", 1438)
    for index in (0, 700, 1437):
        expected = (digits[int(examples.name(index))] * 255 / 16).repeat(4, 0).repeat(4, 1)
        np.testing.assert_allclose(shown(examples, index), expected, atol=1)
