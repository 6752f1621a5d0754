"""Shake-Shake regularisation of two-branch residual networks.

References:
    X. Gastaldi, "Shake-Shake regularization", 2017, arXiv:1705.07485; section 2 and the variant "Shake-Shake-Image".
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from selfdistill._core.errors import SettingError

__all__ = ["ShakeShake", "shake"]


def shake(first: Tensor, second: Tensor, alpha: Tensor, beta: Tensor) -> Tensor:
    r"""Mix two branches by :math:`\alpha` going forward and by :math:`\beta` going backward.

    The value is :math:`\alpha x_1 + (1-\alpha) x_2`; the gradients with respect to :math:`x_1` and :math:`x_2` are
    :math:`\beta` and :math:`1-\beta` times that of the output.

    Args:
        first: Output of the first branch, ``[b, ...]``.
        second: Output of the second branch, same shape.
        alpha: Share of the first branch going forward; broadcasts to ``first``. Gets no gradient.
        beta: Share of the first branch going backward.

    Returns:
        The mixture, same shape.

    Example:
        >>> x = torch.ones(1, requires_grad=True)
        >>> shake(x, torch.zeros(1), torch.tensor(0.75), torch.tensor(0.25)).backward()
        >>> x.grad.item()
        0.25

    References:
        X. Gastaldi, 2017, arXiv:1705.07485, equation 2 and figure 1.
    """
    backward = torch.lerp(second, first, beta)
    return backward + (torch.lerp(second, first, alpha) - backward).detach()


def _branch(width_in: int, width_out: int, stride: int) -> nn.Sequential:
    return nn.Sequential(
        nn.ReLU(),
        nn.Conv2d(width_in, width_out, 3, stride=stride, padding=1, bias=False),
        nn.BatchNorm2d(width_out),
        nn.ReLU(inplace=True),
        nn.Conv2d(width_out, width_out, 3, padding=1, bias=False),
        nn.BatchNorm2d(width_out),
    )


class ShiftShortcut(nn.Module):
    """Shortcut of two 1x1 convolutions, the second on the image shifted by one pixel, side by side.

    Args:
        width_in: Channels of the input.
        width_out: Channels of the output; even.
        stride: Step in pixels.
    """

    def __init__(self, width_in: int, width_out: int, stride: int) -> None:
        super().__init__()
        self.stride = stride
        self.straight = nn.Conv2d(width_in, width_out // 2, 1, bias=False)
        self.shifted = nn.Conv2d(width_in, width_out // 2, 1, bias=False)
        self.bn = nn.BatchNorm2d(width_out)

    def forward(self, inputs: Tensor) -> Tensor:
        """Project both views and normalise.

        Args:
            inputs: ``[b, width_in, h, w]``.

        Returns:
            ``[b, width_out, ceil(h / stride), ceil(w / stride)]``.
        """
        inputs = F.relu(inputs)
        shifted = F.pad(inputs, (1, -1, 1, -1))
        # Pixels are picked here, not by a stride: below eight channels the backward pass of a strided 1x1 convolution
        # writes past its memory on processors with AVX2 alone (oneDNN issue 6035).
        picked = [image[..., :: self.stride, :: self.stride] for image in (inputs, shifted)]
        outputs: Tensor = self.bn(torch.cat([self.straight(picked[0]), self.shifted(picked[1])], dim=1))
        return outputs


class ShakeBlock(nn.Module):
    """Two branches, mixed at random for each image in training and by halves in evaluation, plus a shortcut.

    Args:
        width_in: Channels of the input.
        width_out: Channels of the output.
        stride: Step of the first convolutions.
    """

    def __init__(self, width_in: int, width_out: int, stride: int) -> None:
        super().__init__()
        self.first = _branch(width_in, width_out, stride)
        self.second = _branch(width_in, width_out, stride)
        same = (width_in, stride) == (width_out, 1)
        self.shortcut: nn.Module = nn.Identity() if same else ShiftShortcut(width_in, width_out, stride)

    def forward(self, inputs: Tensor) -> Tensor:
        """Add the mixture of the branches to the shortcut.

        Args:
            inputs: ``[b, width_in, h, w]``.

        Returns:
            ``[b, width_out, ceil(h / stride), ceil(w / stride)]``.
        """
        first, second, shortcut = self.first(inputs), self.second(inputs), self.shortcut(inputs)
        if self.training:
            alpha, beta = torch.rand(2, len(first), 1, 1, 1, dtype=first.dtype, device=first.device)
            mixture = shake(first, second, alpha, beta)
        else:
            mixture = (first + second) / 2
        outputs: Tensor = shortcut + mixture
        return outputs


class ShakeShake(nn.Module):
    """Two-branch residual network, "depth 2 x width d", with Shake-Shake-Image regularisation.

    Training draws from the global random generator of torch on the device of the inputs; seed that for repeatable
    training.

    Args:
        in_channels: Channels of the images.
        depth: Convolutions on the longest path; ``6 n + 2``, n blocks in each of three stages.
        width: Channels of the first stage, even; the next have twice and four times as many.
        num_classes: Number of logits.

    Raises:
        SettingError: ``depth`` is not ``6 n + 2``, or ``width`` is odd or below 2.

    Example:
        >>> sum(parameter.numel() for parameter in ShakeShake(3, 26, 32, 10).parameters()) / 1e6
        2.9...

    References:
        X. Gastaldi, 2017, arXiv:1705.07485, table 1.
    """

    def __init__(self, in_channels: int, depth: int, width: int, num_classes: int) -> None:
        super().__init__()
        if depth < 8 or (depth - 2) % 6:
            raise SettingError(
                f"depth {depth} of Shake-Shake is not 6 n + 2 with n of at least 1", "Use 8, 14, 20 or 26."
            )
        if width < 2 or width % 2:
            raise SettingError(f"width {width} of Shake-Shake is not an even number of at least 2", "Use 32, 64 or 96.")
        self.stem = nn.Sequential(nn.Conv2d(in_channels, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16))
        layers: list[nn.Module] = []
        width_in = 16
        for stage in range(3):
            width_out = width * 2**stage
            for number in range((depth - 2) // 6):
                layers.append(ShakeBlock(width_in, width_out, 2 if stage > 0 and number == 0 else 1))
                width_in = width_out
        self.blocks = nn.Sequential(*layers)
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
        hidden = F.relu(self.blocks(self.stem(inputs)))
        logits: Tensor = self.classifier(torch.mean(hidden, dim=(2, 3)))
        return logits
