"""Names and files of strangers: what they do to a terminal, a shell and the exit of the program."""

from __future__ import annotations

import csv
import errno
import json
import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from torch import nn

from selfdistill.data._source import from_arrays
from selfdistill.distill import Distiller
from selfdistill.distill._soft_labels import About, Store, save_store
from selfdistill.train import Settings

pytestmark = pytest.mark.usefixtures("few_trees")

FEW = ["--epochs", "2", "--network", "mlp:4"]
EVIL = "a\x1b]0;owned\x07\r\x9b31m\u202eb"


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def table(name: str = "t.csv", classes: tuple[str, str] = ("x", "y"), column: str = "c") -> str:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(rng.normal(size=(60, 2)).round(3), columns=["a", column])
    frame["label"] = np.where(frame["a"] + rng.normal(size=60) > 0, *classes)
    frame.to_csv(name, index=False, quoting=csv.QUOTE_NONNUMERIC)
    return name


def harmless(text: str) -> bool:
    return all(c.isprintable() or c == "\n" for c in text)


def test_names_of_classes_columns_and_files_cannot_act_on_a_terminal(cli):
    source, run = table(f"{EVIL}.csv", (EVIL, "y"), EVIL), f"{EVIL} run"
    for code, *arguments in (
        [0, "fit", source, "--epochs", "40", "--network", "mlp:8", "--out", run],
        [0, "fit", source, *FEW, "--out", f"{run}2", "--json"],
        [0, "fit", "--resume", run],
        [0, "predict", run, source, "--out", f"{EVIL}p.csv"],
        [0, "refine", run, "--drop", "--out", f"{EVIL}r.csv"],
        [0, "noise", source, "--symmetric", "0.2", "--exclude-clean", "--out", f"{EVIL}n.csv"],
        [0, "distill", run, "--epochs", "1", "--student", "mlp:2", "--out", f"{EVIL}s"],
        [0, "air", run, "--out", f"{EVIL}air"],
        [2, "fit", f"{EVIL}none.csv"],
        [2, "fit", f"--{EVIL}"],
        [2, "predict", run, source, "--out", f"{EVIL}p.csv"],
        [2, "distill", f"{EVIL}none"],
    ):
        left, out, err = cli(*arguments)
        assert harmless(out + err), arguments
        assert left == code, err


def test_json_is_still_json(cli):
    _, out, err = cli("fit", table(classes=(EVIL, "y")), *FEW, "--out", EVIL, "--json")
    assert out, err
    assert json.loads(out)["run"] == EVIL


@pytest.mark.parametrize("name", ["$(touch made)", "`touch made`", "a'b; touch made; '", 'a"; touch made; "', "a b"])
def test_commands_that_are_printed_for_copying_run_nothing_else(cli, name):
    code, out, _ = cli("fit", table(), *FEW, "--out", name)
    assert code == 0
    lines = [line.strip() for line in out.splitlines()]
    for command in ("show", "report", "review", "predict"):
        (named,) = [line.split("selfdistill ")[1] for line in lines if f"selfdistill {command}" in line]
        assert shlex.split(named)[1] == name
    code, _, err = cli("fit", table(), *FEW, "--out", name)
    assert shlex.split(err.rstrip().split("run: selfdistill fit --resume ")[1]) == [name]
    assert not Path("made").exists()


SHELL = "$(touch made) `touch made`'; touch made; '\"; --touch, or made b"
"""One name that would run in any kind of quotation marks but the right ones."""


def words_after(marker: str, message: str) -> list[str]:
    """What a shell takes for the word after each marker."""
    parts = message.split(f"{marker} ")[1:]
    assert parts, (marker, message)
    return [shlex.split(part.splitlines()[0])[0].rstrip(".,;)") for part in parts]


def message_of(cli, *arguments: object, code: int = 2) -> str:
    left, out, err = cli(*arguments)
    assert left == code, err
    return out + err


def test_every_command_for_copying_names_what_it_means(cli, monkeypatch):
    source, run, student = table(f"{SHELL}.csv"), SHELL, f"s {SHELL}"
    message = message_of(cli, "fit", source, *FEW, "--out", run, code=0)
    assert words_after("selfdistill predict", message) == [run]
    assert words_after("--resume", message_of(cli, "fit", source, *FEW, "--out", run)) == [run]
    assert words_after("fit --resume", message_of(cli, "distill", "--resume", run)) == [run]
    with monkeypatch.context() as patch:
        patch.setattr("torch.save", None)  # stops before the first checkpoint
        with pytest.raises(TypeError):
            cli("fit", source, *FEW, "--out", f"stopped {run}")
        with pytest.raises(TypeError):
            cli(
                "distill",
                run,
                *FEW[:2],
                "--student",
                "mlp:2",
                "--store",
                Path(f"soft {run}").absolute(),
                "--out",
                student,
            )
    for arguments in (["predict", f"stopped {run}", source], ["refine", f"stopped {run}", "--drop", "--out", "r.csv"]):
        assert words_after("fit --resume", message_of(cli, *arguments)) == [f"stopped {run}"]
    assert words_after("distill --resume", message_of(cli, "fit", "--resume", student)) == [student]
    Path(f"soft {run}").unlink()
    message = message_of(cli, "distill", "--resume", student)
    assert words_after("distill --resume", message) == [student]
    assert words_after("--store", message) == [str(Path(f"soft {run}").absolute())]
    with monkeypatch.context() as patch:
        patch.setattr("selfdistill.runs._directory.fit", lambda *_, **__: signal.raise_signal(signal.SIGINT))
        assert words_after("--resume", message_of(cli, "fit", "--resume", f"stopped {run}", code=130)) == [
            f"stopped {run}"
        ]
    about = Distiller("mlp:2", settings=Settings(epochs=1)).fit(
        nn.Linear(4, 2), from_arrays(np.eye(4), np.arange(4) % 2)
    )
    save_store(Path(f"{run}.st"), Store(about.targets.store, About({"name": "t"}, ("0", "1"), "f", 4)))
    assert words_after("selfdistill distill", message_of(cli, "distill", f"{run}.st")) == [f"{run}.st"]
    assert not Path("made").exists()


COLUMNS = {
    "a word in numbers": (lambda f: f | {SHELL: [*map(str, range(59)), "x"]}, ["--categorical"]),
    "infinite": (lambda f: f | {SHELL: [*range(59), float("inf")]}, ["--ignore"]),
    "names": (lambda f: f | {SHELL: [f"n{i}" for i in range(60)]}, ["--id", "--text", "--categorical"]),
    "the label again": (lambda f: f | {SHELL: f["label"]}, ["--truth", "--categorical"]),
    "tells the label": (
        lambda f: f | {SHELL: [{"x": "u", "y": "v"}[one] for one in f["label"]]},
        ["--ignore", "--truth"],
    ),
}


@pytest.mark.parametrize("kind", COLUMNS)
def test_options_that_are_advised_name_their_column(cli, kind):
    change, markers = COLUMNS[kind]
    frame = pd.DataFrame({"a": np.arange(60) / 7, "label": ["x", "y"] * 30})
    pd.DataFrame(change(frame.to_dict("list"))).to_csv("t.csv", index=False)
    _, out, err = cli("fit", "t.csv", "--label", "label", *FEW)
    for marker in markers:
        assert set(words_after(marker, out + err)) == {SHELL}, err


def test_predictions_on_a_terminal_are_cleaned_and_elsewhere_as_they_are(cli, monkeypatch):
    source = table(classes=(EVIL, "y"))
    cli("fit", source, *FEW, "--out", "run")
    _, plain, _ = cli("predict", "run", source)
    assert EVIL in plain
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    _, shown, _ = cli("predict", "run", source)
    assert harmless(shown)
    assert len(shown.splitlines()) == 61


@pytest.mark.parametrize("seconds", [0.1, 0.5, 1.0, 1.5])
def test_ctrl_c_in_the_first_seconds_is_one_line(seconds):
    command = [sys.executable, "-m", "selfdistill", "fit", table(), "--network", "mlp:4", "--out", "run"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        time.sleep(seconds)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
    if process.returncode == -signal.SIGINT or ("selfdistill/cli" not in err and "KeyboardInterrupt" in err):
        return  # on a busy machine: before Python listened, or while it found the command
    assert "Traceback" not in err
    assert process.returncode == 130, err
    assert "topped" in err.splitlines()[-1]


def test_ctrl_c_while_the_options_are_read_is_one_line(cli, monkeypatch):
    def interrupted(*arguments: object, **options: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("typer.main.get_command", interrupted)
    code, out, err = cli("fit", table(), *FEW)
    assert (code, out, err) == (130, "", "Stopped.\n")


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("[enforce fail] can't allocate memory: 5 bytes")])
def test_no_memory_late_in_a_run_is_one_line_and_the_run_goes_on(cli, monkeypatch, error):
    def none(*arguments: object, **options: object) -> None:
        raise error

    source = table()
    for where in ("selfdistill.train._fitted.Fitted.table", "selfdistill.runs._directory.save_model"):
        with monkeypatch.context() as patch:
            patch.setattr(where, none)
            code, _, err = cli("fit", source, *FEW, "--out", where)
        assert code == 2
        assert err.splitlines()[-1].startswith("error: out of memory. Take a smaller --network")
        assert cli("fit", "--resume", where)[0] == 0


@pytest.mark.parametrize("where", ["torch.save", "selfdistill.runs._model_file.save_file"])
def test_a_disk_that_breaks_is_one_line_and_the_run_goes_on(cli, monkeypatch, where):
    def broken(*arguments: object, **options: object) -> None:
        try:
            raise OSError(errno.EIO, "Input/output error")
        except OSError:
            raise RuntimeError("unexpected pos 704 vs 598")  # noqa: B904 (what torch does)

    source = table()
    with monkeypatch.context() as patch:
        patch.setattr(where, broken)
        code, _, err = cli("fit", source, *FEW, "--out", "run")
    assert code == 2
    assert "could not be written: Input/output error" in err.splitlines()[-1]
    assert "Go on with: selfdistill fit --resume run" in err.splitlines()[-1]
    assert cli("fit", "--resume", "run")[0] == 0


def test_metrics_that_are_no_text_do_not_matter_to_a_resume(cli):
    cli("fit", table(), *FEW, "--out", "run")
    Path("run/metrics.jsonl").write_bytes(b"\xff\xfe")
    assert cli("fit", "--resume", "run")[0] == 0
    assert len(Path("run/metrics.jsonl").read_text().splitlines()) == 2


def test_a_strangers_student_writes_only_where_the_user_says(cli, monkeypatch):
    cli("fit", table(), *FEW, "--out", "run")
    outside = Path("outside.safetensors").absolute()
    with monkeypatch.context() as patch:
        patch.setattr("torch.save", None)  # stops before the first checkpoint
        with pytest.raises(TypeError):
            cli("distill", "run", *FEW[:2], "--student", "mlp:2", "--store", outside, "--out", "student")
    outside.unlink()
    code, _, err = cli("distill", "--resume", "student")
    assert code == 2
    assert (
        f"student would write its soft labels to {outside}, outside of itself. If you want that, name the file: " in err
    )
    assert not outside.exists()
    assert cli("distill", "--resume", "student", "--store", outside)[0] == 0
    assert outside.exists()


def images(folder: str, second: str) -> str:
    """Two classes of images; one image of each has a name that is not UTF-8."""
    rng = np.random.default_rng(0)
    for bright, name in enumerate(["a", second]):
        Path(folder, name).mkdir(parents=True)
        for i in range(12):
            pixels = rng.integers(0, 255, (8, 8), dtype=np.uint8) // (1 + bright)
            with Path(folder, name, ODD_NAME if i == 3 else f"{i}.png").open("wb") as file:
                Image.fromarray(pixels).save(file, "png")
    return folder


ODD_NAME = os.fsdecode(b"i\xe9.png")


def test_files_and_classes_whose_names_are_not_utf8(cli):
    source, run = images(os.fsdecode(b"photos\xff"), os.fsdecode(b"b\xe9")), "run"
    assert cli("fit", source, *FEW, "--out", run)[0] == 0
    table = pd.read_parquet("run/labels.parquet")
    assert set(table["given_label"]) == {"a", "b\\xe9"}
    assert {"a/i\\xe9.png", "b\\xe9/i\\xe9.png", "a/0.png"} <= set(table["id"])
    assert json.loads(Path(run, "run.json").read_text())["data"]["source"] == source
    for code, *arguments in (
        [0, "fit", "--resume", run],
        [0, "predict", run, source, "--out", "p.csv"],
        [0, "refine", run, "--format", "label-studio", "--out", "tasks.json"],
        [0, "distill", run, "--epochs", "1", "--student", "mlp:2", "--out", "s"],
        [2, "fit", source, *FEW, "--out", os.fsdecode(b"r\xff")],
        [2, "refine", run, "--drop", "--out", "clean"],
    ):
        left, out, err = cli(*arguments)
        assert left == code, err
        assert harmless(out + err), arguments
    assert "error: 'b\\\\xe9' cannot be the name of a folder" in err


def test_images_whose_names_are_not_utf8_are_refined(cli):
    source = images("photos", "b")
    assert cli("fit", source, *FEW, "--out", "run")[0] == 0
    assert cli("refine", "run", "--relabel", "--out", "clean")[0] == 0
    copied = [path.name for path in Path("clean").rglob("*.png")]
    assert len(copied) == 24
    assert sum(name.endswith(ODD_NAME) for name in copied) == 2
    Path("photos/b", ODD_NAME).rename(r"photos/a/i\xe9.png")
    left, _, err = cli("fit", source, *FEW, "--out", "run2")  # two names would be one
    assert left == 2
    assert "photos repeats the id 'a/i\\\\xe9.png'" in err
