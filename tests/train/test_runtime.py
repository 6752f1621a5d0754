"""The backward pass of a mean, without the mean; predictions of a network at rest."""

from __future__ import annotations

import pytest
import torch

from selfdistill.data._loader import Batch
from selfdistill.train._loop import predict_probabilities
from selfdistill.train._runtime import TorchRuntime


def test_the_backward_pass_is_that_of_the_mean():
    runtime = TorchRuntime()
    for size, dtype in ((3, torch.float32), (3, torch.float64), (6, torch.float64), (7, torch.float32)):
        x = torch.arange(1.0, size + 1, dtype=dtype).requires_grad_()
        index = torch.arange(size)
        total = runtime.backward(x**3, Batch(index, index, index, None, size))
        slow = x.detach().clone().requires_grad_()
        (slow**3).mean().backward()
        torch.testing.assert_close(x.grad, slow.grad, rtol=4 * torch.finfo(dtype).eps, atol=0)
        torch.testing.assert_close(total, (slow.detach() ** 3).sum())
        assert not total.requires_grad


@pytest.mark.parametrize("training", [True, False])
def test_prediction_is_of_a_network_at_rest_and_puts_its_mode_back(training):
    network = torch.nn.Sequential(torch.nn.Dropout(0.9), torch.nn.Linear(3, 2)).train(training)
    inputs = torch.ones(5, 3)
    found = predict_probabilities(network, inputs, TorchRuntime(), 2)
    assert network.training is network[0].training is training
    torch.testing.assert_close(found, network[1](inputs).softmax(-1).detach())
