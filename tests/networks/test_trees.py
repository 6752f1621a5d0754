"""Trees as arrays: where rows end, and what is refused."""

import pytest
import torch

from selfdistill._core.errors import DataError
from selfdistill.networks import KernelMachine, Trees


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
