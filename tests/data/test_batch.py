"""The form of a batch."""

import torch

from selfdistill.data._loader import Batch


def test_fields_in_order():
    batch = Batch(torch.zeros(2, 3), torch.tensor([4, 5]), torch.tensor([0, 1]), None, 2)
    inputs, index, labels, weight, total = batch
    assert (inputs.shape, index.tolist(), labels.tolist(), weight, total) == ((2, 3), [4, 5], [0, 1], None, 2)
