"""The layers of torch.nn, one by one, between two others: kernels against a double loop over autograd.grad."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from selfdistill.ntk import NTK

LINE, PLANE, SPACE, TOKENS, VECTOR = (4, 7), (4, 6, 5), (4, 3, 4, 3), (5, 4), (4,)


class Between(nn.Module):
    """A layer of four channels after one with weights, before a head on the means of what comes out."""

    def __init__(self, layer, shape, call=None):
        super().__init__()
        self.gain = nn.Linear(shape[-1], shape[-1])
        self.layer, self.call = layer, call or (lambda layer, x: layer(x))
        with torch.no_grad():
            width = self.means(self.call(layer, torch.zeros(2, *shape))).shape[1]
        self.head = nn.Linear(width, 2)

    @staticmethod
    def means(x):
        return torch.tanh(x).flatten(2).mean(2) if x.ndim > 2 else torch.tanh(x)

    def forward(self, x):
        return self.head(self.means(self.call(self.layer, torch.tanh(self.gain(x)))))


def first(layer, x):
    return layer(x)[0]


def last_state(layer, x):
    state = layer(x)[1]
    return (state[0] if isinstance(state, tuple) else state)[-1]


def steps(layer, x):
    state = None
    for t in range(x.shape[1]):
        state = layer(x[:, t], state)
    return state[0] if isinstance(state, tuple) else state


def itself(layer, x):
    return layer(x, x, x)[0]


def pairs(layer, x):
    return layer(x, x.flip(-1))


def bags(layer, x):
    return layer((x.detach() * 3).long().abs() % 6)


def norm(layer):
    """Give statistics as after some training."""
    if getattr(layer, "running_mean", None) is not None:
        nn.init.normal_(layer.running_mean)
        nn.init.uniform_(layer.running_var, 0.5, 2.0)
    return layer


# name: layer, shape of an example, how it is called, whether its parameters have a rule
MODULES = {
    "Linear": (lambda: nn.Linear(4, 3), TOKENS, None, True),
    "Bilinear": (lambda: nn.Bilinear(4, 4, 3), VECTOR, pairs, False),
    "Embedding": (lambda: nn.Embedding(6, 3), VECTOR, bags, True),
    "Embedding, padded": (lambda: nn.Embedding(6, 3, padding_idx=1), VECTOR, bags, True),
    "EmbeddingBag": (lambda: nn.EmbeddingBag(6, 3), VECTOR, bags, False),
    "Conv1d": (lambda: nn.Conv1d(4, 3, 3, stride=2, padding=1), LINE, None, True),
    "Conv2d": (lambda: nn.Conv2d(4, 6, 3, dilation=2, padding=2, groups=2), PLANE, None, True),
    "Conv3d": (lambda: nn.Conv3d(4, 3, 2), SPACE, None, False),
    "ConvTranspose1d": (lambda: nn.ConvTranspose1d(4, 3, 3, stride=2), LINE, None, False),
    "ConvTranspose2d": (lambda: nn.ConvTranspose2d(4, 6, 2, groups=2), PLANE, None, False),
    "ConvTranspose3d": (lambda: nn.ConvTranspose3d(4, 2, 2), SPACE, None, False),
    "BatchNorm1d": (lambda: norm(nn.BatchNorm1d(4)), LINE, None, True),
    "BatchNorm2d": (lambda: norm(nn.BatchNorm2d(4)), PLANE, None, True),
    "BatchNorm3d": (lambda: norm(nn.BatchNorm3d(4)), SPACE, None, False),
    "InstanceNorm1d": (lambda: nn.InstanceNorm1d(4, affine=True), LINE, None, False),
    "InstanceNorm2d": (lambda: nn.InstanceNorm2d(4, affine=True), PLANE, None, False),
    "InstanceNorm3d": (lambda: nn.InstanceNorm3d(4, affine=True), SPACE, None, False),
    "GroupNorm": (lambda: nn.GroupNorm(2, 4), PLANE, None, True),
    "LayerNorm": (lambda: nn.LayerNorm((6, 5)), PLANE, None, True),
    "RMSNorm": (lambda: nn.RMSNorm(4, eps=1e-3), TOKENS, None, True),
    "LocalResponseNorm": (lambda: nn.LocalResponseNorm(2), PLANE, None, True),
    "PReLU": (lambda: nn.PReLU(), TOKENS, None, False),
    "PReLU of each channel": (lambda: nn.PReLU(4), PLANE, None, False),
    "RNN": (lambda: nn.RNN(4, 3, batch_first=True), TOKENS, first, False),
    "LSTM": (lambda: nn.LSTM(4, 3, batch_first=True, bidirectional=True), TOKENS, last_state, False),
    "GRU": (lambda: nn.GRU(4, 3, batch_first=True), TOKENS, first, False),
    "RNNCell": (lambda: nn.RNNCell(4, 3), TOKENS, steps, False),
    "LSTMCell": (lambda: nn.LSTMCell(4, 3), TOKENS, steps, False),
    "GRUCell": (lambda: nn.GRUCell(4, 3), TOKENS, steps, False),
    "MultiheadAttention": (lambda: nn.MultiheadAttention(4, 2, batch_first=True), TOKENS, itself, True),
    "TransformerEncoderLayer": (
        lambda: nn.TransformerEncoderLayer(4, 2, 6, dropout=0.0, batch_first=True),
        TOKENS,
        None,
        True,
    ),
    "Transformer": (
        lambda: nn.Transformer(4, 2, 1, 1, 6, dropout=0.0, batch_first=True),
        TOKENS,
        lambda layer, x: layer(x, x.flip(1)),
        False,
    ),
    "weight norm": (lambda: nn.utils.parametrizations.weight_norm(nn.Linear(4, 3)), TOKENS, None, False),
    "spectral norm": (lambda: nn.utils.parametrizations.spectral_norm(nn.Linear(4, 3)), TOKENS, None, False),
    "MaxPool1d": (lambda: nn.MaxPool1d(2), LINE, None, True),
    "MaxPool2d": (lambda: nn.MaxPool2d(2, ceil_mode=True), PLANE, None, True),
    "AvgPool2d": (lambda: nn.AvgPool2d(2, count_include_pad=False), PLANE, None, True),
    "AdaptiveAvgPool2d": (lambda: nn.AdaptiveAvgPool2d((3, 2)), PLANE, None, True),
    "AdaptiveMaxPool3d": (lambda: nn.AdaptiveMaxPool3d(2), SPACE, None, True),
    "LPPool2d": (lambda: nn.LPPool2d(2, 2), PLANE, None, True),
    "Unfold and fold": (
        lambda: nn.Sequential(nn.Unfold(2), nn.Linear(20, 20), nn.Fold((6, 5), 2)),
        PLANE,
        None,
        True,
    ),
    "PixelShuffle": (lambda: nn.PixelShuffle(2), PLANE, None, True),
    "Upsample": (lambda: nn.Upsample(scale_factor=2, mode="bilinear"), PLANE, None, True),
    "GLU": (lambda: nn.GLU(), TOKENS, None, True),
    "SiLU, dropout off": (lambda: nn.Sequential(nn.SiLU(), nn.Dropout(0.5)), TOKENS, None, True),
}


@pytest.mark.parametrize("output", ["trace", pytest.param("full", marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", MODULES)
def test_the_kernel_of_each_layer_is_that_of_single_examples(assert_right, name, output):
    torch.manual_seed(0)
    make, shape, call, ruled = MODULES[name]
    model = Between(make(), shape, call).double().eval()
    inputs = torch.randn(5, *shape, dtype=torch.float64)
    kernel = assert_right(model, inputs, output)
    held = {f"layer.{n}" for n, _ in model.layer.named_parameters()}
    assert kernel.structure.other_set == (set() if ruled else kernel.structure.other_set & held)
    assert ruled or kernel.structure.other_set
    if ruled:
        torch.testing.assert_close(NTK(model, inputs, output=output, rules=False).matrix(), kernel.matrix())
