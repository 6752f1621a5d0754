import pytest
import torch
from torch.nn import functional as F

from selfdistill.networks import SmallCNN


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
