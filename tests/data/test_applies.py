"""Options that a source has no use for, and data of another kind, are refused by name."""

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from selfdistill._core.errors import DataError
from selfdistill._core.read_options import ReadOptions
from selfdistill.data._read import read, read_new, read_test


@pytest.fixture
def sources(tmp_path):
    pd.DataFrame({"x": [1.0, 2.0, 3.0], "label": list("aba")}).to_csv(tmp_path / "t.csv", index=False)
    pd.DataFrame({"x": [1.0, 2.0, 3.0], "label": list("aba")}).to_parquet(tmp_path / "t.parquet")
    np.savez(tmp_path / "a.npz", X=np.eye(3), y=np.array([0, 1, 0]))
    for i in range(4):
        place = tmp_path / "photos" / "pq"[i % 2]
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((6, 6), i, np.uint8)).save(place / f"{i}.png")
    return {name: tmp_path / name for name in ("t.csv", "t.parquet", "a.npz", "photos")} | {"digits": "digits"}


@pytest.mark.parametrize(
    ("source", "options", "problem"),
    [
        ("t.csv", {"image_size": 8}, r"image_size 8 does not apply: .*t.csv is a table, but it resizes photos"),
        ("t.parquet", {"image_size": 8}, "image_size 8 does not apply"),
        ("a.npz", {"image_size": 8}, "is a file of arrays, but it resizes"),
        ("a.npz", {"text": ("X",)}, "text X does not apply"),
        ("a.npz", {"ignore": ("zz",)}, r"has no array 'zz' \(`ignore`\)"),
        ("photos", {"label": "kind"}, "label kind does not apply: .*photos is a folder of images, but it names"),
        ("photos", {"id": "name"}, "id name does not apply"),
        ("photos", {"ignore": ("p",)}, "ignore p does not apply"),
        ("digits", {"truth": "y"}, "truth y does not apply: digits is a built-in set of images"),
    ],
)
def test_an_option_that_would_do_nothing_is_refused(sources, source, options, problem):
    with pytest.raises(DataError, match=problem) as refused:
        read(sources[source], ReadOptions(**options))
    assert refused.value.hint


def test_a_superfluous_option_is_told(sources):
    assert "--skip-bad does nothing here" in read(sources["t.csv"], ReadOptions(skip_bad=True)).warnings[0]
    assert "--drop-unlabelled does nothing" in read(sources["photos"], ReadOptions(drop_unlabelled=True)).warnings[0]
    assert read(sources["t.csv"], ReadOptions(drop_unlabelled=True)).warnings == read(sources["t.csv"]).warnings


@pytest.mark.parametrize(
    ("trained", "new", "problem"),
    [
        ("photos", "t.csv", "t.csv is a table, but training had grey images of 6 x 6 pixels"),
        ("t.csv", "photos", r"photos is a folder of images, but training had a table of 1 numeric column"),
        ("t.csv", "a.npz", "a.npz is a file of arrays, but training had a table of 1 numeric column"),
        ("a.npz", "t.csv", "t.csv is a table, but training had arrays of 3 numbers"),
        ("a.npz", "photos", "photos is a folder of images, but training had arrays of 3 numbers"),
        ("photos", "digits", "images have shape 8 x 8, but training had 6 x 6"),
    ],
)
def test_new_data_of_another_kind_are_told_by_their_kind_and_not_by_their_classes(sources, trained, new, problem):
    data = read(sources[trained])
    for attempt in (
        lambda: read_new(sources[new], data.preprocess, data.classes),
        lambda: read_test(sources[new], data),
    ):
        with pytest.raises(DataError, match=problem) as refused:
            attempt()
        assert refused.value.hint


def test_columns_to_ignore_at_predict_time(sources, tmp_path):
    data = read(sources["t.csv"])
    new = tmp_path / "new.csv"
    new.write_text("x,more,label\n1,2,never\n")
    got = read_new(new, data.preprocess, data.classes, ReadOptions(ignore=("more", "label")))
    assert got.labels is None
    assert len(got.inputs) == 1
    for name, problem in (
        ("lable", r"has no column 'lable' \(`ignore`\). Did you mean 'label'"),
        ("x", r"column 'x' cannot be ignored \(`ignore`\): training learned from it"),
    ):
        with pytest.raises(DataError, match=problem):
            read_new(new, data.preprocess, data.classes, ReadOptions(ignore=(name,)))
    photos = read(sources["photos"])
    with pytest.raises(DataError, match="ignore x does not apply"):
        read_new(sources["photos"], photos.preprocess, photos.classes, ReadOptions(ignore=("x",)))
