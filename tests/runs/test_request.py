import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from threadpoolctl import threadpool_info, threadpool_limits

from selfdistill._core.errors import Interrupted, RunError
from selfdistill._core.events import Stage
from selfdistill._core.read_options import ReadOptions
from selfdistill.closed import refine_labels
from selfdistill.data._read import read
from selfdistill.runs import _request
from selfdistill.runs._directory import run
from selfdistill.runs._request import FitRequest, start
from selfdistill.train import Settings
from selfdistill.train._closed import closed_threads

pytestmark = pytest.mark.usefixtures("few_trees")

FEW = Settings(epochs=2, network="mlp:8")


@pytest.fixture(autouse=True)
def _here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(rng.normal(size=(40, 2)), columns=["a", "b"])
    frame["kind"] = np.where(frame["a"] > 0, "x", "y")
    frame["note"] = 1
    frame.to_csv("songs.v2.csv", index=False)


READ = ReadOptions(label="kind", ignore=("note",))


def test_what_was_said_is_in_the_record_as_typed():
    record, out = start(FitRequest("songs.v2.csv", test="songs.v2.csv", read=READ, settings=FEW))
    assert out == Path("runs/songs-001")
    stored = json.loads((out / "run.json").read_text())
    assert stored["data"]["source"] == stored["data"]["test"] == "songs.v2.csv"
    assert stored["data"]["read"] == {"label": "kind", "ignore": ["note"]}
    assert "note" not in json.dumps(stored["data"]["input_shape"])
    assert record.result.accuracies["test"].last > 0
    assert str(Path.cwd()) not in (out / "run.json").read_text()


def test_resuming_needs_nothing_said_again():
    _, out = start(FitRequest("songs.v2.csv", read=READ, settings=FEW))
    record, again = start(FitRequest(resume=out))
    assert again == out
    assert record.settings.epochs == 2


def test_sentences_come_before_the_work_and_warnings_say_so():
    messages = []
    pd.read_csv("songs.v2.csv").rename(columns={"kind": "label"}).to_csv("songs.csv")
    start(FitRequest("songs.v2.csv", read=ReadOptions(label="kind"), settings=FEW), say=messages.append)
    assert messages[0] == "Reading songs.v2.csv"
    assert messages[1].startswith("40 examples, ")
    assert "warning: 1 constant column ('note') carries no information." in messages
    start(FitRequest("songs.csv", settings=FEW), say=messages.append)
    assert "note: column 'label' is taken as the label; --label to choose another." in messages
    assert not any(text.startswith("warning: column 'label'") for text in messages)
    assert "is taken as the label" in json.loads(Path("runs/songs-002/run.json").read_text())["notes"][0]
    assert "Run directory: runs/songs-001" in messages


def test_the_demonstration_compares_with_plain_training_once():
    record, out = start(FitRequest(settings=FEW))
    assert out == Path("runs/digits-001")
    assert record.comparison.method == "cross-entropy"
    before = (out / "run.json").read_bytes()
    assert start(FitRequest(resume=out))[0].comparison == record.comparison
    assert (out / "run.json").read_bytes() == before


def test_ctrl_c_in_the_comparison_leaves_a_finished_run(monkeypatch):
    def stopped(*arguments):
        raise KeyboardInterrupt

    compare = _request.compare_with_plain
    monkeypatch.setattr(_request, "compare_with_plain", stopped)
    with pytest.raises(Interrupted, match="the run in runs/digits-001 is finished"):
        start(FitRequest(settings=FEW))
    monkeypatch.setattr(_request, "compare_with_plain", compare)
    assert start(FitRequest(resume=Path("runs/digits-001")))[0].comparison is not None


def test_a_run_of_someones_own_code_is_not_resumed_here():
    songs = read("songs.v2.csv", ReadOptions(label="kind"))
    run(songs, FEW.resolve(40, "cpu"), Path("own"), source={"made": "by hand"})
    with pytest.raises(RunError, match="own was not started by `selfdistill fit`"):
        start(FitRequest(resume=Path("own")))


def threads_during(monkeypatch, variable, settings):
    """Run on two threads, with OMP_NUM_THREADS or without; give the record, and the threads at each event."""
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    if variable is not None:
        monkeypatch.setenv("OMP_NUM_THREADS", variable)
    before, seen = torch.get_num_threads(), []
    torch.set_num_threads(2)
    try:
        asked = FitRequest("songs.v2.csv", read=READ, settings=settings)
        record, _ = start(asked, tell=lambda event: seen.append((event, torch.get_num_threads())))
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
    return record, seen


@pytest.mark.parametrize(
    ("settings", "variable", "during"),
    [({}, None, 1), ({"network": "mlp:2048"}, None, 1), ({"network": "mlp:4096,4096"}, None, 2), ({}, "2", 2)],
)
def test_small_steps_take_one_thread_and_leave_the_number_as_it_was(monkeypatch, settings, variable, during):
    record, seen = threads_during(monkeypatch, variable, replace(FEW, **{"epochs": 1} | settings))
    assert {count for _, count in seen} == {during} == {record.hardware["threads"]}


@pytest.mark.parametrize(("few", "variable", "during"), [(40, None, 1), (39, None, 2), (40, "2", 2)])
def test_few_rows_in_closed_form_take_one_thread(monkeypatch, few, variable, during):
    monkeypatch.setattr("selfdistill.train._closed._FEW_ROWS", few)
    record, seen = threads_during(monkeypatch, variable, Settings(method="kernel", rounds=1))
    assert {count for event, count in seen if isinstance(event, Stage)} == {during} == {record.hardware["threads"]}


def test_few_rows_hold_the_threads_of_numpy_too(monkeypatch):
    def threads() -> set[int]:
        return {library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas"}

    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    with threadpool_limits(limits=2, user_api="blas"):
        with closed_threads(4_000):
            assert threads() == {1}
        assert threads() == {2}
        with closed_threads(4_001):
            assert threads() == {2}
        monkeypatch.setenv("OMP_NUM_THREADS", "2")
        with closed_threads(10):
            assert threads() == {2}


def test_the_closed_form_learns_from_all_votes_of_a_row():
    rng, cells = np.random.default_rng(1), ["", "x", "y"]
    frame = pd.read_csv("songs.v2.csv").drop(columns=["kind", "note"])
    right = np.where(frame["a"] > 0, "x", "y")
    for name in ("ann", "bob", "cem"):
        frame[name] = np.where(rng.random(40) < 0.5, right, rng.choice(cells, 40))
    frame["ann"] = frame["ann"].where(frame["ann"] != "", "x")
    frame.to_csv("votes.csv", index=False)
    asked = FitRequest("votes.csv", read=ReadOptions(annotator=("ann", "bob", "cem")), out=Path("votes"))
    start(asked)
    standard = torch.tensor(frame[["a", "b"]].to_numpy())
    standard = (standard - standard.mean(0)) / standard.std(0, correction=0)
    data = read("votes.csv", asked.read)  # to the last bit: with 40 rows rounding moves ties to the other half
    inputs, exact = data.inputs, data.shares
    assert torch.allclose(inputs.double(), standard, atol=1e-6)
    votes = frame[["ann", "bob", "cem"]].to_numpy()
    shares = np.stack([(votes == name).sum(1) for name in "xy"], 1) / (votes != "").sum(1)[:, None]
    assert np.allclose(exact.numpy(), shares, atol=1e-3)
    assert (np.abs(shares - 0.5) < 0.1).any()  # ties
    assert ((shares > 0) & (shares < 1)).any()
    counts = (votes != "").sum(1)
    found = refine_labels(inputs, exact, 2, votes=counts).posterior.numpy()
    assert not np.allclose(refine_labels(inputs, exact, 2).posterior.numpy(), found, atol=0.01)
    stored = np.stack(pd.read_parquet("votes/labels.parquet")["refined_distribution"])
    assert np.allclose(stored, found, atol=1e-3)
    one_label = refine_labels(inputs, torch.from_numpy(shares.argmax(1)), 2).posterior.numpy()
    assert not np.allclose(one_label, found, atol=0.01)
    start(replace(asked, settings=FEW, out=Path("network")))
