"""A run's files are the ones it wrote: damaged, foreign and lost ones are told, and what can be written anew is."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import torch

from selfdistill import train
from selfdistill._core.errors import Interrupted, RunError
from selfdistill._core.events import EpochDone, RunStarted
from selfdistill._core.lock import locked
from selfdistill._core.record import read_json_record, read_record, write_json_record
from selfdistill.data._source import from_arrays
from selfdistill.runs._directory import run as runs_run
from selfdistill.runs._label_table import read_label_table
from selfdistill.runs._model_file import load_model, load_snapshot, save_model
from selfdistill.runs._run_files import MetricsFile
from selfdistill.train import _checkpoint_manager

N = 40
SOURCE = {"source": "some.csv", "read": {}, "test": None}


@pytest.fixture(scope="module")
def examples():
    rng = np.random.default_rng(0)
    return from_arrays(rng.normal(size=(N, 3)), np.array(["a", "b"] * (N // 2)))


def settings(**kwargs):
    chosen = {"network": "mlp:4", "epochs": 3, "batch_size": 16, "keep_epochs": "all"} | kwargs
    return train.Settings(**chosen).resolve(N, "cpu")


@pytest.fixture(scope="module")
def made(examples, tmp_path_factory):
    out = tmp_path_factory.mktemp("made") / "run"
    runs_run(examples, settings(), out, source=SOURCE)
    return out


@pytest.fixture
def run(made, tmp_path):
    return shutil.copytree(made, tmp_path / "run")


def flip(path, place=-3):
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)


def network(run):
    return load_model(run / "model.safetensors").network


READERS = {
    "model.safetensors": network,
    "labels.parquet": read_label_table,
    "epochs/epoch-0001.safetensors": lambda run: load_snapshot(run / "epochs" / "epoch-0001.safetensors", network(run)),
    "run.json": read_record,
}


@pytest.mark.parametrize("name", READERS)
def test_one_bit_is_seen_by_whoever_reads(run, name):
    READERS[name](run)
    flip(run / name, -20)
    with pytest.raises(RunError, match=r"damaged|digest"):
        READERS[name](run)


@pytest.mark.parametrize("name", ["model.safetensors", "labels.parquet", "epochs/epoch-0001.safetensors"])
def test_files_of_another_run_are_refused(run, examples, name):
    other = run.parent / "other"
    runs_run(examples, settings(seed=1), other, source=SOURCE)
    shutil.copy(other / name, run / name)
    with pytest.raises(RunError, match=r"is damaged, or of another run: its digest differs"):
        READERS[name](run)


def test_a_kept_epoch_that_the_run_never_wrote_is_refused(run):
    shutil.copy(run / "epochs" / "epoch-0001.safetensors", run / "epochs" / "epoch-0009.safetensors")
    with pytest.raises(RunError, match=r"epoch-0009.safetensors was not written by this run"):
        load_snapshot(run / "epochs" / "epoch-0009.safetensors", network(run))


def test_runs_without_digests_are_read_and_their_weights_must_be_numbers(run):
    record = json.loads((run / "run.json").read_text())
    del record["digest"], record["files"]
    (run / "run.json").write_text(json.dumps(record | {"schema": 1}))
    for reader in READERS.values():
        reader(run)
    model = load_model(run / "model.safetensors")
    with torch.no_grad():
        next(model.network.parameters())[0, 0] = float("nan")
    save_model(run / "model.safetensors", model)
    with pytest.raises(RunError, match=r"is damaged: 1 of 12 numbers of 'network.hidden.0.weight' is not finite"):
        network(run)


@pytest.mark.parametrize("names", [["model.safetensors"], ["labels.parquet", "metrics.jsonl"]])
@pytest.mark.parametrize("harm", ["lost", "damaged"])
def test_resume_writes_anew_what_a_finished_run_lost(run, made, examples, names, harm):
    for name in names:
        (run / name).unlink() if harm == "lost" else flip(run / name)
    record = runs_run(examples, settings(), run, source=SOURCE, resume=True)
    assert record.status == "finished"
    for name in ("model.safetensors", "labels.parquet", "metrics.jsonl"):
        assert (run / name).read_bytes() == (made / name).read_bytes(), name
    read_label_table(run)
    assert runs_run(examples, settings(), run, source=SOURCE, resume=True) == record


def test_without_a_checkpoint_it_says_why_not(run, examples):
    shutil.rmtree(run / "checkpoint")
    assert runs_run(examples, settings(), run, source=SOURCE, resume=True).status == "finished"
    (run / "labels.parquet").unlink()
    with pytest.raises(RunError, match=r"lost labels.parquet, and has no whole checkpoint to write them from. Start a"):
        runs_run(examples, settings(), run, source=SOURCE, resume=True)


def stopped(examples, out, epochs=2, **kwargs):
    def tell(event):
        if isinstance(event, EpochDone) and event.epoch + 1 == epochs:
            raise KeyboardInterrupt

    with pytest.raises(Interrupted):
        runs_run(examples, settings(**kwargs), out, source=SOURCE, tell=tell)


@pytest.fixture
def often(monkeypatch):
    monkeypatch.setattr(_checkpoint_manager, "_CHECKPOINT_SECONDS", 0.0)


def test_a_record_with_other_settings_does_not_fit_its_checkpoints(often, examples, tmp_path):
    out = tmp_path / "run"
    stopped(examples, out)
    record = read_json_record(out)
    write_json_record(out, record | {"settings": record["settings"] | {"seed": 7}})  # digest and all
    with pytest.raises(RunError, match=r"was written with seed = 0, but the run's record says 7. Put the record back"):
        runs_run(examples, settings(seed=7), out, source=SOURCE, resume=True)


def test_a_checkpoint_of_another_run_is_refused(often, examples, tmp_path):
    for name in ("a", "b"):
        stopped(examples, tmp_path / name)
    shutil.rmtree(tmp_path / "a" / "checkpoint")
    shutil.copytree(tmp_path / "b" / "checkpoint", tmp_path / "a" / "checkpoint")
    with pytest.raises(RunError, match=r"was written with id = '[0-9a-f]{32}', but the run's record says '"):
        runs_run(examples, settings(), tmp_path / "a", source=SOURCE, resume=True)


def test_a_kept_epoch_that_was_damaged_while_the_run_stood_still_is_not_blessed_at_its_end(often, examples, tmp_path):
    out = tmp_path / "run"
    stopped(examples, out)
    flip(out / "epochs" / "epoch-0001.safetensors")
    runs_run(examples, settings(), out, source=SOURCE, resume=True)
    with pytest.raises(RunError, match=r"its digest differs"):
        READERS["epochs/epoch-0001.safetensors"](out)


def test_other_versions_are_said_and_noted(often, examples, tmp_path):
    out, messages = tmp_path / "run", []
    stopped(examples, out)
    record = read_json_record(out)
    write_json_record(out, record | {"versions": record["versions"] | {"torch": "1.0"}})
    tell = lambda event: messages.extend(event.warnings) if isinstance(event, RunStarted) else None
    record = runs_run(examples, settings(), out, source=SOURCE, resume=True, tell=tell)
    assert f"Resumed with torch {torch.__version__} instead of 1.0" in messages[0]
    assert messages[0] in record.warnings
    assert record.resumed[0].versions["torch"] == torch.__version__
    assert record.versions["torch"] == "1.0"


@pytest.mark.parametrize("left", [[], [".lock"], [".lock", ".run.json.ab12cd_9.part"]])
def test_a_run_killed_before_its_first_record_left_a_folder_that_counts_as_empty(examples, tmp_path, left):
    out = tmp_path / "run"
    out.mkdir()
    for name in left:
        (out / name).write_text("")
    with pytest.raises(RunError, match=r"has no run.json. .*run `fit` again if it was stopped"):
        runs_run(examples, settings(), out, source=SOURCE, resume=True)
    assert runs_run(examples, settings(), out, source=SOURCE).status == "finished"
    assert not list(out.glob(".*"))


def test_what_dead_writers_left_half_is_cleared_by_the_next(often, examples, tmp_path):
    out = tmp_path / "run"
    stopped(examples, out)
    part = out / "checkpoint" / ".step-000000004.pt.ab12cd_9.part"
    part.write_bytes(b"half")
    runs_run(examples, settings(), out, source=SOURCE, resume=True)
    assert not part.exists()


def test_a_folder_removed_and_begun_anew_stops_the_first_run_and_mixes_nothing(often, examples, made, tmp_path):
    out, second = tmp_path / "run", []

    def again(event):
        if isinstance(event, EpochDone) and event.epoch == 0 and not second:
            shutil.rmtree(out)
            second.append(runs_run(examples, settings(seed=5), out, source=SOURCE))

    with pytest.raises(RunError, match="was removed or replaced while this process wrote to it"):
        runs_run(examples, settings(), out, source=SOURCE, tell=again)
    assert second[0] == read_record(out)
    assert {p.name for p in out.iterdir()} == {p.name for p in made.iterdir()}
    read_label_table(out)


def test_metrics_of_a_run_that_was_replaced_are_not_appended_to(tmp_path):
    out = tmp_path / "run"
    out.mkdir()
    with locked(out):
        file = MetricsFile(out / "metrics.jsonl")
        file(RunStarted(2, 0, N, 1, (), ()))
        file(EpochDone(0, {"loss": 1.0}))
        shutil.rmtree(out)
        with pytest.raises(FileNotFoundError):
            file(EpochDone(1, {"loss": 1.0}))
        out.mkdir()
        (out / "metrics.jsonl").write_text("theirs")
        with pytest.raises(RunError, match="removed or replaced"):
            file(EpochDone(1, {"loss": 1.0}))
    assert (out / "metrics.jsonl").read_text() == "theirs"


@pytest.mark.parametrize("name", ["metrics.jsonl", "checkpoint", "labels.parquet"])
def test_a_stopped_run_with_links_that_lead_out_is_not_gone_on_with(often, examples, tmp_path, name):
    out, outside = tmp_path / "run", tmp_path / "outside"
    stopped(examples, out)
    shutil.move(out / name, outside) if (out / name).exists() else outside.write_text("mine")
    (out / name).symlink_to(outside)
    before = {p: p.read_bytes() for p in [outside, *outside.rglob("*")] if p.is_file()}
    with pytest.raises(RunError, match=f"{name} is a link that leads out of its folder"):
        runs_run(examples, settings(), out, source=SOURCE, resume=True)
    assert before == {p: p.read_bytes() for p in before}
