"""The networks in torch, loaded with the weights of `problems`."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.ntk_peers.problems import BLOCKS, CLASSES, MLP_WIDTHS


class Residual(nn.Module):
    """Two convolutions, the first of stride 2, and a shortcut of one pixel."""

    def __init__(self, c: int, m: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(c, m, 3, stride=2, padding=1)
        self.second = nn.Conv2d(m, m, 3, padding=1)
        self.shortcut = nn.Conv2d(c, m, 1, stride=2)
        self.relu = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        """Compute the block's output."""
        return self.relu(self.second(self.relu(self.first(x))) + self.shortcut(x))


class CNN(nn.Module):
    """Stem, two residual blocks, mean over pixels, head: 289,482 parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, BLOCKS[0][0], 3, padding=1)
        self.relu = nn.ReLU()
        for i, (c, m) in enumerate(BLOCKS):
            self.add_module(str(i), Residual(c, m))
        self.head = nn.Linear(BLOCKS[-1][1], CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        """Compute logits."""
        x = self.relu(self.stem(x))
        for i in range(len(BLOCKS)):
            x = self.get_submodule(str(i))(x)
        return self.head(x.mean((2, 3)))


class MLP(nn.Module):
    """Three Linear layers: 1,863,690 parameters."""

    def __init__(self) -> None:
        super().__init__()
        for i, (a, b) in enumerate(pairwise(MLP_WIDTHS)):
            self.add_module(str(i), nn.Linear(a, b))
        self.relu = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        """Compute logits."""
        x = self.relu(self.get_submodule("0")(x))
        return self.get_submodule("2")(self.relu(self.get_submodule("1")(x)))


class Transformer(nn.Module):
    """Two encoder layers of 32 numbers and 2 heads on 16 tokens, learned positions, mean over tokens."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Linear(16, 32)
        self.position = nn.Parameter(0.1 * torch.randn(16, 32))
        layer = nn.TransformerEncoderLayer(32, 2, 64, dropout=0.0, batch_first=True, norm_first=True)
        self.layers = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.head = nn.Linear(32, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        """Compute logits."""
        return self.head(self.layers(self.embed(x) + self.position).mean(1))


def load(network: str, named: dict[str, np.ndarray], dtype: torch.dtype, device: str = "cpu") -> nn.Module:
    """Build a network in evaluation mode.

    Args:
        network: ``cnn``, ``mlp``, ``resnet20`` or ``resnet18`` (BatchNorm) or ``transformer``.
        named: Weights and buffers; if empty, they are drawn with seed 0.
        dtype: Data type.
        device: Where.
    """
    torch.manual_seed(0)
    if network.startswith("resnet"):
        from selfdistill import networks

        model: nn.Module = networks.build(network, (3, 32, 32), CLASSES, seed=0).network  # without its own scaling
        for module in model.modules():  # statistics as after some training, not zeros and ones
            if isinstance(module, nn.BatchNorm2d):
                module.running_mean.normal_(0.0, 0.1)
                module.running_var.uniform_(0.5, 1.5)
    else:
        model = {"cnn": CNN, "mlp": MLP, "transformer": Transformer}[network]()
    if named:
        model.load_state_dict({name: torch.from_numpy(value) for name, value in named.items()})
    return model.to(device, dtype).eval()
