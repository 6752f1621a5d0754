"""Regression on a linearised network against least squares in its weights, refits and scikit-learn."""

from __future__ import annotations

import pytest
import torch
from sklearn.kernel_ridge import KernelRidge
from torch import nn

from selfdistill._core.errors import DataError, SettingError
from selfdistill.ntk import NTK


def part(inputs, rows):
    return {k: v[rows] for k, v in inputs.items()} if isinstance(inputs, dict) else inputs[rows]


def call(model, inputs):
    with torch.no_grad():
        return model(**inputs) if isinstance(inputs, dict) else model(inputs)


def in_weights(j, y, c):
    """Change of the weights that least squares with a penalty asks for, by QR."""
    rows = j.flatten(0, 1)
    system = torch.cat([rows, c**0.5 * torch.eye(rows.shape[1], dtype=j.dtype)])
    return torch.linalg.lstsq(system, torch.cat([y.flatten(), y.new_zeros(rows.shape[1])])).solution


@pytest.mark.parametrize("c", [0.03, 2.0])
def test_full_is_least_squares_in_the_weights_and_each_example_a_refit(problem, slow_jacobian, c):
    model, inputs = problem
    j, f = slow_jacobian(model, inputs).detach(), call(model, inputs)
    n = len(f)
    train, y = slice(0, n - 2), torch.randn(n - 2, f.shape[1], dtype=torch.float64)
    found = NTK(model, part(inputs, train), output="full").predict(part(inputs, slice(n - 2, n)), y, ridge=c)
    change = in_weights(j[train], y - f[train], c)
    torch.testing.assert_close(found.outputs, f[n - 2 :] + j[n - 2 :] @ change, rtol=1e-8, atol=1e-8)
    for i in range(n - 2):
        kept = [k for k in range(n - 2) if k != i]
        refit = f[i] + j[i] @ in_weights(j[kept], (y - f[train])[kept], c)
        torch.testing.assert_close(found.leave_one_out[i], refit, rtol=1e-8, atol=1e-8)
    assert found.ridge == c
    assert found.error == pytest.approx(float((y - found.leave_one_out).square().mean()))


@pytest.mark.parametrize("output", ["trace", "sum"])
def test_traced_kernels_fit_each_logit_by_the_kernel_over_their_number(problem, twin, output):
    model, inputs = problem
    gram, f = twin(model, inputs, output).detach() / call(model, inputs).shape[1], call(model, inputs)
    n, y = len(f), torch.randn(f.shape, dtype=torch.float64)
    rows = range(n - 2)
    found = NTK(model, part(inputs, slice(0, n - 2)), output=output).predict(part(inputs, slice(n - 2, n)), y[:-2], 0.7)

    def fitted(kept, test):
        ridge = KernelRidge(alpha=0.7, kernel="precomputed").fit(gram[kept][:, kept].numpy(), (y - f)[kept].numpy())
        return f[test] + torch.tensor(ridge.predict(gram[test][:, kept].numpy()))

    torch.testing.assert_close(found.outputs, fitted(list(rows), [n - 2, n - 1]), rtol=1e-8, atol=1e-8)
    for i in rows:
        torch.testing.assert_close(
            found.leave_one_out[i : i + 1], fitted([k for k in rows if k != i], [i]), rtol=1e-8, atol=1e-8
        )


def mlp(n, outputs=3, dtype=torch.float64):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 40), nn.Tanh(), nn.Linear(40, outputs)).to(dtype)
    return model, torch.randn(n, 4, dtype=dtype)


@pytest.mark.parametrize("output", ["trace", "full"])
def test_the_ridge_is_chosen_by_errors_of_refits(output):
    model, x = mlp(14)
    y = torch.randint(0, 3, (14,), generator=torch.Generator().manual_seed(2))
    kernel = NTK(model, x, output=output)
    chosen = {by: kernel.predict(x[:1], y, by) for by in ("loo", "gcv")}
    for factor in (0.5, 2.0):
        assert chosen["loo"].error < kernel.predict(x[:1], y, factor * chosen["loo"].ridge).error
    assert kernel.predict(x[:1], y).ridge == chosen["gcv"].ridge
    assert chosen["loo"].error <= chosen["gcv"].error < 1.5 * chosen["loo"].error


def test_from_zero_leaves_the_networks_outputs_out():
    model, x = mlp(10)
    y, kernel = torch.randn(10, 3), NTK(model, x)
    with torch.no_grad():
        f = model(x)
    own, zero = kernel.predict(x, y, 0.5), kernel.predict(x, y.double() - f, 0.5, from_zero=True)
    torch.testing.assert_close(own.outputs, zero.outputs + f)
    torch.testing.assert_close(own.leave_one_out, zero.leave_one_out + f)


def test_with_no_ridge_the_labels_are_interpolated_where_the_kernel_allows_it():
    model, x = mlp(8)
    y = torch.randn(8, 3, dtype=torch.float64)
    found = NTK(model, x, output="full").predict(x, y, ridge=0.0)
    torch.testing.assert_close(found.outputs, y, rtol=1e-6, atol=1e-6)
    linear = nn.Linear(4, 3).double()  # five weights for each logit, eight examples
    with pytest.raises(SettingError, match=r"ridge is 0, but the kernel has eigenvalues .*Give at least .*double\(\)"):
        NTK(linear, x).predict(x, y, ridge=0.0)


def test_classes_are_one_hot_rows_and_one_output_takes_plain_numbers():
    model, x = mlp(9)
    y = torch.arange(9) % 3
    kernel = NTK(model, x)
    rows = kernel.predict(x, torch.eye(3)[y], 1.0)
    for classes in (y, y.numpy(), y.to(torch.uint8)):
        torch.testing.assert_close(kernel.predict(x, classes, 1.0).outputs, rows.outputs)
    single, x = mlp(9, outputs=1)
    kernel, values = NTK(single, x), torch.randn(9)
    assert kernel.predict(x[:2], values, 1.0).outputs.shape == (2, 1)
    torch.testing.assert_close(kernel.predict(x, values, 1.0).error, kernel.predict(x, values[:, None], 1.0).error)
    torch.testing.assert_close(kernel.predict(x, y, 1.0).error, kernel.predict(x, y.float(), 1.0).error)


def test_outputs_with_more_axes_keep_them():
    torch.manual_seed(0)
    model, x = nn.Sequential(nn.Linear(3, 5), nn.Tanh(), nn.Linear(5, 2)).double(), torch.randn(6, 4, 3).double()
    y = torch.randn(6, 4, 2)
    found = NTK(model, x, output="full").predict(x[:3], y, 0.1)
    assert found.outputs.shape == (3, 4, 2)
    assert found.leave_one_out.shape == y.shape
    assert float((found.outputs - y[:3]).norm()) < float((call(model, x[:3]) - y[:3]).norm())


def test_many_examples_are_predicted_in_blocks_as_alone():
    model, x = mlp(7)
    far = torch.randn(30, 4, dtype=torch.float64)
    kernel = NTK(model, x)
    found = kernel.predict(far, torch.arange(7) % 3, 0.2).outputs
    alone = torch.cat([kernel.predict(far[i : i + 1], torch.arange(7) % 3, 0.2).outputs for i in range(30)])
    torch.testing.assert_close(found, alone)


def test_single_precision_is_near_and_predicts_what_training_the_linearised_network_does():
    (wide, x), (narrow, _) = mlp(60), mlp(60, dtype=torch.float32)
    narrow.load_state_dict(wide.state_dict())
    y = (x.sum(1) > 0).long()
    exact, found = NTK(wide, x[:40]).predict(x[40:], y[:40]), NTK(narrow, x[:40]).predict(x[40:], y[:40])
    assert found.ridge == pytest.approx(exact.ridge, rel=1e-4)
    torch.testing.assert_close(found.outputs, exact.outputs, rtol=1e-3, atol=1e-3)
    assert float((exact.outputs.argmax(1) == y[40:]).double().mean()) > 0.85


def test_what_is_refused_before_any_work(monkeypatch):
    model, x = mlp(6)
    kernel, y = NTK(model, x), torch.zeros(6, 3)
    monkeypatch.setattr(NTK, "matrix", None)
    for labels, words in [
        (torch.zeros(6), r"labels have shape \(6,\), but the network's outputs are \[6, 3\].*or classes \[6\]"),
        (torch.zeros(5, 3), r"labels have shape \(5, 3\)"),
        (torch.tensor([0, 1, 2, 3, 0, 1]), r"labels go from 0 to 3, but the network has 3 outputs.*0 to 2"),
        (torch.tensor([0, 1, 2, -1, 0, 1]), r"labels go from -1 to 2"),
        (torch.full((6, 3), torch.nan), r"labels have NaN or infinite values, the first in row 0"),
    ]:
        with pytest.raises(DataError, match=words):
            kernel.predict(x, labels)
    with pytest.raises(DataError, match="x is a list"):
        kernel.predict([[1.0]], y)
    with pytest.raises(SettingError, match="ridge is 'aic'"):
        kernel.predict(x, y, "aic")
    with pytest.raises(SettingError, match="ridge is -1, but must be 0 or more"):
        kernel.predict(x, y, -1)
    with pytest.raises(SettingError, match="output is 'fisher', but a regression needs the kernel of the logits"):
        NTK(model, x, output="fisher").predict(x, y)
    with pytest.raises(SettingError, match=r"between two sets of inputs cannot be fitted.*`other` out"):
        NTK(model, x, x[:2]).predict(x, y)
    tight = NTK(model, x, memory=10_000)
    assert tight.plan.matrix is not None  # it fits, but not the kernel between the two sets
    with pytest.raises(SettingError, match=r"memory is 9.8 KiB, but this kernel needs at least"):
        tight.predict(torch.randn(6, 4), y)
