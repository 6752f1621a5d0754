"""The spectrum of a run in closed form, from its record."""

from __future__ import annotations

import pytest

from selfdistill._core.errors import RunError
from selfdistill.air import closed_lines, save_closed_figure, shares_learned

RECORD = {
    "closed": {
        "kernel": "relu1",
        "spectrum": {
            "directions": 4,
            "stop": 2,
            "ridge": 1.0,
            "eigenvalue": [9.0, 3.0, 1.0, 0.0],
            "given": [0.5, 0.2, 0.1, 0.1],
            "refined": [0.7, 0.2, 0.05, 0.05],
        },
    }
}


def test_lines_are_sums_of_the_record():
    lines = closed_lines(RECORD)
    assert lines[0] == "Kernel relu1, 4 directions, learned in this order"
    assert lines[2].split() == ["1", "50.0", "%", "70.0", "%", "90.0", "%"]
    assert lines[3].split() == ["3", "80.0", "%", "95.0", "%", "50.0", "%"]
    assert lines[-1].startswith("Round 1 stopped at direction 2:")


def test_shares_are_those_of_ridge_regression():
    assert shares_learned(RECORD["closed"]["spectrum"]).tolist() == [0.9, 0.75, 0.5, 0.0]


def test_the_figure_is_written_twice(tmp_path):
    files = save_closed_figure(tmp_path, RECORD)
    assert [f.name for f in files] == ["directions.svg", "directions.png"]
    assert all(f.stat().st_size > 5000 for f in files)
    text = files[0].read_text()
    assert "refined labels" in text
    assert "given labels" in text


GOOD = RECORD["closed"]["spectrum"]


@pytest.mark.parametrize(
    "spectrum",
    [
        None,
        {},
        {"eigenvalue": [1.0], "given": [], "refined": [], "ridge": 1, "stop": 0, "directions": 1},
        GOOD | {"directions": {}},
        GOOD | {"stop": True},
        GOOD | {"ridge": "1"},
        GOOD | {"ridge": 0},
        GOOD | {"given": ["x"] * 4},
        GOOD | {"given": [1e308] * 4},
        GOOD | {"refined": [None] * 4},
        GOOD | {"eigenvalue": [[1.0]] * 4},
    ],
)
def test_a_damaged_record_is_one_line(spectrum):
    with pytest.raises(RunError, match="spectrum of the closed form"):
        closed_lines({"closed": {"kernel": "rbf", "spectrum": spectrum}})
