import torch
from torch import nn

from selfdistill.networks import build, describe


def test_counts_of_one_convolution_by_hand() -> None:
    model = nn.Conv2d(3, 5, 3, padding=1, bias=False)
    size = describe(model, (3, 10, 8))
    assert size.parameters == 3 * 5 * 9
    assert size.flops == 2 * 3 * 5 * 9 * 10 * 8


def test_known_cost_of_resnet20() -> None:
    size = describe(build("resnet20", (3, 32, 32), 10, seed=0), (3, 32, 32))
    assert 40_500_000 < size.flops / 2 < 40_600_000  # multiply-adds; the usual figure, 41 M


def test_modes_and_statistics_stay() -> None:
    model = build("cnn", (1, 8, 8), 2, seed=0)
    model.network.classifier.eval()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    describe(model, (1, 8, 8))
    assert model.training
    assert not model.network.classifier.training
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
