"""Refined data sets read back by other readers; sources never change; runs and sources that do not fit are refused."""

from __future__ import annotations

import csv
import gzip
import hashlib
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from tests.runs.noisy_songs import N, frame, trained

from selfdistill._core.errors import DataError, RunError, SettingError
from selfdistill._core.read_options import ReadOptions
from selfdistill._core.record import read_json_record, write_json_record
from selfdistill.data._read import read as data_read
from selfdistill.runs._label_table import read_label_table
from selfdistill.runs._refine import refine


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def trained_again(source: str) -> Path:
    Path("run").rename("first")
    return trained(source, label="refined_label", ignore=["label"])


def digest(path: Path) -> dict[str, str]:
    files = [path] if path.is_file() else sorted(p for p in path.rglob("*") if p.is_file())
    return {str(p): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


def columns_added(before: pd.DataFrame, after: pd.DataFrame, name: str) -> None:
    assert list(after.columns) == [*before.columns, name, "label_quality"]
    np.testing.assert_allclose(after["label_quality"], read_label_table(Path("run")).quality, rtol=1e-6)
    pd.testing.assert_frame_equal(after[before.columns], before)


@pytest.fixture
def run():
    frame().to_csv("songs.csv", index=False)
    return trained("songs.csv")


def test_drop_leaves_out_the_flagged_rows_and_nothing_else(run):
    before, found = digest(Path("songs.csv")), read_label_table(run)
    made = refine(run, Path("clean.csv"), how="drop")
    expected = frame()[~found.is_issue]
    pd.testing.assert_frame_equal(pd.read_csv("clean.csv"), expected.reset_index(drop=True))
    assert 0 < made.issues == found.is_issue.sum() < N // 2
    assert (made.rows, made.total) == (N - made.issues, N)
    assert digest(Path("songs.csv")) == before


def test_relabel_adds_a_column_that_fit_takes_as_the_label(run):
    found = read_label_table(run)
    made = refine(run, Path("refined.csv"), how="relabel")
    after = pd.read_csv("refined.csv")
    columns_added(frame(), after, "refined_label")
    assert after["refined_label"].tolist() == np.where(found.is_issue, found.refined, found.given).tolist()
    assert (after["refined_label"] != after["label"]).sum() == made.changed > 0
    again = data_read("refined.csv", ReadOptions(label="refined_label", ignore=("label",)))
    assert [again.classes[k] for k in again.labels] == after["refined_label"].tolist()


def test_weight_adds_the_probability_that_the_given_label_is_right(run):
    refine(run, Path("weighted.csv"), how="weight")
    after = pd.read_csv("weighted.csv")
    columns_added(frame(), after, "label_weight")
    table = pq.read_table(run / "labels.parquet")
    soft = np.stack(table["refined_distribution"].to_pylist())
    places = [json.loads(table.schema.metadata[b"classes"]).index(name) for name in after["label"]]
    np.testing.assert_allclose(after["label_weight"], soft[np.arange(N), places], rtol=1e-6)


def test_rows_without_a_label_stay_as_they_are():
    table = frame()
    table.loc[[3, 20], "label"] = None
    table.to_csv("gaps.csv", index=False)
    run = trained("gaps.csv", drop_unlabelled=True)
    found = read_label_table(run)
    refine(run, Path("clean.csv"), how="drop")
    refine(run, Path("refined.csv"), how="relabel")
    dropped = set(found.ids[found.is_issue])
    assert pd.read_csv("clean.csv")["id"].tolist() == [i for i in table["id"] if i not in dropped]
    after = pd.read_csv("refined.csv")
    assert after["refined_label"].isna().to_numpy().nonzero()[0].tolist() == [3, 20]


@pytest.mark.parametrize("mark", ["", "\ufeff"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("last", [True, False])
def test_what_stood_in_a_csv_stays_byte_by_byte(mark, end, last):
    table = frame()
    head = ";".join(f'"{name}"' for name in table.columns)
    notes = ['"two\nlines; ""quoted"""', "", " 01.50 "]
    table["note"] = [notes[i % 3] for i in range(N)]
    lines = [";".join(map(str, row)) for row in table.itertuples(index=False)]
    Path("t.csv").write_bytes((mark + end.join([head, *lines]) + end * last).encode())
    found = read_label_table(trained("t.csv"))
    assert 0 < found.is_issue.sum() < N
    weights = [str(p) for p in found.p_given]
    for how, name, cells in (("relabel", "refined_label", found.relabelled), ("weight", "label_weight", weights)):
        refine(Path("run"), Path(f"{how}.csv"), how=how)
        quality = ["label_quality", *map(str, found.quality)]
        longer = [";".join(row) for row in zip([head, *lines], [name, *cells], quality, strict=True)]
        assert Path(f"{how}.csv").read_bytes() == (mark + end.join(longer) + end * last).encode()
    refine(Path("run"), Path("drop.csv"), how="drop")
    kept = [line for line, bad in zip(lines, found.is_issue, strict=True) if not bad]
    whole = last or found.is_issue[-1]  # what ended with a line before ends with it still
    assert Path("drop.csv").read_bytes() == (mark + end.join([head, *kept]) + end * bool(whole)).encode()
    refine(Path("run"), Path("other.tsv"), how="relabel")
    pd.testing.assert_frame_equal(pd.read_csv("other.tsv", sep="\t")[[*table.columns]], pd.read_csv("t.csv", sep=";"))


@pytest.mark.parametrize("name", ["t.csv.gz", "t.tsv", "t.parquet"])
def test_other_tables_stay_what_they_are(name):
    table = frame()
    if name.endswith("parquet"):
        table.assign(label=table["label"].astype("category")).to_parquet(name)
    else:
        table.to_csv(name, index=False, sep="\t" if "tsv" in name else ",")
    run = trained(name)
    refine(run, Path("tasks.json"), how="label-studio")
    notes = {t["data"]["id"]: t["data"]["note"] for t in json.loads(Path("tasks.json").read_text())}
    assert [notes[i] for i in table["id"]] == table["note"].tolist()
    for how in ("drop", "relabel", "weight"):
        refine(run, Path(f"{how}.{name.partition('.')[2]}"), how=how)
    if name.endswith("parquet"):
        read = pd.read_parquet
        assert pq.read_schema("drop.parquet").equals(pq.read_schema(name))
    elif name.endswith("gz"):
        read = pd.read_csv
        with gzip.open("drop.csv.gz", "rt", encoding="utf-8") as file:
            assert next(csv.reader(file)) == list(table.columns)
    else:
        read = lambda path: pd.read_csv(path, sep="\t")
    ending = name.partition(".")[2]
    assert len(read(f"drop.{ending}")) == N - read_label_table(run).is_issue.sum()
    assert list(read(f"weight.{ending}").columns)[-2:] == ["label_weight", "label_quality"]
    assert read(f"relabel.{ending}")["label"].astype(str).tolist() == table["label"].tolist()


def test_an_npz_gets_one_array_more_or_loses_rows():
    table = frame()
    np.savez("t.npz", X=table[["x", "z"]].to_numpy(), y=table["label"].to_numpy(str), extra=np.arange(3))
    run = trained("t.npz")
    found = read_label_table(run)
    for how in ("drop", "relabel", "weight"):
        refine(run, Path(f"{how}.npz"), how=how)
    with np.load("drop.npz") as made:
        assert set(made) == {"X", "y", "extra"}
        assert made["y"].tolist() == table["label"][~found.is_issue].tolist()
        assert made["extra"].tolist() == [0, 1, 2]
    with np.load("relabel.npz") as made:
        assert made["y"].tolist() == table["label"].tolist()
        assert made["refined_label"].tolist() == found.relabelled.tolist()
    with np.load("weight.npz") as made:
        np.testing.assert_array_equal(made["label_weight"], found.p_given)
        np.testing.assert_array_equal(made["label_quality"], found.quality)


@pytest.fixture
def photos():
    rng = np.random.default_rng(0)
    for i in range(24):
        bright = i % 2
        folder = Path("photos") / ("day" if bright != (i in {2, 5}) else "night")
        folder.mkdir(parents=True, exist_ok=True)
        pixels = rng.integers(0, 60, (8, 8)) + 150 * bright
        Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{i // 2}.png")  # both folders use the same names
    return trained("photos", epochs=30, lr=0.05)


def test_a_folder_of_images_becomes_another_with_each_image_under_its_class(photos):
    before, found = digest(Path("photos")), read_label_table(photos)
    assert found.is_issue.any()
    refine(photos, Path("kept"), how="drop")
    assert sorted(p.relative_to("kept").as_posix() for p in Path("kept").rglob("*.png")) == sorted(
        found.ids[~found.is_issue]
    )
    made = refine(photos, Path("moved"), how="relabel")
    files = list(Path("moved").rglob("*.png"))
    assert len(files) == len(found.ids)
    assert sum("__" in p.name for p in files) == made.changed
    held = {hashlib.sha256(p.read_bytes()).hexdigest(): p.parent.name for p in files}
    for name, label in zip(found.ids, found.relabelled, strict=True):
        assert held[hashlib.sha256((Path("photos") / name).read_bytes()).hexdigest()] == label
    assert len(data_read("moved")) == len(found.ids)
    assert digest(Path("photos")) == before


def test_a_folder_of_images_becomes_a_list(photos):
    found = read_label_table(photos)
    refine(photos, Path("list.csv"), how="weight")
    listed = pd.read_csv("list.csv")
    assert listed["file"].tolist() == found.ids.tolist()
    np.testing.assert_allclose(listed["label_weight"], found.p_given, rtol=1e-6)
    np.testing.assert_allclose(listed["label_quality"], found.quality, rtol=1e-6)
    with pytest.raises(DataError, match=r"no place for label_weight. Name a list instead: `out` FILE.csv"):
        refine(photos, Path("weights"), how="weight")


def test_idx_files_become_an_npz(tmp_path):
    from selfdistill.data.formats._idx import write_idx

    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 40).astype(np.uint8)
    Path("idx").mkdir()
    write_idx(
        Path("idx/train-images-idx3-ubyte"), (rng.random((40, 6, 6)) * 99 + 100 * labels[:, None, None]).astype("u1")
    )
    write_idx(Path("idx/train-labels-idx1-ubyte"), labels)
    run = trained("idx")
    refine(run, Path("idx.npz"), how="relabel")
    with np.load("idx.npz") as made:
        assert made["X"].shape == (40, 6, 6)
        assert made["y"].tolist() == [str(v) for v in labels]
        assert len(made["refined_label"]) == 40


def test_what_refine_wrote_is_read_again_without_our_own_columns(run):
    refine(run, Path("refined.csv"), how="relabel")
    again = data_read("refined.csv", ReadOptions(label="refined_label", ignore=("label",)))
    assert set(again.preprocess.features) == {"x", "z", "note"}
    assert any("'label_quality' was written" in message for message in (*again.notes, *again.warnings))
    second = trained_again("refined.csv")
    made = refine(second, Path("twice.csv"), how="weight")  # the quality from before stays
    after = pd.read_csv("twice.csv")
    assert list(after.columns) == [*pd.read_csv("refined.csv").columns, "label_weight"]
    assert made.rows == N


def test_files_of_images_are_named_by_path(photos):
    refine(photos, Path("fields.json"), how="fiftyone")
    fields = json.loads(Path("fields.json").read_text())
    assert fields["key_field"] == "filepath"
    assert all(Path(name).is_file() and Path(name).is_absolute() for name in fields["fields"]["mistakenness"])
    refine(photos, Path("tasks.json"), how="label-studio")
    assert all((Path("photos") / t["data"]["image"]).is_file() for t in json.loads(Path("tasks.json").read_text()))


@pytest.mark.parametrize("how", ["drop", "relabel", "weight"])
@pytest.mark.parametrize(
    ("out", "words"),
    [
        ("songs.csv", r"out songs.csv is the source itself, which is never changed. Choose another `out`"),
        ("./songs.csv", "is the source itself"),
        ("taken.csv", "taken.csv exists already. Choose another `out`, or remove it first"),
        ("t.parquet", r"cannot take a copy of songs.csv, which is a table. Choose a name with .csv or .csv.gz"),
    ],
)
def test_nothing_is_overwritten(run, how, out, words):
    Path("taken.csv").write_text("mine")
    before = digest(Path())
    with pytest.raises(DataError, match=words):
        refine(run, Path(out), how=how)
    assert digest(Path()) == before


def test_a_link_to_the_source_is_the_source(run):
    Path("other.csv").symlink_to("songs.csv")
    with pytest.raises(DataError, match="is the source itself"):
        refine(run, Path("other.csv"), how="drop")


def test_a_place_inside_the_source_folder_is_refused(photos):
    with pytest.raises(DataError, match=r"out photos/new lies in the source photos, which is never changed"):
        refine(photos, Path("photos/new"), how="drop")
    with pytest.raises(DataError, match="lies in the source"):
        refine(photos, Path("photos/day/tasks.json"), how="label-studio")
    assert not Path("photos/new").exists()


def test_a_source_that_has_changed_is_refused(run):
    table = frame()
    table.iloc[:-1].to_csv("songs.csv", index=False)
    with pytest.raises(RunError, match=r"songs.csv has changed since run.*59 labelled rows, the run had 60. Train on"):
        refine(run, Path("new.csv"), how="drop")
    table.loc[4, "label"] = "spät" if table.loc[4, "label"] == "früh" else "früh"
    table.to_csv("songs.csv", index=False)
    with pytest.raises(RunError, match=r"row 4 is 'r4' with label '....', it was 'r4' with"):
        refine(run, Path("new.csv"), how="relabel")
    Path("songs.csv").unlink()
    with pytest.raises(
        RunError, match=r"songs.csv, which run was trained on, does not exist. Start this in the folder"
    ):
        refine(run, Path("new.csv"), how="relabel")
    assert not Path("new.csv").exists()


def test_a_column_that_is_there_already_is_refused():
    frame().assign(refined_label=1.5).to_csv("songs.csv", index=False)
    run = trained("songs.csv")
    with pytest.raises(DataError, match=r"songs.csv has a column 'refined_label' already. Rename it in the source"):
        refine(run, Path("new.csv"), how="relabel")
    assert not Path("new.csv").exists()


def test_ways_that_do_not_exist_are_refused():
    ways = "drop, relabel, weight, label-studio, aum, fiftyone"
    with pytest.raises(SettingError, match=f"'burn' is no way to refine. Choose one of: {ways}"):
        refine(Path("run"), Path("out"), how="burn")


@pytest.mark.parametrize("name", ["../../x", "/tmp/x", "..", "a/b", "", "a\\b"])
def test_a_class_of_a_strangers_run_leads_nowhere_outside(photos, tmp_path, name):
    run, classes = photos, ["day", "night", name]
    frame = pd.read_parquet(run / "labels.parquet").assign(refined_label=name, is_label_issue=True)
    soft = np.stack([[*row, 0] for row in frame.pop("refined_distribution")]).astype(np.float32)
    columns = {n: pa.array(frame[n]) for n in frame} | {
        "refined_distribution": pa.FixedSizeListArray.from_arrays(pa.array(soft.reshape(-1)), 3)
    }
    table = pa.table(columns).replace_schema_metadata({"classes": json.dumps(classes)})
    pq.write_table(table, run / "labels.parquet")
    record = read_json_record(run)
    record["data"]["classes"] = classes
    record["files"]["labels.parquet"] = hashlib.sha256((run / "labels.parquet").read_bytes()).hexdigest()
    write_json_record(run, record)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(DataError, match=r"cannot be the name of a folder. Write a list instead"):
        refine(run, Path("out"), how="relabel")
    assert sorted(tmp_path.rglob("*")) == before
