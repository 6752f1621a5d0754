"""Networks and data, defined once in numpy, so that every framework starts from the same numbers.

A network here is a name, the shapes of its weights (torch's layout) and the shape of an input. ``cnn`` has a stem of 32
channels and two residual blocks of stride 2 with 64 and 128 channels, no normalisation, 289,482 parameters; ``mlp`` is
784-1024-1024-10, 1,863,690 parameters. Both have biases everywhere, ReLU, and ten outputs. The weights of the residual
networks and the transformers are drawn by torch and handed over likewise.
"""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np

CLASSES = 10
LANGUAGE = ("gpt", "encoder", "llama")  # transformers on tokens
VOCABULARY, LENGTH = 512, 32
INPUT = {"cnn": (3, 32, 32), "mlp": (784,), "resnet20": (3, 32, 32), "resnet18": (3, 32, 32), "transformer": (16, 16)}
MLP_WIDTHS = (784, 1024, 1024, CLASSES)
BLOCKS = ((32, 64), (64, 128))  # (channels in, channels out) of the CNN's residual blocks


def shapes(network: str) -> dict[str, tuple[int, ...]]:
    """Weights of ``cnn`` and ``mlp`` by name, torch's layout: (out, in, ...)."""
    if network == "mlp":
        pairs = list(zip(MLP_WIDTHS[1:], MLP_WIDTHS[:-1], strict=True))
        layers: dict[str, tuple[int, ...]] = {f"{i}": pair for i, pair in enumerate(pairs)}
    else:
        layers = {"stem": (32, 3, 3, 3)}
        for i, (c, m) in enumerate(BLOCKS):
            layers |= {f"{i}.first": (m, c, 3, 3), f"{i}.second": (m, m, 3, 3), f"{i}.shortcut": (m, c, 1, 1)}
        layers["head"] = (CLASSES, BLOCKS[-1][1])
    return {
        f"{name}.{part}": shape if part == "weight" else shape[:1]
        for name, shape in layers.items()
        for part in ("weight", "bias")
    }


def weights(network: str, seed: int = 0) -> dict[str, np.ndarray]:
    """He-normal weights and normal biases of deviation 0.1, in 64 bits."""
    rng = np.random.default_rng(seed)
    out = {}
    for name, shape in shapes(network).items():
        deviation = 0.1 if name.endswith("bias") else np.sqrt(2.0 / np.prod(shape[1:]))
        out[name] = deviation * rng.standard_normal(shape)
    return out


def inputs(network: str, n: int, seed: int = 0) -> np.ndarray:
    """Scikit-learn's digits, enlarged, coloured, with noise: ``n`` inputs in 64 bits; tokens for transformers.

    The 1,797 digits are drawn with replacement once they run out; each copy has its own colours (a foreground and a
    background), shift of up to two pixels, and normal noise of deviation 0.1, so that no two inputs are equal.
    """
    if network in LANGUAGE:  # as frequent as words: the k-th in proportion to 1 / k
        share = 1.0 / np.arange(1, VOCABULARY + 1)
        return np.random.default_rng(seed + 1).choice(VOCABULARY, (n, LENGTH), p=share / share.sum())
    from scipy.ndimage import zoom
    from sklearn.datasets import load_digits

    shape = INPUT[network]
    if network == "transformer":  # 16 tokens of 16 numbers
        return np.random.default_rng(seed + 1).standard_normal((n, *shape))
    side, channels = (28, 1) if network == "mlp" else (shape[1], shape[0])
    images = load_digits().images / 16.0
    rng = np.random.default_rng(seed + 1)
    order = np.concatenate([rng.permutation(len(images)) for _ in range(-(-n // len(images)))])[:n]
    large = zoom(images, (1, side / 8, side / 8), order=1)
    shift = rng.integers(-2, 3, (n, 2))
    front, back = rng.uniform(0.5, 1.0, (n, channels)), rng.uniform(0.0, 0.3, (n, channels))
    noise = rng.standard_normal((n, channels, side, side), dtype=np.float32)
    out = np.empty((n, channels, side, side))
    for i in range(n):
        digit = np.roll(large[order[i]], tuple(shift[i]), (0, 1))
        out[i] = back[i, :, None, None] + (front[i] - back[i])[:, None, None] * digit
    return ((out + 0.1 * noise - 0.3) / 0.35).reshape(n, *shape)


def stored(folder: Path, network: str, n: int, seed: int = 0) -> Path:
    """Write a problem to ``folder`` if it is not there, and return its file."""
    path = folder / f"{network}-{n}-{seed}.npz"
    if not path.exists():
        named = weights(network, seed) if network in ("cnn", "mlp") else _drawn(network)
        part = path.with_suffix(".part.npz")
        single = {name: value.astype(np.float32) for name, value in named.items()}
        x = inputs(network, n, seed)
        np.savez(part, __inputs__=x if network in LANGUAGE else x.astype(np.float32), **single)
        part.rename(path)
    return path


def _drawn(network: str) -> dict[str, np.ndarray]:
    """Weights and buffers of a network that torch draws."""
    import torch

    from benchmarks.ntk_peers.torch_networks import load

    state = load(network, {}, torch.float32).state_dict()
    return {name: value.numpy() for name, value in state.items() if value.is_floating_point()}


def read(path: Path, dtype: str) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Read a problem back: weights and buffers by name, and inputs."""
    with np.load(path, allow_pickle=False) as file:
        arrays = {name: file[name].astype(dtype if file[name].dtype.kind == "f" else np.int64) for name in file.files}
    x = arrays.pop("__inputs__")
    return arrays, x


def parameters(network: str) -> int:
    """Number of parameters of ``cnn`` or ``mlp``, or of a transformer on tokens."""
    found = [value.shape for value in _drawn(network).values()] if network in LANGUAGE else shapes(network).values()
    return int(sum(np.prod(shape) for shape in found))


def flops(network: str, n: int, outputs: int) -> float:
    """Floating-point operations that an explicit kernel needs, counted the same for all."""
    if network == "mlp":
        pairs = list(pairwise(MLP_WIDTHS))
        passes = sum(2.0 * n * a * b for a, b in pairs) + outputs * sum(2.0 * n * a * b for a, b in pairs[1:])
        return passes + sum(float(n) * n * (a + outputs * b) for a, b in pairs)
    pixels = {"stem": 32 * 32, "0": 16 * 16, "1": 8 * 8, "head": 1}
    layer = {k: float(np.prod(s)) * pixels[k.split(".")[0]] for k, s in shapes("cnn").items() if k.endswith("weight")}
    forward = 2.0 * n * sum(layer.values())
    back = 2.0 * n * sum(v for k, v in layer.items() if not k.startswith("stem"))
    gradients = 2.0 * n * sum(v for k, v in layer.items() if not k.startswith("head"))
    return forward + outputs * (back + gradients + float(n) * n * parameters("cnn"))
