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
    names = {"own_loop.py", "table.py", "images.py", "kernel.py", "linearised.py"}
    assert {p.name for p in EXAMPLES.glob("*.py")} == names


def test_own_loop_is_short_and_refines_labels():
    assert len((EXAMPLES / "own_loop.py").read_text().splitlines()) < 25
    values = {line[:-5].strip(): float(line[-5:]) for line in run("own_loop.py").splitlines()}
    assert values["refined labels right"] > 0.95 > values["given labels right"] + 0.3


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


def test_linearised_predicts_better_with_the_chosen_ridge_and_doubts_the_wrong_labels():
    *rows, last = run("linearised.py").splitlines()
    right, errors = ([float(row.split()[i]) for row in rows] for i in (4, 7))
    assert min(right[1:]) > right[0] + 0.2
    assert max(errors[1:]) < errors[0]
    wrong, doubted, rightly = (int(word) for word in last.split() if word.isdigit())
    assert rightly > 0.95 * wrong
    assert rightly > 0.8 * doubted
