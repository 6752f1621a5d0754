"""The first layer of every image network: from pixels as stored to numbers of unit scale."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from selfdistill._core.errors import SettingError

__all__ = ["Standardise"]


class Standardise(nn.Module):
    r"""Standardise images by channel, :math:`(x - \mathrm{mean}_c) / \mathrm{std}_c`, in float32.

    The network carries its own statistics, so that a saved network takes pixels as they are stored, uint8 or float.
    The output lies in memory with channels last, where convolutions are 1.6 times as fast on the CPU, also for a
    single channel, which ``Tensor.to(memory_format=...)`` leaves alone. Values do not depend on it.

    Args:
        mean: One value per channel, in the units of the stored pixels (0 to 255 for uint8).
        std: One value per channel, same units. A channel with ``std`` 0 (constant) is only centred.
        channels_last: Lay the output out with channels last; pointless before a flattening layer.

    Raises:
        SettingError: Different lengths, a value that is not finite, or a negative ``std``.

    Example:
        >>> Standardise([128.0], [64.0])(torch.full((1, 1, 1, 2), 192, dtype=torch.uint8)).flatten().tolist()
        [1.0, 1.0]
    """

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
        """Standardise a batch.

        Args:
            inputs: Images ``[b, c, h, w]``, uint8 or float.

        Returns:
            float32 (or the dtype of the module, where it was converted) ``[b, c, h, w]``.
        """
        outputs = (inputs.to(self.mean.dtype) - self.mean) / self.std
        if not self.channels_last:
            return outputs
        if outputs.shape[1] == 1:  # the strides of a single channel are ambiguous; these are read as channels last
            return outputs.squeeze(1).unsqueeze(-1).movedim(-1, 1)
        return outputs.contiguous(memory_format=torch.channels_last)

    def extra_repr(self) -> str:
        """Show the number of channels in ``repr``."""
        return f"channels={len(self.mean)}"
