import numpy as np
import pytest
import torch
from scipy.stats import kstest, truncnorm

from selfdistill._core.errors import DataError, SettingError
from selfdistill._core.rng import torch_generator
from selfdistill.noise import _xia2020instance as module
from selfdistill.noise import flip_rates, instance_dependent


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


def test_messages() -> None:
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
