"""Forms in which data come that are no tensor: taken, or refused with the way to one."""

from collections import UserDict

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from selfdistill._core.errors import DataError
from selfdistill.ntk import NTK

X = torch.arange(12.0).reshape(4, 3) / 12


class Named(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.layer = nn.Linear(3, 2)

    def forward(self, x, scale=None):
        return self.layer(x)


@pytest.mark.parametrize(
    "form", [X.numpy(), {"x": X}, UserDict(x=X, scale=np.ones(4))], ids=["array", "dict", "mapping"]
)
def test_forms_that_are_taken(form):
    assert NTK(Named(), form).matrix().equal(NTK(Named(), X).matrix())


@pytest.mark.parametrize(
    ("form", "way_out"),
    [
        (DataLoader(TensorDataset(X), batch_size=2), r"torch.cat\(\[batch\[0\] for batch in DataLoader\(...\)\]\)"),
        (TensorDataset(X), r"is a TensorDataset, .*torch.cat\("),
        (X.tolist(), r"inputs\[0\] is a list, .*torch.as_tensor"),
        ({"x": ["a"] * 4}, r"inputs\['x'\] is a list, .*torch.as_tensor"),
    ],
    ids=["loader", "dataset", "list", "texts"],
)
def test_forms_that_are_refused(form, way_out):
    with pytest.raises(DataError, match=way_out):
        NTK(Named(), form)


class Folded(nn.Module):
    """Writes to its input past torch's count of versions."""

    def forward(self, x):
        numbers = x.detach().numpy()
        np.maximum(numbers, -numbers, out=numbers)
        return x


@pytest.mark.parametrize("layer", [nn.ReLU(inplace=True), Folded()])  # at the first examples one changes versions alone
def test_a_network_that_writes_to_its_inputs_gets_copies(layer):
    x = torch.randn(30, 3, generator=torch.Generator().manual_seed(0))
    x[:10].abs_()  # ReLU leaves the values of the first examples, by which the network is judged
    x[:10] *= 1 if isinstance(layer, nn.ReLU) else -1
    before, head = x.clone(), nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2))
    kernel = NTK(nn.Sequential(layer, head), x)
    seen = x.clamp(min=0) if isinstance(layer, nn.ReLU) else x.abs()
    for _ in range(2):
        torch.testing.assert_close(kernel.matrix(), NTK(head, seen).matrix())
    assert torch.equal(x, before)
