"""Generated networks, whose steps permute, repeat, share, transpose and change in place."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from selfdistill._core.errors import DataError, SettingError
from selfdistill.ntk import NTK

# -- generated networks ------------------------------------------------------------------------------------------------

STEPS = {
    "linear": lambda d: nn.Linear(d, d),
    "shared": None,  # the first Linear layer again
    "norm": lambda d: nn.LayerNorm(d),
    "tanh": lambda d: nn.Tanh(),
    "relu in place": lambda d: nn.Sequential(nn.Linear(d, d), nn.ReLU(inplace=True)),
    "prelu": lambda d: nn.PReLU(),
    "gain": None,
}
MOVES = ["none", "flip", "sort", "double", "transpose", "add in place", "twice"]


class Generated(nn.Module):
    """Steps on ``[n, T, d]``, and moves of the examples between them that are undone afterwards."""

    def __init__(self, steps, d):
        super().__init__()
        self.first, self.head = nn.Linear(d, d), nn.Linear(d, 2)
        self.gain = nn.Parameter(torch.rand(d) + 0.5)
        self.steps = nn.ModuleList(STEPS[name](d) if STEPS[name] else nn.Identity() for name, _ in steps)
        self.names = steps

    def forward(self, x):
        x = torch.tanh(self.first(x))
        for step, (name, move) in zip(self.steps, self.names, strict=True):
            work = {"shared": self.first, "gain": lambda v: v * self.gain}.get(name, step)
            x = self.moved(work, move, x)
        return self.head(x.mean(1))

    def moved(self, work, move, x):
        if move == "flip":
            return work(x.flip(0)).flip(0)
        if move == "sort":
            order = x[:, 0, 0].argsort()
            return work(x[order])[order.argsort()]
        if move == "double":
            return work(torch.cat([x, x.flip(0)]))[: len(x)]
        if move == "transpose" and x.shape[0]:
            return work(x.transpose(0, 1)).transpose(0, 1)
        if move == "twice":
            return work(work(x))
        if move == "add in place":
            y = work(x)
            y = y + 0 if y is x else y
            y += 1.0
            return y
        return work(x)


@settings(max_examples=100, deadline=None, derandomize=True, database=None)
@given(
    steps=st.lists(st.tuples(st.sampled_from(list(STEPS)), st.sampled_from(MOVES)), min_size=1, max_size=4),
    n=st.integers(2, 6),
    tokens=st.integers(1, 4),
    output=st.sampled_from(["trace", "sum", "fisher", "full"]),
    memory=st.sampled_from(["2GiB", "5kB", "10kB", "20kB"]),
)
def test_generated_networks(assert_right, oracle, steps, n, tokens, output, memory):
    torch.manual_seed(0)
    model, x = Generated(steps, 3).double(), torch.randn(n, tokens, 3, dtype=torch.float64)
    try:
        expected = oracle(model, x, output)
    except RuntimeError:  # what autograd needs was changed in place
        with pytest.raises(DataError, match=r"fails on its inputs or cannot be differentiated.*inplace"):
            NTK(model, x)
        return
    try:
        assert_right(model, x, output, memory=memory)
        between = NTK(model, x, x[:1], output=output, memory=memory).matrix()
    except SettingError:  # not that little
        assert memory != "2GiB"
        return
    torch.testing.assert_close(between, expected[:, : between.shape[1]])
