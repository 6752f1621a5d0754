"""Findings in the files of other tools."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from tests.runs.noisy_songs import N, frame, trained

from selfdistill.runs._label_table import read_label_table
from selfdistill.runs._refine import EXPORTS, refine
from selfdistill.runs._run import load


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def run():
    frame().to_csv("songs.csv", index=False)
    return trained("songs.csv")


def test_label_studio_aum_and_fiftyone_files_say_what_the_run_found(run):
    found = read_label_table(run)
    refine(run, Path("tasks.json"), how="label-studio")
    tasks = json.loads(Path("tasks.json").read_text())
    assert [t["data"]["id"] for t in tasks] == found.ids[np.argsort(found.quality, kind="stable")].tolist()
    rows = {row["id"]: row for row in csv.DictReader(Path("songs.csv").read_text().splitlines())}
    assert all(rows[t["data"]["id"]].items() <= t["data"].items() for t in tasks)  # what is to be looked at
    by_id = {t["data"]["id"]: t["predictions"][0] for t in tasks}
    assert [by_id[i]["result"][0]["value"]["choices"] for i in found.ids] == [
        [other if wrong else refined]
        for wrong, other, refined in zip(found.is_issue, found.other, found.refined, strict=True)
    ]
    assert all(set(r) == {"id", "from_name", "to_name", "type", "value"} for p in by_id.values() for r in p["result"])
    assert all(0 <= p["score"] <= 1 for p in by_id.values())

    refine(run, Path("aum_values.csv"), how="aum")
    aum = pd.read_csv("aum_values.csv")
    assert list(aum.columns) == ["sample_id", "aum"]
    assert aum["aum"].is_monotonic_decreasing
    margin = dict(zip(aum["sample_id"], aum["aum"], strict=True))
    differs = found.refined != found.given
    assert [margin[i] < 0 for i in found.ids] == differs.tolist()  # negative where another class is likelier

    refine(run, Path("fields.json"), how="fiftyone")
    fields = json.loads(Path("fields.json").read_text())
    assert fields["key_field"] == "id"
    np.testing.assert_allclose([fields["fields"]["mistakenness"][i] for i in found.ids], 1 - found.quality, rtol=1e-6)
    assert [fields["fields"]["refined_label"][i] for i in found.ids] == found.relabelled.tolist()
    assert [fields["fields"]["suggested_label"][i] for i in found.ids] == found.suggested.tolist()


def test_no_export_proposes_the_label_that_is_doubted(run):
    found = read_label_table(run)
    soft = np.stack(pq.read_table(run / "labels.parquet")["refined_distribution"].to_pylist())
    places = np.array([found.classes.index(name) for name in found.given])
    soft[np.arange(N), places] = -1
    assert found.other.tolist() == [found.classes[k] for k in soft.argmax(1)]
    assert load(run).labels["suggested_label"].tolist() == found.suggested.tolist()
    np.testing.assert_allclose(found.p_other, soft.max(1))
    unsure = replace(found, refined=found.given)  # doubted, and no better label is known
    EXPORTS["label-studio"](unsure, Path("tasks.json"))
    tasks = {t["data"]["id"]: t["predictions"][0] for t in json.loads(Path("tasks.json").read_text())}
    proposed = [tasks[i]["result"][0]["value"]["choices"][0] for i in found.ids]
    assert found.is_issue.any()
    for row in range(N):
        wanted = (found.other, found.p_other) if found.is_issue[row] else (found.given, found.confidence)
        assert (proposed[row], tasks[found.ids[row]]["score"]) == (wanted[0][row], pytest.approx(wanted[1][row]))
