"""The default's loss has its gradient in closed form: against autograd through its two terms, and differences."""

import math

import pytest
import torch

from selfdistill._core.errors import SettingError
from selfdistill.losses import anchored_cross_entropy, cross_entropy
from selfdistill.losses._anchored import elr_term


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
