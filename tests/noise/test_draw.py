"""Draws of noise by class and by example, and what they did to labels."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chisquare, kstest, truncnorm

from selfdistill._core.errors import DataError, SettingError
from selfdistill._core.rng import torch_generator
from selfdistill.noise import _draw as module
from selfdistill.noise import class_dependent, draw, instance_dependent, pair, symmetric
from selfdistill.noise._draw import flip_rates, invert, summary


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


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=50))
def test_equals_counting_by_hand(pairs: list[tuple[int, int]]) -> None:
    clean, given_labels = (torch.tensor(column) for column in zip(*pairs, strict=True))
    result = summary(clean, given_labels, 5)
    assert result.rate == pytest.approx(sum(c != g for c, g in pairs) / len(pairs))
    for c in range(5):
        members = [g for clean_label, g in pairs if clean_label == c]
        wrong = sum(g != c for g in members)
        assert result.class_rates[c].item() == pytest.approx(wrong / len(members) if members else 0)
        for g in range(5):
            assert result.counts[c, g] == members.count(g)
            assert result.matrix[c, g].item() == pytest.approx(members.count(g) / max(len(members), 1))


def test_no_examples() -> None:
    empty = torch.zeros(0, dtype=torch.int64)
    assert summary(empty, empty, 3).rate == 0


@pytest.mark.parametrize(
    ("clean", "given_labels", "message"),
    [
        (torch.tensor([0, 1]), torch.tensor([0]), "2 clean but 1 given labels"),
        (torch.tensor([0, 3]), torch.tensor([0, 1]), r"clean labels\[1\] is 3, but must lie in \[0, 3\)"),
        (torch.tensor([0, 1]), torch.tensor([-1, 1]), r"given labels\[0\] is -1"),
        (torch.tensor([0.0, 1]), torch.tensor([0, 1]), "not one integer per example"),
        (torch.tensor([[0, 1]]), torch.tensor([0, 1]), r"shape \(1, 2\)"),
    ],
)
def test_labels_that_are_none(clean: torch.Tensor, given_labels: torch.Tensor, message: str) -> None:
    with pytest.raises(DataError, match=message):
        summary(clean, given_labels, 3)


@pytest.mark.parametrize("rate", [0.05, 0.2, 0.4, 0.97, 1.0])
def test_flip_rates_follow_the_truncated_normal(rate: float) -> None:
    rates = flip_rates(20_000, rate, seed=3).numpy()
    assert rates.min() >= 0
    assert rates.max() <= 1
    expected = truncnorm((0 - rate) / 0.1, (1 - rate) / 0.1, loc=rate, scale=0.1)
    assert kstest(rates, expected.cdf).pvalue > 1e-3
    assert abs(rates.mean() - expected.mean()) < 0.003


def test_mean_flip_rates_of_the_docstring() -> None:
    for rate, mean in [(0.1, 0.129), (1.0, 0.92), (0.3, 0.3), (0.7, 0.7)]:
        exact = truncnorm((0 - rate) / 0.1, (1 - rate) / 0.1, loc=rate, scale=0.1).mean()
        assert abs(exact - mean) < 1e-3
    assert truncnorm(0, 10, loc=0, scale=0.1).mean() == pytest.approx(0.08, abs=1e-3)


def slow_twin(inputs: torch.Tensor, labels: torch.Tensor, num_classes: int, rate: float, seed: int) -> list[int]:
    """Algorithm 2, one example at a time."""
    rates = flip_rates(len(labels), rate, seed).tolist()
    uniform = torch.rand(
        len(labels), generator=torch_generator(seed, "instance noise", "labels"), dtype=torch.float64
    ).tolist()
    given = []
    for x, y, q, u in zip(inputs, labels.tolist(), rates, uniform, strict=True):
        generator = torch_generator(seed, "instance noise", "map", y)
        w = torch.randn(x.numel(), num_classes, generator=generator).double().numpy()
        p = x.double().numpy().ravel() @ w
        p[y] = -np.inf
        p = np.exp(p - p.max())
        p = q * p / p.sum()
        p[y] = 1 - q
        given.append(int(np.searchsorted(np.cumsum(p), u, side="right")))
    return given


def test_equals_a_slow_twin_also_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(300, 2, 3, generator=generator)
    labels = torch.randint(0, 4, (300,), generator=generator)
    expected = slow_twin(inputs, labels, 4, 0.45, seed=9)
    assert instance_dependent(inputs, labels, 4, 0.45, seed=9).labels.tolist() == expected
    monkeypatch.setattr(module, "_BLOCK", 7)
    assert instance_dependent(inputs, labels, 4, 0.45, seed=9).labels.tolist() == expected


def test_average_rate_and_matrix() -> None:
    generator = torch.Generator().manual_seed(1)
    inputs = torch.randn(20_000, 5, generator=generator)
    labels = torch.randint(0, 3, (20_000,), generator=generator)
    noise = instance_dependent(inputs, labels, 4, 0.4, seed=0)
    assert abs(noise.realised_rate - 0.4) < 0.015
    torch.testing.assert_close(noise.matrix.sum(1), torch.ones(4, dtype=torch.float64))
    assert (noise.realised_matrix[:3] - noise.matrix[:3]).abs().max() < 0.025
    assert noise.realised_matrix[3].sum() == 0


def test_similar_examples_flip_to_the_same_class() -> None:
    inputs = torch.cat([torch.ones(500, 20), -torch.ones(500, 20)])
    noise = instance_dependent(inputs, torch.zeros(1000, dtype=torch.int64), 3, 0.5, seed=0)
    near = [noise.labels[part][noise.changed[part]] for part in (slice(500), slice(500, 1000))]
    assert all(len(group.unique()) <= 2 for group in near)
    assert near[0].mode().values != near[1].mode().values


def test_no_noise_at_rate_zero() -> None:
    labels = torch.arange(5)
    assert torch.equal(instance_dependent(torch.randn(5, 2), labels, 5, 0.0, seed=0).labels, labels)


def test_bytes_give_the_same_as_floats() -> None:
    images = torch.randint(0, 256, (50, 1, 4, 4), dtype=torch.uint8)
    labels = torch.arange(50) % 5
    first, second = (instance_dependent(x, labels, 5, 0.6, seed=0).labels for x in (images, images.double()))
    assert torch.equal(first, second)


def test_messages_of_instance_noise() -> None:
    inputs, labels = torch.zeros(3, 2), torch.tensor([0, 1, 0])
    with pytest.raises(DataError, match="there are 2 inputs but 3 labels"):
        instance_dependent(inputs[:2], labels, 2, 0.1, seed=0)
    with pytest.raises(DataError, match="not finite"):
        instance_dependent(inputs / 0, labels, 2, 0.1, seed=0)
    with pytest.raises(SettingError, match=r"noise rate 1\.5"):
        instance_dependent(inputs, labels, 2, 1.5, seed=0)
    with pytest.raises(SettingError, match="at least 2 classes"):
        instance_dependent(inputs, labels * 0, 1, 0.5, seed=0)
    with pytest.raises(DataError, match=r"labels\[1\] is 2"):
        instance_dependent(inputs, torch.tensor([0, 2, 0]), 2, 0.5, seed=0)
