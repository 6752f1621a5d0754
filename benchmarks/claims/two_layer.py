"""Wide two-layer networks of which the first layer is trained, by full-batch gradient descent on the squared loss.

f(x) = v·tanh(W x) with W standard normal and v fixed, half of it 1/sqrt(k) and half -1/sqrt(k), as in Li,
Soltanolkotabi & Oymak (2020), arXiv 1903.11680; tanh has bounded first and second derivatives. Loss: half the sum of
squares.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from selfdistill._core.rng import torch_generator


@dataclass
class TwoLayer:
    """The network.

    Attributes:
        hidden: W, ``[k, d]``.
        output: v, ``[k]``.
    """

    hidden: Tensor
    output: Tensor

    @classmethod
    def draw(cls, width: int, dimension: int, seed: int) -> TwoLayer:
        """Draw the initial weights; an even width."""
        generator = torch_generator(seed, "claims", "two layers")
        output = torch.full((width,), width**-0.5)
        output[width // 2 :] *= -1
        return cls(torch.randn(width, dimension, generator=generator), output)

    def copy(self) -> TwoLayer:
        """Copy the weights that are trained."""
        return TwoLayer(self.hidden.clone(), self.output)

    def __call__(self, inputs: Tensor) -> Tensor:
        """Outputs ``[n]``."""
        return torch.tanh(inputs @ self.hidden.T) @ self.output

    def kernel(self, inputs: Tensor) -> Tensor:
        """Tangent kernel of the first layer, float64 ``[n, n]``."""
        slope = ((1 - torch.tanh(inputs @ self.hidden.T).square()) * self.output).double()
        return (inputs.double() @ inputs.double().T) * (slope @ slope.T)

    def step(self, inputs: Tensor, target: Callable[[Tensor], Tensor], lr: float) -> None:
        """Take one step of gradient descent towards a target that may look at the outputs."""
        active = (inputs @ self.hidden.T).tanh_()
        outputs = active @ self.output
        pulled = (outputs - target(outputs))[:, None] * inputs
        # The slope of tanh is 1 - tanh^2; the 1 is the same for all units, so no [n, k] product is formed.
        slope = pulled.sum(0) - active.square_().T @ pulled
        self.hidden -= lr * self.output[:, None] * slope


@dataclass
class Path:
    """What a training went through, at the recorded steps.

    Attributes:
        distance: Of the outputs to the true labels of -1 and 1, per example: the norm over sqrt(n).
        margin: Smallest margin, true label times output.
        low: See `low_margin`.
        wrong: Share of outputs of the wrong sign (0-1 loss against the truth).
        fitted: Share of outputs with the sign of the given label.
        test: Share of right signs on the test set.
        margins: All margins at the end.
        moved: Distance of the weights from where they began, at the end.
    """

    distance: list[float] = field(default_factory=list)
    margin: list[float] = field(default_factory=list)
    low: list[float] = field(default_factory=list)
    wrong: list[float] = field(default_factory=list)
    fitted: list[float] = field(default_factory=list)
    test: list[float] = field(default_factory=list)
    margins: list[float] = field(default_factory=list)
    moved: float = 0.0


def low_margin(margins: Tensor) -> float:
    """Margin that 99 % of the examples have at least; of fewer than 100 examples the smallest."""
    return float(margins.sort().values[len(margins) // 100])


GivenWeight = Callable[[int, float], float]
"""Weight of the given labels: of the step, counted from 0, and of the agreement with them before it."""


def descend(
    network: TwoLayer,
    data: tuple[Tensor, Tensor, Tensor, Tensor, Tensor],
    lr: float,
    steps: int,
    record: Sequence[int],
    given_weight: GivenWeight | None = None,
) -> Path:
    """Train a copy of a network towards the given labels, or towards those mixed with its own signs.

    Args:
        network: Left as it is.
        data: Inputs, given and true labels, test inputs and their true labels; labels of -1 and 1.
        lr: Step size.
        steps: Steps.
        record: After which steps to measure, rising.
        given_weight: ``None``: the given labels alone.

    Returns:
        The path.
    """
    inputs, given, truth, test_inputs, test_truth = data
    net, path, wanted = network.copy(), Path(), set(record)
    for step in range(steps + 1):
        if step in wanted:
            outputs = net(inputs)
            margins = truth * outputs
            path.distance.append(float((outputs - truth).norm() / len(truth) ** 0.5))
            path.margin.append(float(margins.min()))
            path.low.append(low_margin(margins))
            path.wrong.append(float((margins <= 0).double().mean()))
            path.fitted.append(float((given * outputs > 0).double().mean()))
            path.test.append(float((test_truth * net(test_inputs) > 0).double().mean()))
        if step < steps:
            net.step(inputs, _target(given, step, given_weight), lr)
    path.margins = margins.tolist()
    path.moved = float((net.hidden - network.hidden).norm())
    return path


def _target(given: Tensor, step: int, weight: GivenWeight | None) -> Callable[[Tensor], Tensor]:
    if weight is None:
        return lambda outputs: given

    def mixed(outputs: Tensor) -> Tensor:
        own = torch.where(outputs >= 0, 1.0, -1.0)
        alpha = weight(step, float((own == given).double().mean()))
        return alpha * given + (1 - alpha) * own

    return mixed
