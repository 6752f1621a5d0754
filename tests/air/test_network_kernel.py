from __future__ import annotations

import pytest
import torch
from torch import nn

from selfdistill._core.errors import SettingError
from selfdistill.air import _network_kernel, network_kernel
from selfdistill.ntk import NTK


def test_dense_for_few_examples_and_leading_pairs_for_many(monkeypatch):
    model, x = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 3)), torch.randn(30, 4)
    dense = network_kernel("centered")(model, x)
    assert dense.complete
    assert float(dense.trace) == pytest.approx(float(NTK(model, x, output="centered").matrix().trace()), rel=1e-5)
    assert len(network_kernel("centered", rank=7)(model, x).values) == 7
    monkeypatch.setattr(_network_kernel, "DENSE", 10)
    leading = network_kernel("centered", rank=5, labels=torch.randn(30, 3))(model, x)
    torch.testing.assert_close(leading.values, dense.values[:5], rtol=1e-3, atol=0)


def test_an_unknown_output_is_refused():
    with pytest.raises(SettingError, match="output is 'both'"):
        network_kernel("both")(nn.Linear(2, 2), torch.zeros(3, 2))
