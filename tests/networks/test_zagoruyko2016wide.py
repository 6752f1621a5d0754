import pytest
import torch

from selfdistill._core.errors import SettingError
from selfdistill.networks import WideResNet


@pytest.mark.parametrize(
    ("depth", "widen", "classes", "parameters"),
    [(28, 10, 10, 36_479_194), (28, 10, 100, 36_536_884), (16, 4, 10, 2_748_890), (40, 4, 10, 8_949_210)],
)
def test_known_parameter_counts(depth: int, widen: int, classes: int, parameters: int) -> None:
    with torch.device("meta"):
        model = WideResNet(3, depth, widen, classes)
    assert sum(parameter.numel() for parameter in model.parameters()) == parameters


def test_identity_shortcut_skips_the_activation() -> None:
    block = WideResNet(1, 16, 1, 2).blocks[1]
    torch.nn.init.zeros_(block.conv2.weight)
    inputs = torch.randn(2, 16, 4, 4)
    assert torch.equal(block(inputs), inputs)


def test_projection_starts_after_the_activation() -> None:
    block = WideResNet(1, 10, 2, 2).blocks[0]
    torch.nn.init.zeros_(block.conv2.weight)
    inputs = torch.randn(2, 16, 4, 4)
    activated = torch.nn.functional.batch_norm(inputs, None, None, training=True).clamp_min(0)
    torch.testing.assert_close(block(inputs), torch.nn.functional.conv2d(activated, block.projection.weight))


def test_dropout_acts_in_training_only() -> None:
    model = WideResNet(1, 10, 1, 2, dropout=0.5)
    images = torch.randn(2, 1, 8, 8)
    assert not torch.equal(model(images), model(images))
    model.eval()
    assert torch.equal(model(images), model(images))


@pytest.mark.parametrize(("depth", "widen", "message"), [(27, 2, "depth 27"), (4, 2, "depth 4"), (16, 0, "factor 0")])
def test_impossible_sizes(depth: int, widen: int, message: str) -> None:
    with pytest.raises(SettingError, match=message):
        WideResNet(3, depth, widen, 10)
