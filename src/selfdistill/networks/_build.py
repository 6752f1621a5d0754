"""From a word such as "mlp:256,128" to an initialised network, and its size."""

from __future__ import annotations

import difflib
import math
import re
from collections import OrderedDict
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import NamedTuple

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from selfdistill._core.errors import SettingError
from selfdistill._core.rng import derive, drawing_from, torch_generator
from selfdistill.networks._he2016resnet import ResNet
from selfdistill.networks._kernel_machine import KernelMachine, parse_kernel
from selfdistill.networks._pretrained import HF, fine_tuned
from selfdistill.networks._small_networks import MLP, Pair, SmallCNN, Standardise

_MOST_LAYERS = 1000
_MOST_DIGITS = 18  # of a number, so that it fits into 64 bits
_TWO = "2*"  # in front of a specification: a pair of such networks
_LARGE = (64, 128, 256, 512)


class _Kind(NamedTuple):
    """One kind of network; numbers and pattern are those of what stands after the colon of a specification."""

    make: Callable[[tuple[int, ...], Sequence[int], int], nn.Module]
    default: tuple[int, ...]
    pattern: str
    example: str
    least_side: int


_WIDTHS, _NOTHING = r"\d+(,\d+)*", r"(?!)"


def _he(blocks: Sequence[int], widths: Sequence[int], *, projection: bool, least_side: int, name: str) -> _Kind:
    return _Kind(
        lambda shape, _, k: ResNet(shape[0], blocks, widths, k, projection=projection), (), _NOTHING, name, least_side
    )


_KINDS = {
    "mlp": _Kind(lambda shape, widths, k: MLP(math.prod(shape), widths, k), (512, 512), _WIDTHS, "mlp:256,128", 0),
    "linear": _Kind(lambda shape, _, k: MLP(math.prod(shape), (), k), (), _NOTHING, "linear", 0),
    "cnn": _Kind(
        lambda shape, widths, k: SmallCNN((shape[0], shape[1], shape[2]), widths, k),
        (16, 32, 64),
        _WIDTHS,
        "cnn:32,64,128",
        8,
    ),
    **{
        name: _he(blocks, _LARGE, projection=True, least_side=16, name=name)
        for name, blocks in {"resnet18": (2, 2, 2, 2), "resnet34": (3, 4, 6, 3)}.items()
    },
    **{
        name: _he((n, n, n), (16, 32, 64), projection=False, least_side=8, name=name)
        for n in (3, 5, 7, 9)
        for name in [f"resnet{6 * n + 2}"]
    },
}

NAMES = tuple(_KINDS)


def _parse(spec: str) -> tuple[str, tuple[int, ...]]:
    name, colon, rest = spec.strip().lower().partition(":")
    if name not in _KINDS:
        near = difflib.get_close_matches(name.lower(), NAMES, n=1)
        raise SettingError(
            f"network {spec!r} is not one of auto, {', '.join(NAMES)}",
            f"Did you mean {near[0]!r}?" if near else "Use one of these names.",
        )
    kind = _KINDS[name]
    if not colon:
        return name, kind.default
    written = re.findall(r"\d+", rest) if re.fullmatch(kind.pattern, rest) else []
    numbers = tuple(int(number) for number in written if len(number) <= _MOST_DIGITS)
    if len(numbers) > _MOST_LAYERS:
        raise SettingError(
            f"network {spec[:40]!r} has {len(numbers):,} layers, but at most {_MOST_LAYERS:,} are built", "Take fewer."
        )
    if not numbers or min(numbers) < 1 or len(numbers) < len(written):
        raise SettingError(
            f"network {spec[:60]!r} has {rest[:60]!r} after the colon, which {name} does not take",
            f"Write it like {kind.example!r}.",
        )
    return name, numbers


def _check_shape(name: str, least_side: int, input_shape: tuple[int, ...]) -> None:
    if len(input_shape) not in {1, 3} or min(input_shape) < 1:
        raise SettingError(
            f"input shape {input_shape} is neither (features,) nor (channels, height, width) with sizes of at least 1",
            "Give vectors [n, features] or images [n, channels, height, width].",
        )
    if not least_side:
        return
    if len(input_shape) == 1:
        raise SettingError(
            f"network {name!r} needs images, but each example is a vector of {input_shape[0]} numbers",
            "Use the network 'mlp' or 'auto'.",
        )
    if min(input_shape[1:]) < least_side:
        raise SettingError(
            f"images of {input_shape[1]} x {input_shape[2]} pixels are too small for {name!r}, "
            f"which needs at least {least_side} x {least_side}",
            "Use the network 'mlp' or 'auto', or enlarge the images.",
        )


def resolve(spec: str, input_shape: tuple[int, ...]) -> str:
    """Choose the network for ``"auto"``, and check any other specification against the inputs."""
    # Vectors get ``"mlp"``; images of at least 16 by 16 pixels get ``"cnn"``, smaller ones ``"mlp"`` on the flattened
    # image.
    spec = spec.strip()
    if spec.removeprefix(_TWO).startswith(HF):
        if spec.startswith(_TWO):
            raise SettingError(f"{spec.removeprefix(_TWO)!r} cannot be trained as a pair", "Choose another method.")
        return spec
    spec = spec.lower()
    two, spec = (_TWO, spec.removeprefix(_TWO)) if spec.startswith(_TWO) else ("", spec)
    if spec == "auto":
        spec = "cnn" if len(input_shape) == 3 and min(input_shape[1:]) >= 16 else "mlp"
    name, _ = _parse(spec)
    _check_shape(name, _KINDS[name].least_side, input_shape)
    return two + spec


def build(
    spec: str,
    input_shape: tuple[int, ...],
    num_classes: int,
    *,
    seed: int,
    stats: tuple[Sequence[float], Sequence[float]] | None = None,
    device: str = "cpu",
) -> nn.Module:
    """Build and initialise a network.

    The weights depend on ``seed`` alone, whatever other threads draw meanwhile; no global random generator is used. On
    images the network is a `Standardise` layer followed by the network itself (``model.standardise``,
    ``model.network``).

    Args:
        spec: A name, or a name with numbers. ``mlp`` is ``mlp:512,512`` (hidden widths), ``linear`` has no hidden
            layer, ``cnn`` is ``cnn:16,32,64`` (widths of the blocks), ``resnet18``, ``resnet34``, ``resnet20``,
            ``resnet32``, ``resnet44``, ``resnet56``. ``2*`` in front makes a `Pair` of two with different initial
            weights. ``hf:FOLDER`` is a vision model of `transformers` with a new head, ``hf:NAME`` one of the hub that
            lies on this machine; the pixels are scaled as its own image processor does. ``kernel:relu1-1500-2`` is a
            `KernelMachine` of 1,500 landmarks and two parts, its numbers zero.
            ``"auto"`` goes through `resolve`.
        input_shape: Shape of one example: ``(features,)`` or ``(channels, height, width)``.
        num_classes: Number of logits; at least 1.
        seed: Seed of the initial weights.
        stats: Mean and standard deviation per channel, in the units of the stored pixels. ``None``: pixels are used
            as they are. Must be ``None`` for vectors.
        device: ``"cpu"``, or ``"meta"`` for a network of shapes alone, which takes no memory.

    Returns:
        The network, in training mode, float32.

    Raises:
        SettingError: What `resolve` refuses; no classes; statistics that do not fit the inputs.

    Example:
        >>> model = build("mlp:32", (20,), 3, seed=0)
        >>> model(torch.zeros(4, 20)).shape
        torch.Size([4, 3])
    """
    machine = parse_kernel(spec)
    if machine is not None:
        with torch.device(device):
            kernel, landmarks, parts, forest = machine
            return KernelMachine(math.prod(input_shape), landmarks, num_classes, kernel, parts, forest)
    spec = resolve(spec, input_shape)
    if spec.startswith(HF):
        return fine_tuned(spec, input_shape, num_classes, seed).to(device)
    if spec.startswith(_TWO):
        one = spec.removeprefix(_TWO)
        seeds = (seed, derive(seed, "second network"))
        return Pair(*(build(one, input_shape, num_classes, seed=s, stats=stats, device=device) for s in seeds))
    name, numbers = _parse(spec)
    if num_classes < 1:
        raise SettingError(f"a network for {num_classes} classes has no output", "Give at least 1 class.")
    is_image = len(input_shape) == 3
    if stats is not None and (not is_image or len(stats[0]) != input_shape[0]):
        raise SettingError(
            f"statistics of {len(stats[0])} channels do not fit inputs of shape {input_shape}",
            "Pass one mean and one standard deviation per image channel, and stats=None for vectors.",
        )
    draws = drawing_from(torch_generator(seed, "initialise")) if device == "cpu" else nullcontext()
    with torch.device(device), draws:
        network = _KINDS[name].make(input_shape, numbers, num_classes)
    if not is_image:
        return network
    mean, std = stats if stats is not None else ([0.0] * input_shape[0], [1.0] * input_shape[0])
    standardise = Standardise(mean, std, channels_last=name not in {"mlp", "linear"})
    return nn.Sequential(OrderedDict(standardise=standardise, network=network))


class Size(NamedTuple):
    """Size of a network."""

    parameters: int  # trainable numbers
    # floating-point operations of one forward pass per example; a multiplication with an addition counts 2. Matrix
    # products and convolutions only
    flops: int


def describe(model: nn.Module, input_shape: tuple[int, ...]) -> Size:
    """Count parameters and forward FLOPs. Training costs about three times the forward FLOPs per example."""
    modes = {module: module.training for module in model.modules()}
    parameters = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
    first = next(model.parameters())
    counter = FlopCounterMode(display=False)
    try:
        model.eval()
        with torch.no_grad(), counter:
            model(torch.zeros(1, *input_shape, dtype=first.dtype, device=first.device))
    finally:
        for module, training in modes.items():
            module.training = training
    return Size(parameters, counter.get_total_flops())
