"""The backward pass of a mean, without the mean."""

from __future__ import annotations

import torch

from selfdistill.data import Batch
from selfdistill.train import TorchRuntime


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
