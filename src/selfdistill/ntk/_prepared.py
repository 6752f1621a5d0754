"""Before a kernel looks at a network: what is refused, halves become single precision, inputs find their way in."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn
from torch.nn.parameter import is_lazy

from selfdistill._core.errors import DataError, SettingError, one_line
from selfdistill.ntk._inputs import Inputs, all_finite
from selfdistill.ntk._network import Network

_HALVES = {torch.float16, torch.bfloat16}


def unwrapped(model: nn.Module) -> nn.Module:
    """Take a network out of the wrappers that spread it over devices."""
    while isinstance(model, nn.DataParallel | nn.parallel.DistributedDataParallel):
        model = model.module
    return model


def single_precision(model: nn.Module) -> nn.Module:
    """Copy a network with weights of 16 bit to 32 bit: sums of products of halves lose all but the first eigenvalue."""
    if not any(v.dtype in _HALVES for v in [*model.parameters(), *model.buffers()]):
        return model
    try:
        copied = copy.deepcopy(model)
    except Exception as error:
        raise SettingError(
            f"{type(model).__name__} has weights of 16 bit, and cannot be copied to 32: {one_line(error)}",
            "Call model.float().",
        ) from error
    widened = lambda value: value.float() if value.dtype in _HALVES else value
    return copied._apply(widened)  # type: ignore[no-any-return,no-untyped-call]


def read_inputs(model: nn.Module, value: Any, what: str = "inputs") -> Inputs:
    """Read examples for a network: on its device and in its precision."""
    parameters = dict(model.named_parameters())
    device = next(model.parameters(), torch.zeros(())).device
    found = list(dict.fromkeys(p.dtype for p in parameters.values() if p.is_floating_point()))
    whole = takes_whole(model, value)
    for dtype in [None, *found] if len(found) > 1 else found:
        inputs = Inputs(value, device, dtype, what, whole=whole)
        if len(found) == 1 or _passes(Network(model, parameters), inputs):
            return inputs
    return Inputs(value, device, None, what, whole=whole)


def _passes(network: Network, inputs: Inputs) -> bool:
    try:
        network.inspect(inputs.chosen([0]))
    except DataError:
        return False
    return True


def takes_whole(model: nn.Module, value: Any) -> bool:
    """Say whether a mapping goes to a network as one dict, because its names are no arguments."""
    if not isinstance(value, Mapping):
        return False
    try:
        signature = inspect.signature(model.forward)
    except (TypeError, ValueError):
        return False
    return not _binds(signature, **value) and _binds(signature, value)


def _binds(signature: inspect.Signature, *args: Any, **kwargs: Any) -> bool:
    try:
        signature.bind(*args, **kwargs)
    except TypeError:
        return False
    return True


def _refuse_unusable(model: nn.Module) -> None:
    """Refuse what `torch.func` cannot call, or autograd not differentiate."""
    if any(isinstance(module, torch.jit.ScriptModule) for module in model.modules()):
        raise SettingError(
            f"{type(model).__name__} is TorchScript, whose parameters cannot be exchanged",
            "Give the nn.Module that it was made from.",
        )
    for name, value in [*model.named_parameters(), *model.named_buffers()]:
        if is_lazy(value):
            raise SettingError(f"{name} of the network has no shape yet", "Pass a batch through the network first.")
        if value.is_inference():
            raise SettingError(
                f"{name} of the network was made in inference mode, and cannot be differentiated",
                "Make the network outside torch.inference_mode().",
            )


def checked_model(model: nn.Module, chosen: Callable[[str], bool] | None) -> dict[str, nn.Parameter]:
    """Give the parameters that count, having checked that the network has a kernel."""
    everything = dict(model.named_parameters())
    if not everything:
        raise SettingError(f"{type(model).__name__} has no parameters, so no tangent kernel", "Give a network.")
    _refuse_unusable(model)
    if chosen is None:
        found = {n: p for n, p in everything.items() if p.requires_grad} or everything
    else:
        found = {n: p for n, p in everything.items() if chosen(n)}
        if not found:
            some = ", ".join(list(everything)[:3])
            raise SettingError("`parameters` chooses none of the network's parameters", f"Its names are {some}, ...")
    for name, value in [*everything.items(), *model.named_buffers()]:
        if value.is_floating_point() and not all_finite(value.detach()):
            raise DataError(
                f"{name} of the network has NaN or infinite values", "Training diverged: use another checkpoint."
            )
    for name, module in model.named_modules():
        norm = isinstance(module, nn.modules.batchnorm._BatchNorm)
        if norm and (module.training or module.running_mean is None):
            raise SettingError(
                f"{name or 'the network'} is a {type(module).__name__} that normalises by the batch, so examples have "
                "no gradient of their own",
                "Call model.eval()." if module.running_mean is not None else "Give it track_running_stats=True.",
            )
        if isinstance(module, nn.modules.dropout._DropoutNd) and module.training and module.p > 0:
            raise SettingError(
                f"{name or 'the network'} is a {type(module).__name__} in training mode", "Call model.eval()."
            )
    return found
