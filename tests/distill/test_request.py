"""From what was typed to a student: data left out are the teacher's, and a resumed run needs nothing said again."""

from __future__ import annotations

import shutil

import numpy as np
import pandas as pd
import pytest

from selfdistill import train
from selfdistill._core.errors import DataError, Interrupted, RunError, SettingError
from selfdistill._core.events import BatchDone
from selfdistill._core.read_options import ReadOptions
from selfdistill._core.record import read_record
from selfdistill.distill._request import DistillRequest, start
from selfdistill.runs._directory import run
from selfdistill.runs._request import FitRequest
from selfdistill.runs._request import start as runs_start
from selfdistill.train import Settings

FEW = Settings(epochs=2)
KIND = ReadOptions(label="kind")
SMALL = {"student": "mlp:4", "objective": "refinery"}


@pytest.fixture(autouse=True)
def _here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def songs():
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(rng.normal(size=(60, 2)), columns=["a", "b"])
    frame["kind"] = np.where(frame["a"] > 0, "x", "y")
    frame.to_csv("songs.csv", index=False)
    settings = {"epochs": 3, "network": "mlp:8", "method": "cross-entropy", "keep_epochs": "all"}
    _, out = runs_start(FitRequest("songs.csv", test="songs.csv", read=KIND, settings=Settings(**settings)))
    return out


def test_without_data_the_teachers_are_read_again(songs):
    record, out = start(DistillRequest(str(songs), distiller=SMALL, settings=FEW))
    assert str(out) == "runs/songs-student-001"
    assert (record.data.source, record.data.test) == ("songs.csv", "songs.csv")
    assert record.data.read == KIND
    assert record.result.accuracies["test"].last > 0
    assert record.data.fingerprint == read_record(songs).data.fingerprint
    second, out = start(DistillRequest(str(out), distiller=SMALL, settings=FEW))  # a student teaches, too
    assert str(out) == "runs/songs-student-002"
    assert second.distillation.teacher.method == "refinery"
    third, _ = start(DistillRequest(str(out / "soft_labels.safetensors"), distiller=SMALL, settings=FEW))
    assert third.data.source == "songs.csv"


def test_the_digits_of_another_seed_are_those_of_the_teacher(teacher_run):
    record, _ = start(DistillRequest(str(teacher_run), distiller=SMALL, settings=Settings(epochs=2, seed=5)))
    assert record.settings.seed == 5
    assert record.data.fingerprint == read_record(teacher_run).data.fingerprint
    assert record.data.seed == 0


def stop(event):
    if isinstance(event, BatchDone) and event.epoch == 1:
        raise KeyboardInterrupt


def test_a_stopped_one_goes_on_with_nothing_said_and_ends_alike(songs):
    order = DistillRequest(str(songs), distiller=SMALL | {"choose": "label-wave"}, settings=FEW)
    _, whole = start(order)
    with pytest.raises(Interrupted, match="selfdistill distill --resume runs/songs-student-002"):
        start(order, tell=stop)
    shutil.rmtree(songs)  # the soft labels are there already
    record, out = start(DistillRequest(resume=whole.parent / "songs-student-002"))
    assert record.status == "finished"
    for name in ("model.safetensors", "labels.parquet"):
        assert (out / name).read_bytes() == (whole / name).read_bytes()
    again, _ = start(DistillRequest(resume=out, distiller={"student": "mlp:4"}))
    assert again.result == record.result


def test_what_is_said_again_must_agree(songs):
    _, out = start(DistillRequest(str(songs), distiller=SMALL, settings=FEW))
    for wrong, words in (
        (
            DistillRequest(resume=out, distiller={"objective": "hinton"}),
            r"objective = 'refinery', but now it is 'hinton'",
        ),
        (DistillRequest(resume=out, distiller={"student": "mlp:5"}), r"student = 'mlp:4', but now it is 'mlp:5'"),
        (DistillRequest("another", resume=out), r"teacher = '.*songs-001', but now it is 'another'"),
        (DistillRequest(resume=out, settings=Settings(epochs=9)), r"epochs = 2, but now it is 9"),
    ):
        with pytest.raises(RunError, match=words):
            start(wrong)
    with pytest.raises(RunError, match=r"songs-001 has no teacher. Go on with: selfdistill fit --resume"):
        start(DistillRequest(resume=songs))
    with pytest.raises(
        RunError, match=r"learns from a teacher. Go on with: selfdistill distill --resume runs/songs-st"
    ):
        runs_start(FitRequest(resume=out))


def test_no_teacher_and_a_teacher_without_data(songs, digits):
    with pytest.raises(SettingError, match="no teacher was named"):
        start(DistillRequest())
    settings = train.Settings(method="cross-entropy", network="mlp:4", epochs=1).resolve(len(digits), "cpu")
    run(digits, settings, songs.parent / "code", source={})
    with pytest.raises(SettingError, match=r"does not say where its data lie. Name them: selfdistill distill .* DATA"):
        start(DistillRequest(str(songs.parent / "code")))
    frame = pd.read_csv("songs.csv")
    frame.loc[0, "kind"] = "z"
    frame.to_csv("other.csv", index=False)
    with pytest.raises(DataError, match=r"has 2 classes, but the data 3; only one of them has 'z'"):
        start(DistillRequest(str(songs), "other.csv", read=KIND, distiller=SMALL, settings=FEW))
    assert not (songs.parent / "other-student-001").exists()


def test_other_rows_of_the_same_kind_are_labelled_by_the_teacher(songs):
    frame = pd.read_csv("songs.csv").iloc[:40]
    frame.to_csv("new.csv", index=False)
    record, out = start(DistillRequest(str(songs), "new.csv", read=KIND, distiller=SMALL, settings=FEW))
    assert record.data.examples == 40
    assert str(out) == "runs/new-student-001"
