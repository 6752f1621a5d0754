"""The small networks, the first layer of image networks, and a pair."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from selfdistill._core.errors import SettingError
from selfdistill.networks._build import build
from selfdistill.networks._small_networks import MLP, SmallCNN, Standardise


def test_equals_products_by_hand() -> None:
    model = MLP(6, [5, 4], 3)
    weights = [parameter.detach() for parameter in model.parameters()]
    hidden = inputs = torch.randn(7, 2, 3)
    hidden = inputs.reshape(7, 6)
    for weight, bias in [(weights[0], weights[1]), (weights[2], weights[3])]:
        hidden = (hidden @ weight.T + bias).clamp_min(0)
    torch.testing.assert_close(model(inputs), hidden @ weights[4].T + weights[5])


def test_without_hidden_layers_is_linear() -> None:
    model = MLP(4, [], 2)
    x, y = torch.randn(2, 3, 4)
    torch.testing.assert_close(model(x + y) - model(y), model(x) - model(torch.zeros(3, 4)))


@pytest.mark.parametrize("shape", [(1, 8, 8), (1, 28, 28), (3, 33, 17), (3, 224, 224)])
@pytest.mark.parametrize("blocks", [1, 3, 6])
def test_takes_many_sizes_and_depths(shape: tuple[int, int, int], blocks: int) -> None:
    model = SmallCNN(shape, (4,) * blocks, 5, hidden=7)
    assert model(torch.zeros(2, *shape)).shape == (2, 5)
    assert model.hidden.in_features <= 4 * 4 * 4


def test_large_maps_are_averaged_in_equal_parts() -> None:
    model = SmallCNN((1, 32, 16), (2,), 3).eval()
    maps = model.features[:-1](torch.randn(5, 1, 32, 16))
    blocks = maps.reshape(5, 2, 4, 4, 4, 2).mean((3, 5))
    torch.testing.assert_close(model.features[-1](maps), blocks)


def test_equals_functions_by_hand() -> None:
    model = SmallCNN((2, 8, 8), (4, 6), 3, hidden=5).eval()
    state = model.state_dict()
    hidden = images = torch.randn(3, 2, 8, 8)
    hidden = F.max_pool2d(F.conv2d(images, state["features.0.weight"], padding=1), 2)
    hidden = F.relu(hidden / (1 + 1e-5) ** 0.5)
    hidden = F.max_pool2d(F.conv2d(hidden, state["features.4.weight"], padding=1), 2)
    hidden = F.relu(hidden / (1 + 1e-5) ** 0.5).flatten(1)
    hidden = F.relu(hidden @ state["hidden.weight"].T + state["hidden.bias"])
    logits = hidden @ state["classifier.weight"].T + state["classifier.bias"]
    torch.testing.assert_close(model(images), logits)


def test_activations_keep_their_scale() -> None:
    model = SmallCNN((8, 16, 16), (64, 64, 64), 10)
    convolution = model.features[0]
    outputs = convolution(torch.randn(8, 8, 16, 16))
    assert outputs.std().item() == pytest.approx(2**0.5, rel=0.1)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32, torch.float64])
def test_equals_numpy(channels: int, dtype: torch.dtype) -> None:
    images = torch.randint(0, 256, (4, channels, 5, 6)).to(dtype)
    mean, std = list(range(10, 10 + channels)), list(range(3, 3 + channels))
    result = Standardise(mean, std)(images)
    expected = (images.numpy().astype(np.float32) - np.reshape(mean, (-1, 1, 1))) / np.reshape(std, (-1, 1, 1))
    assert result.dtype == torch.float32
    np.testing.assert_allclose(result.numpy(), expected, rtol=1e-6)


@pytest.mark.parametrize("channels", [1, 3])
def test_convolutions_see_channels_last(channels: int) -> None:
    standardised = Standardise([0.0] * channels, [1.0] * channels)(torch.zeros(2, channels, 8, 8))
    after = torch.nn.Conv2d(channels, 4, 3)(standardised)
    assert after.is_contiguous(memory_format=torch.channels_last)


def test_constant_channel_is_only_centred() -> None:
    assert Standardise([3.0], [0.0])(torch.full((1, 1, 2, 2), 5)).unique().tolist() == [2.0]


def test_statistics_are_state() -> None:
    first, second = Standardise([3.0], [2.0]), Standardise([0.0], [1.0])
    second.load_state_dict(first.state_dict())
    images = torch.rand(2, 1, 3, 3)
    assert torch.equal(first(images), second(images))


@pytest.mark.parametrize(
    ("mean", "std", "message"),
    [
        ([0.0], [1.0, 1.0], "1 means but 2 standard deviations"),
        ([float("nan")], [1.0], "not finite"),
        ([0.0], [-1.0], r"std=\[-1.0\]"),
    ],
)
def test_wrong_statistics(mean: list[float], std: list[float], message: str) -> None:
    with pytest.raises(SettingError, match=message):
        Standardise(mean, std)


def test_training_gives_both_and_evaluation_the_mean_prediction():
    pair = build("2*mlp:7", (4,), 3, seed=0)
    x = torch.randn(5, 4, generator=torch.Generator().manual_seed(0))
    both = pair(x)
    assert torch.equal(both[:, 0], pair.a(x))
    assert torch.equal(both[:, 1], pair(x, 1))
    pair.eval()
    mean = (pair.a(x).softmax(-1) + pair.b(x).softmax(-1)) / 2
    torch.testing.assert_close(pair(x).softmax(-1), mean)


def test_the_first_is_the_single_network_and_the_second_another():
    pair, single = build("2*mlp:7", (4,), 3, seed=3), build("mlp:7", (4,), 3, seed=3)
    for a, b, one in zip(pair.a.parameters(), pair.b.parameters(), single.parameters(), strict=True):
        assert torch.equal(a, one)
        assert one.ndim == 1 or not torch.equal(b, one)


def test_a_pair_of_pairs_is_refused():
    with pytest.raises(SettingError, match="is not one of"):
        build("2*2*mlp", (4,), 3, seed=0)
