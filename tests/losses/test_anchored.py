"""The default's loss has its gradient in closed form: against autograd through its two terms, and differences."""

import math

import numpy as np
import pytest
import torch

from selfdistill._core.errors import SettingError
from selfdistill.losses import anchored_cross_entropy, cross_entropy
from selfdistill.losses._anchored import elr_term, of_arrays, with_prediction


def twin(z: torch.Tensor, t: torch.Tensor, m: torch.Tensor, strength: float) -> torch.Tensor:
    m = 0.7 * m + 0.3 * z.detach().softmax(-1)
    return cross_entropy(z, t) + strength * (elr_term(z, m) - math.log(1e-4))


@pytest.mark.parametrize("scale", [0.1, 3.0, 30.0])  # at 30 probabilities lie beyond the clamp on both sides
@pytest.mark.parametrize("sharp", [1.0, 50.0])
def test_value_and_gradient_equal_the_sum_of_the_two_terms(scale: float, sharp: float) -> None:
    g = torch.Generator().manual_seed(0)
    z, t, m = (torch.randn(200, 5, generator=g, dtype=torch.float64) for _ in range(3))
    z, t, m = (scale * z).requires_grad_(), t.softmax(-1), (sharp * m).softmax(-1)
    weights = torch.rand(200, generator=g, dtype=torch.float64)
    found, expected = anchored_cross_entropy(z, (t, m, 0.7, 2.0)), twin(z, t, m, 2.0)
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(
        torch.autograd.grad((found * weights).sum(), z), torch.autograd.grad((expected * weights).sum(), z)
    )


@pytest.mark.parametrize("scale", [0.1, 3.0, 30.0, 1e4])  # from 30 on probabilities lie beyond the clamp on both sides
@pytest.mark.parametrize("k", [2, 10, 100])
@pytest.mark.parametrize("momentum", [0.0, 0.7, 1.0])
@pytest.mark.parametrize("mean", [True, False])
def test_arrays_give_value_gradient_and_prediction_of_torch(scale: float, k: int, momentum: float, mean: bool) -> None:
    g = torch.Generator().manual_seed(int(scale) + k)
    z, t, m = (torch.randn(60, k, generator=g) for _ in range(3))
    z, t, m = (scale * z).requires_grad_(), (4 * t).softmax(-1), torch.rand(60, 1, generator=g) * (9 * m).softmax(-1)
    weights = torch.rand(60, generator=g)
    arrays = t.numpy(), m.numpy(), momentum, np.array(1.5, np.float32)
    found = of_arrays(z, z.detach().numpy(), *arrays, mean=mean)
    single, double = (
        with_prediction(a, (b, c, momentum, 1.5)) for a, b, c in ((z, t, m), map(torch.Tensor.double, (z, t, m)))
    )
    ends = []
    for value, p in (found, single, double):
        value = value.mean() if mean and value.ndim else value
        end = 2 * value if mean else (value * weights).sum()
        ends.append((torch.as_tensor(p), end, torch.autograd.grad(end, z, retain_graph=True)[0]))
    for mine, theirs, exact in zip(*ends, strict=True):  # near the clamp 1 - <p, m> has few digits, in torch too
        rounding = (theirs - exact).abs().max().item()
        torch.testing.assert_close(mine.to(exact), exact, rtol=1e-6, atol=1e-6 + 3 * rounding)


def test_gradient_equals_finite_differences() -> None:
    torch.manual_seed(0)
    z = torch.randn(3, 4, dtype=torch.float64, requires_grad=True)
    t, m = torch.randn(2, 3, 4, dtype=torch.float64).softmax(-1)
    assert torch.autograd.gradcheck(lambda x: anchored_cross_entropy(x, (t, m, 1.0, 1.5)), z)


def test_a_second_derivative_is_refused_and_not_silently_wrong() -> None:
    x, weights = torch.ones(1, 2, requires_grad=True), torch.tensor([[1.0, -2.0], [0.5, 1.0]])
    t = torch.tensor([[1.0, 0.0]])
    value = anchored_cross_entropy((x @ weights).tanh(), (t, t, 1.0, 1.0)).sum()
    with pytest.raises(SettingError, match="first derivatives only"):  # as a gradient penalty on x asks for
        torch.autograd.grad(value, x, create_graph=True)


def test_half_precision_is_lifted() -> None:
    z = torch.randn(4, 3).bfloat16().requires_grad_()
    t = torch.ones(4, 3) / 3
    value = anchored_cross_entropy(z, (t, t, 0.7, torch.tensor(2.0)))
    value.sum().backward()
    assert value.dtype == torch.float32
    assert z.grad is not None
    assert z.grad.dtype == torch.bfloat16
