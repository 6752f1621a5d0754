import pytest
import torch
from torch.nn import functional as F

from selfdistill.networks import SmallCNN


@pytest.mark.parametrize("shape", [(1, 8, 8), (1, 28, 28), (3, 33, 17), (3, 224, 224)])
def test_takes_many_sizes(shape: tuple[int, int, int]) -> None:
    model = SmallCNN(shape[0], (4, 6, 8), 5)
    assert model(torch.zeros(1, *shape)).shape == (1, 5)


def test_equals_functions_by_hand() -> None:
    model = SmallCNN(2, (4, 6), 3).eval()
    state = model.state_dict()
    hidden = images = torch.randn(3, 2, 8, 8)
    hidden = F.max_pool2d(F.conv2d(images, state["features.0.weight"], padding=1), 2)
    hidden = F.relu(hidden / (1 + 1e-5) ** 0.5)
    hidden = F.relu(F.conv2d(hidden, state["features.4.weight"], padding=1) / (1 + 1e-5) ** 0.5)
    logits = hidden.mean((2, 3)) @ state["classifier.weight"].T + state["classifier.bias"]
    torch.testing.assert_close(model(images), logits)


def test_activations_keep_their_scale() -> None:
    model = SmallCNN(8, (64, 64, 64), 10)
    convolution = model.features[0]
    outputs = convolution(torch.randn(8, 8, 16, 16))
    assert outputs.std().item() == pytest.approx(2**0.5, rel=0.1)
