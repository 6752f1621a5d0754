from __future__ import annotations

import errno
import json
from dataclasses import replace
from unittest.mock import ANY

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import torch

from selfdistill import train
from selfdistill._core.errors import Interrupted, ResourceError, RunError, SettingError
from selfdistill._core.events import EpochDone, RunStarted
from selfdistill._core.record import read_record
from selfdistill.data._source import from_arrays
from selfdistill.runs import _directory
from selfdistill.runs._directory import next_run_folder
from selfdistill.runs._directory import run as runs_run
from selfdistill.runs._model_file import load_model
from selfdistill.train._fit import fit
from selfdistill.train._loop import predict_probabilities
from selfdistill.train._runtime import TorchRuntime

N = 60


@pytest.fixture
def blobs():
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 3, N)
    x = np.eye(3)[truth] * 3 + rng.normal(size=(N, 3))
    made = from_arrays(x, np.array(["ä b", "c", "d"])[truth])
    given = made.labels.clone()
    given[:10] = (given[:10] + 1) % 3
    return replace(made, labels=given, truth=made.labels)


def settings(**kwargs):
    return train.Settings(
        **({"network": "mlp:16", "epochs": 4, "batch_size": 16, "lr": 0.1, "lr_warmup": 0.3} | kwargs)
    ).resolve(N, "cpu")


def run(blobs, out, **kwargs):
    chosen = settings(**kwargs.pop("settings", {}))
    return runs_run(blobs, chosen, out, source={"source": "blobs"}, **kwargs)


def test_a_run_directory_holds_what_it_promises(blobs, tmp_path):
    record = run(blobs, tmp_path / "run", evaluations={"test": (blobs.inputs, blobs.truth)})
    out = tmp_path / "run"
    assert {p.name for p in out.iterdir()} == {
        "run.json", "labels.parquet", "model.safetensors", "metrics.jsonl", "checkpoint"
    }  # fmt: skip
    assert json.loads((out / "run.json").read_text()) == record.as_json() | {"digest": ANY}
    assert record.status == "finished"
    assert record.noise.rate == pytest.approx(10 / N)
    assert np.array(record.noise.joint_true_given).sum() == N
    assert record.settings.network == "mlp:16"
    assert record.trust.verdict in {"trust", "except", "refuse"}
    assert record.trust.evidence["doubted_early"] == record.curves["refined_share"][1]
    assert record.trust.evidence["agreement"] == pytest.approx(record.result.agreement)
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    assert [line["epoch"] for line in lines] == [0, 1, 2, 3]
    assert [line["loss"] for line in lines] == record.curves["loss"]
    best = record.result.accuracies["test"]
    assert best.best == max(record.curves["test_accuracy"])
    assert best.last == record.curves["test_accuracy"][-1]


def test_labels_parquet_has_one_row_per_example_in_the_datas_order(blobs, tmp_path):
    record = run(blobs, tmp_path / "run")
    table = pq.read_table(tmp_path / "run" / "labels.parquet")
    frame = table.to_pandas()
    assert list(frame) == [
        "id", "given_label", "refined_label", "refined_confidence", "refined_distribution", "label_quality",
        "is_label_issue", "first_learned_epoch", "times_forgotten", "suggested_label",
    ]  # fmt: skip
    assert frame["id"].tolist() == [str(i) for i in blobs.ids]
    assert frame["given_label"].tolist() == [blobs.classes[k] for k in blobs.labels]
    distribution = np.stack(frame["refined_distribution"])
    np.testing.assert_allclose(distribution.sum(1), 1, rtol=1e-5)
    names = np.array(json.loads(table.schema.metadata[b"classes"]))
    assert (names[distribution.argmax(1)] == frame["refined_label"]).all()
    assert frame["is_label_issue"].sum() == record.result.label_issues
    assert frame["label_quality"].between(0, 1).all()
    kept = frame["given_label"] == frame["refined_label"]
    assert (frame["is_label_issue"] & kept).sum() == record.result.no_better_label
    assert pd.api.types.is_bool_dtype(frame["is_label_issue"])


def test_the_saved_model_predicts_what_the_trained_one_did(blobs, tmp_path):
    run(blobs, tmp_path / "run")
    model = load_model(tmp_path / "run" / "model.safetensors")
    fitted = fit(blobs, settings())
    runtime = TorchRuntime()
    a = predict_probabilities(model.network, blobs.inputs, runtime)
    assert torch.equal(a, predict_probabilities(fitted.model, blobs.inputs, runtime))
    assert model.classes == ("c", "d", "ä b")


def test_an_occupied_folder_is_left_alone(blobs, tmp_path):
    out = tmp_path / "run"
    run(blobs, out)
    before = {p: p.read_bytes() for p in out.rglob("*") if p.is_file()}
    with pytest.raises(RunError, match=r"already holds a run. Choose another `out`"):
        run(blobs, out)
    assert before == {p: p.read_bytes() for p in out.rglob("*") if p.is_file()}
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").write_text("dear")
    with pytest.raises(RunError, match="already holds files"):
        run(blobs, tmp_path / "mine")


@pytest.mark.parametrize("bad", [{"network": "mpl"}, {"method": "magic"}, {"augment": "fold"}])
def test_a_wrong_name_leaves_no_folder(blobs, tmp_path, bad):
    with pytest.raises(SettingError):
        run(blobs, tmp_path / "run", settings=bad)
    assert not (tmp_path / "run").exists()


def test_a_run_that_diverged_says_so_and_gives_its_folder_back(blobs, tmp_path):
    out, diverges = tmp_path / "run", {"lr": 1e9, "epochs": 20, "keep_epochs": "all"}
    with pytest.raises(SettingError, match="the loss became"):
        run(blobs, out, settings=diverges)
    record = read_record(out)
    assert record.status == "failed"
    assert "Bring --lr (1e+09) nearer to the usual 0.03" in record.error
    with pytest.raises(RunError, match=r"failed: the loss became.*Start again: out=.*run' is free"):
        run(blobs, out, resume=True, settings=diverges)
    (out / "letter.txt").write_text("dear")
    with pytest.raises(RunError, match="already holds a run"):
        run(blobs, out)
    assert read_record(out) == record
    (out / "letter.txt").unlink()
    assert run(blobs, out).status == "finished"
    assert run(blobs, tmp_path / "fresh").result.label_issues == read_record(out).result.label_issues
    assert {p.name for p in out.iterdir()} == {p.name for p in (tmp_path / "fresh").iterdir()}


def stop_after(epochs):
    def tell(event):
        if isinstance(event, EpochDone) and event.epoch + 1 == epochs:
            raise KeyboardInterrupt

    return tell


def test_resume_checks_data_and_settings(blobs, tmp_path):
    with pytest.raises(Interrupted, match=r"stopped at once; what was saved before is kept. Go on with: .* --resume "):
        run(blobs, tmp_path / "run", tell=stop_after(2))
    with pytest.raises(RunError, match=r"was started with lr = 0\.1, but now it is 0\.2. Leave `lr` out"):
        run(blobs, tmp_path / "run", resume=True, settings={"lr": 0.2})
    other = from_arrays(blobs.inputs.numpy() + 1, np.array(blobs.classes)[blobs.labels])
    with pytest.raises(RunError, match=r"was trained on other data \(60 examples"):
        run(replace(other, fingerprint="f" * 64), tmp_path / "run", resume=True)


def test_a_finished_run_is_returned_as_it_is(blobs, tmp_path):
    first = run(blobs, tmp_path / "run")
    assert run(blobs, tmp_path / "run", resume=True) == first


def test_ctrl_c_saves_and_says_how_to_go_on(blobs, tmp_path):
    import os
    import signal

    def press(event):
        if isinstance(event, EpochDone) and event.epoch == 1:
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(Interrupted, match=r"everything so far is saved. Go on with: selfdistill fit --resume "):
        run(blobs, tmp_path / "run", tell=press)
    assert json.loads((tmp_path / "run" / "run.json").read_text())["status"] == "interrupted"
    resumed = run(blobs, tmp_path / "run", resume=True)
    whole = run(blobs, tmp_path / "whole")
    assert resumed.status == "finished"
    assert resumed.curves["loss"] == whole.curves["loss"]
    for name in ("labels.parquet", "model.safetensors"):
        assert (tmp_path / "run" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    assert len((tmp_path / "run" / "metrics.jsonl").read_text().splitlines()) == 4


@pytest.mark.parametrize(
    "full", ["torch.save", "safetensors.torch.save_file", "pyarrow.parquet.ParquetWriter.write_table"]
)
def test_a_disk_that_fills_up_leaves_a_run_that_goes_on(blobs, tmp_path, monkeypatch, full):
    def write(*arguments, **options):
        raise OSError(errno.ENOSPC, "No space left on device")

    out = tmp_path / "run"
    with monkeypatch.context() as m:
        m.setattr({"safetensors.torch.save_file": "selfdistill.runs._model_file.save_file"}.get(full, full), write)
        with pytest.raises(ResourceError, match=rf"no room on disk to write {out}/.*Go on with: .* --resume {out}"):
            run(blobs, out)
    assert run(blobs, out, resume=True).status == "finished"
    assert not list(out.rglob("*.part"))


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (
            RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB."),
            r"out of memory: 2.0 GiB more could not be allocated. Take a ",
        ),
        (ResourceError("no room on disk to write x", "Free space."), r"no room on disk to write x. Free space.$"),
    ],
)
def test_no_room_or_memory_before_the_first_step_leaves_nothing(blobs, tmp_path, error, text):
    def fail(event):
        if isinstance(event, RunStarted):
            raise error

    with pytest.raises(ResourceError, match=text):
        run(blobs, tmp_path / "run", tell=fail)
    assert not list(tmp_path.iterdir())


def test_a_network_that_no_memory_holds_is_refused(blobs, tmp_path):
    with pytest.raises(
        ResourceError, match=r"out of memory: [\d,.]+ GiB more could not be allocated. Take a smaller `network`"
    ):
        run(blobs, tmp_path / "run", settings={"network": f"mlp:{2**50}"})
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("spec", ["mlp:4", "mlp:700,700"])
@pytest.mark.parametrize("copies", [1, 500])
def test_the_room_that_is_asked_for_is_enough_and_not_far_too_much(blobs, tmp_path, monkeypatch, spec, copies):
    many = replace(
        blobs,
        inputs=blobs.inputs.repeat(copies, 1),
        labels=blobs.labels.repeat(copies),
        truth=None,
        ids=np.arange(N * copies).astype(str),
    )
    asked = []
    monkeypatch.setattr(_directory, "check_room", lambda folder, needed: asked.append(needed))
    run(many, tmp_path / "run", settings={"network": spec, "epochs": 1, "batch_size": N * copies // 2})
    files = [p.stat().st_size for p in (tmp_path / "run").rglob("*") if p.is_file()]
    (checkpoint,) = (p.stat().st_size for p in (tmp_path / "run").rglob("*.pt"))
    wanted = sum(files) + 2 * checkpoint  # a run of many epochs keeps two while it writes a third
    assert wanted - 2**16 < asked[0] - 2**24 + 2**16 < 2 * wanted + 2**18


def test_two_at_once_in_one_directory_are_refused(blobs, tmp_path):
    out, problems = tmp_path / "run", []

    def again(event):
        if isinstance(event, EpochDone) and event.epoch == 1:
            for resume in (True, False):
                with pytest.raises(RunError) as refused:
                    run(blobs, out, resume=resume)
                problems.append(str(refused.value))

    record = run(blobs, out, tell=again)
    assert f"{out} is in use by another process" in problems[0]
    assert "already holds a run" in problems[1]
    assert record.status == "finished"
    assert len(record.curves["loss"]) == 4
    assert not (out / ".lock").exists()


def test_ctrl_c_before_the_first_step_leaves_nothing_of_a_new_run(blobs, tmp_path):
    def press(event):
        if isinstance(event, RunStarted):
            raise KeyboardInterrupt

    out = tmp_path / "run"
    with pytest.raises(Interrupted, match=r"stopped before the first step; nothing was saved. Start again."):
        run(blobs, out, tell=press)
    assert not out.exists()
    with pytest.raises(Interrupted):
        run(blobs, out, tell=stop_after(1))
    with pytest.raises(Interrupted, match="Go on with"):
        run(blobs, out, resume=True, tell=press)
    assert run(blobs, out, resume=True).status == "finished"


def test_next_run_folder_counts_on(tmp_path):
    assert next_run_folder("digits", tmp_path).name == "digits-001"
    (tmp_path / "digits-009").mkdir()
    (tmp_path / "digits-old").mkdir()
    assert next_run_folder("digits", tmp_path).name == "digits-010"
