"""The first layer of image networks, two small networks, and a pair of any two."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from selfdistill._core.errors import SettingError

_GRID = 4  # side of the feature map that the classifier sees, at most


class Standardise(nn.Module):
    r"""Standardise images by channel, :math:`(x - \mathrm{mean}_c) / \mathrm{std}_c`, in float32."""

    # The network carries its own statistics, so that a saved network takes pixels as they are stored, uint8 or float.
    # The output lies in memory with channels last, where convolutions are 1.6 times as fast on the CPU, also for a
    # single channel, which ``Tensor.to(memory_format=...)`` leaves alone. Values do not depend on it.

    mean: Tensor
    std: Tensor

    def __init__(self, mean: Sequence[float], std: Sequence[float], *, channels_last: bool = True) -> None:
        super().__init__()
        # On the CPU whatever the default device is: on "meta", where loading builds networks, values cannot be checked.
        centre, scale = (torch.tensor(list(values), dtype=torch.float32, device="cpu") for values in (mean, std))
        if len(centre) != len(scale):
            raise SettingError(
                f"{len(centre)} means but {len(scale)} standard deviations", "Pass one of each per channel."
            )
        if not (centre.isfinite().all() and scale.isfinite().all() and (scale >= 0).all()):
            raise SettingError(
                f"statistics mean={list(mean)}, std={list(std)} are not finite numbers with std of at least 0",
                "Compute them from the training images.",
            )
        self.channels_last = channels_last
        self.register_buffer("mean", centre.view(-1, 1, 1))
        self.register_buffer("std", torch.where(scale > 0, scale, 1.0).view(-1, 1, 1))

    def forward(self, inputs: Tensor) -> Tensor:
        """Standardise images ``[b, c, h, w]``, uint8 or float; float32, or the dtype of the module."""
        outputs = (inputs.to(self.mean.dtype) - self.mean) / self.std
        if not self.channels_last:
            return outputs
        if outputs.shape[1] == 1:  # the strides of a single channel are ambiguous; these are read as channels last
            return outputs.squeeze(1).unsqueeze(-1).movedim(-1, 1)
        return outputs.contiguous(memory_format=torch.channels_last)

    def extra_repr(self) -> str:
        """Show the number of channels in ``repr``."""
        return f"channels={len(self.mean)}"


class MLP(nn.Module):
    """Multilayer perceptron: Linear and ReLU, without normalisation; images are flattened."""

    def __init__(self, in_features: int, hidden: Sequence[int], num_classes: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for width_in, width_out in zip([in_features, *hidden], hidden, strict=False):
            layers += [nn.Linear(width_in, width_out), nn.ReLU(inplace=True)]
        self.hidden = nn.Sequential(*layers)
        self.classifier = nn.Linear(hidden[-1] if hidden else in_features, num_classes)

    def forward(self, inputs: Tensor) -> Tensor:
        """Compute logits ``[b, num_classes]`` of a batch ``[b, ...]``."""
        logits: Tensor = self.classifier(self.hidden(inputs.flatten(1)))
        return logits


class SmallCNN(nn.Module):
    """Blocks of 3x3 convolution, pooling, BatchNorm and ReLU; a hidden layer; a linear classifier."""

    # Every block halves the image by max pooling while both sides are at least 4. Pooling comes before BatchNorm, so
    # that normalisation and ReLU run on a quarter of the numbers: 1.4 times as fast as the usual order. Feature maps
    # still larger than 4 by 4 are averaged down to that, so that the number of weights does not grow with the image.

    def __init__(self, image: tuple[int, int, int], widths: Sequence[int], num_classes: int, hidden: int = 128) -> None:
        super().__init__()
        channels, height, width = image
        layers: list[nn.Module] = []
        for width_in, width_out in zip([channels, *widths], widths, strict=False):
            layers.append(nn.Conv2d(width_in, width_out, 3, padding=1, bias=False))
            if min(height, width) >= 4:
                layers.append(nn.MaxPool2d(2))
                height, width = height // 2, width // 2
            layers += [nn.BatchNorm2d(width_out), nn.ReLU(inplace=True)]
        grid = min(height, _GRID), min(width, _GRID)
        if grid != (height, width):
            layers.append(nn.AdaptiveAvgPool2d(grid))
        self.features = nn.Sequential(*layers)
        self.hidden = nn.Linear(widths[-1] * grid[0] * grid[1], hidden)
        self.classifier = nn.Linear(hidden, num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")

    def forward(self, inputs: Tensor) -> Tensor:
        """Compute logits ``[b, num_classes]`` of a batch ``[b, ...]``."""
        features = torch.relu(self.hidden(self.features(inputs).flatten(1)))
        logits: Tensor = self.classifier(features)
        return logits


class Pair(nn.Module):
    """Two networks as one module."""

    # In training mode both networks' logits come out side by side; in evaluation mode, one set of logits whose softmax
    # is the mean of both predictions:
    # z = \log \tfrac12 (\mathrm{softmax}(a(x)) + \mathrm{softmax}(b(x)))
    # Han et al. (2018), arXiv 1804.06872 (two networks that teach each other).

    def __init__(self, a: nn.Module, b: nn.Module) -> None:
        super().__init__()
        self.a, self.b = a, b

    def forward(self, x: Tensor, which: int | None = None) -> Tensor:
        """Return logits ``[n, 2, K]`` in training mode, ``[n, K]`` in evaluation mode or of the network ``which``."""
        if which is not None:
            one: Tensor = (self.a, self.b)[which](x)
            return one
        logits = torch.stack([self.a(x), self.b(x)], dim=1)
        if self.training:
            return logits
        return logits.float().log_softmax(-1).logsumexp(1) - torch.tensor(2.0, device=logits.device).log()
