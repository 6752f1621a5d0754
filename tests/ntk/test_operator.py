"""Kernels of every kind of network against a double loop over examples, in every form they come in."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.sparse.linalg import eigsh
from torch import nn

from selfdistill._core.errors import DataError, SettingError
from selfdistill.ntk import NTK


def gap(a, b):
    """Relative Frobenius distance."""
    return float((a.double() - b.double()).norm() / b.double().norm())


def part(inputs, stop):
    return {k: v[:stop] for k, v in inputs.items()} if isinstance(inputs, dict) else inputs[:stop]


@pytest.mark.parametrize("output", ["trace", "sum", "centered", "fisher", "full", "fisher_full"])
def test_matrix_operator_and_slow_way_equal_the_double_loop(problem, twin, output):
    model, inputs = problem
    expected = twin(model, inputs, output)
    found = NTK(model, inputs, output=output)
    n = len(expected)
    assert found.shape == (n, n)
    assert gap(found.matrix(), expected) < 1e-10
    assert gap(found @ torch.eye(n, dtype=torch.float64), expected) < 1e-10
    assert gap(found.diagonal(), expected.diagonal()) < 1e-10
    if output in {"trace", "full"}:
        assert gap(NTK(model, inputs, output=output, rules=False).matrix(), expected) < 1e-10


@pytest.mark.parametrize("output", ["trace", "full"])
def test_single_precision_agrees_to_1e_5(problem, twin, output):
    model, inputs = problem
    expected = twin(model, inputs, output)
    single = (
        {k: v.float() if v.is_floating_point() else v for k, v in inputs.items()}
        if isinstance(inputs, dict)
        else inputs
    )
    found = NTK(model.float(), single, output=output)
    assert found.dtype == torch.float32
    assert gap(found.matrix(), expected) < 1e-5
    assert gap(found @ torch.eye(len(expected)), expected) < 1e-5


@pytest.mark.parametrize("output", ["sum", "full"])
def test_between_two_sets_and_its_transpose(problem, twin, output):
    model, inputs = problem
    whole = twin(model, inputs, output)
    found = NTK(model, part(inputs, 3), inputs, output=output)
    rows = len(whole) * 3 // (len(next(iter(inputs.values()))) if isinstance(inputs, dict) else len(inputs))
    assert found.shape == (rows, len(whole))
    assert gap(found.matrix(), whole[:rows]) < 1e-10
    assert gap(found.T.matrix(), whole[:, :rows]) < 1e-10
    vectors = torch.randn(len(whole), 2, dtype=torch.float64)
    assert gap(found @ vectors, whole[:rows] @ vectors) < 1e-10
    operator = found.to_scipy()
    np.testing.assert_allclose(operator @ vectors.numpy(), (whole[:rows] @ vectors).numpy(), rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(operator.T @ np.ones(rows), whole[:rows].sum(0).numpy(), rtol=1e-9, atol=1e-12)


def test_fisher_full_has_the_eigenvalues_of_the_fisher_matrix(network, slow_jacobian):
    model, x = network("mlp")
    model, x = model.double(), x.double()
    j = slow_jacobian(model, x)
    p = model(x).softmax(-1).detach()
    weights = torch.diag_embed(p) - p[:, :, None] * p[:, None, :]
    matrix = torch.einsum("ncp,ncd,ndq->pq", j, weights, j)
    expected = torch.linalg.eigvalsh(matrix).flip(0)[:20]
    torch.testing.assert_close(NTK(model, x, output="fisher_full").eigh(20).values, expected)
    assert float(NTK(model, x, output="fisher").matrix().trace()) == pytest.approx(float(matrix.trace()))


def test_small_memory_cuts_the_work_and_changes_nothing(network):
    model, x = network("cnn")
    x = torch.randn(150, *x.shape[1:])
    for output in ("trace", "full"):
        free, tight = (
            NTK(model, x, output=output),
            NTK(model, x, output=output, memory="1MiB" if output == "trace" else "1.6MB"),
        )
        assert tight.plan.matrix.sweeps > free.plan.matrix.sweeps == 1
        assert gap(tight.matrix(), free.matrix()) < 1e-6
        vectors = torch.randn(free.shape[0], 12)
        small = NTK(model, x, output=output, memory="300kB")
        assert gap(small @ vectors, free @ vectors) < 1e-5
        assert tight.jacobian.examples == tight.plan.matrix.sweeps * 150


def test_parameters_that_count(network, twin):
    model, x = network("mlp")
    whole = NTK(model, x).matrix()
    head = NTK(model, x, parameters=lambda name: name.startswith("4.")).matrix()
    model[1].requires_grad_(False)
    model[3].requires_grad_(False)
    torch.testing.assert_close(NTK(model, x).matrix(), head)
    torch.testing.assert_close(head, twin(model, x, "trace").detach())
    model.requires_grad_(False)  # a frozen network: all its parameters
    torch.testing.assert_close(NTK(model, x).matrix(), whole)


def test_nothing_is_left_behind(network):
    model, x = network("resnet")
    before = {k: v.clone() for k, v in model.state_dict().items()}
    frozen = [p.requires_grad for p in model.parameters()]
    with torch.no_grad():
        NTK(model, x).eigh()
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    assert [p.requires_grad for p in model.parameters()] == frozen
    assert all(p.grad is None for p in model.parameters())
    assert not any(module._forward_hooks for module in model.modules())


def test_eigenpairs_dense_krylov_and_scipy(network):
    model, x = network("mlp")
    x = torch.randn(120, *x.shape[1:])
    kernel = NTK(model, x)
    expected = np.linalg.eigvalsh(kernel.matrix().double().numpy())[::-1]
    dense = kernel.eigh(6)
    np.testing.assert_allclose(dense.values, expected[:6], rtol=1e-6)
    np.testing.assert_allclose(eigsh(kernel.to_scipy(), 6, return_eigenvectors=False)[::-1], expected[:6], rtol=1e-4)


@pytest.mark.parametrize("dense", [True, False])
@pytest.mark.parametrize("output", ["trace", "centered"])
def test_bounds_and_rounding_hold_for_the_exact_kernel(problem, monkeypatch, output, dense):
    from selfdistill.ntk import _eigenpairs

    model, inputs = problem
    exact = torch.linalg.eigvalsh(NTK(model, inputs, output=output).matrix()).flip(0)
    single = (
        {k: v.float() if v.is_floating_point() else v for k, v in inputs.items()}
        if isinstance(inputs, dict)
        else inputs
    )
    monkeypatch.setattr(_eigenpairs, "_DENSE", 2048 if dense else 2)
    monkeypatch.setattr(_eigenpairs, "matrix_is_cheaper", lambda kernel, k, width: False)
    found = NTK(model.float(), single, output=output).eigh(len(exact) - 1)
    error = (found.values - exact[:-1]).abs()
    assert (error <= found.residuals + found.rounding).all()
    assert found.rounding < 1e-6 * found.trace
    assert found.leading(2).rounding == found.rounding


@pytest.mark.parametrize("keep", [True, False])
def test_large_kernels_go_through_krylov_with_bounds_that_hold(network, monkeypatch, keep):
    from selfdistill.ntk import _eigenpairs

    monkeypatch.setattr(_eigenpairs, "_DENSE", 10)
    model, x = network("cnn")
    x = torch.randn(200, *x.shape[1:])
    memory = "1GiB" if keep else "900kB"
    kernel = NTK(model, x, memory=memory)
    assert kernel._planner().product(20)[2] == keep
    monkeypatch.setattr(_eigenpairs, "matrix_is_cheaper", lambda kernel, k, width: False)
    labels = torch.nn.functional.one_hot(torch.arange(200) % 3).double()
    found = kernel.eigh(15, labels=labels - labels.mean(0))
    expected = np.linalg.eigvalsh(NTK(model, x).matrix().double().numpy())[::-1]
    np.testing.assert_allclose(found.values, expected[:15], rtol=1e-3)
    nearest = np.abs(expected[None] - found.values.numpy()[:, None]).min(1)
    assert (nearest <= found.residuals.numpy() + 1e-6 * expected[0]).all()
    assert found.trace == pytest.approx(expected.sum(), rel=1e-5)
    monkeypatch.setattr(_eigenpairs, "matrix_is_cheaper", lambda kernel, k, width: True)
    np.testing.assert_allclose(kernel.eigh(15).values if keep else found.values, expected[:15], rtol=1e-3)


def test_a_quick_look_is_a_larger_tolerance_within_the_same_budget(network, peak_bytes, monkeypatch):
    from selfdistill.ntk import _eigenpairs

    monkeypatch.setattr(_eigenpairs, "_DENSE", 10)
    monkeypatch.setattr(_eigenpairs, "matrix_is_cheaper", lambda kernel, k, width: False)
    model, x = network("cnn")
    kernel = NTK(model, torch.randn(200, *x.shape[1:]), memory="900kB")
    exact = kernel.eigh(15)
    passed = kernel.jacobian.examples
    with peak_bytes:
        quick = kernel.eigh(15, tolerance=0.1)
    assert kernel.jacobian.examples - passed < passed
    assert peak_bytes.peak < 1.3 * kernel.memory  # the Krylov space itself beside it
    assert ((quick.values - exact.values).abs() <= quick.residuals + exact.residuals + quick.rounding).all()
    with pytest.raises(TypeError, match="preview"):  # it took 15 times as long as the exact answer
        kernel.eigh(15, preview=True)


def test_all_pairs_are_taken_from_the_matrix_however_many(network, monkeypatch):
    from selfdistill.ntk import _eigenpairs

    model, x = network("mlp")
    exact = torch.linalg.eigvalsh(NTK(model, x).matrix().double()).flip(0)
    monkeypatch.setattr(_eigenpairs, "_DENSE", 1)
    monkeypatch.setattr(_eigenpairs, "block_krylov", None)
    torch.testing.assert_close(NTK(model, x).eigh().values, exact, rtol=1e-6, atol=1e-6 * exact[0].item())


def test_progress_shows_the_cost_first_on_stderr(network, capsys):
    model, x = network("mlp")
    NTK(model, x, progress=True).matrix()
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.startswith("trace kernel 7 x 7: ")
    assert "FLOP, 1 sweep" in shown.err
    NTK(model, x).matrix()
    assert capsys.readouterr().err == ""


def test_interrupting_leaves_the_network_alone(network):
    model, x = network("cnn")

    class Stop(nn.Module):
        calls = 0

        def forward(self, x):
            Stop.calls += 1
            if Stop.calls > 12:
                raise KeyboardInterrupt
            return x

    model = nn.Sequential(model[:4], Stop(), model[4:])
    kernel = NTK(model, torch.randn(1000, *x.shape[1:]), memory="6MB")
    with pytest.raises(KeyboardInterrupt):
        kernel.matrix()
    assert not any(module._forward_hooks for module in model.modules())


class Shape(nn.Module):
    def __init__(self, change):
        super().__init__()
        self.linear, self.change = nn.Linear(3, 2), change

    def forward(self, x):
        return self.change(self.linear(x))


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (Shape(lambda f: f[:, 0]), r"returns \(1,\) for 1 example, but must return \[n, classes\]"),
        (Shape(lambda f: (f, f)), "returns tuple for 1 example"),
        (Shape(lambda f: f / 0), "outputs are not finite"),
        (Shape(lambda f: f - f.mean(0)), "outputs depend on the others beside it"),
        (Shape(lambda f: f + torch.rand(1)), "gives different outputs each time"),
    ],
)
def test_networks_without_a_kernel(model, words):
    with pytest.raises(DataError, match=words):
        NTK(model, torch.randn(4, 3))


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (nn.Flatten(), "Flatten has no parameters"),
        (
            nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3)),
            r"1 is a BatchNorm1d that normalises by the batch.*eval\(\)",
        ),
        (nn.BatchNorm1d(3, track_running_stats=False).eval(), "the network is a BatchNorm1d.*track_running_stats=True"),
        (nn.Sequential(nn.Linear(3, 3), nn.Dropout(0.1)), r"1 is a Dropout in training mode.*eval\(\)"),
    ],
)
def test_layers_without_a_gradient_per_example(model, words):
    with pytest.raises(SettingError, match=words):
        NTK(model, torch.ones(4, 3))


def test_weights_and_inputs_that_are_no_numbers():
    model = nn.Linear(3, 2)
    with pytest.raises(DataError, match=r"inputs have NaN or infinite values in 1 of 4 examples, first in 2"):
        NTK(model, torch.tensor([[0.0] * 3, [1] * 3, [float("nan")] * 3, [1] * 3]))
    nn.init.constant_(model.bias, float("inf"))
    with pytest.raises(DataError, match="bias of the network has NaN or infinite values"):
        NTK(model, torch.ones(4, 3))


@pytest.mark.parametrize(
    ("inputs", "words"),
    [
        (torch.ones(1, 3), "the kernel of 1 example is a single number"),
        (torch.ones(0, 3), "inputs hold no examples"),
        ([[1.0, 2.0]], r"inputs\[0\] is a list|inputs is a list"),
        ((torch.ones(3, 3), torch.ones(2, 3)), r"inputs hold \[2, 3\] examples, but each must hold the same number"),
        ("abc", "inputs is a str"),
    ],
)
def test_inputs_of_the_wrong_kind(inputs, words):
    with pytest.raises(DataError, match=words):
        NTK(nn.Linear(3, 2), inputs)


def test_settings_out_of_range():
    kernel = NTK(nn.Linear(3, 2), torch.randn(5, 3))
    with pytest.raises(SettingError, match="k is 6, but a kernel of 5 rows has 1 to 5"):
        kernel.eigh(6)
    with pytest.raises(SettingError, match="k is 0"):
        kernel.eigh(0)
    with pytest.raises(DataError, match=r"labels has shape \(4,\), but the kernel has 5 examples"):
        kernel.eigh(2, labels=torch.ones(4))
    with pytest.raises(DataError, match=r"the block has shape \(4,\)"):
        kernel.matmat(torch.ones(4))
    with pytest.raises(SettingError, match="between two sets of inputs has no eigenpairs"):
        NTK(nn.Linear(3, 2), torch.ones(2, 3), torch.ones(3, 3)).eigh()
    with pytest.raises(SettingError, match="output is 'mean'"):
        NTK(nn.Linear(3, 2), torch.ones(2, 3), output="mean")
    with pytest.raises(SettingError, match="centered' has no direction left"):
        NTK(nn.Linear(3, 1), torch.ones(2, 3), output="centered")
    with pytest.raises(SettingError, match=r"chooses none.*weight, bias"):
        NTK(nn.Linear(3, 2), torch.ones(2, 3), parameters=lambda name: False)
    with pytest.raises(SettingError, match="memory is 'lots'"):
        NTK(nn.Linear(3, 2), torch.ones(2, 3), memory="lots")


class Reshaping(nn.Linear):
    """Its input is two vectors of three numbers, seen as one of six."""

    def forward(self, x):
        return super().forward(x.reshape(len(x), -1))


class Turned(nn.Module):
    """A layer that is given tokens first and examples second."""

    def __init__(self):
        super().__init__()
        self.token, self.head = nn.Linear(4, 5), nn.Linear(5, 2)

    def forward(self, x):
        return self.head(torch.tanh(self.token(x.transpose(0, 1))).mean(0))


@pytest.mark.parametrize(
    ("model", "shape", "slow"),
    [
        (nn.Sequential(Reshaping(6, 5), nn.Tanh(), nn.Linear(5, 2)), (2, 3), {"0.weight", "0.bias"}),
        (Turned(), (3, 4), {"token.weight", "token.bias"}),
    ],
)
def test_layers_given_another_shape_than_their_class_is_made_for(model, shape, slow, twin):
    model, x = model.double(), torch.randn(7, *shape, dtype=torch.float64)
    kernel = NTK(model, x)
    assert kernel.structure.other_set == slow
    assert gap(kernel.matrix(), twin(model, x, "trace")) < 1e-10
