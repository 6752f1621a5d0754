"""Every command that a page or a help text shows is one, and every page is played: here on small data, or elsewhere."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import typer
from tests.test_how_to_page import write_data
from torch.utils.data import DataLoader, Subset, TensorDataset

from selfdistill import RobustTargets, SelfDistillClassifier, with_index
from selfdistill.cli._app import _ALL, app

ROOT = Path(__file__).parents[1]
PAGES = {
    page.name: page for page in (ROOT / "README.md", *(ROOT / "docs").glob("*.md"), *ROOT.glob("docs/tutorials/*"))
}
PYTHON = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)
STEP = re.compile(r"^(?: {4})?(selfdistill [^\n]*)$|" + PYTHON.pattern, re.MULTILINE | re.DOTALL)
SHOWN = re.compile(r"(?<![\w./-])selfdistill (?:" + "|".join(one.__name__ for one in _ALL) + r")\b[^\n`]*")
ELSEWHERE = {
    "how-to.md": "test_how_to_page.py",
    "encoders.md": "test_encoders_page.py",
    "distill.md": "test_distill_page.py",
    "trainer.md": "test_stacks_pages.py",
    "lightning.md": "test_stacks_pages.py",
    "skorch.md": "test_stacks_pages.py",
    "ray.md": "integrations/test_ray.py",
    "kernel-regime.md": "theory/test_digits_oracle.py",
} | {page.name: "test_tutorials.py" for page in ROOT.glob("docs/tutorials/*.md")}
SONGS = "selfdistill fit songs.csv --label genre"
DIGITS = (
    "selfdistill fit songs.csv --label genre --ignore right --method cross-entropy --epochs 2 --out runs/digits-001"
)
PLAYED = {
    "README.md": [],
    "review.md": [SONGS, "selfdistill review runs/songs-001 --take annotations.json --export begun.csv"],
    "embeddings.md": [],
    "label-issues.md": [SONGS],
    "air.md": [DIGITS],
    "ntk.md": [],
    "estimator.md": [],
    "run-directory.md": [SONGS],
    "report.md": [SONGS, "selfdistill fit photos/"],
    "networks.md": [],
}
"""Pages, each with what its commands expect to be there."""

ELSEWHERE_PYTHON = {
    "label-issues.md": ("test_label_issues_page.py", "import"),
    "embeddings.md": ("test_embeddings_page.py", "LogisticRegression"),
}
"""The test that runs such code of a page, and what that code holds."""
ONLY_PARSED = {
    "hf:facebook": "downloads a network",
    "datasets:": "downloads a data set",
    "torchrun": "starts processes; test_cli_processes.py runs them",
    "--processes": "starts processes; test_cli_processes.py runs them",
    "--on ray": "needs Ray; integrations/test_ray.py runs it",
}
"""What commands that only stand in the text hold, and why they are parsed and not run."""


def commands(text: str) -> list[list[str]]:
    """Commands in a text, as words, without what a shell would take."""
    lines = (line.split(" > ")[0].split(" | ")[0].rstrip("\\ .,;:)") for line in SHOWN.findall(text))
    return [shlex.split(line, comments=True)[1:] for line in lines if "…" not in line and "..." not in line]


def parse(words: list[str]) -> None:
    """Have the command line read a command, and run nothing."""
    top = typer.main.get_command(app)
    with top.make_context("selfdistill", list(words)) as context:
        _, command, rest = top.resolve_command(context, list(words))
        command.make_context(words[0], rest)


def test_what_is_no_command_is_noticed():
    for line in ("selfdistill fit a.csv --lable y", "selfdistill refine runs/a", "selfdistill fit --epochs many"):
        with pytest.raises(Exception, match=r"No such option|Missing parameter: out|is not a whole number"):
            parse(commands(line)[0])


@pytest.mark.parametrize("page", PAGES)
def test_every_command_shown_is_one(page):
    for words in commands(PAGES[page].read_text(encoding="utf-8")):
        if len(words) > 1:  # a command's name alone is no call
            parse(words)


@pytest.mark.parametrize("command", _ALL, ids=lambda one: one.__name__)
def test_every_example_of_the_help_is_one(command):
    for words in commands(command.__doc__ or ""):
        if len(words) > 1 or command.__name__ in {"fit", "methods"}:
            parse(words)


def write_files(folder: Path) -> dict[str, object]:
    """Write the files that the pages name, small, and give the names that their code uses."""
    write_data(folder)
    pd.read_csv(folder / "checked.csv").to_csv(folder / "songs.csv", index=False)
    arrays = np.load(folder / "embeddings.npz")
    photos = sorted(path.relative_to(folder) for path in folder.glob("photos/*/*"))
    rows = {"path": map(str, photos), "y": [path.parts[1] for path in photos]}
    pd.DataFrame(rows).to_csv(folder / "table.csv", index=False)
    (folder / "annotations.json").write_text('[{"id": "3", "label": "folk"}]')
    X, y = arrays["X"], np.unique(arrays["y"], return_inverse=True)[1]
    names = {"X": X, "y": y, "x": torch.tensor(X), "net": torch.nn.Linear(4, 10)}
    names |= {"clf": SelfDistillClassifier(), "w": np.arange(90) % 3, "shares": np.eye(3)[y], "counts": np.full(90, 2)}
    return names | {"labels": torch.tensor(y[:16]), "index": torch.arange(16), "inputs": torch.tensor(X[:16])}


def quick(words: list[str]) -> list[str]:
    """Train a small network for an epoch where a page trains one on photos."""
    small = ["cnn:2" if word in {"cnn", "resnet18"} else word for word in words]
    if small[:2] not in (["fit", "photos/"], ["fit", "table.csv"]):
        return small
    return [*small, *(() if "--network" in small else ("--network", "mlp:8")), "--epochs", "1"]


@pytest.mark.filterwarnings("ignore:An epoch has 1 steps")
@pytest.mark.usefixtures("few_trees")
@pytest.mark.parametrize("page", PLAYED)
def test_the_page_runs(page, tmp_path, monkeypatch, cli):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("selfdistill.cli._review._show", lambda session, options: session.close())  # it would wait
    names = write_files(tmp_path)
    text = PAGES[page].read_text(encoding="utf-8")
    for line, code in [(line, "") for line in PLAYED[page]] + STEP.findall(text):
        if line:
            for words in commands(line):
                exit_code, _, err = cli(*quick(words))
                assert exit_code == 0, f"{line}\n{err}"
        elif page not in ELSEWHERE_PYTHON or ELSEWHERE_PYTHON[page][1] not in code:
            exec(compile(code, page, "exec"), names)


def test_the_snippets_on_many_examples_run(tmp_path):
    names = {"labels": torch.arange(40) % 3, "data": TensorDataset(torch.randn(40, 2)), "Subset": Subset}
    names |= {"RobustTargets": RobustTargets, "with_index": with_index, "DataLoader": DataLoader}
    lines = re.findall(r"^    ((?:robust|loader) = .*)$", PAGES["scale.md"].read_text(encoding="utf-8"), re.MULTILINE)
    assert len(lines) >= 3  # a trainer for eight devices is not made here
    for line in lines:
        exec(line.replace("/scratch", str(tmp_path)), names)
    assert len(next(iter(names["loader"]))[-1]) == 40


def test_every_page_is_played():
    every = "\n".join(page.read_text(encoding="utf-8") for page in PAGES.values())
    assert [part for part in ONLY_PARSED if part not in every] == []
    shown = {name for name, page in PAGES.items() if STEP.search(page.read_text(encoding="utf-8"))}
    assert shown == {*PLAYED, *ELSEWHERE, "scale.md"}
    for name, test in [*ELSEWHERE.items(), *((name, test) for name, (test, _) in ELSEWHERE_PYTHON.items())]:
        assert name in (ROOT / "tests" / test).read_text(encoding="utf-8"), name
