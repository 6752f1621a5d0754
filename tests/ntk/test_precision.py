"""Networks of 16, 32 and 64 bit, and of several of them at once."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from selfdistill._core.errors import DataError
from selfdistill.ntk import NTK
from selfdistill.ntk._structure import Structure


def x4(n=9):
    return torch.randn(n, 4)


class Mixed(nn.Module):
    """A body in 64 bit, a head in 32."""

    def __init__(self, wide=torch.float64, narrow=torch.float32):
        super().__init__()
        self.body, self.head = nn.Linear(4, 5, dtype=wide), nn.Linear(5, 3, dtype=narrow)

    def forward(self, x):
        return self.head(torch.tanh(self.body(x.to(self.body.weight.dtype))).to(self.head.weight.dtype))


@pytest.mark.parametrize("output", ["trace", "full"])
@pytest.mark.parametrize("dtypes", [(torch.float64, torch.float32), (torch.float32, torch.float64)])
def test_layers_of_two_precisions(assert_right, dtypes, output):
    torch.manual_seed(0)
    x = x4()
    for inputs in (x, x.double()):
        kernel = assert_right(Mixed(*dtypes), inputs, output, within=1e-5)
        assert kernel.dtype == dtypes[1]


class Energy(Mixed):
    def forward(self, x):
        return super().forward((x * x + 1).log())


def test_inputs_are_read_in_the_precision_that_gives_finite_outputs(oracle):
    torch.manual_seed(0)
    model, x = Energy(), 1e20 * x4()  # squares overflow in 32 bit
    found = NTK(model, x).matrix().double()
    torch.testing.assert_close(found, oracle(model, x.double()), rtol=1e-4, atol=1e-4 * found.max().item())


class Taught(nn.Module):
    """A student in 32 bit beside a frozen teacher in 64, whose inputs one of them converts."""

    def __init__(self, wide):
        super().__init__()
        self.teacher, self.student = nn.Linear(4, 3).double().requires_grad_(False), nn.Linear(4, 3)
        self.wide = wide

    def forward(self, x):
        taught = self.teacher(x if self.wide else x.double())
        return torch.tanh(self.student(x.float() if self.wide else x)) * taught.float()


@pytest.mark.parametrize("wide", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_teacher_in_double_precision(oracle, wide, dtype):
    torch.manual_seed(0)
    model, x = Taught(wide), x4()
    expected = oracle(model, x.double() if wide else x)
    torch.testing.assert_close(NTK(model, x.to(dtype)).matrix().double(), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("half", [torch.bfloat16, torch.float16])
def test_halves_are_computed_in_single_precision(oracle, half):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 9), nn.Tanh(), nn.Linear(9, 3)).to(half)
    kernel = NTK(model, x4(40).to(half))
    assert kernel.dtype == torch.float32
    expected = oracle(copy.deepcopy(model).double(), kernel.inputs.tensors[0].double())
    torch.testing.assert_close(kernel.matrix().double(), expected, rtol=1e-4, atol=1e-4)
    assert float(kernel.eigh().values.min()) > -1e-6 * float(kernel.eigh(1).values)
    assert next(model.parameters()).dtype == half
    mixed = Mixed(torch.float32, half)
    assert NTK(mixed, x4()).dtype == torch.float32


class Ends(nn.Linear):
    """Gives its outputs in 16 bit, whatever its weights are."""

    def forward(self, x):
        return super().forward(x).to(torch.bfloat16)


@pytest.mark.parametrize("rules", [True, False])
def test_outputs_of_sixteen_bit_have_a_kernel_in_thirty_two(oracle, rules):
    torch.manual_seed(0)
    model, x = nn.Sequential(nn.Linear(4, 9), nn.Tanh(), Ends(9, 3)), x4()
    kernel = NTK(model, x, rules=rules)
    assert kernel.dtype == kernel.matrix().dtype == torch.float32
    torch.testing.assert_close(kernel.matrix().double(), oracle(model, x), rtol=1e-2, atol=1e-2)


class Switched(nn.Module):
    """A ReLU that opens for examples in company only, by less than rounding in 32 bit; in 64 it stays closed."""

    def __init__(self):
        super().__init__()
        self.body, self.head, self.gain = nn.Linear(4, 5), nn.Linear(5, 3), nn.Parameter(torch.ones(3))

    def forward(self, x):
        h = self.body(x)[torch.arange(len(x))]  # so that each is compared with itself alone
        shift = -1e-9 if len(x) == 1 or h.dtype == torch.float64 else 1e-9
        return self.gain * self.head(torch.tanh(h) + torch.relu(h - h.detach() + shift))


def test_what_rounding_switches_is_told_from_wrong_rules_in_64_bit(monkeypatch):
    torch.manual_seed(0)
    kernel = NTK(Switched(), x4())
    kernel.matrix()
    assert kernel.structure.by_value
    assert kernel.structure.other_set == set()
    assert not kernel.structure.per_sample.one_by_one

    def fails(self):
        raise DataError("no 64 bit here")

    monkeypatch.setattr(Structure, "in_double", fails)
    assert "body.weight" in NTK(Switched(), x4()).structure.other_set


def test_rounding_is_that_of_the_coarsest_numbers():
    class Coarse(nn.Linear):
        def forward(self, x):
            with torch.autocast("cpu", dtype=torch.bfloat16):
                return super().forward(x).float()

    torch.manual_seed(0)
    model, x = nn.Sequential(Coarse(4, 9), nn.Tanh(), nn.Linear(9, 3)), x4(30)
    found = NTK(model, x).eigh()
    exact = NTK(nn.Sequential(nn.Linear(4, 9), nn.Tanh(), nn.Linear(9, 3)), x)
    exact.structure.model.load_state_dict(model.state_dict())
    error = (found.values - exact.eigh().values).abs()
    assert float(error.max()) > 1e-5 * found.trace
    assert (error <= found.residuals + found.rounding).all()
    assert exact.eigh().rounding < 1e-6 * found.trace
