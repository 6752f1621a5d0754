"""What tests share: one thread for torch, shapes checked by jaxtyping, the command line, and runs to be damaged."""

from __future__ import annotations

import contextlib
import io
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import settings
from jaxtyping import install_import_hook

# No deadlines: seconds say more of a busy machine than of the code. CI tries the same examples each time, a desk tries
# new ones.
settings.register_profile("desk", deadline=None)
settings.register_profile("ci", deadline=None, derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "desk")

# Workers of pytest-xdist, and what a shell starts in the background, ignore Ctrl-C, as would the commands they start.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

os.environ["SELFDISTILL_ENCODER"] = "none"  # tests of encoders name them

_HOOK = install_import_hook(["selfdistill.losses", "selfdistill.rivals"], "beartype.beartype")


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of the real data sets; tests that need it skip where it is absent."""
    folder = Path(__file__).resolve().parents[2] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"real data sets are not at {folder}")
    return folder


class MeanColours:
    """An encoder of photos without weights: the mean colours of a grid of 4 x 4."""

    kind, name, dimension, side = "photos", "photos", 48, 4

    def __init__(self, version: int = 1) -> None:
        self.fingerprint = f"{version:064d}"
        self.seen = 0

    def prepare(self, example):
        self.seen += 1
        return np.asarray(example.resize((4, 4), 4), np.float32).ravel()

    def encode(self, prepared):
        return np.stack(prepared) / 255

    def cut(self, examples):
        return 0


class Letters(MeanColours):
    """An encoder of texts without weights: how often each letter stands in the first 40."""

    kind, name, dimension, side = "texts", "texts", 26, 0

    def prepare(self, example):
        self.seen += 1
        return np.array([example.lower()[:40].count(chr(97 + letter)) for letter in range(26)], np.float32)

    def encode(self, prepared):
        return np.stack(prepared)

    def cut(self, examples):
        return sum(len(one) > 40 for one in examples)


@pytest.fixture
def encoders(monkeypatch, tmp_path):
    """Encoders of both kinds that need no weights, by name, in a folder of its own."""
    made = {"photos": MeanColours(), "texts": Letters()}
    monkeypatch.setattr("selfdistill.data._encoded.load_encoder", lambda name, fetch=True: made[name])
    monkeypatch.setattr("selfdistill.runs._encoding.is_packaged", lambda kind: True)
    monkeypatch.chdir(tmp_path)
    return made


@pytest.fixture(scope="module")
def few_trees():
    """Forests of ten trees, where forests are not what is tested: they are nine tenths of a fit in closed form."""
    from selfdistill.closed._forest import Forest

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Forest.__init__, "__defaults__", (5, 10))
        yield


@pytest.fixture
def cli(capsys):
    """Run the command line in this process: exit code, stdout, stderr."""
    from selfdistill.cli import main

    def call(*arguments: object) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as left:
            main([str(a) for a in arguments])
        captured = capsys.readouterr()
        return int(left.value.code or 0), captured.out, captured.err

    return call


def _called(*arguments: object) -> tuple[int, str]:
    from selfdistill.cli import main

    err = io.StringIO()
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(err), pytest.raises(SystemExit) as left:
        main([str(a) for a in arguments])
    return int(left.value.code or 0), err.getvalue()


@pytest.fixture(scope="session")
def call() -> Callable[..., tuple[int, str]]:
    """Run the command line in this process: exit code and stderr; anything but an exit is an error of ours."""
    return _called


@pytest.fixture(scope="session")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with data and runs: of a network, in closed form, of a student, and of each one that was stopped."""
    from selfdistill._core.record import read_json_record, write_json_record
    from selfdistill.train import _checkpoint_manager

    there = tmp_path_factory.mktemp("runs")
    rng = np.random.default_rng(0)
    x = rng.normal(size=(40, 2)).round(3)
    lines = [f"{a},{b},{'uv'[int(a > b)]},some words {int(9 * a)},{'xy'[int(a + rng.normal() / 3 > 0)]}" for a, b in x]
    (there / "t.csv").write_text("\n".join(["a,b,kind,text,label", *lines]) + "\n")
    network = ["--epochs", "3", "--network", "mlp:4", "--keep-epochs", "2", "--batch-size", "16"]
    with contextlib.chdir(there), pytest.MonkeyPatch.context() as patch:
        patch.setattr(_checkpoint_manager, "_CHECKPOINT_SECONDS", 0.0)
        assert _called("fit", "t.csv", *network, "--out", "run")[0] == 0
        assert _called("fit", "t.csv", "--method", "kernel", "--landmarks", "10", "--out", "closed")[0] == 0
        assert _called("distill", "run", "--epochs", "2", "--student", "mlp:2", "--out", "student")[0] == 0
        for name, source in (("stopped", "run"), ("learning", "student"), ("unfinished", "closed")):
            shutil.copytree(source, name)
            record = read_json_record(Path(name))
            gone = {"curves", "result", "trust", "files", "closed"}
            left = {key: value for key, value in record.items() if key not in gone}
            write_json_record(Path(name), left | {"status": "interrupted"})
            for file in ("model.safetensors", "labels.parquet"):
                Path(name, file).unlink()
    return there


@pytest.fixture
def here(runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of these runs, to work in."""
    place = Path(shutil.copytree(runs, tmp_path / "here"))
    monkeypatch.chdir(place)
    for drawn in ("save_figures", "save_closed_figure"):
        monkeypatch.setattr(f"selfdistill.runs._air.{drawn}", lambda folder, record: [])  # a second each
    return place
