"""What the examples show, runs."""

from __future__ import annotations

import contextlib
import io
import runpy
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[1] / "examples"


def run(name: str) -> str:
    shown = io.StringIO()
    with contextlib.redirect_stdout(shown):
        runpy.run_path(str(EXAMPLES / name), run_name="__main__")
    return shown.getvalue()


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))


def test_every_example_is_tested():
    assert {p.name for p in EXAMPLES.glob("*.py")} == {"own_loop.py", "table.py", "images.py", "kernel.py"}


def test_own_loop_is_short_and_refines_labels():
    assert len((EXAMPLES / "own_loop.py").read_text().splitlines()) < 40
    values = {line[:-5].strip(): float(line[-5:]) for line in run("own_loop.py").splitlines()}
    assert values["refined labels right"] > values["given labels right"] + 0.2
    assert values["test accuracy"] > 0.85


def test_table_ends_with_the_verdict_and_the_ranking():
    shown = run("table.py")
    assert "Against the truth, known for 178 examples" in shown
    assert "label_quality" in shown


def test_images_finds_most_of_the_wrong_labels():
    wrong, flagged, right = (int(word) for word in run("images.py").split() if word.isdigit())
    assert right > 0.75 * wrong
    assert right > 0.8 * flagged


def test_kernel_holds_more_of_the_signal_than_of_the_noise():
    shown = run("kernel.py")
    rows = [line.split() for line in shown.splitlines() if line.endswith("%")]
    assert [row[0] for row in rows] == ["10", "50", "200"]
    for _, clean, wrong in rows:
        assert float(clean.rstrip("%")) > 1.4 * float(wrong.rstrip("%"))
    assert "as a matrix: " in shown
    assert "estimated from the noisy labels alone" in shown
