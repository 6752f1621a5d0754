"""Refined copies of saved Hugging Face data sets: a column more, all features as they were."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from selfdistill._core.errors import DataError
from selfdistill._core.read_options import ReadOptions
from selfdistill.data._copy import write_refined

datasets = pytest.importorskip("datasets")
datasets.disable_progress_bars()
NAMES = ["blues", "jazz", "rock"]
REFINED = ["jazz", "rock", "blues", "jazz"]


def png(grey):
    file = io.BytesIO()
    Image.new("L", (4, 4), grey).save(file, "PNG")
    return {"bytes": file.getvalue(), "path": None}


def saved(folder, label=None, values=(0, 1, 2, 1), **columns):
    label = label or datasets.ClassLabel(names=NAMES)
    kinds = {
        "text": datasets.Value("string"),
        "vector": datasets.Sequence(datasets.Value("float16"), 2),
        "when": datasets.Value("timestamp[s]"),
    } | {name: feature for name, (feature, _) in columns.items()}
    rows = {"text": list("abcd"), "vector": [[0.5, 1.5]] * 4, "when": [0, 1, 2, 3]}
    rows |= {name: cells for name, (_, cells) in columns.items()} | {"label": list(values)}
    made = datasets.Dataset.from_dict(rows, features=datasets.Features(kinds | {"label": label}))
    made.save_to_disk(folder)
    return made


@pytest.mark.parametrize(
    ("label", "values", "refined"),
    [
        (datasets.ClassLabel(names=NAMES), [0, 1, 2, 1], REFINED),
        (datasets.Value("string"), ["blues", "jazz", "rock", "jazz"], REFINED),
        (datasets.Value("int32"), [4, 7, 9, 7], ["7", "9", "4", "7"]),
    ],
)
def test_a_column_is_added_as_the_labels_are_and_the_rest_stays(tmp_path, label, values, refined):
    before = saved(tmp_path / "songs", label, values, cover=(datasets.Image(), [png(i) for i in range(4)]))
    out = write_refined(tmp_path / "songs", ReadOptions(), tmp_path / "out", column=("refined_label", refined))
    after = datasets.load_from_disk(out)
    assert after.features == before.features | {"refined_label": before.features["label"]}
    names = getattr(label, "names", None)
    assert [names[i] if names else str(i) for i in after["refined_label"]] == refined
    same = after.remove_columns("refined_label").with_format("arrow")[:]
    assert same.equals(before.with_format("arrow")[:])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "songs"]


def test_rows_are_left_out_and_other_columns_are_plain(tmp_path):
    saved(tmp_path / "songs", values=(0, None, 2, 1))
    keep, quality = np.array([True, False, True]), np.array([0.5, 0.25, 0.75])
    options = ReadOptions(drop_unlabelled=True)
    out = write_refined(tmp_path / "songs", options, tmp_path / "out", keep=keep, column=("label_quality", quality))
    after = datasets.load_from_disk(out)
    assert after["text"][:] == ["a", "b", "d"]
    assert after["label_quality"][:] == [0.5, None, 0.75]
    assert write_refined(tmp_path / "songs", options, tmp_path / "a.parquet", keep=keep).is_file()


def test_what_cannot_be_written_is_refused_with_the_way_out(tmp_path):
    saved(tmp_path / "songs", refined_label=(datasets.Value("string"), list("abcd")))
    with pytest.raises(DataError, match="has a column 'refined_label' already"):
        write_refined(tmp_path / "songs", ReadOptions(), tmp_path / "out", column=("refined_label", REFINED))
    with pytest.raises(DataError, match=r"read with `skip_bad`, which .* Name a file: `out` FILE.parquet"):
        write_refined(tmp_path / "songs", ReadOptions(skip_bad=True), tmp_path / "out", keep=np.ones(4, bool))
    with pytest.raises(DataError, match=r"Choose a name with no ending \(a saved data set\), .parquet or .csv"):
        write_refined(tmp_path / "songs", ReadOptions(), tmp_path / "out.arff", column=("refined_label", REFINED))
    assert not (tmp_path / "out").exists()
