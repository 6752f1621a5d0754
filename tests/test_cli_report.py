"""The commands report and show, and fit --report, as a user types them."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

pytestmark = pytest.mark.usefixtures("few_trees")

FEW = ("--method", "memory", "--network", "linear", "--epochs", "2", "--augment", "none")


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def songs(cli) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    codes = rng.integers(0, 3, 60)
    table = pd.DataFrame({"tempo": codes * 3 + rng.normal(size=60), "mood": rng.choice(["sad", "gay"], 60)})
    table["genre"] = np.array(["folk", "jazz", "rock"])[np.where(rng.random(60) < 0.2, (codes + 1) % 3, codes)]
    table.to_csv("songs.csv", index=False)
    code, _, err = cli("fit", "songs.csv", "--label", "genre", "--out", "run", "--report", *FEW)
    assert code == 0, err
    assert "Report in run/report.html" in err
    return table


def test_a_page_is_written_and_an_existing_file_is_not_overwritten(cli, songs):
    first = Path("run/report.html").read_text()
    assert cli("report", "run")[0] == 0
    assert Path("run/report.html").read_text() == first
    assert cli("report", "run", "--out", "page.html")[0] == 0
    assert Path("page.html").read_text() == first
    Path("page.html").write_text("mine")
    code, _, err = cli("report", "run", "--out", "page.html")
    assert (code, Path("page.html").read_text()) == (2, "mine")
    assert "--out page.html exists already. Choose another name, or overwrite it with --force." in err
    assert cli("report", "run", "--out", "page.html", "--force")[0] == 0
    assert Path("page.html").read_text() == first
    assert cli("predict", "run", "songs.csv", "--ignore", "genre")[0] == 0  # the run is as it was


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("report", "none"), "none is not a run directory"),
        (("show", "none"), "none is not a run directory"),
        (("show", "run", "--first", "0"), "--first is 0, but must be at least 1. Leave it out for 20."),
        (("report", "run", "--out", "page.htm"), "page.htm does not end in .html. Choose a name such as page.html."),
        (("report", "run", "--out", "no/page.html"), "the folder no does not exist. Make it first."),
        (("report", "run", "--gallery", "a.png"), "a gallery cannot be drawn: the run has no images. Leave --gallery"),
    ],
)
def test_what_is_wrong_is_said_in_one_line_and_nothing_is_written(cli, songs, arguments, message):
    before = sorted(Path().rglob("*"))
    code, out, err = cli(*arguments)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert message in err
    assert sorted(Path().rglob("*")) == before


def test_show_prints_the_doubtful_rows_as_pandas_finds_them(cli, songs):
    code, out, err = cli("show", "run", "--first", "7")
    assert code == 0, err
    labels = pd.read_parquet("run/labels.parquet").sort_values("label_quality", kind="stable").head(7)
    found = re.findall(r"^ +(\d+)  (\w+) -> (\w+)( \?)?   quality ([\d.]+), \d+ % \w+   (\d+)$", out, re.MULTILINE)
    assert [(row[1], row[5]) for row in found] == list(zip(labels["given_label"], labels["id"], strict=True))
    for row, refined, quality in zip(found, labels["refined_label"], labels["label_quality"], strict=True):
        assert row[2] != row[1]
        assert (row[3] == "") == (refined != row[1])
        assert row[2] == refined or row[3]
        assert float(row[4]) == pytest.approx(quality, abs=6e-4)
        tempo = songs["tempo"][int(row[5])]
        assert re.search(rf"tempo {re.escape(str(tempo))}!?, mood ", out) or re.search(r"mood \w+!, tempo", out)


def test_photos_are_named_for_a_program_and_drawn_for_a_person(cli, monkeypatch):
    for i in range(12):
        folder = Path("photos") / "ab"[i % 2]
        folder.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (20, 20), (250, 10 * i, 5)).save(folder / f"{i}.png")
    assert cli("fit", "photos", "--out", "run", *FEW)[0] == 0
    code, out, err = cli("show", "run", "--first", "2")
    assert (code, out.count("\n")) == (0, 2)
    assert "The photos themselves: selfdistill report run --gallery photos.png" in err
    code, _, err = cli("report", "run", "--gallery", "sheet.png")
    assert code == 0, err
    with Image.open("sheet.png") as sheet:
        assert sheet.height > 300
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLORTERM", "truecolor")
    monkeypatch.setenv("TERM", "xterm-256color")
    code, out, err = cli("show", "run", "--first", "2")
    assert code == 0, err
    assert out.count("\u2580") == 2 * 24 * 12
    assert re.search(r"\x1b\[38;2;2\d\d;\d+;\d+;48;2;", out)


def test_the_bare_command_shows_the_help_and_no_empty_error(cli):
    code, out, err = cli()
    assert code == 2
    assert "selfdistill report" in out + err
    assert "error" not in (out + err).lower().replace("likely errors", "").replace("label errors", "")


def test_the_page_of_the_documentation_runs(cli, songs, capsys):
    page = (Path(__file__).parents[1] / "docs" / "report.md").read_text(encoding="utf-8")
    Path("run").rename("runs")
    Path("runs/songs-001").mkdir(parents=True)
    for file in [one for one in Path("runs").iterdir() if one.name != "songs-001"]:
        file.rename(Path("runs/songs-001") / file.name)
    for i in range(12):
        folder = Path("photos") / "ab"[i % 2]
        folder.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (9, 9), (250, 10 * i, 5)).save(folder / f"{i}.png")
    assert cli("fit", "photos", "--out", "runs/photos-001", *FEW)[0] == 0
    commands = re.findall(r"^    selfdistill ([^\n]*)$", page, re.MULTILINE)
    assert len(commands) == 4
    for command in commands:
        code, _, err = cli(*command.split())
        assert code == 0, (command, err)
    (code,) = re.findall(r"^```python\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    exec(compile(code, "docs/report.md", "exec"), {})
    assert "labels look" in capsys.readouterr().out
    assert Path("report.html").read_text(encoding="utf-8").count("<svg") >= 2
