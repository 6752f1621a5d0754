"""Tables of photos: paths from the table's folder, rows that have none, new tables, refined copies."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from selfdistill._core.errors import DataError
from selfdistill._core.read_options import ReadOptions
from selfdistill.data._copy import labelled_rows, write_refined, write_with_labels
from selfdistill.data._preprocess import Preprocess
from selfdistill.data._read import read, read_new
from selfdistill.runs._model_file import load_model
from selfdistill.runs._run import fit

OPTIONS = ReadOptions(encoder="photos", image_column="path", label="y")


@pytest.fixture
def table(tmp_path, encoders):
    rng = np.random.default_rng(0)
    (tmp_path / "d" / "in").mkdir(parents=True)
    for row in range(8):
        Image.fromarray(rng.integers(0, 256, (5 + row, 6, 3), np.uint8)).save(tmp_path / "d" / "in" / f"{row}.png")
    frame = pd.DataFrame({"path": [f"in/{row}.png" for row in range(8)], "y": list("uv" * 4), "width": range(8)})
    frame.loc[3, "path"] = str(tmp_path / "d" / "in" / "3.png")
    frame.to_csv(tmp_path / "d" / "t.csv", index=False)
    return tmp_path / "d" / "t.csv"


@pytest.mark.parametrize("ending", ["csv", "parquet", "json"])
def test_photos_come_from_the_tables_folder(table, ending):
    frame, path = pd.read_csv(table), table.with_suffix(f".{ending}")
    if ending != "csv":
        frame.to_parquet(path) if ending == "parquet" else frame.to_json(path, orient="records")
    data = read(path, OPTIONS)
    by_folder = read(table, OPTIONS)
    assert data.inputs.shape == (8, 48)
    np.testing.assert_array_equal(data.inputs, by_folder.inputs)
    assert data.ids[0] == "in/0.png"
    assert [data.classes[code] for code in data.labels] == list("uv" * 4)
    assert any("columns beside the photos are not used: 'width'" in note for note in data.notes)


def test_paths_that_lead_nowhere_are_named_and_left_out_on_demand(table):
    frame = pd.read_csv(table)
    frame.loc[1, "path"], frame.loc[4, "path"], frame.loc[5, "path"] = "in/no.png", None, "in"
    frame.to_csv(table, index=False)
    with pytest.raises(DataError, match=r"3 of 8 images cannot be read: .*in/no.png \(No such file or directory\); "
                       r"row 4 without a path \(cannot identify image\); .*in \(Is a directory\)"):  # fmt: skip
        read(table, OPTIONS)
    skipping = ReadOptions(encoder="photos", image_column="path", label="y", skip_bad=True)
    data = read(table, skipping)
    assert data.counts["skipped_bad"] == 3
    assert data.ids.tolist()[1] == "in/2.png"
    ids, labels = labelled_rows(table, skipping)
    assert ids.tolist() == data.ids.tolist()
    assert labels.tolist() == ["u", "u", "v", "u", "v"]


@pytest.mark.parametrize("names", ["{}.png", "{}"])
def test_bare_names_are_looked_for_in_a_folder_beside_the_table(table, names):
    frame = pd.read_csv(table)
    frame[1:].to_csv(table, index=False)
    wanted = read(table, OPTIONS)
    frame["path"] = ["none.png", *[names.format(row) for row in range(1, 8)]]
    frame.to_csv(table.parent / "labels.csv", index=False)
    found = read(table.parent / "labels.csv", replace(OPTIONS, skip_bad=True))
    np.testing.assert_array_equal(found.inputs, wanted.inputs)
    assert found.ids[0] == names.format(1)
    out = write_refined(table.parent / "labels.csv", replace(OPTIONS, skip_bad=True), table.parent / "r.csv",
                        column=("refined_label", list("abcdefg")))  # fmt: skip
    assert pd.read_csv(out)["refined_label"].tolist() == list("abcdefg")


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_a_refined_copy_holds_no_row_whose_photo_cannot_be_read(table, ending):
    """As of a folder: what is left can be trained on. Rows without a label stay."""
    frame, source = pd.read_csv(table), table.with_suffix(f".{ending}")
    frame.loc[[1, 4, 5], "path"] = ["in/no.png", None, "in"]
    frame.loc[6, "y"] = None
    frame.to_csv(table, index=False)
    frame.to_parquet(table.with_suffix(".parquet"))
    there = pd.read_csv if ending == "csv" else pd.read_parquet
    skipping = replace(OPTIONS, skip_bad=True, drop_unlabelled=True)
    out = write_refined(source, skipping, table.parent / f"new.{ending}", column=("refined_label", list("abcd")))
    assert there(out)["refined_label"].fillna("").tolist() == ["a", "b", "c", "", "d"]
    assert there(out)["width"].tolist() == [0, 2, 3, 6, 7]
    out = write_refined(source, skipping, table.parent / f"kept.{ending}", keep=np.array([True, False, True, True]))
    assert there(out)["width"].tolist() == [0, 3, 6, 7]
    noisy = write_with_labels(source, skipping, list("vvvv"), table.parent / f"noisy.{ending}")
    assert there(noisy)["y"].fillna("").tolist() == ["v", "v", "v", "v", "u", "v", "", "v"]


def test_refine_says_how_many_photos_are_gone(table, cli):
    frame = pd.read_csv(table)
    frame.loc[1, "path"] = "in/no.png"
    frame.to_csv(table, index=False)
    asked = ["--image-column", "path", "--label", "y", "--skip-bad", "--encoder", "photos", "--out", "run"]
    assert cli("fit", table, *asked)[0] == 0
    code, _, err = cli("refine", "run", "--weight", "--out", "new.csv")
    assert code == 0
    assert "7 of 7 rows in new.csv; " in err
    assert "left out for images that cannot be read: 1" in err
    assert pd.read_csv("new.csv")["width"].tolist() == [0, 2, 3, 4, 5, 6, 7]


def test_new_tables_need_the_path_alone(table):
    data = read(table, OPTIONS)
    made = Preprocess.from_state(*data.preprocess.to_state())
    pd.read_csv(table)[["path"]].to_csv(table.parent / "new.csv", index=False)
    new = read_new(table.parent / "new.csv", made, data.classes)
    assert new.labels is None
    np.testing.assert_array_equal(new.inputs, data.inputs)
    assert read_new(table, made, data.classes).labels.tolist() == data.labels.tolist()
    assert read_new(table, made, data.classes, ReadOptions(ignore=("y",))).labels is None
    np.testing.assert_array_equal(read_new(table.parent / "in", made, data.classes).inputs, data.inputs)


def test_a_table_does_not_fit_a_folder(table, tmp_path):
    for row in range(4):
        place = tmp_path / "p" / "ab"[row % 2] / f"{row}.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes((tmp_path / "d" / "in" / f"{row}.png").read_bytes())
    data = read(tmp_path / "p", ReadOptions(encoder="photos"))
    with pytest.raises(DataError, match=r"t.csv is a table, but training had a folder of photos"):
        read_new(table, data.preprocess, data.classes)


def test_columns_that_are_not_there(table):
    with pytest.raises(DataError, match=r"has no column 'paht' \(`image_column`\). Did you mean 'path'"):
        read(table, ReadOptions(encoder="photos", image_column="paht", label="y"))
    with pytest.raises(DataError, match=r"image_size 8 does not apply: .*t.csv is a table, but it resizes photos"):
        read(table, ReadOptions(image_size=8, label="y"))


def test_photos_of_a_table_are_shown(table):
    from selfdistill.runs._examples import open_examples

    run = fit(table, encoder="photos", image_column="path", label="y", out=table.parent / "run", say=None)
    examples = open_examples(run.folder)
    assert (examples.kind, examples.missing, examples.name(2)) == ("image", "", "in/2.png")
    assert examples.thumbnail(2, 12)[:8] == b"\x89PNG\r\n\x1a\n"
    assert examples.cells(2) == []


PIXELS = {"encoder": "none", "network": "cnn:4", "epochs": 2, "method": "selfdistill", "say": None}


@pytest.fixture
def both(tmp_path, monkeypatch):
    """The same photos, of several sizes, in folders and in a table of their paths, in the same order."""
    monkeypatch.chdir(tmp_path)
    rng, rows = np.random.default_rng(0), []
    for row in range(40):
        name = f"{'uv'[row // 20]}/{row:02}.png"
        (tmp_path / "p" / name).parent.mkdir(parents=True, exist_ok=True)
        shade = rng.integers(100 * (row // 20), 150 + 100 * (row // 20), (9 + row % 3, 8, 3), np.uint8)
        Image.fromarray(shade).save(tmp_path / "p" / name)
        rows.append((f"p/{name}", name[0]))
    pd.DataFrame(rows, columns=["path", "y"]).to_csv("t.csv", index=False)
    return tmp_path / "p", tmp_path / "t.csv"


@pytest.mark.parametrize("on_disk", [False, True])
def test_a_network_trains_on_a_table_as_on_folders(both, monkeypatch, on_disk):
    if on_disk:
        monkeypatch.setattr("selfdistill.data._stored.MAPPED_BYTES", 0)
        monkeypatch.setattr("selfdistill.encoders._store._IN_MEMORY", 0)
    folder, table = both
    one = fit(folder, out="one", **PIXELS)
    two = fit(table, image_column="path", label="y", out="two", **PIXELS)
    assert two.record.data.input_shape == [3, 8, 8]
    assert len([*folder.parent.glob("runs/features/*/*.parquet")]) == on_disk  # decoded once, for both
    weights = [load_model(run.folder / "model.safetensors").network.state_dict() for run in (one, two)]
    assert weights[0].keys() == weights[1].keys()
    assert all(weights[0][name].equal(weights[1][name]) for name in weights[0])
    assert two.labels["id"].tolist() == [f"p/{name}" for name in one.labels["id"]]
    assert two.labels.drop(columns="id").equals(one.labels.drop(columns="id"))
    predicted = [run.predict(new)["p_u"] for run in (one, two) for new in (folder, table) if (run, new) != (one, table)]
    assert predicted[0].equals(predicted[1])
    assert predicted[0].equals(predicted[2])


def test_what_follows_a_network_on_a_table_of_photos(both, tmp_path):
    from selfdistill.runs._examples import open_examples

    folder, table = both
    run = fit(table, image_column="path", label="y", out="two", **PIXELS | {"image_size": 9})
    assert run.record.data.input_shape == [3, 9, 9]
    made = run.refine("refined.csv")
    assert pd.read_csv(made.out)["path"].tolist() == pd.read_csv(table)["path"].tolist()
    assert len(pd.read_csv(made.out)["refined_label"].dropna()) == 40
    assert run.air(examples=8)["data"]["examples"] == 8
    examples = open_examples(run.folder)
    assert (examples.kind, examples.thumbnail(0, 12)[:4]) == ("image", b"\x89PNG")
    pd.read_csv(table)[["path"]].to_csv("new.csv", index=False)
    assert len(run.predict("new.csv")) == 40
    one = fit(folder, out="one", **PIXELS)
    with pytest.raises(DataError, match=r"t.csv is a table, but training had RGB images of 8 x 8 pixels"):
        one.predict(table)
