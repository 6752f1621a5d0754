import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from selfdistill._core.errors import SettingError
from selfdistill.noise import class_dependent, pair, symmetric
from selfdistill.noise._transition import cifar10_asymmetric

rates = st.floats(0, 1)
sizes = st.integers(2, 12)


def all_kinds(num_classes: int, rate: float) -> list[Tensor]:
    return [
        symmetric(num_classes, rate, include_clean=True),
        symmetric(num_classes, rate, include_clean=False),
        pair(num_classes, rate),
        cifar10_asymmetric(rate),
    ]


@given(sizes, rates)
def test_all_are_transition_matrices(num_classes: int, rate: float) -> None:
    for T in all_kinds(num_classes, rate):
        assert T.dtype == torch.float64
        assert (T >= 0).all()
        torch.testing.assert_close(T.sum(1), torch.ones(len(T), dtype=torch.float64))
        torch.testing.assert_close(class_dependent(T), T)


@given(sizes, rates)
def test_symmetric_in_both_protocols(num_classes: int, rate: float) -> None:
    excluded = symmetric(num_classes, rate, include_clean=False)
    included = symmetric(num_classes, rate, include_clean=True)
    for clean in range(num_classes):
        for label in range(num_classes):
            same = clean == label
            assert excluded[clean, label] == pytest.approx(1 - rate if same else rate / (num_classes - 1))
            assert included[clean, label] == pytest.approx((1 - rate if same else 0) + rate / num_classes)


def test_forty_percent_of_ten_classes() -> None:
    assert 1 - symmetric(10, 0.4, include_clean=True)[3, 3].item() == pytest.approx(0.36)
    assert 1 - symmetric(10, 0.4, include_clean=False)[3, 3].item() == pytest.approx(0.40)


def test_the_protocol_must_be_said() -> None:
    with pytest.raises(TypeError, match="include_clean"):
        symmetric(10, 0.4)  # type: ignore[call-arg]


@given(sizes, rates)
def test_pair_goes_to_the_next_class(num_classes: int, rate: float) -> None:
    T = pair(num_classes, rate)
    for clean in range(num_classes):
        assert T[clean, clean].item() == pytest.approx(1 - rate)
        assert T[clean, (clean + 1) % num_classes].item() == pytest.approx(rate)
    assert (T > 0).sum() <= 2 * num_classes


def test_cifar10_map_by_names() -> None:
    names = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
    T = cifar10_asymmetric(0.4)
    flips = {
        (names[clean], names[label])
        for clean, label in T.nonzero().tolist()
        if clean != label and T[clean, label].item() == pytest.approx(0.4)
    }
    assert flips == {
        ("truck", "automobile"),
        ("bird", "airplane"),
        ("cat", "dog"),
        ("dog", "cat"),
        ("deer", "horse"),
    }
    assert (1 - T.diagonal()).mean().item() == pytest.approx(0.2)


@pytest.mark.parametrize("rate", [-0.1, 1.1, float("nan"), float("inf"), 40])
def test_rates_that_are_no_probability(rate: float) -> None:
    message = r"noise rate .* is not in \[0, 1\]. Give a probability, such as 0.4"
    for make in (
        lambda: symmetric(3, rate, include_clean=True),
        lambda: pair(3, rate),
        lambda: cifar10_asymmetric(rate),
    ):
        with pytest.raises(SettingError, match=message):
            make()


@pytest.mark.parametrize("num_classes", [0, 1])
def test_one_class_has_nothing_to_flip_to(num_classes: int) -> None:
    message = rf"labels of {num_classes} class\(es\) cannot be exchanged: noise needs at least 2 classes"
    for make in (
        lambda: symmetric(num_classes, 0.1, include_clean=False),
        lambda: pair(num_classes, 0.1),
    ):
        with pytest.raises(SettingError, match=message):
            make()


@pytest.mark.parametrize(
    ("matrix", "message"),
    [
        ([[0.5, 0.5], [0.5]], "not a table of numbers"),
        ([["a", "b"], ["c", "d"]], "not a table of numbers"),
        ([[0.5, 0.5]], r"shape \(1, 2\) is not square"),
        ([0.5, 0.5], r"shape \(2,\) is not square"),
        ([[1.0]], "needs at least 2 classes"),
        ([[1.5, -0.5], [0, 1]], r"entry \[0, 1\] of the transition matrix is -0.5"),
        ([[1, 0], [float("nan"), 1]], r"entry \[1, 0\] .* is nan"),
        ([[0.5, 0.4], [0, 1]], "row 0 of the transition matrix sums to 0.9, not to 1. Rows are clean classes"),
        ([[0.9, 0.4], [0.1, 0.6]], "transpose it, rows are clean classes"),
    ],
)
def test_matrices_that_are_none(matrix: list[list[float]], message: str) -> None:
    with pytest.raises(SettingError, match=message):
        class_dependent(matrix)


def test_class_dependent_copies_and_normalises() -> None:
    given = np.array([[0.3, 0.7 + 5e-7], [0.0, 1.0]])
    T = class_dependent(given)
    given[:] = 0
    assert abs(T.sum(1) - 1).max() < 1e-15
    assert torch.equal(class_dependent(T), T)
    assert T[0, 1] == pytest.approx(0.7, abs=1e-6)


@given(sizes, rates)
def test_cleanlab_columns_are_true_classes(num_classes: int, rate: float) -> None:
    for T in all_kinds(num_classes, rate):
        noise_matrix = T.numpy().T
        np.testing.assert_allclose(noise_matrix.sum(0), 1)
        for clean in range(len(T)):
            np.testing.assert_allclose(noise_matrix[:, clean], T[clean])
