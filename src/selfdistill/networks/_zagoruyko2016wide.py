"""Wide residual networks.

References:
    S. Zagoruyko, N. Komodakis, "Wide residual networks", BMVC 2016, arXiv:1605.07146; table 1.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from selfdistill._core.errors import SettingError

__all__ = ["WideResNet"]


class PreactivationBlock(nn.Module):
    """BatchNorm, ReLU and 3x3 convolution, twice; where shapes differ the shortcut starts after the first ReLU.

    Args:
        width_in: Channels of the input.
        width_out: Channels of the output.
        stride: Step of the first convolution.
        dropout: Share of activations dropped between the convolutions.
    """

    def __init__(self, width_in: int, width_out: int, stride: int, dropout: float) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(width_in)
        self.conv1 = nn.Conv2d(width_in, width_out, 3, stride=stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width_out)
        self.dropout = nn.Dropout(dropout)
        self.conv2 = nn.Conv2d(width_out, width_out, 3, padding=1, bias=False)
        self.projection = (
            nn.Conv2d(width_in, width_out, 1, stride=stride, bias=False)
            if (width_in, stride) != (width_out, 1)
            else None
        )

    def forward(self, inputs: Tensor) -> Tensor:
        """Add the residual to the shortcut.

        Args:
            inputs: ``[b, width_in, h, w]``.

        Returns:
            ``[b, width_out, ceil(h / stride), ceil(w / stride)]``.
        """
        activated = F.relu(self.bn1(inputs))
        shortcut = inputs if self.projection is None else self.projection(activated)
        hidden = self.dropout(F.relu(self.bn2(self.conv1(activated))))
        residual: Tensor = self.conv2(hidden)
        return residual + shortcut


class WideResNet(nn.Module):
    """Wide residual network WRN-depth-widen for small images.

    Args:
        in_channels: Channels of the images.
        depth: Convolutions on the longest path; ``6 n + 4``, n blocks in each of three stages.
        widen: Factor on the widths 16, 32, 64.
        num_classes: Number of logits.
        dropout: Share of activations dropped inside the blocks.

    Raises:
        SettingError: ``depth`` is not ``6 n + 4``, or ``widen`` is below 1.

    Example:
        >>> sum(parameter.numel() for parameter in WideResNet(3, 16, 4, 10).parameters())
        2748890

    References:
        S. Zagoruyko, N. Komodakis, BMVC 2016, arXiv:1605.07146.
    """

    def __init__(self, in_channels: int, depth: int, widen: int, num_classes: int, dropout: float = 0.0) -> None:
        super().__init__()
        if depth < 10 or (depth - 4) % 6:
            raise SettingError(
                f"depth {depth} of a wide ResNet is not 6 n + 4 with n of at least 1", "Use 10, 16, 22, 28, 34 or 40."
            )
        if widen < 1:
            raise SettingError(f"widening factor {widen} is below 1", "Use 1 or more.")
        self.conv1 = nn.Conv2d(in_channels, 16, 3, padding=1, bias=False)
        layers: list[nn.Module] = []
        width_in = 16
        for stage in range(3):
            width = 16 * widen * 2**stage
            for number in range((depth - 4) // 6):
                stride = 2 if stage > 0 and number == 0 else 1
                layers.append(PreactivationBlock(width_in, width, stride, dropout))
                width_in = width
        self.blocks = nn.Sequential(*layers)
        self.bn = nn.BatchNorm2d(width_in)
        self.classifier = nn.Linear(width_in, num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, inputs: Tensor) -> Tensor:
        """Compute logits.

        Args:
            inputs: Images ``[b, in_channels, h, w]``.

        Returns:
            Logits ``[b, num_classes]``.
        """
        hidden = F.relu(self.bn(self.blocks(self.conv1(inputs))))
        logits: Tensor = self.classifier(torch.mean(hidden, dim=(2, 3)))
        return logits
