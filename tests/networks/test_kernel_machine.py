"""Kernel machines and forests."""

import math

import pytest
import torch

from selfdistill._core.errors import DataError, SettingError
from selfdistill.networks._build import build
from selfdistill.networks._kernel_machine import KERNELS, KernelMachine, Trees, kernel_rows, parse_kernel, unit_rows
from selfdistill.theory import relu_kernel


def unit(n: int, d: int, seed: int = 0) -> torch.Tensor:
    return unit_rows(torch.randn(n, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64), d**0.5)


@pytest.fixture
def machine() -> KernelMachine:
    torch.manual_seed(0)
    model = KernelMachine(6, 9, 3, "relu3", parts=2)
    for name, buffer in model.named_buffers():
        buffer.copy_(torch.rand_like(buffer) + 0.1)
        if name == "landmarks":
            buffer.copy_(torch.nn.functional.normalize(buffer))
        if name == "weights":
            buffer.div_(buffer.sum())
    return model


@pytest.mark.parametrize("depth", [1, 3])
def test_relu_kernels_equal_the_tangent_kernel(depth: int) -> None:
    rows, others = unit(30, 7), unit(20, 7, seed=1)
    expected = relu_kernel(rows, others, depth=depth) / (depth + 1)
    torch.testing.assert_close(kernel_rows(f"relu{depth}", rows, others), expected, rtol=0, atol=1e-12)


def test_linear_and_gaussian_kernels_by_hand() -> None:
    rows, others = unit(10, 4), unit(8, 4, seed=1)
    torch.testing.assert_close(kernel_rows("linear", rows, others), rows @ others.T)
    expected = torch.exp(-2 * torch.cdist(rows, others).square())
    torch.testing.assert_close(kernel_rows("rbf", rows, others), expected)


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_diagonal_is_one_and_nothing_leaves_the_range(kernel: str, dtype: torch.dtype) -> None:
    rows = torch.cat([unit(20, 3), -unit(20, 3)]).to(dtype)
    values = kernel_rows(kernel, rows, rows)
    assert values.dtype == dtype
    assert torch.isfinite(values).all()
    torch.testing.assert_close(values.diagonal(), torch.ones(40, dtype=dtype), rtol=0, atol=2e-3)
    assert float(torch.linalg.eigvalsh(values.double())[0]) > -1e-3


def test_unit_rows_keep_the_length_in_sight() -> None:
    rows = unit_rows(torch.tensor([[3.0, 4.0], [0.0, 0.0], [3e5, 4e5]]), 5.0)
    torch.testing.assert_close(rows.norm(dim=1), torch.ones(3))
    torch.testing.assert_close(rows[:, 2], torch.tensor([math.sqrt(0.5), 1.0, 1e-5]))


def test_equals_its_formula(machine) -> None:
    inputs = torch.randn(5, 2, 3)
    rows = unit_rows((inputs.flatten(1) - machine.shift) * machine.factor, machine.constant)
    expected = torch.zeros(5, 3)
    for part in range(2):
        scores = kernel_rows("relu3", rows, machine.landmarks) @ machine.coefficients[:, part] + machine.offset[part]
        logits = scores @ machine.calibration[part] + machine.bias[part]
        expected += machine.weights[part] * logits.softmax(1)
    torch.testing.assert_close(machine(inputs), expected.log())
    torch.testing.assert_close(machine(inputs).exp().sum(1), torch.ones(5))


def test_comes_back_from_its_state_and_specification(machine) -> None:
    assert machine.spec == "kernel:relu3-9-2"
    again = build(machine.spec, (6,), 3, seed=5)
    again.load_state_dict(machine.state_dict())
    inputs = torch.randn(4, 6)
    assert torch.equal(again(inputs), machine(inputs))
    assert again.spec == machine.spec


def test_columns_without_spread_have_no_part(machine) -> None:
    machine.factor[2] = 0.0
    inputs = torch.randn(4, 6)
    moved = inputs.clone()
    moved[:, 2] += 1e6
    assert torch.equal(machine(moved), machine(inputs))


def test_nothing_is_learned_by_gradients(machine) -> None:
    assert list(machine.parameters()) == []
    assert len(machine.state_dict()) == 9


def test_a_part_of_weight_zero_has_no_part(machine) -> None:
    machine.weights.copy_(torch.tensor([1.0, 0.0]))
    inputs = torch.randn(4, 6)
    expected = machine(inputs)
    machine.coefficients[:, 1] = 7
    assert torch.isfinite(expected).all()
    assert torch.equal(machine(inputs), expected)


@pytest.mark.parametrize(
    "spec", ["kernel", "kernel:relu2-5-1", "kernel:rbf-5", "kernel:rbf-5-1-2", "kernel:rbf-5-1-forest-7-1", "mlp"]
)
def test_other_specifications_are_not_read(spec: str) -> None:
    assert parse_kernel(spec) is None
    assert parse_kernel(" kernel:rbf-5-1 ") == ("rbf", 5, 1, (0, 0, 0))
    assert parse_kernel("kernel:rbf-5-1-forest-70-9-2") == ("rbf", 5, 1, (70, 9, 2))


def test_unknown_kernels_are_named() -> None:
    for call in (lambda: KernelMachine(2, 3, 2, "cosine"), lambda: kernel_rows("cosine", unit(2, 2), unit(2, 2))):
        with pytest.raises(SettingError, match="kernel 'cosine' does not exist") as raised:
            call()
        assert "Choose one of: linear, relu1, relu3, rbf." in str(raised.value)


def two_trees() -> Trees:
    """A tree of two splits, and one that is a leaf alone."""
    trees = Trees(2, 2)
    trees.column.copy_(torch.tensor([0, 1]))
    trees.threshold.copy_(torch.tensor([0.5, -1.0]))
    trees.below.copy_(torch.tensor([[~0, 1], [~1, ~2]]))
    trees.roots.copy_(torch.tensor([0, ~3]))
    return trees


def test_rows_end_in_their_leaves() -> None:
    rows = torch.tensor([[0.5, 0.0], [0.6, -1.0], [0.6, -0.9], [float("nan"), 0.0]])
    assert two_trees()(rows).tolist() == [[0, 3], [1, 3], [2, 3], [0, 3]]
    assert two_trees().leaves == 4
    two_trees().check(2)


def test_a_forest_of_leaves_alone() -> None:
    assert Trees(0, 3)(torch.zeros(2, 1)).shape == (2, 3)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("column", [0, 2]),
        ("column", [0, -1]),
        ("below", [[~0, 0], [~1, ~2]]),
        ("below", [[~0, 1], [0, ~2]]),
        ("below", [[~0, 2], [~1, ~2]]),
        ("below", [[~0, 1], [~1, ~4]]),
        ("roots", [2, ~3]),
        ("roots", [0, ~4]),
    ],
)
def test_arrays_that_are_no_trees_are_refused(name: str, value: list) -> None:
    trees = two_trees()
    getattr(trees, name).copy_(torch.tensor(value))
    with pytest.raises(DataError, match="damaged"):
        trees.check(2)


def test_a_machine_refuses_them_as_it_loads() -> None:
    machine = KernelMachine(2, 3, 2, "rbf", 1, (2, 2, 1))
    state = machine.state_dict()
    with pytest.raises(DataError, match="damaged"):
        KernelMachine(2, 3, 2, "rbf", 1, (2, 2, 1)).load_state_dict(state | {"trees.roots": torch.tensor([5, 0])})
    good = state | {f"trees.{name}": value for name, value in two_trees().state_dict().items()}
    KernelMachine(2, 3, 2, "rbf", 1, (2, 2, 1)).load_state_dict(good)


def test_trees_that_are_too_deep_are_refused() -> None:
    trees = Trees(70, 1)
    trees.below.copy_(torch.tensor([[i + 1 if i < 69 else ~70, ~i] for i in range(70)]))
    trees.roots[0] = 0
    with pytest.raises(DataError, match="64"):
        trees(torch.zeros(1, 1))
