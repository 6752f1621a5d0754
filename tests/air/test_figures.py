"""Figures: drawn from the record alone, with labels and units, readable, in colours told apart, without pyplot."""

from __future__ import annotations

import sys
import xml.etree.ElementTree as ET

import pytest
import torch
from PIL import Image
from torch import nn

from selfdistill._core.errors import RunError
from selfdistill.air import network_kernel
from selfdistill.air._clock import Clock
from selfdistill.air._figures import FIGURES, closed_lines, draw, save_closed_figure, save_figures, shares_learned
from selfdistill.air._snapshot import Examples, outputs_of, snapshot
from selfdistill.air._study import RunCurves, study

# -- figures -----------------------------------------------------------------------------------------------------------

OKABE_ITO = {"#000000", "#e69f00", "#56b4e9", "#009e73", "#0072b2", "#d55e00", "#7f7f7f"}


def made(clean_is, *, rank=None, run=True):
    g = torch.Generator().manual_seed(0)
    clean = torch.arange(60) % 3
    x = torch.randn(60, 6, generator=g) + 3 * nn.functional.one_hot(clean, 6)
    given = torch.where(torch.rand(60, generator=g) < 0.3, (clean + 1) % 3, clean)
    torch.manual_seed(0)
    examples = Examples(x, given, 3, clean if clean_is else None)
    spectra, shots = {}, []
    for name in ("initial", "trained") if run else ("initial",):
        model = nn.Sequential(nn.Linear(6, 32), nn.ReLU(), nn.Linear(32, 3)).eval()
        spectra[name] = network_kernel(rank=rank)(model, x)
        shots.append(snapshot(name, model, examples, spectra[name], ranks=(5,)))
    curve = [0.3, 0.5, 0.6, 0.7, 0.8, 0.9]
    measured = RunCurves(Clock((0.5,) * 6, steps=10), curve, {"test_accuracy": [0.6] * 6}) if run else None
    record = study(examples, spectra, outputs_of(model, x), shots, points=40, measured=measured)
    return record | {"data": {"clean_is": clean_is}}


@pytest.fixture(scope="module")
def record():
    return made("truth")


def texts(figure):
    axes = figure.axes[0]
    legend = [entry.get_text() for entry in axes.get_legend().get_texts()]
    return axes.get_xlabel(), axes.get_ylabel(), legend, [note.get_text() for note in axes.texts]


def test_axes_say_what_and_in_which_unit(record):
    shown = {name: texts(draw(name, record)) for name in FIGURES}
    assert shown["spectrum"][:2] == ("rank $i$", r"eigenvalue $\lambda_i$ / trace")
    assert shown["energy"][1] == "energy captured $E_k$ (%)"
    assert shown["energy"][2] == ["true, initial", "noise, initial", "true, trained", "noise, trained", "random"]
    assert shown["retrieval"][2] == ["true labels", "noise", "random labels"]
    assert all(r"learning rate $\times$ steps" in shown[name][0] for name in ("retrieval", "curves"))
    assert shown["curves"][2][0] == "given, predicted"
    assert shown["curves"][3][0] == "stop"
    assert shown["curves"][3][1].startswith("epoch ")


def test_colours_are_those_of_okabe_and_ito_and_lines_differ_without_them(record):
    from matplotlib.colors import to_hex

    for name in FIGURES:
        lines = draw(name, record).axes[0].lines
        assert {to_hex(line.get_color()) for line in lines} <= OKABE_ITO
        looks = [(to_hex(line.get_color()), line.get_linestyle(), line.get_marker()) for line in lines]
        assert len(set(looks)) == len(looks)


def test_every_case_draws():
    refined = texts(draw("curves", made("refined")))
    assert "refined, predicted" in refined[2]
    bare = made(None, rank=8, run=False)
    assert texts(draw("energy", bare))[2] == ["given", "random"]
    stop = bare["stopping"]["gcv"]["time"]
    left, right = draw("curves", bare).axes[0].get_xlim()
    assert left < stop < right
    assert texts(draw("curves", bare))[2] == ["given, predicted"]


def test_files_are_svg_with_text_and_png_to_print(record, tmp_path, monkeypatch):
    monkeypatch.delitem(sys.modules, "matplotlib.pyplot", raising=False)  # other tests may draw with it
    files = save_figures(tmp_path, record)
    assert {path.name for path in files} == {f"{name}.{ending}" for name in FIGURES for ending in ("svg", "png")}
    for name in FIGURES:
        root = ET.fromstring((tmp_path / f"{name}.svg").read_text())
        assert root.findall(".//{http://www.w3.org/2000/svg}text")
        with Image.open(tmp_path / f"{name}.png") as image:
            assert image.width == 1020  # 3.4 inches at 300 dots
    assert "matplotlib.pyplot" not in sys.modules


# -- closed form -------------------------------------------------------------------------------------------------------


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
