"""Digits with 40 % of the labels drawn anew: what was measured once by a plain loop, to every digit given."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from benchmarks.digits_oracle import digits as digits_with_noise

from selfdistill.theory import Spectrum, gradient_descent, hard_distillation, relu_kernel, soft_distillation

ENERGY = {  # share of centred one-hot labels in the top k eigenvectors
    "clean": [0.000, 0.289, 0.551, 0.688, 0.819, 0.881, 0.923, 0.965, 0.991],
    "noise": [0.000, 0.057, 0.113, 0.149, 0.187, 0.222, 0.270, 0.412, 0.641],
}
STEPS = [10, 100, 300, 1000, 3000, 10_000, 20_000]
CELLS = {  # distance to the truth, share right
    "plain": [0.643, 0.947, 0.512, 0.978, 0.494, 0.972, 0.524, 0.850, 0.627, 0.649, 0.786, 0.646, 0.832, 0.646],
    "linear": [0.643, 0.947, 0.512, 0.977, 0.494, 0.974, 0.510, 0.904, 0.524, 0.851, 0.524, 0.851, 0.524, 0.851],
    "hard": [0.643, 0.946, 0.500, 0.979, 0.451, 0.982, 0.354, 0.979, 0.206, 0.979, 0.198, 0.979, 0.202, 0.979],
    "agreement": [0.641, 0.775, 0.468, 0.860, 0.435, 0.869, 0.419, 0.870, 0.435, 0.870, 0.477, 0.870, 0.491, 0.870],
}
SCHEDULES = {"hard": lambda step, agreement: min(step / 2000, 1), "agreement": lambda step, agreement: agreement}


@pytest.fixture(scope="module")
def digits():
    """Kernel over n, its spectrum, true and given one-hot labels."""
    x, truth, given = digits_with_noise()
    kernel = relu_kernel(x) / len(x)
    one_hot = torch.eye(10, dtype=torch.float64)
    return kernel, Spectrum.of(kernel), one_hot[truth], one_hot[given], x.numpy()


def check(name, outputs, truth, steps):
    distance = (outputs - truth).flatten(1).norm(dim=1) / len(truth) ** 0.5
    right = (outputs.argmax(-1) == truth.argmax(-1)).double().mean(1)
    found = torch.stack([distance, right], 1).flatten().tolist()
    assert [round(v, 3) for v in found] == CELLS[name][: 2 * len(steps)]


def test_kernel_and_noise(digits):
    kernel, spectrum, truth, given, x = digits
    u = np.clip(x @ x.T, -1, 1)
    formula = (u * (np.pi - np.arccos(u)) + np.sqrt(1 - u * u)) / np.pi + u * (np.pi - np.arccos(u)) / np.pi
    np.testing.assert_allclose(kernel * len(x), formula, rtol=0, atol=1e-7)
    assert round(float(spectrum.values[0]), 5) == pytest.approx(0.35649)
    assert round(float((truth != given).any(1).double().mean()), 4) == pytest.approx(0.3545, abs=5.1e-5)


def test_every_cell_of_the_energies(digits):
    _, spectrum, truth, given, _ = digits
    for name, z in (("clean", truth), ("noise", given - truth)):
        centred = z - z.mean(0)
        share = ((spectrum.coefficients(centred) ** 2).sum(1) / (centred**2).sum()).cumsum(0)
        assert [round(float(share[k - 1]), 3) for k in (1, 5, 10, 20, 50, 100, 200, 500, 1000)] == ENERGY[name]


def test_every_cell_of_plain_and_linear(digits):
    _, spectrum, truth, given, _ = digits
    lr = 1 / float(spectrum.values[0])
    check("plain", gradient_descent(spectrum, given, lr, STEPS), truth, STEPS)
    ramp = torch.clamp(torch.arange(1, 20_001, dtype=torch.float64) / 2000, max=1)
    check("linear", soft_distillation(spectrum, given, lr, ramp, STEPS), truth, STEPS)


@pytest.mark.parametrize("name", SCHEDULES)
def test_the_cells_of_hard_labels_up_to_3000_steps(digits, name):
    _, spectrum, truth, given, _ = digits
    trace = hard_distillation(spectrum, given, 1 / float(spectrum.values[0]), 3000, SCHEDULES[name], record=STEPS[:5])
    check(name, trace.outputs, truth, STEPS[:5])
    assert trace.share_evaluated < 0.03


@pytest.mark.slow
@pytest.mark.parametrize("name", SCHEDULES)
def test_every_cell_of_hard_labels(digits, name):
    _, spectrum, truth, given, _ = digits
    trace = hard_distillation(spectrum, given, 1 / float(spectrum.values[0]), 20_000, SCHEDULES[name], record=STEPS)
    check(name, trace.outputs, truth, STEPS)
    assert trace.share_evaluated < 0.005


@pytest.mark.parametrize("name", SCHEDULES)
def test_the_plain_loop_takes_the_same_labels_in_each_step(digits, name):
    """The first 40 steps, in which nine of ten changes of label happen."""
    kernel, spectrum, _, given, _ = digits
    lr, k, y = 1 / float(spectrum.values[0]), kernel.numpy(), given.numpy()
    trace = hard_distillation(spectrum, given, lr, 40, SCHEDULES[name], record=range(1, 41))
    f, eye = np.zeros_like(y), np.eye(10)
    for step in range(1, 41):
        predicted = f.argmax(1)
        a = SCHEDULES[name](step, (predicted == y.argmax(1)).mean())
        f += lr * k @ ((1 - a) * y + a * eye[predicted] - f)
        assert (trace.predictions[step - 1].numpy() == f.argmax(1)).all()
    np.testing.assert_allclose(trace.outputs[-1], f, rtol=0, atol=1e-10)


def test_the_page_shows_what_its_code_prints(capsys):
    page = (Path(__file__).parents[2] / "docs" / "kernel-regime.md").read_text(encoding="utf-8")
    code, rest = page.split("```python\n")[1].split("```", 1)
    exec(compile(code, "kernel-regime.md", "exec"), {})
    assert capsys.readouterr().out == rest.split("```\n")[1]
    for name, cells in CELLS.items():  # and its table is that of the cells above
        column = 2 + list(CELLS).index(name)
        rows = [line.split("|")[column].split() for line in page.splitlines() if line.startswith(("| 1", "| 2", "| 3"))]
        found = [float(v) for row in rows for v in row]
        assert found[: len(cells)] == cells
