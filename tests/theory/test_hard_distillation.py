"""Hard self-distillation against the plain recursion."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from benchmarks.claims.closed_forms import first_layer_kernel
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import softmax

from selfdistill._core.errors import DataError, SettingError
from selfdistill.theory import Spectrum, gradient_flow, hard_distillation, relu_kernel
from selfdistill.theory._hard_distillation import HardLabels, SoftLabels

# -- hard distillation -------------------------------------------------------------------------------------------------


def problem(n=120, classes=4, noise=0.4, seed=0):
    """Clusters with wrong labels: kernel over n, truth and given labels."""
    rng = np.random.default_rng(seed)
    truth = np.arange(n) % classes
    x = rng.normal(size=(classes, 6))[truth] + 0.8 * rng.normal(size=(n, 6))
    given = np.where(rng.random(n) < noise, rng.integers(0, classes, n), truth)
    return relu_kernel(torch.tensor(x)) / n, truth, given


def naive(kernel, given, lr, steps, own_weight, temperature=0.0, start=None):
    """The recursion as it stands: all outputs and all labels, each step."""
    kernel, n, classes = kernel.numpy(), len(given), given.max() + 1
    f = np.zeros((n, classes)) if start is None else start.numpy()
    y, outputs = np.eye(classes)[given], []
    for k in range(1, steps + 1):
        predicted = f.argmax(1)
        h = softmax(f / temperature, axis=1) if temperature else np.eye(classes)[predicted]
        a = own_weight(k, (predicted == given).mean())
        f = f + lr * kernel @ ((1 - a) * y + a * h - f)
        outputs.append(f)
    return np.stack(outputs)


WEIGHTS = {
    "constant": lambda k, agreement: 0.6,
    "scheduled": lambda k, agreement: min(k / 200, 1),
    "agreement": lambda k, agreement: agreement,
    "restless": lambda k, agreement: float(k // 40 % 2),
}


@pytest.mark.parametrize("name", WEIGHTS)
@pytest.mark.parametrize("begin", [False, True])
def test_it_is_the_plain_recursion_step_by_step(name, begin):
    kernel, _, given = problem()
    spectrum, y = Spectrum.of(kernel), torch.eye(4)[given]
    start = torch.randn(120, 4, generator=torch.Generator().manual_seed(0)).double() if begin else None
    lr, steps = 1 / float(spectrum.values[0]), 600
    expected = naive(kernel, given, lr, steps, WEIGHTS[name], start=start)
    trace = hard_distillation(spectrum, y, lr, steps, WEIGHTS[name], record=range(1, steps + 1), start=start)
    np.testing.assert_allclose(trace.outputs, expected, rtol=0, atol=1e-10)
    assert (trace.predictions.numpy() == expected.argmax(-1)).all()
    before = np.concatenate([np.zeros((1, 120, 4)) if start is None else start.numpy()[None], expected[:-1]]).argmax(-1)
    np.testing.assert_allclose(trace.agreement, (before == given).mean(1), atol=1e-15)
    assert trace.flips == (before[1:] != before[:-1]).sum()
    np.testing.assert_allclose(
        trace.own_weight, [WEIGHTS[name](k, a) for k, a in enumerate(trace.agreement.tolist(), 1)]
    )
    if name != "restless":  # there outputs go to and fro for ever, and margins with them
        assert trace.rows_evaluated < 0.35 * 120 * steps
    assert trace.rows_evaluated > 0
    assert trace.share_evaluated == trace.rows_evaluated / (120 * steps)


def test_temperature_makes_the_labels_soft():
    kernel, _, given = problem(60)
    spectrum, y = Spectrum.of(kernel), torch.eye(4)[given]
    expected = naive(kernel, given, 0.3, 200, WEIGHTS["scheduled"], temperature=0.2)
    trace = hard_distillation(spectrum, y, 0.3, 200, WEIGHTS["scheduled"], temperature=0.2, record=[1, 77, 200])
    np.testing.assert_allclose(trace.outputs, expected[[0, 76, 199]], rtol=0, atol=1e-11)
    assert trace.rows_evaluated == 60 * 199
    start = 0.1 * y.double()  # without ties
    cold = hard_distillation(spectrum, y, 0.3, 99, 0.7, temperature=1e-9, start=start)
    torch.testing.assert_close(cold.outputs, hard_distillation(spectrum, y, 0.3, 99, 0.7, start=start).outputs)


def test_a_list_of_weights_and_what_is_kept():
    kernel, _, given = problem(40)
    spectrum, y = Spectrum.of(kernel), torch.eye(4)[given]
    own = torch.linspace(0, 1, 30)
    trace = hard_distillation(spectrum, y, 0.3, 30, own, record=[0, 5, 30])
    assert trace.steps.tolist() == [0, 5, 30]
    assert trace.outputs.shape == (3, 40, 4)
    assert trace.outputs[0].abs().max() == 0
    again = hard_distillation(spectrum, y, 0.3, 30, lambda k, agreement: float(own[k - 1]))
    torch.testing.assert_close(again.outputs[-1], trace.outputs[-1])
    rest = hard_distillation(spectrum, y, 0.3, 25, own[5:], start=trace.outputs[1])
    torch.testing.assert_close(rest.outputs[-1], trace.outputs[-1])


def test_flow_is_many_small_steps():
    kernel, _, given = problem(60)
    spectrum, y = Spectrum.of(kernel), torch.eye(4)[given]
    exact = hard_distillation(spectrum, y, 2.0, 50, 0.5, flow=True)
    fine = naive(kernel, given, 2e-3, 1000, lambda k, agreement: 0.0)[-1]
    one = hard_distillation(spectrum, y, 2.0, 1, 0.0, flow=True).outputs[-1]
    np.testing.assert_allclose(one, fine, rtol=0, atol=5e-4)  # Euler's own error
    labels, f = None, torch.zeros(60, 4, dtype=torch.float64)
    decay = torch.linalg.matrix_exp(-2.0 * kernel)
    for _ in range(50):
        labels = torch.eye(4, dtype=torch.float64)[torch.from_numpy(f.numpy().argmax(1))]
        target = 0.5 * y + 0.5 * labels
        f = target + decay @ (f - target)
    torch.testing.assert_close(exact.outputs[-1], f, rtol=0, atol=1e-11)


def follow(spectrum, y, own_weight):
    """Intervals of 0.01 to time 1, of 0.1 to time 60, of 20 to time 2,000."""
    trace, time = None, 0.0
    for interval, count in ((0.01, 100), (0.1, 590), (20.0, 97)):
        weight = lambda k, a, h=interval, t=time: own_weight(t + h * k, a)
        start = trace.outputs[-1] if trace else None
        trace = hard_distillation(spectrum, y, interval, count, weight, flow=True, start=start)
        time += interval * count
    return trace


def binary(spectrum, given, own_weight):
    """Labels of -1 and 1 through two columns."""
    trace = follow(spectrum, torch.stack([(1 - given) / 2, (1 + given) / 2], 1), own_weight)
    return trace.outputs[-1][:, 1] - trace.outputs[-1][:, 0], float(trace.own_weight[-1])


T1 = 0.15  # when all predictions are right


@pytest.mark.parametrize(
    ("own_weight", "distance", "right", "margin"),
    [
        (lambda t, agreement: 0.0, 21.909, 0.7, -1.0),
        (lambda t, agreement: 0.4 * (t > T1), 21.909, 0.7, -1.0),
        (lambda t, agreement: 0.6 * (t > T1), 0.4 * 21.909, 1.0, 0.2),
        (lambda t, agreement: 1.0 * (t > T1), 0.0, 1.0, 1.0),
        (lambda t, agreement: agreement * (t > T1), 0.3 * 21.909, 1.0, 0.4),
        (lambda t, agreement: 0.9 * agreement * (t > T1), 0.37 * 21.909, 1.0, 0.26),
    ],
)
def test_a_constant_own_weight_above_one_half_keeps_the_truth(clusters, own_weight, distance, right, margin):
    """Ends at the weight of the given labels times 21.909, the norm of their errors, or memorises."""
    spectrum, truth, given = clusters
    f, last = binary(spectrum, given, own_weight)
    assert float((f - truth).norm()) == pytest.approx(distance, abs=5e-3)
    assert float((f * truth > 0).double().mean()) == pytest.approx(right)
    assert float((f * truth).min()) == pytest.approx(margin, abs=5e-3)
    assert last == pytest.approx(1 - distance / 21.909 if right == 1 else own_weight(1e9, 1.0), abs=2e-3)


def test_a_schedule_that_is_too_slow_comes_too_late(clusters):
    """Own weight 1 - exp(-t / 20) passes one half after wrong labels are learned; some of them then stay."""
    spectrum, truth, given = clusters
    f, _ = binary(spectrum, given, lambda t, agreement: 1 - math.exp(-t / 20))
    assert 0.72 < float((f * truth > 0).double().mean()) < 0.97


@pytest.mark.parametrize("rate", [0.4, 0.6, 0.8])
def test_agreement_locks_in_where_half_of_the_labels_are_wrong(rate):
    """Ten clusters: own weight = agreement keeps the truth below one half; above, it memorises until about one half."""
    rng = np.random.default_rng(1)
    centres = rng.normal(size=(10, 20))
    truth = np.arange(600) % 10
    x = centres[truth] / np.linalg.norm(centres[truth], axis=1, keepdims=True)
    x = x + 0.4 / math.sqrt(20) * rng.normal(size=(600, 20))
    given = np.where(rng.random(600) < rate, rng.integers(0, 10, 600), truth)
    spectrum, y = Spectrum.of(first_layer_kernel(torch.tensor(x))), torch.eye(10)[given]
    wrong = float((given != truth).mean())

    def end(own_weight):
        trace = follow(spectrum, y, own_weight)
        return float((trace.predictions[-1].numpy() == truth).mean()), float(trace.agreement[-1])

    right, agreement = end(lambda t, agreement: agreement * (t > T1))
    scheduled, _ = end(lambda t, agreement: 0.0 if t < T1 else min(0.55 + 0.1 * t, 1.0))
    before = float((gradient_flow(spectrum, y, T1).argmax(1).numpy() == truth).mean())
    assert scheduled >= before > 0.97  # a schedule keeps what it found, however many labels are wrong
    if wrong < 0.5:
        assert (right, agreement) == (1.0, pytest.approx(1 - wrong))
    else:
        assert 0.5 <= agreement < 0.6
        assert wrong - 0.5 <= 1 - right < wrong - 0.5 + 0.12


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"own_weight": 1.5}, SettingError, r"own_weight is 1.5 in step 1, but must be in \[0, 1\]"),
        ({"own_weight": lambda k, a: math.nan}, SettingError, "own_weight is nan in step 1"),
        ({"own_weight": torch.zeros(4)}, SettingError, r"own_weight has shape \(4,\), but must be one number or \[5\]"),
        ({"record": [3, 9]}, SettingError, "record has 2 steps from 3 to 9, but must rise from 0 or more to 5"),
        ({"record": []}, SettingError, "record has 0 steps, but must rise"),
        ({"steps": 0}, SettingError, "steps is 0, but must be a whole number of at least 1"),
        ({"lr": 2.5}, SettingError, "lr is 2.5, but must be above 0 and at most 2 / largest eigenvalue = 2"),
        ({"temperature": -1.0}, SettingError, "temperature is -1, but must be 0 or more"),
        ({"targets": torch.ones(3)}, DataError, r"targets have shape \(3,\), but hard labels need \[n, C\]"),
        ({"targets": torch.ones(3, 1)}, DataError, r"give the columns \(1 - y\) / 2 and \(1 \+ y\) / 2"),
        ({"spectrum": Spectrum.of(torch.eye(3), k=1)}, SettingError, "has 1 of 3 eigenpairs"),
    ],
)
def test_bad_input_is_refused(change, error, words):
    fine = {"spectrum": Spectrum.of(torch.eye(3)), "targets": torch.eye(3), "lr": 1.0, "steps": 5, "own_weight": 0.5}
    with pytest.raises(error, match=words):
        hard_distillation(**(fine | change))


# -- own labels --------------------------------------------------------------------------------------------------------


def basis(n, seed):
    return np.linalg.qr(np.random.default_rng(seed).normal(size=(n, n)))[0]


@settings(max_examples=60)
@given(seed=st.integers(0, 10**6), n=st.integers(1, 25), classes=st.integers(2, 5), size=st.floats(1e-4, 1.0))
def test_no_label_is_ever_missed(seed, n, classes, size):
    """Steps of any direction; a step along one row of V moves that row as far as the bound allows."""
    rng, vectors = np.random.default_rng(seed), basis(n, seed)
    outputs = rng.normal(size=(n, classes)).round(1)
    labels = HardLabels(vectors, outputs, rng.integers(0, classes, n))
    state = vectors.T @ outputs
    for k in range(40):
        row = rng.integers(n)
        push = np.outer(vectors[row], rng.normal(size=classes)) if k % 2 else rng.normal(size=state.shape) / n
        step = size * push
        state = state + step
        labels.add_step(step)
        labels.update(state)
        current = vectors @ state
        top = np.sort(current, 1)
        clear = top[:, -1] - top[:, -2] > 1e-9
        assert (labels.classes == current.argmax(1))[clear].all()
    np.testing.assert_allclose(labels.coefficients, vectors.T @ np.eye(classes)[labels.classes], atol=1e-12)
    assert labels.agreement == (labels.classes == labels.given).mean()


def test_rows_with_margin_are_left_alone_until_it_may_be_used_up():
    outputs = np.array([[1.0, 0.0], [0.0, 0.3], [0.0, 0.0]])
    labels, state = HardLabels(np.eye(3), outputs, np.array([0, 1, 1])), outputs.copy()
    step = np.full((3, 2), 0.1 / 3**0.5)  # each column has norm 0.1, so two outputs differ by 0.2 more at most
    evaluated = []
    for _ in range(6):
        state += step
        labels.add_step(step)
        labels.update(state)
        evaluated.append(labels.rows_evaluated)
    assert evaluated == [1, 3, 4, 6, 8, 10]  # the third always, the second from 0.3 on, the first from 1.0 on
    assert labels.flips == 0
    assert labels.agreement == pytest.approx(2 / 3)


def test_soft_labels_are_all_read_each_time():
    rng, vectors = np.random.default_rng(0), basis(5, 0)
    outputs, state = rng.normal(size=(5, 3)), rng.normal(size=(5, 3))
    labels = SoftLabels(vectors, outputs, outputs.argmax(1), 0.5)
    assert labels.agreement == 1
    labels.add_step(state)
    labels.update(state)
    e = np.exp(vectors @ state / 0.5)
    np.testing.assert_allclose(vectors @ labels.coefficients, e / e.sum(1, keepdims=True), atol=1e-12)
    assert labels.rows_evaluated == 5
    assert labels.flips == ((vectors @ state).argmax(1) != outputs.argmax(1)).sum()
