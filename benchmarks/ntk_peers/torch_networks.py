"""The networks in torch, loaded with the weights of `problems`."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.ntk_peers.problems import BLOCKS, CLASSES, LANGUAGE, LENGTH, MLP_WIDTHS, VOCABULARY
from selfdistill.networks._build import build


class Residual(nn.Module):
    """Two convolutions, the first of stride 2, and a shortcut of one pixel."""

    def __init__(self, c: int, m: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(c, m, 3, stride=2, padding=1)
        self.second = nn.Conv2d(m, m, 3, padding=1)
        self.shortcut = nn.Conv2d(c, m, 1, stride=2)
        self.relu = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        """Compute the block's output."""
        return self.relu(self.second(self.relu(self.first(x))) + self.shortcut(x))


class CNN(nn.Module):
    """Stem, two residual blocks, mean over pixels, head: 289,482 parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, BLOCKS[0][0], 3, padding=1)
        self.relu = nn.ReLU()
        for i, (c, m) in enumerate(BLOCKS):
            self.add_module(str(i), Residual(c, m))
        self.head = nn.Linear(BLOCKS[-1][1], CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        """Compute logits."""
        x = self.relu(self.stem(x))
        for i in range(len(BLOCKS)):
            x = self.get_submodule(str(i))(x)
        return self.head(x.mean((2, 3)))


class MLP(nn.Module):
    """Three Linear layers: 1,863,690 parameters."""

    def __init__(self) -> None:
        super().__init__()
        for i, (a, b) in enumerate(pairwise(MLP_WIDTHS)):
            self.add_module(str(i), nn.Linear(a, b))
        self.relu = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        """Compute logits."""
        x = self.relu(self.get_submodule("0")(x))
        return self.get_submodule("2")(self.relu(self.get_submodule("1")(x)))


class Transformer(nn.Module):
    """Two encoder layers of 32 numbers and 2 heads on 16 tokens, learned positions, mean over tokens."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Linear(16, 32)
        self.position = nn.Parameter(0.1 * torch.randn(16, 32))
        layer = nn.TransformerEncoderLayer(32, 2, 64, dropout=0.0, batch_first=True, norm_first=True)
        self.layers = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.head = nn.Linear(32, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        """Compute logits."""
        return self.head(self.layers(self.embed(x) + self.position).mean(1))


class Attention(nn.Module):
    """Causal self-attention, projections in one (GPT) or in four, with rotated queries and keys (Llama)."""

    def __init__(self, d: int, heads: int, *, rotary: bool) -> None:
        super().__init__()
        self.heads, self.rotary = heads, rotary
        names = ("q", "k", "v") if rotary else ("qkv",)
        for name in names:
            self.add_module(name, nn.Linear(d, 3 * d // len(names), bias=not rotary))
        self.out = nn.Linear(d, d, bias=not rotary)

    def forward(self, x: Tensor) -> Tensor:
        """Compute the block's output."""
        n, t, d = x.shape
        parts = (self.q(x), self.k(x), self.v(x)) if self.rotary else self.qkv(x).split(d, 2)
        q, k, v = (part.view(n, t, self.heads, -1).transpose(1, 2) for part in parts)
        if self.rotary:
            q, k = self._rotated(q), self._rotated(k)
        y = functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.out(y.transpose(1, 2).reshape(n, t, d))

    @staticmethod
    def _rotated(x: Tensor) -> Tensor:
        t, width = x.shape[-2:]
        speeds = 10_000.0 ** (-torch.arange(0, width, 2, device=x.device) / width)
        angles = torch.arange(t, device=x.device)[:, None] * speeds
        cos, sin = (f(angles).repeat(1, 2).to(x) for f in (torch.cos, torch.sin))
        return x * cos + torch.cat([-x[..., width // 2 :], x[..., : width // 2]], -1) * sin


class Block(nn.Module):
    """Attention and an MLP, each after a norm and added to what came in: GELU (GPT), or SiLU with a gate (Llama)."""

    def __init__(self, d: int, heads: int, *, llama: bool) -> None:
        super().__init__()
        self.before, self.between = (nn.RMSNorm(d, eps=1e-6) if llama else nn.LayerNorm(d) for _ in range(2))
        self.attention = Attention(d, heads, rotary=llama)
        wide = 3 * d if llama else 4 * d
        self.up, self.down = nn.Linear(d, wide, bias=not llama), nn.Linear(wide, d, bias=not llama)
        self.gate = nn.Linear(d, wide, bias=False) if llama else None

    def forward(self, x: Tensor) -> Tensor:
        """Compute the block's output."""
        x = x + self.attention(self.before(x))
        y = self.between(x)
        inner = functional.gelu(self.up(y)) if self.gate is None else functional.silu(self.gate(y)) * self.up(y)
        return x + self.down(inner)


class Language(nn.Module):
    """Two blocks of 128 numbers on 32 of 512 tokens, mean over tokens, head.

    ``gpt``: LayerNorm, learned positions; ``llama``: RMSNorm, rotary positions, no biases; ``encoder``: torch's
    ``TransformerEncoder`` with ``MultiheadAttention``, learned positions as a bare parameter.
    """

    def __init__(self, kind: str, d: int = 128, heads: int = 4) -> None:
        super().__init__()
        self.kind, self.tokens = kind, nn.Embedding(VOCABULARY, d)
        if kind == "gpt":
            self.position: nn.Module | nn.Parameter = nn.Embedding(LENGTH, d)
        elif kind == "encoder":
            self.position = nn.Parameter(0.1 * torch.randn(LENGTH, d))
        if kind == "encoder":
            layer = nn.TransformerEncoderLayer(d, heads, 4 * d, dropout=0.0, batch_first=True, norm_first=True)
            self.blocks: nn.Module = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        else:
            self.blocks = nn.Sequential(*(Block(d, heads, llama=kind == "llama") for _ in range(2)))
        self.norm = nn.RMSNorm(d, eps=1e-6) if kind == "llama" else nn.LayerNorm(d)
        self.head = nn.Linear(d, CLASSES, bias=kind != "llama")

    def forward(self, x: Tensor) -> Tensor:
        """Compute logits."""
        h = self.tokens(x)
        if self.kind == "gpt":
            h = h + self.position(torch.arange(x.shape[1], device=x.device))
        elif self.kind == "encoder":
            h = h + self.position
        return self.head(self.norm(self.blocks(h)).mean(1))


def load(network: str, named: dict[str, np.ndarray], dtype: torch.dtype, device: str = "cpu") -> nn.Module:
    """Build a network in evaluation mode."""
    torch.manual_seed(0)
    if network.startswith("resnet"):
        model: nn.Module = build(network, (3, 32, 32), CLASSES, seed=0).network  # without its own scaling
        for module in model.modules():  # statistics as after some training, not zeros and ones
            if isinstance(module, nn.BatchNorm2d):
                module.running_mean.normal_(0.0, 0.1)
                module.running_var.uniform_(0.5, 1.5)
    elif network in LANGUAGE:
        model = Language(network)
    else:
        model = {"cnn": CNN, "mlp": MLP, "transformer": Transformer}[network]()
    if named:
        model.load_state_dict({name: torch.from_numpy(value) for name, value in named.items()})
    return model.to(device, dtype).eval()
