"""Per-sample gradients of a layer's parameters, from what went into the layer and the gradient at what came out."""

from __future__ import annotations

from collections.abc import Callable, Generator

import torch
from torch import Tensor, nn
from torch.nn import functional

from selfdistill.ntk._copies import Copies

AT_ONCE = 8  # examples whose patches are laid out together on a CPU
_FEW = 4

# A rule gets the module, its input x [m, ...], the gradients g [m, R, ...] at its output, and which rows of the
# parameter are wanted; it writes the gradients of the R directions for each example to out [m, R, rows · rest].
_Rule = Callable[[nn.Module, Tensor, Tensor, slice, Tensor], None]


def own_parameters(module: nn.Module) -> dict[str, nn.Parameter]:
    """Give the parameters that a module holds itself, by their local names."""
    return dict(module.named_parameters(recurse=False, remove_duplicate=False))


def is_known(module: nn.Module) -> bool:
    """Say whether there is a rule for each of the module's own parameters."""
    own = own_parameters(module)
    return bool(own) and all(_rule(module, name) is not None for name in own)


def fits(module: nn.Module, x: Tensor, out: Tensor, m: int) -> bool:
    """Say whether what went into a layer and came out has the shape and the precision that its class is made for."""
    if not x.ndim or not out.ndim or not len(x) == len(out) == m:
        return False
    if any(v.is_floating_point() and v.dtype != out.dtype for v in (x, *own_parameters(module).values())):
        return False
    if isinstance(module, nn.Linear):
        return (*x.shape[:-1], module.out_features) == (*out.shape,) and x.shape[-1] == module.in_features
    if isinstance(module, nn.Conv1d | nn.Conv2d):
        same = x.ndim == out.ndim == len(module.kernel_size) + 2
        return same and (x.shape[1], out.shape[1]) == (module.in_channels, module.out_channels)
    if isinstance(module, nn.Embedding):
        return not x.is_floating_point() and (*x.shape, module.embedding_dim) == (*out.shape,)
    if isinstance(module, nn.LayerNorm | nn.RMSNorm):
        return x.shape == out.shape and x.shape[1:][-len(module.normalized_shape) :] == module.normalized_shape
    if isinstance(module, Copies):
        return x.shape == out.shape == (m, *module.shape[1:])
    channels = module.num_channels if isinstance(module, nn.GroupNorm) else module.num_features
    return x.shape == out.shape and x.ndim > 1 and x.shape[1] == channels


def layer_rows(module: nn.Module, name: str, x: Tensor, g: Tensor, rows: slice, out: Tensor) -> None:
    """Compute per-sample gradients of some rows of one parameter."""
    rule = _rule(module, name)
    if rule is None:
        raise KeyError(f"{type(module).__name__}.{name}")
    rule(module, x, g, rows, out)


def subtract_sum(module: nn.Module, name: str, x: Tensor, g: Tensor, out: Tensor) -> None:
    """Subtract the gradient of one parameter, summed over examples as autograd does."""
    if isinstance(module, nn.Linear) and name == "weight":
        g, x = g.reshape(-1, g.shape[-1]), x.reshape(-1, x.shape[-1])
        target = out.view(g.shape[1], x.shape[1])
        if len(g) > _FEW:
            target.addmm_(g.T, x, alpha=-1)
        for i in range(len(g) if len(g) <= _FEW else 0):  # for two rows 4 times as fast as the product
            target.addr_(g[i], x[i], alpha=-1)
        return
    rows = g.new_empty(len(g), 1, out.numel())
    layer_rows(module, name, x, g[:, None], slice(0, None), rows)
    out.sub_(rows.sum((0, 1)))


def _rule(module: nn.Module, name: str) -> _Rule | None:
    for kind, rules in _RULES.items():
        if isinstance(module, kind):
            special = isinstance(module, nn.Embedding) and (module.max_norm is not None or module.scale_grad_by_freq)
            return None if special else rules.get(name)
    return None


def _linear_weight(module: nn.Module, x: Tensor, g: Tensor, rows: slice, out: Tensor) -> None:
    g = g[..., rows]
    m, r, o, i = len(x), g.shape[1], g.shape[-1], x.shape[-1]
    if x.ndim == 2:
        torch.mul(g[..., None], x[:, None, None, :], out=out.view(m, r, o, i))
        return
    by_position = g.reshape(m, r, -1, o).transpose(1, 2).reshape(m, -1, r * o)  # a view, where there is one direction
    torch.bmm(by_position.transpose(1, 2), x.reshape(m, -1, i), out=out.view(m, r * o, i))


def _linear_bias(module: nn.Module, x: Tensor, g: Tensor, rows: slice, out: Tensor) -> None:
    out.copy_(g[..., rows].flatten(2, -2).sum(2) if g.ndim > 3 else g[..., rows])


def _embedding_weight(module: nn.Module, x: Tensor, g: Tensor, rows: slice, out: Tensor) -> None:
    assert isinstance(module, nn.Embedding)
    first, last, _ = rows.indices(module.num_embeddings)
    m, r, d = len(x), g.shape[1], g.shape[-1]
    tokens = x.reshape(m, -1) - first
    outside = (tokens < 0) | (tokens >= last - first)
    if module.padding_idx is not None:
        outside |= tokens == module.padding_idx - first
    values = g.reshape(m, r, -1, d).masked_fill(outside[:, None, :, None], 0.0)
    where = tokens.masked_fill(outside, 0)[:, None, :, None].expand(-1, r, -1, d)
    out.zero_().view(m, r, last - first, d).scatter_add_(2, where, values)


def _standardised(module: nn.Module, x: Tensor) -> Tensor:
    if isinstance(module, nn.LayerNorm):
        return functional.layer_norm(x, list(module.normalized_shape), None, None, module.eps)
    if isinstance(module, nn.RMSNorm):
        return functional.rms_norm(x, list(module.normalized_shape), None, module.eps)
    if isinstance(module, nn.GroupNorm):
        return functional.group_norm(x, module.num_groups, None, None, module.eps)
    assert isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d)
    return functional.batch_norm(x, module.running_mean, module.running_var, None, None, False, 0.0, module.eps)


def _weight_of(bias: _Rule) -> _Rule:
    """Give the rule of a normalisation's weight: that of its bias, for gradients times the standardised input."""
    return lambda module, x, g, rows, out: bias(module, x, g * _standardised(module, x)[:, None], rows, out)


def _channel_bias(module: nn.Module, x: Tensor, g: Tensor, rows: slice, out: Tensor) -> None:
    g = g[:, :, rows]
    out.copy_(g.flatten(3).sum(3) if g.ndim > 3 else g)


def _elementwise_bias(module: nn.Module, x: Tensor, g: Tensor, rows: slice, out: Tensor) -> None:
    assert isinstance(module, nn.LayerNorm | nn.RMSNorm)
    m, r = g.shape[:2]
    out.copy_(g.reshape(m, r, -1, *module.normalized_shape).sum(2)[:, :, rows].reshape(m, r, -1))


def _copied_value(module: nn.Module, x: Tensor, g: Tensor, rows: slice, out: Tensor) -> None:
    assert isinstance(module, Copies)
    each = g.reshape(*g.shape[:2], *module.value.shape)
    out.copy_((each[:, :, rows] if module.value.ndim else each).reshape(*g.shape[:2], -1))


def _conv_weight(module: nn.Module, x: Tensor, g: Tensor, rows: slice, out: Tensor) -> None:
    assert isinstance(module, nn.Conv1d | nn.Conv2d)
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


def _patches(module: nn.Conv1d | nn.Conv2d, x: Tensor, size: torch.Size) -> Generator[tuple[int, Tensor]]:
    """Lay out what each output position looks at: a first example, and ``[few, C · kernel, S]`` from it on."""
    one = (1,) if isinstance(module, nn.Conv1d) else ()  # the height of what has no height
    kernel, stride, dilation = ((*one, *v) for v in (module.kernel_size, module.stride, module.dilation))
    around = [*module._reversed_padding_repeated_twice, *(2 * len(one) * [0])]  # as forward() pads
    (high, wide), (m, channels) = size, x.shape[:2]
    step = min(m, AT_ONCE if x.device.type == "cpu" else m)
    plain = kernel == (1, 1) and not any(around)
    if not plain:
        left, right, top, bottom = around
        padded = x.new_zeros(step, channels, x.shape[2] + top + bottom, x.shape[3] + left + right)
        t = padded.stride()
        view = padded.as_strided(
            (step, channels, *kernel, high, wide),
            (t[0], t[1], t[2] * dilation[0], t[3] * dilation[1], t[2] * stride[0], t[3] * stride[1]),
        )
        laid = x.new_empty(view.shape)
    for first in range(0, m, step):
        some = x[first : first + step]
        if plain:
            yield first, some[:, :, :: stride[0], :: stride[1]].reshape(len(some), channels, -1)
            continue
        if module.padding_mode == "zeros":
            padded[: len(some), :, top : top + x.shape[2], left : left + x.shape[3]] = some
        else:
            padded[: len(some)] = functional.pad(some, around, mode=module.padding_mode)
        laid[: len(some)].copy_(view[: len(some)])
        yield first, laid[: len(some)].view(len(some), -1, high * wide)


_CHANNELS: dict[str, _Rule] = {"weight": _weight_of(_channel_bias), "bias": _channel_bias}
_RULES: dict[type[nn.Module], dict[str, _Rule]] = {
    nn.Linear: {"weight": _linear_weight, "bias": _linear_bias},
    nn.Conv1d: {"weight": _conv_weight, "bias": _channel_bias},
    nn.Conv2d: {"weight": _conv_weight, "bias": _channel_bias},
    nn.Embedding: {"weight": _embedding_weight},
    nn.LayerNorm: {"weight": _weight_of(_elementwise_bias), "bias": _elementwise_bias},
    nn.RMSNorm: {"weight": _weight_of(_elementwise_bias)},
    nn.GroupNorm: _CHANNELS,
    nn.BatchNorm1d: _CHANNELS,
    nn.BatchNorm2d: _CHANNELS,
    Copies: {"value": _copied_value},
}
