"""Two networks as one: what comes out in each mode, and that they are two."""

from __future__ import annotations

import pytest
import torch

from selfdistill import networks
from selfdistill._core.errors import SettingError


def test_training_gives_both_and_evaluation_the_mean_prediction():
    pair = networks.build("2*mlp:7", (4,), 3, seed=0)
    x = torch.randn(5, 4, generator=torch.Generator().manual_seed(0))
    both = pair(x)
    assert torch.equal(both[:, 0], pair.a(x))
    assert torch.equal(both[:, 1], pair(x, 1))
    pair.eval()
    mean = (pair.a(x).softmax(-1) + pair.b(x).softmax(-1)) / 2
    torch.testing.assert_close(pair(x).softmax(-1), mean)


def test_the_first_is_the_single_network_and_the_second_another():
    pair, single = networks.build("2*mlp:7", (4,), 3, seed=3), networks.build("mlp:7", (4,), 3, seed=3)
    for a, b, one in zip(pair.a.parameters(), pair.b.parameters(), single.parameters(), strict=True):
        assert torch.equal(a, one)
        assert one.ndim == 1 or not torch.equal(b, one)


def test_a_pair_of_pairs_is_refused():
    with pytest.raises(SettingError, match="is not one of"):
        networks.build("2*2*mlp", (4,), 3, seed=0)
