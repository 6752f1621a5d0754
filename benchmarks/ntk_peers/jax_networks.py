"""The networks in jax, on the weights of the torch ones: images NHWC, kernels HWIO, weights (in, out) and ``x @ w``."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

CHANNELS = ("NHWC", "HWIO", "NHWC")
EPSILON = 1e-5  # torch's, of BatchNorm and LayerNorm
HEADS = 2
CONSTANTS = ("running_mean", "running_var")  # buffers, no parameters


def convert(named: dict[str, np.ndarray]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Bring torch's weights to (in, out) and HWIO; give parameters, and buffers apart."""
    axes = {1: (0,), 2: (1, 0), 4: (2, 3, 1, 0)}
    laid = {
        name: jnp.asarray(value.transpose(axes[value.ndim]) if name.endswith("weight") else value)
        for name, value in named.items()
    }
    constants = {name: laid.pop(name) for name in named if name.endswith(CONSTANTS)}
    return laid, constants


def convolve(x: Any, params: dict[str, Any], name: str, stride: int) -> Any:
    """Convolve with torch's padding, half the kernel on either side."""
    w = params[f"{name}.weight"]
    half = w.shape[0] // 2
    y = jax.lax.conv_general_dilated(x, w, (stride, stride), [(half, half)] * 2, dimension_numbers=CHANNELS)
    return y + params[f"{name}.bias"] if f"{name}.bias" in params else y


def linear(x: Any, params: dict[str, Any], name: str) -> Any:
    """Multiply by the weight and add the bias."""
    return x @ params[f"{name}.weight"] + params[f"{name}.bias"]


def cnn(params: dict[str, Any], x: Any) -> Any:
    """Compute the CNN's logits on NHWC images."""
    x = jax.nn.relu(convolve(x, params, "stem", 1))
    for i in ("0", "1"):
        h = convolve(jax.nn.relu(convolve(x, params, f"{i}.first", 2)), params, f"{i}.second", 1)
        x = jax.nn.relu(h + convolve(x, params, f"{i}.shortcut", 2))
    return linear(x.mean((1, 2)), params, "head")


def mlp(params: dict[str, Any], x: Any) -> Any:
    """Compute the MLP's logits."""
    for i in ("0", "1", "2"):
        x = linear(x, params, i)
        x = jax.nn.relu(x) if i != "2" else x
    return x


def _batch_norm(x: Any, params: dict[str, Any], name: str) -> Any:
    """Normalise by the running statistics, as in evaluation mode."""
    scale = params[f"{name}.weight"] / jnp.sqrt(params[f"{name}.running_var"] + EPSILON)
    return (x - params[f"{name}.running_mean"]) * scale + params[f"{name}.bias"]


def resnet20(params: dict[str, Any], x: Any) -> Any:
    """Compute the logits of ResNet-20 (He et al. 2016, option A) on NHWC images, BatchNorm in evaluation mode."""
    x = jax.nn.relu(_batch_norm(convolve(x, params, "conv1", 1), params, "bn1"))
    for i in range(9):
        name, stride = f"blocks.{i}", 2 if i in (3, 6) else 1
        h = jax.nn.relu(_batch_norm(convolve(x, params, f"{name}.conv1", stride), params, f"{name}.bn1"))
        h = _batch_norm(convolve(h, params, f"{name}.conv2", 1), params, f"{name}.bn2")
        more = h.shape[-1] - x.shape[-1]  # new channels are zero, half of them before
        short = jnp.pad(x[:, ::stride, ::stride], [(0, 0)] * 3 + [(more // 2, more - more // 2)])
        x = jax.nn.relu(h + short)
    return linear(x.mean((1, 2)), params, "classifier")


def _layer_norm(x: Any, params: dict[str, Any], name: str) -> Any:
    centred = x - x.mean(-1, keepdims=True)
    scaled = centred / jnp.sqrt((centred**2).mean(-1, keepdims=True) + EPSILON)
    return scaled * params[f"{name}.weight"] + params[f"{name}.bias"]


def _attention(x: Any, params: dict[str, Any], name: str) -> Any:
    """Attend with all tokens to all; query, key and value lie in one weight, one after the other."""
    n, tokens, width = x.shape
    mixed = x @ params[f"{name}.in_proj_weight"] + params[f"{name}.in_proj_bias"]
    q, k, v = (part.reshape(n, tokens, HEADS, width // HEADS).transpose(0, 2, 1, 3) for part in jnp.split(mixed, 3, -1))
    scores = jax.nn.softmax(q @ k.transpose(0, 1, 3, 2) / np.sqrt(width // HEADS), -1)
    return linear((scores @ v).transpose(0, 2, 1, 3).reshape(x.shape), params, f"{name}.out_proj")


def transformer(params: dict[str, Any], x: Any) -> Any:
    """Compute the logits of the two encoder layers, normalised before attention and before the two Linear layers."""
    x = linear(x, params, "embed") + params["position"]
    for i in range(2):
        name = f"layers.layers.{i}"
        x = x + _attention(_layer_norm(x, params, f"{name}.norm1"), params, f"{name}.self_attn")
        hidden = jax.nn.relu(linear(_layer_norm(x, params, f"{name}.norm2"), params, f"{name}.linear1"))
        x = x + linear(hidden, params, f"{name}.linear2")
    return linear(x.mean(1), params, "head")


NETWORKS = {"cnn": cnn, "mlp": mlp, "resnet20": resnet20, "transformer": transformer}
