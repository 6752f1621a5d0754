"""A format is one object: a new one, registered with a line, is recognised, read, relabelled, filtered and refined."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from selfdistill._core.errors import DataError
from selfdistill._core.read_options import ReadOptions
from selfdistill.data._copy import labelled_cells, labelled_rows, write_refined, write_with_labels
from selfdistill.data._read import find_form, read, read_new
from selfdistill.data.formats import FORMATS, TableFormat, TableRead


class Toy(TableFormat):
    """A word on each line: column, value, column, value."""

    name, shown, ends = "toy", "toys", (".toy",)

    def read(self, request):
        rows = [line.split() for line in request.place.path.read_text().splitlines()]
        return TableRead(pa.Table.from_pylist([dict(zip(row[::2], row[1::2], strict=True)) for row in rows]))


@pytest.fixture
def toy(tmp_path) -> Path:
    FORMATS.append(Toy())
    path = tmp_path / "a.toy"
    path.write_text("x 0.5 label a\nx 2.5 label b\nx 1.5 label a\nx 3.5 label b\n")
    yield path
    FORMATS.pop()


def test_a_new_format_is_read_for_training_and_for_predicting(toy):
    assert find_form(toy) == "toy"
    data = read(toy)
    assert data.classes == ("a", "b")
    assert data.labels.tolist() == [0, 1, 0, 1]
    new = read_new(toy, data.preprocess, data.classes)
    assert (new.inputs == data.inputs).all()
    assert [ids.tolist() for ids in labelled_rows(toy, ReadOptions())] == [["0", "1", "2", "3"], ["a", "b", "a", "b"]]
    assert labelled_cells(toy, ReadOptions())[1] == {"x": "2.5", "label": "b"}


def test_a_new_format_takes_the_options_of_tables_and_no_others(toy):
    assert read(toy, ReadOptions(categorical=("x",))).preprocess.kinds["categorical"] == ("x",)
    with pytest.raises(DataError, match=r"encoding cp1252 does not apply: .*a.toy is a table"):
        read(toy, ReadOptions(encoding="cp1252"))


def test_a_copy_of_a_new_format_has_its_rows_filtered_and_columns_added(toy, tmp_path):
    keep = np.array([True, False, True, True])
    write_refined(toy, ReadOptions(), tmp_path / "b.csv", keep=keep, column=("refined_label", list("abba")))
    assert (tmp_path / "b.csv").read_text() == "x,label,refined_label\n0.5,a,a\n1.5,a,b\n3.5,b,a\n"
    write_with_labels(toy, ReadOptions(), list("bbaa"), tmp_path / "c.parquet")
    assert pd.read_parquet(tmp_path / "c.parquet").to_dict("list") == {
        "x": ["0.5", "2.5", "1.5", "3.5"], "label": list("bbaa"), "label_before_noise": list("abab"),
    }  # fmt: skip
    with pytest.raises(DataError, match=r"d.npz cannot take a copy of .*a.toy, which is a table. Choose a name with"):
        write_refined(toy, ReadOptions(), tmp_path / "d.npz")


def test_a_format_is_named_where_a_source_is_of_none(toy, tmp_path):
    (tmp_path / "a.docx").write_text("x")
    with pytest.raises(DataError, match=r"Give a file \(CSV .*, toys\), a folder"):
        read(tmp_path / "a.docx")
