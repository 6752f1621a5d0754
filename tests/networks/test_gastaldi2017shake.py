import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from selfdistill._core.errors import SettingError
from selfdistill.networks import ShakeShake, shake
from selfdistill.networks._gastaldi2017shake import ShakeBlock, ShiftShortcut


class NaiveShake(torch.autograd.Function):
    """The paper's figure 1, word for word: one coefficient forward, another backward."""

    @staticmethod
    def forward(ctx, first, second, alpha, beta):  # type: ignore[no-untyped-def]
        ctx.save_for_backward(beta)
        return alpha * first + (1 - alpha) * second

    @staticmethod
    def backward(ctx, gradient):  # type: ignore[no-untyped-def]
        (beta,) = ctx.saved_tensors
        return beta * gradient, (1 - beta) * gradient, None, None


@given(st.integers(0, 2**31))
def test_value_uses_alpha_and_gradient_uses_beta(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    draw = lambda *shape: torch.rand(*shape, generator=generator, dtype=torch.float64)
    alpha, beta, weight = draw(5, 1), draw(5, 1), draw(5, 3)
    results = []
    for function in (shake, NaiveShake.apply):
        first = torch.arange(15.0, dtype=torch.float64).view(5, 3).requires_grad_()
        second = torch.ones(5, 3, dtype=torch.float64, requires_grad=True)
        value = function(first, second, alpha, beta)
        (value * weight).sum().backward()
        results.append((value.detach(), first.grad, second.grad))
    for fast, slow in zip(*results, strict=True):
        torch.testing.assert_close(fast, slow)


def test_each_image_has_its_own_coefficients() -> None:
    block = ShakeBlock(2, 2, 1)
    block.first = torch.nn.Sequential(torch.nn.Identity())
    block.second = torch.nn.Sequential(torch.nn.Threshold(1e9, 0.0))  # all zeros
    block.shortcut = torch.nn.Sequential(torch.nn.Threshold(1e9, 0.0))
    inputs = torch.ones(64, 2, 3, 3, requires_grad=True)
    torch.manual_seed(0)
    value = block(inputs)
    assert (value == value[:, :1, :1, :1]).all(), "one coefficient per image"
    alpha = value[:, 0, 0, 0].detach()
    assert len(alpha.unique()) == 64
    assert 0 <= alpha.min() < 0.2 < 0.8 < alpha.max() <= 1
    value.sum().backward()
    beta = inputs.grad[:, 0, 0, 0]
    assert len(beta.unique()) == 64
    assert abs(torch.corrcoef(torch.stack([alpha, beta]))[0, 1]) < 0.4
    block.eval()
    assert torch.equal(block(inputs), inputs / 2)


def test_training_follows_the_global_generator() -> None:
    model = ShakeShake(1, 8, 4, 2)
    images = torch.randn(3, 1, 8, 8)
    values = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        values.append(model(images))
    assert torch.equal(values[0], values[1])
    assert not torch.equal(values[0], values[2])


@pytest.mark.parametrize(("width", "millions"), [(32, 2.9), (64, 11.7), (96, 26.2)])
def test_parameter_counts_of_the_paper(width: int, millions: float) -> None:
    with torch.device("meta"):
        model = ShakeShake(3, 26, width, 10)
    assert round(sum(parameter.numel() for parameter in model.parameters()) / 1e6, 1) == millions


def test_shifted_path_sees_the_neighbour() -> None:
    shortcut = ShakeBlock(1, 2, 2).shortcut.eval()
    torch.nn.init.ones_(shortcut.straight.weight)
    torch.nn.init.ones_(shortcut.shifted.weight)
    image = torch.arange(16.0).view(1, 1, 4, 4)
    outputs = shortcut(image) * (1 + 1e-5) ** 0.5
    torch.testing.assert_close(outputs[0, 0], torch.tensor([[0.0, 2.0], [8.0, 10.0]]))
    torch.testing.assert_close(outputs[0, 1], torch.tensor([[0.0, 0.0], [0.0, 5.0]]))


@pytest.mark.parametrize(
    ("depth", "width", "message"), [(25, 32, "depth 25"), (2, 32, "depth 2"), (26, 31, "width 31")]
)
def test_impossible_sizes(depth: int, width: int, message: str) -> None:
    with pytest.raises(SettingError, match=message):
        ShakeShake(3, depth, width, 10)


@pytest.mark.parametrize("stride", [1, 2, 3])
def test_the_shortcut_is_that_of_strided_convolutions_without_one(stride: int) -> None:
    """A strided 1x1 convolution of few channels writes past its memory in oneDNN on AVX2 alone (its issue 6035)."""
    torch.manual_seed(0)
    shortcut, x = ShiftShortcut(4, 6, stride).eval(), torch.randn(2, 4, 7, 9)
    assert [m.stride for m in shortcut.modules() if isinstance(m, torch.nn.Conv2d)] == [(1, 1), (1, 1)]
    seen = torch.zeros_like(x)
    seen[..., 1:, 1:] = x[..., :-1, :-1]  # shifted down and right by one pixel
    halves = [
        torch.nn.functional.conv2d(image.relu(), conv.weight, stride=stride)
        for image, conv in ((x, shortcut.straight), (seen, shortcut.shifted))
    ]
    torch.testing.assert_close(shortcut(x), shortcut.bn(torch.cat(halves, 1)))
