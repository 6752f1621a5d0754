"""Copies with refined labels."""

import csv

import numpy as np
import pandas as pd
import pytest

from selfdistill._core.read_options import ReadOptions
from selfdistill.data._copy import write_refined, write_with_labels


@pytest.mark.parametrize("ending", ["csv", "tsv"])
@pytest.mark.parametrize(
    "label", ["line\nbreak", "line\rbreak", "line\r\nbreak", 'a "word", and\tmore; ', "x" * 10_000]
)
def test_any_label_comes_back(tmp_path, label, ending):
    given = pd.DataFrame({"x": np.arange(6), "label": [label, "b"] * 3})
    given.to_csv(tmp_path / "d.csv", index=False, quoting=csv.QUOTE_ALL)
    refined = ["b", label] * 3
    out = tmp_path / f"r.{ending}"
    write_refined(tmp_path / "d.csv", ReadOptions(), out, column=("refined_label", refined))
    with out.open(newline="", encoding="utf-8") as file:
        got = pd.read_csv(file, sep="\t" if ending == "tsv" else ",")
    assert got["refined_label"].tolist() == refined
    assert got["label"].tolist() == given["label"].tolist()
    write_with_labels(tmp_path / "d.csv", ReadOptions(), refined, tmp_path / f"n.{ending}")
    with (tmp_path / f"n.{ending}").open(newline="", encoding="utf-8") as file:
        assert pd.read_csv(file, sep="\t" if ending == "tsv" else ",")["label"].tolist() == refined
