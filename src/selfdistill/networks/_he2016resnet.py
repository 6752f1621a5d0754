"""Residual networks for small images (He, Zhang, Ren & Sun 2016, arXiv 1512.03385)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def _convolution(width_in: int, width_out: int, stride: int, size: int = 3) -> nn.Conv2d:
    return nn.Conv2d(width_in, width_out, size, stride=stride, padding=size // 2, bias=False)


class PadShortcut(nn.Module):
    """Shortcut without parameters (option A of the paper): every ``stride``-th pixel, new channels zero."""

    def __init__(self, extra: int, stride: int) -> None:
        super().__init__()
        self.extra, self.stride = extra, stride

    def forward(self, inputs: Tensor) -> Tensor:
        """Subsample ``[b, c, h, w]`` and pad with zero channels."""
        before = self.extra // 2
        return F.pad(inputs[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, before, self.extra - before))


class BasicBlock(nn.Module):
    """Two 3x3 convolutions with BatchNorm; a shortcut by projection (option B) or padding (option A)."""

    def __init__(self, width_in: int, width_out: int, stride: int, *, projection: bool) -> None:
        super().__init__()
        self.conv1 = _convolution(width_in, width_out, stride)
        self.bn1 = nn.BatchNorm2d(width_out)
        self.conv2 = _convolution(width_out, width_out, 1)
        self.bn2 = nn.BatchNorm2d(width_out)
        self.shortcut: nn.Module = nn.Identity()
        if (width_in, stride) != (width_out, 1):
            self.shortcut = (
                nn.Sequential(_convolution(width_in, width_out, stride, size=1), nn.BatchNorm2d(width_out))
                if projection
                else PadShortcut(width_out - width_in, stride)
            )

    def forward(self, inputs: Tensor) -> Tensor:
        """Add the residual to the shortcut."""
        hidden = F.relu(self.bn1(self.conv1(inputs)))
        return F.relu(self.bn2(self.conv2(hidden)) + self.shortcut(inputs))


class ResNet(nn.Module):
    """Residual network with a 3x3 stem and stages of basic blocks; every stage but the first halves the image."""

    # K. He, X. Zhang, S. Ren, J. Sun, CVPR 2016, arXiv:1512.03385.

    def __init__(
        self, in_channels: int, blocks: Sequence[int], widths: Sequence[int], num_classes: int, *, projection: bool
    ) -> None:
        super().__init__()
        self.conv1 = _convolution(in_channels, widths[0], 1)
        self.bn1 = nn.BatchNorm2d(widths[0])
        layers: list[nn.Module] = []
        width_in = widths[0]
        for stage, (count, width) in enumerate(zip(blocks, widths, strict=True)):
            for number in range(count):
                stride = 2 if stage > 0 and number == 0 else 1
                layers.append(BasicBlock(width_in, width, stride, projection=projection))
                width_in = width
        self.blocks = nn.Sequential(*layers)
        self.classifier = nn.Linear(width_in, num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, inputs: Tensor) -> Tensor:
        """Compute logits ``[b, num_classes]`` of a batch ``[b, ...]``."""
        hidden = self.blocks(F.relu(self.bn1(self.conv1(inputs))))
        logits: Tensor = self.classifier(torch.mean(hidden, dim=(2, 3)))
        return logits
