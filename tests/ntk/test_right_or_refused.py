"""Networks that are easy to get wrong: the oracle is a double loop over gradients of single examples (conftest)."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional

from selfdistill._core.errors import SettingError
from selfdistill.ntk import NTK


class Solved(nn.Module):
    """A linear system in the weights, beside a bare parameter."""

    def __init__(self):
        super().__init__()
        self.matrix, self.bare = nn.Parameter(torch.randn(4, 4) + 4 * torch.eye(4)), nn.Parameter(torch.randn(3))
        self.head = nn.Linear(4, 3)

    def forward(self, x):
        return self.head(torch.linalg.solve(self.matrix, x.T).T) * self.bare


class Prototypes(nn.Module):
    """Distances to learned prototypes."""

    def __init__(self):
        super().__init__()
        self.body, self.prototypes = nn.Sequential(nn.Linear(4, 6), nn.Tanh()), nn.Parameter(torch.randn(3, 6))

    def forward(self, x):
        return -torch.cdist(self.body(x), self.prototypes)


class Packed(nn.Module):
    """An LSTM over sequences that are sorted by length and packed by hand, a Linear layer on their end."""

    def __init__(self):
        super().__init__()
        self.embed, self.lstm, self.head = nn.Linear(2, 4), nn.LSTM(4, 3, batch_first=True), nn.Linear(3, 2)

    def forward(self, series, lengths):
        lengths, order = lengths.sort(descending=True)
        inner = self.embed(series[order])
        packed = nn.utils.rnn.pack_padded_sequence(inner, lengths, batch_first=True)
        end = self.head(self.lstm(packed)[1][0][-1])
        return end[order.argsort()]


class TimeFirst(nn.Module):
    """A Linear layer on tokens first, examples second, with as many of one as of the other."""

    def __init__(self):
        super().__init__()
        self.token, self.head = nn.Linear(4, 5), nn.Linear(5, 2)

    def forward(self, x):
        return self.head(torch.tanh(self.token(x.transpose(0, 1))).transpose(0, 1).mean(1))


class Filter(nn.Module):
    """A complex filter in frequency, as in Fourier neural operators."""

    def __init__(self):
        super().__init__()
        self.lift, self.filter = nn.Linear(1, 2), nn.Parameter(torch.randn(2, 2, 5, dtype=torch.cfloat) / 2)
        self.head = nn.Linear(2, 3)

    def forward(self, x):
        h = torch.fft.rfft(self.lift(x[..., None]), dim=1)
        h = torch.fft.irfft(torch.einsum("nsi,ios->nso", h, self.filter), n=x.shape[1], dim=1)
        return self.head(torch.tanh(h).mean(1))


class ComplexLayer(nn.Module):
    """A Linear layer with complex weights."""

    def __init__(self):
        super().__init__()
        self.lift, self.inner, self.head = nn.Linear(4, 3), nn.Linear(3, 5, dtype=torch.cfloat), nn.Linear(5, 3)

    def forward(self, x):
        h = self.inner(torch.polar(torch.ones(len(x), 3, dtype=x.dtype), self.lift(x)))
        return self.head(torch.tanh(h.real) + h.imag**2)


def prelu():
    """PReLU with one slope for each channel."""
    return nn.Sequential(nn.Linear(4, 5), nn.PReLU(5), nn.Linear(5, 6), nn.PReLU(), nn.Linear(6, 3))


class ChannelsFirst(nn.LayerNorm):
    """ConvNeXt's norm."""

    def forward(self, x):
        return functional.layer_norm(x.permute(0, 2, 3, 1), self.normalized_shape, self.weight, self.bias).permute(
            0, 3, 1, 2
        )


def convnext():
    """A stem and a block with a norm over channels."""
    block = [nn.Conv2d(4, 4, 3, padding=1, groups=4), ChannelsFirst(4), nn.Conv2d(4, 4, 1), nn.GELU()]
    return nn.Sequential(
        nn.Conv2d(3, 4, 2, stride=2), ChannelsFirst(4), *block, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3)
    )


class NoGrad(nn.Module):
    """A backbone that its author runs without gradients."""

    def __init__(self):
        super().__init__()
        self.backbone, self.head = nn.Sequential(nn.Linear(4, 5), nn.Tanh()), nn.Linear(5, 3)

    def forward(self, x):
        with torch.no_grad():
            h = self.backbone(x)
        return self.head(h)


class Half(NoGrad):
    """Without gradients except for the bare gain."""

    def __init__(self):
        super().__init__()
        self.gain = nn.Parameter(torch.randn(3))

    def forward(self, x):
        with torch.no_grad():
            h = self.head(self.backbone(x))
        return h * self.gain


class Tokens(nn.Module):
    """Logits for each of a few tokens."""

    def __init__(self):
        super().__init__()
        self.embed, self.head = nn.Embedding(7, 4), nn.Linear(4, 3)

    def forward(self, x):
        h = self.embed(x)
        return self.head(torch.tanh(h + h.mean(1, keepdim=True)))


class HalfTied(nn.Module):
    """An embedding that shares its weight with one that is never called, as T5's encoder alone does."""

    def __init__(self):
        super().__init__()
        self.shared, self.embed, self.head = nn.Embedding(7, 4), nn.Embedding(7, 4), nn.Linear(4, 3)
        self.embed.weight = self.shared.weight

    def forward(self, x):
        return self.head(torch.tanh(self.embed(x)).mean(1))


class Trimmed(nn.Module):
    """Leaves out the tokens at the end that no example of its batch has."""

    def __init__(self):
        super().__init__()
        self.embed, self.wide, self.head = nn.Embedding(7, 6), nn.Linear(6, 40), nn.Linear(40, 3)

    def forward(self, x):
        x = x[:, : max(1, int((x > 0).sum(1).max()))]
        h = torch.tanh(self.wide(self.embed(x))) * (x > 0)[..., None]
        return self.head(h.sum(1))


class Queried(nn.Module):
    """Expands a learned query over its batch and reads the first answer: copies of it give more queries, not others."""

    def __init__(self):
        super().__init__()
        self.query, self.body = nn.Parameter(torch.randn(1, 6)), nn.Linear(6, 40)
        self.inner, self.head = nn.Linear(4, 6), nn.Linear(40, 3)

    def forward(self, x):
        q = self.query.expand(len(x), -1, -1) + self.inner(x)[:, None]
        return self.head(torch.tanh(self.body(q)))[:, 0]


def lengths(n=9, most=5):
    x = torch.randint(1, 7, (n, most))
    return x * (torch.arange(most) < torch.arange(n)[:, None] % most + 1)


def segmentation():
    """Logits for each pixel, classes first."""
    return nn.Sequential(nn.Conv2d(2, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 3, 1))


def x4(n=9):
    return torch.randn(n, 4)


RIGHT = {
    "solve": lambda: (Solved(), x4()),
    "cdist": lambda: (Prototypes(), x4()),
    "packed lstm": lambda: (
        Packed(),
        {"series": torch.randn(6, 5, 2), "lengths": torch.tensor([2, 5, 3, 5, 1, 4])},
    ),
    "time first, T = 2, n = 2": lambda: (TimeFirst(), torch.randn(2, 2, 4)),
    "time first, T = 3": lambda: (TimeFirst(), torch.randn(7, 3, 4)),
    "complex filter": lambda: (Filter(), torch.randn(6, 8)),
    "complex layer": lambda: (ComplexLayer(), x4()),
    "prelu": lambda: (prelu(), x4(3)),
    "prelu, more": lambda: (prelu(), x4()),
    "convnext": lambda: (convnext(), torch.randn(5, 3, 8, 8)),
    "backbone without gradients": lambda: (NoGrad(), x4()),
    "a gain alone": lambda: (Half(), x4()),
    "tied to what is never called": lambda: (HalfTied(), torch.randint(0, 7, (5, 4))),
    "trimmed to its batch": lambda: (Trimmed(), lengths()[torch.tensor([0, 3, 4, 1, 0, 2, 8, 7, 0])]),
    "a query for its batch": lambda: (Queried(), x4()),
    "tokens": lambda: (Tokens(), torch.randint(0, 7, (5, 4))),
    "segmentation": lambda: (segmentation(), torch.randn(4, 2, 3, 3)),
}


@pytest.fixture
def named(double):
    """Build one of them, in 64 bit and evaluation mode, and its inputs."""

    def build(name):
        torch.manual_seed(0)
        model, inputs = RIGHT[name]()
        return double(model).eval(), double(inputs)

    return build


def by_name(model, inputs):
    return model(**inputs) if isinstance(inputs, dict) else model(inputs)


@pytest.mark.parametrize("output", ["trace", "sum", "fisher", "full"])
@pytest.mark.parametrize("name", RIGHT)
def test_the_kernel_is_that_of_single_examples(named, assert_right, name, output):
    model, inputs = named(name)
    if output == "fisher" and name in {"tokens", "segmentation"}:
        with pytest.raises(SettingError, match=r"output='fisher' needs one row of logits .*\[n, \d, [\d, ]+\]"):
            NTK(model, inputs, output="fisher")
        return
    assert_right(model, inputs, output, call=by_name)


@pytest.mark.parametrize("name", RIGHT)
def test_without_rules_and_without_gradients_too(named, assert_right, name):
    model, inputs = named(name)
    with torch.no_grad():
        assert_right(model, inputs, call=by_name, rules=False)


def test_batched_differentiation_needs_gradients_on(named):
    model, x = named("solve")
    kernel = NTK(model, x)
    kernel @ torch.ones(9, 1)
    assert kernel.structure.per_sample.way == 0  # the fastest is right here


def test_directions_go_one_after_the_other_where_batches_of_both_are_wrong(named):
    kernel = NTK(*named("cdist"), output="full")
    kernel.matrix()
    assert kernel.structure.per_sample.way == 1


@pytest.mark.parametrize("n", [3, 5, 6, 7])
def test_a_chunk_as_long_as_there_are_directions(assert_right, double, n):
    torch.manual_seed(0)
    model = double(nn.Sequential(nn.Linear(4, 5), nn.PReLU(5), nn.Linear(5, n), nn.PReLU(n)))
    for output in ("fisher", "sum"):
        assert_right(model, double(x4(n)), output)


def test_single_precision_is_right_too(assert_right):
    for name in ("solve", "cdist", "prelu", "convnext"):
        torch.manual_seed(0)
        assert_right(*RIGHT[name](), within=1e-4)


class Late(nn.Module):
    """Turns its examples round inside, where there are more than three."""

    def __init__(self):
        super().__init__()
        self.body, self.head = nn.Linear(4, 5), nn.Linear(5, 3)

    def forward(self, x):
        h = self.body(x.flip(0)).flip(0) if len(x) > 3 else self.body(x)
        return self.head(torch.tanh(h))


@pytest.mark.parametrize("n", [7, 70])
def test_what_happens_in_larger_chunks_alone_is_seen(assert_right, double, n):
    torch.manual_seed(0)
    kernel = assert_right(double(Late()), double(x4(n)))
    assert kernel.structure.other_set == {"body.weight", "body.bias"}
