"""Per-sample weight gradients of convolutions: patches of a few examples at a time, so that they stay in the cache."""

from __future__ import annotations

from collections.abc import Generator
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

__all__ = ["AT_ONCE", "conv_weight"]

AT_ONCE = 8  # examples whose patches are laid out together on a CPU


def conv_weight(module: nn.Conv1d | nn.Conv2d, x: Tensor, g: Tensor, rows: slice, out: Tensor) -> None:
    """Compute the gradient of a convolution's weight for each example and direction."""
    if isinstance(module, nn.Conv1d):
        x, g = x[:, :, None], g[:, :, :, None]
    m, r, channels = g.shape[:3]
    s = g[0, 0, 0].numel()
    if module.groups == 1:
        rowwise = g[:, :, rows].reshape(m, -1, s)
        for first, patches in _patches(module, x, g.shape[3:]):
            last = first + len(patches)
            target = out[first:last].view(last - first, rowwise.shape[1], -1)
            torch.bmm(rowwise[first:last], patches.transpose(1, 2), out=target)
        return
    k = module.groups
    by_group = g.reshape(m, r, k, channels // k, s).transpose(1, 2).reshape(m, k, -1, s)
    for first, patches in _patches(module, x, g.shape[3:]):
        last = first + len(patches)
        grads = by_group[first:last] @ patches.reshape(last - first, k, -1, s).transpose(2, 3)
        grads = grads.reshape(last - first, k, r, channels // k, -1).transpose(1, 2)
        out[first:last] = grads.reshape(last - first, r, channels, -1)[:, :, rows].flatten(2)


class _Window(NamedTuple):
    """Two numbers each: along height and width."""

    kernel: tuple[int, int]
    stride: tuple[int, int]
    dilation: tuple[int, int]
    padding: list[int]


def _window(module: nn.Conv1d | nn.Conv2d) -> _Window:
    around = list(module._reversed_padding_repeated_twice)  # pads as forward() does, also for padding="same"
    if isinstance(module, nn.Conv1d):
        k, s, d = module.kernel_size[0], module.stride[0], module.dilation[0]
        return _Window((1, k), (1, s), (1, d), [*around, 0, 0])
    return _Window(
        (module.kernel_size[0], module.kernel_size[1]),
        (module.stride[0], module.stride[1]),
        (module.dilation[0], module.dilation[1]),
        around,
    )


def _patches(module: nn.Conv1d | nn.Conv2d, x: Tensor, size: torch.Size) -> Generator[tuple[int, Tensor]]:
    """Lay out what each output position looks at: a first example, and ``[few, C · kernel, S]`` from it on."""
    w, (high, wide) = _window(module), size
    m, channels = x.shape[:2]
    step = min(m, AT_ONCE if x.device.type == "cpu" else m)
    plain = w.kernel == (1, 1) and not any(w.padding)
    if not plain:
        left, right, top, bottom = w.padding
        padded = x.new_zeros(step, channels, x.shape[2] + top + bottom, x.shape[3] + left + right)
        t = padded.stride()
        view = padded.as_strided(
            (step, channels, *w.kernel, high, wide),
            (t[0], t[1], t[2] * w.dilation[0], t[3] * w.dilation[1], t[2] * w.stride[0], t[3] * w.stride[1]),
        )
        laid = x.new_empty(view.shape)
    for first in range(0, m, step):
        some = x[first : first + step]
        if plain:
            yield first, some[:, :, :: w.stride[0], :: w.stride[1]].reshape(len(some), channels, -1)
            continue
        if module.padding_mode == "zeros":
            padded[: len(some), :, top : top + x.shape[2], left : left + x.shape[3]] = some
        else:
            padded[: len(some)] = functional.pad(some, w.padding, mode=module.padding_mode)
        laid[: len(some)].copy_(view[: len(some)])
        yield first, laid[: len(some)].view(len(some), -1, high * wide)
