import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chisquare

from selfdistill._core.errors import DataError, SettingError
from selfdistill._core.rng import torch_generator
from selfdistill.noise import class_dependent, draw, pair, symmetric
from selfdistill.noise._draw import invert


def random_matrix(num_classes: int, seed: int) -> torch.Tensor:
    rng = np.random.default_rng(seed)
    rows = rng.gamma(0.5, size=(num_classes, num_classes)) * (rng.random((num_classes, num_classes)) < 0.7)
    rows += np.eye(num_classes) * 1e-3
    return class_dependent(rows / rows.sum(1, keepdims=True))


@given(st.integers(2, 6), st.integers(0, 40), st.integers(0, 2**31))
def test_equals_a_slow_twin(num_classes: int, count: int, seed: int) -> None:
    T = random_matrix(num_classes, seed)
    labels = torch.randint(0, num_classes, (count,), generator=torch.Generator().manual_seed(seed))
    uniform = torch.rand(count, generator=torch_generator(seed, "noise"), dtype=torch.float64)
    expected = []
    for label, u in zip(labels.tolist(), uniform.tolist(), strict=True):
        choice, cumulated = 0, T[label, 0].item()
        while u >= cumulated:
            choice += 1
            cumulated += T[label, choice].item()
        expected.append(choice)
    noise = draw(labels, T, seed)
    assert noise.labels.tolist() == expected
    assert torch.equal(noise.changed, noise.labels != labels)
    assert noise.realised_rate == pytest.approx(noise.changed.double().mean().item() if count else 0)
    assert torch.equal(noise.matrix, T)


@pytest.mark.parametrize("kind", ["included", "excluded", "pair", "any"])
def test_frequencies_pass_a_chi_square_test(kind: str) -> None:
    T = {
        "included": symmetric(5, 0.4, include_clean=True),
        "excluded": symmetric(5, 0.4, include_clean=False),
        "pair": pair(5, 0.4),
        "any": random_matrix(5, 7),
    }[kind]
    labels = torch.arange(5).repeat(4000)
    noise = draw(labels, T, seed=11)
    for clean in range(5):
        possible = T[clean] > 0
        counts = torch.bincount(noise.labels[labels == clean], minlength=5)
        assert counts[~possible].sum() == 0
        assert chisquare(counts[possible].numpy(), (T[clean, possible] * 4000).numpy()).pvalue > 1e-3
        torch.testing.assert_close(noise.realised_matrix[clean], counts / 4000.0, check_dtype=False)


def test_examples_are_drawn_independently() -> None:
    changed = draw(torch.zeros(100_000, dtype=torch.int64), pair(2, 0.4), seed=0).changed.double()
    correlation = torch.corrcoef(torch.stack([changed[:-1], changed[1:]]))[0, 1]
    assert abs(correlation) < 0.015
    assert abs(changed.mean() - 0.4) < 4 * (0.24 / 100_000) ** 0.5


def test_same_seed_same_noise_and_nothing_global() -> None:
    labels = torch.arange(10).repeat(100)
    T = symmetric(10, 0.5, include_clean=False)
    state = torch.get_rng_state()
    first = draw(labels, T, seed=1).labels
    torch.manual_seed(5)
    assert torch.equal(first, draw(labels, T, seed=1).labels)
    assert not torch.equal(first, draw(labels, T, seed=2).labels)
    torch.set_rng_state(state)
    draw(labels, T, seed=1)
    assert torch.equal(torch.get_rng_state(), state)


def test_extremes() -> None:
    labels = torch.tensor([0, 1, 2, 2], dtype=torch.int32)
    assert draw(labels, pair(3, 0.0), seed=0).realised_rate == 0
    assert draw(labels, pair(3, 1.0), seed=0).labels.tolist() == [1, 2, 0, 0]
    assert draw(labels[:0], pair(3, 1.0), seed=0).labels.shape == (0,)
    assert draw(labels, pair(3, 1.0), seed=0).labels.dtype == torch.int64


@given(st.lists(st.integers(0, 3), min_size=1, max_size=8).filter(any), st.integers(0, 2**53 - 1))
def test_impossible_classes_are_never_drawn(weights: list[int], numerator: int) -> None:
    row = torch.tensor(weights, dtype=torch.float64)
    row /= row.sum()
    uniform = torch.tensor([numerator / 2**53, 0.0, 1 - 2**-53], dtype=torch.float64)
    flat, stacked = invert(row, uniform), invert(row.repeat(3, 1), uniform)
    assert (row[flat] > 0).all()
    assert torch.equal(flat, stacked)


def test_messages() -> None:
    with pytest.raises(DataError, match=r"labels\[1\] is 3, but must lie in \[0, 3\) for 3 classes"):
        draw(torch.tensor([0, 3]), pair(3, 0.1), seed=0)
    with pytest.raises(SettingError, match="not square"):
        draw(torch.tensor([0, 1]), torch.ones(2, 3), seed=0)
