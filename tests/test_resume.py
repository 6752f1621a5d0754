"""A run that dies or is stopped goes on to the very bytes of one that was left alone (CPU, one thread)."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from selfdistill._core.events import BatchDone
from selfdistill.cli import main
from selfdistill.train._loop import Trainer

# Saves after every step and dies, as by kill -9, in the middle of the third epoch.
KILLED = """
import os, signal, sys, torch
from selfdistill.cli import main
from selfdistill.train import _checkpoint_manager
torch.set_num_threads(1)
_checkpoint_manager._CHECKPOINT_SECONDS = 0.0
save = _checkpoint_manager.CheckpointManager.after_step
def after_step(self, position, ended):
    save(self, position, ended)
    if (position.epoch, position.step) == (2, 3):
        os.kill(os.getpid(), signal.SIGKILL)
_checkpoint_manager.CheckpointManager.after_step = after_step
main(sys.argv[1:])
"""
SETTINGS = ["--epochs", "5", "--batch-size", "16", "--network", "mlp:8", "--seed", "3"]
SAME = ("model.safetensors", "labels.parquet")


def cli(*arguments: object) -> int:
    with pytest.raises(SystemExit) as left:
        main([str(a) for a in arguments])
    return int(left.value.code or 0)


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(100, 3))
    given = np.where(rng.random(100) < 0.3, rng.integers(0, 3, 100), np.digitize(x[:, 0], [-0.5, 0.5]))
    file = tmp_path_factory.mktemp("data") / "table.csv"
    lines = [f"{a},{b},{c},{'lmh'[g]}" for (a, b, c), g in zip(x, given, strict=True)]
    file.write_text("\n".join(["a,b,c,label", *lines]) + "\n")
    return file


@pytest.fixture(scope="module")
def whole(table: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.set_num_threads(1)
    out = tmp_path_factory.mktemp("whole") / "run"
    assert cli("fit", table, *SETTINGS, "--out", out) == 0
    return out


@pytest.fixture(scope="module")
def dead(table: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("dead") / "run"
    command = [sys.executable, "-c", KILLED, "fit", str(table), *SETTINGS, "--out", str(out)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr
    return out


@pytest.fixture
def killed(dead: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(dead, tmp_path / "run"))


def assert_same(run: Path, whole: Path) -> None:
    for name in SAME:
        assert (run / name).read_bytes() == (whole / name).read_bytes(), name
    ours, theirs = ([json.loads(line) for line in (r / "metrics.jsonl").read_text().splitlines()] for r in (run, whole))
    timed = {"seconds", "examples_per_second"}
    assert [{k: v for k, v in e.items() if k not in timed} for e in ours] == [
        {k: v for k, v in e.items() if k not in timed} for e in theirs
    ]


def newest(run: Path) -> Path:
    return max((run / "checkpoint").glob("step-*.pt"))


def test_the_killed_run_has_no_results_and_says_it_is_running(killed):
    assert not (killed / "model.safetensors").exists()
    assert not (killed / "labels.parquet").exists()
    assert json.loads((killed / "run.json").read_text())["status"] == "running"
    assert len(list((killed / "checkpoint").glob("step-*.pt"))) == 2


def test_killed_in_the_middle_of_an_epoch_it_goes_on_to_the_same_bytes(killed, whole, capsys):
    assert cli("fit", "--resume", killed) == 0
    assert_same(killed, whole)
    assert f"Run directory: {killed}, from epoch 3" in capsys.readouterr().err


def test_a_checkpoint_cut_short_is_recognised_and_the_one_before_it_is_used(killed, whole, capsys):
    cut = newest(killed)
    cut.write_bytes(cut.read_bytes()[:-100])
    assert cli("fit", "--resume", killed) == 0
    assert_same(killed, whole)
    assert f"warning: checkpoint {cut.name} is damaged" in capsys.readouterr().err
    warnings = json.loads((killed / "run.json").read_text())["warnings"]
    assert any(cut.name in sentence for sentence in warnings)
    assert "is used instead" in warnings[-1]


def test_a_checkpoint_with_one_wrong_bit_is_recognised(killed, whole, capsys):
    hit = newest(killed)
    content = bytearray(hit.read_bytes())
    content[len(content) // 2] ^= 1
    hit.write_bytes(content)
    assert cli("fit", "--resume", killed) == 0
    assert_same(killed, whole)
    assert f"warning: checkpoint {hit.name} is damaged" in capsys.readouterr().err


def test_a_checkpoint_without_its_digest_is_not_trusted(killed, whole):
    newest(killed).with_suffix(".json").unlink()
    assert cli("fit", "--resume", killed) == 0
    assert_same(killed, whole)


def test_with_every_checkpoint_damaged_it_begins_again_and_ends_the_same(killed, whole):
    for file in (killed / "checkpoint").glob("step-*.pt"):
        file.write_bytes(b"")
    assert cli("fit", "--resume", killed) == 0
    assert_same(killed, whole)


def test_a_finished_run_stays_as_it_is(whole, capsys):
    before = {name: (whole / name).read_bytes() for name in (*SAME, "run.json")}
    assert cli("fit", "--resume", whole) == 0
    assert before == {name: (whole / name).read_bytes() for name in before}
    assert f"Files in {whole}" in capsys.readouterr().out


def test_ctrl_c_saves_says_how_to_go_on_and_goes_on_to_the_same_bytes(table, whole, tmp_path, capsys, monkeypatch):
    out = tmp_path / "run"
    run = Trainer.run

    def with_ctrl_c(self):
        tell = self.tell

        def listener(event):
            tell(event)
            if isinstance(event, BatchDone) and (event.epoch, event.step) == (1, 2):
                signal.raise_signal(signal.SIGINT)

        self.tell = listener
        run(self)

    monkeypatch.setattr(Trainer, "run", with_ctrl_c)
    before = signal.getsignal(signal.SIGINT)
    assert cli("fit", table, *SETTINGS, "--out", out) == 130
    captured = capsys.readouterr()
    assert captured.out == ""
    last = captured.err.splitlines()[-1]
    assert last.startswith("stopped in epoch 2")
    assert last.endswith(f"selfdistill fit --resume {out}")
    assert signal.getsignal(signal.SIGINT) is before
    assert json.loads((out / "run.json").read_text())["status"] == "interrupted"
    monkeypatch.setattr(Trainer, "run", run)
    assert cli("fit", "--resume", out) == 0
    assert_same(out, whole)


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["--epochs", "6"], "was started with epochs = 5, but now it is 6. Leave --epochs out"),
        (["--lr", "0.2"], ", but now it is 0.2. Leave --lr out"),
        (["--batch-size", "8"], "was started with batch_size = 16, but now it is 8"),
        (["--network", "mlp:9"], "was started with network = 'mlp:8', but now it is 'mlp:9'"),
        (["--seed", "4"], "was started with seed = 3, but now it is 4"),
    ],
)
def test_other_settings_are_refused_by_name_and_change_nothing(killed, capsys, arguments, problem):
    before = (killed / "run.json").read_bytes()
    assert cli("fit", "--resume", killed, *arguments) == 2
    assert problem in capsys.readouterr().err
    assert (killed / "run.json").read_bytes() == before


def test_the_same_settings_said_again_are_welcome(killed, table, whole):
    assert cli("fit", table, *SETTINGS, "--label", "label", "--resume", killed, "--out", killed) == 0
    assert_same(killed, whole)


def test_other_data_are_refused(killed, table, tmp_path, capsys):
    other = tmp_path / "other.csv"
    other.write_text(table.read_text().replace(",l\n", ",m\n", 1))
    assert cli("fit", other, "--resume", killed) == 2
    assert "was trained on other data (100 examples" in capsys.readouterr().err


def test_another_out_is_refused(killed, tmp_path, capsys):
    assert cli("fit", "--resume", killed, "--out", tmp_path / "else") == 2
    assert "is not the run to go on with" in capsys.readouterr().err
    assert not (tmp_path / "else").exists()


def test_a_record_of_another_schema_is_refused(killed, capsys):
    record = json.loads((killed / "run.json").read_text())
    (killed / "run.json").write_text(json.dumps(record | {"schema": 99}))
    assert cli("fit", "--resume", killed) == 2
    assert "has schema 99, but this version reads schema 1" in capsys.readouterr().err
