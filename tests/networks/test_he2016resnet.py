import pytest
import torch

from selfdistill.networks._build import build
from selfdistill.networks._he2016resnet import ResNet


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("resnet18", 11_173_962),
        ("resnet34", 21_282_122),
        ("resnet20", 269_722),
        ("resnet32", 464_154),
        ("resnet44", 658_586),
        ("resnet56", 853_018),
    ],
)
def test_known_parameter_counts_on_cifar10(name: str, parameters: int) -> None:
    model = build(name, (3, 32, 32), 10, seed=0)
    assert sum(parameter.numel() for parameter in model.parameters()) == parameters


def test_depth_is_in_the_name() -> None:
    for depth in (20, 32, 44, 56):
        model = build(f"resnet{depth}", (3, 32, 32), 10, seed=0)
        layers = [m for m in model.modules() if isinstance(m, torch.nn.Conv2d | torch.nn.Linear)]
        assert len(layers) == depth


def test_padding_shortcut_subsamples_and_centres() -> None:
    model = ResNet(1, (1, 1), (2, 6), 2, projection=False)
    block = model.blocks[1]
    inputs = torch.randn(1, 2, 4, 4)
    outputs = block.shortcut(inputs)
    assert outputs.shape == (1, 6, 2, 2)
    assert torch.equal(outputs[:, 2:4], inputs[:, :, ::2, ::2])
    assert outputs[:, [0, 1, 4, 5]].abs().sum() == 0


def test_a_block_of_zero_residual_is_its_shortcut() -> None:
    block = ResNet(1, (1,), (4,), 2, projection=True).blocks[0]
    torch.nn.init.zeros_(block.bn2.weight)
    inputs = torch.rand(2, 4, 5, 5)
    assert torch.equal(block(inputs), inputs)
