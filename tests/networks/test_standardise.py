import numpy as np
import pytest
import torch

from selfdistill._core.errors import SettingError
from selfdistill.networks import Standardise


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
