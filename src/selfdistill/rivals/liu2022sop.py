r"""Sparse over-parameterisation of the label noise, SOP (Liu et al. 2022, arXiv 2202.14026).

The given label, and what of it is noise, learned for each example by gradient descent of its own:

.. math:: s_i = u_i^2\, e_{y_i} - v_i^2 \odot (1 - e_{y_i}), \qquad u_i \in \mathbb R,\ v_i \in \mathbb R^K

squares clamped to [0, 1]. The network learns from cross-entropy (CE) between label and shifted prediction,

.. math:: \mathrm{CE}(\varphi(p + s), y), \qquad \varphi(r) = \max\left(\frac{\max(r, \varepsilon)}
    {\sum_c \max(r_c, \varepsilon)}, \varepsilon\right), \quad \varepsilon = 10^{-4}

u from that plus :math:`\lVert e_{\arg\max p} + s - e_y \rVert^2`, and v from the latter alone, by plain descent without
momentum or decay. The gradients are in closed form,

.. math:: \partial_u = 2u\left(\frac1{\sum_c r_c} - \frac1{r_y}\right) + 4u\,(h_y + u^2 - 1), \qquad
    \partial_{v_c} = -4 v_c\,(h_c - v_c^2) \quad (c \ne y)

with r the shifted prediction before it is normalised and h the one-hot argmax of p; clamped quantities pull no further.
Each example is visited once an epoch, so that a step from the staged predictions at the epoch's end is the step that
the authors take at the visit. Rates of 10 are the paper's for CIFAR-10 with symmetric noise (table A.1).

The authors' published loss has had several versions; this is the one in which the squared error drives u too. What
differs: their step is that of the mean over a batch of 128 examples, and is so here whatever the batch; their 120
visits of step α are as many visits as there are epochs here, with their sum of steps. (With step α, 30 epochs leave
every v² under 1/2: 79 % instead of 87 % right on four blobs with 40 % wrong labels.) No consistency term and no balance
term: this is SOP, not SOP+. The value of the loss leaves the squared error out, for it does not depend on the network's
weights. Cost: that of cross-entropy. Memory: ``12 n K`` bytes; u lies in the column of v that has no use, that of the
given label.

Example:
    >>> targets = SparseNoise(torch.tensor([0]), 2, epochs=1)
    >>> targets.read(torch.tensor([0])).given.tolist(), targets.read(torch.tensor([0])).shift.abs().max() < 1e-12
    ([[1.0, 0.0]], tensor(True))
    >>> t = torch.tensor([[1.0, 0.0]])
    >>> round(shifted_cross_entropy(torch.zeros(1, 2), (t, 0.5 * t)).exp().item(), 4)  # 1 / (1 / 1.5)
    1.5
"""

from __future__ import annotations

from typing import NamedTuple, final

import torch
from jaxtyping import Float
from torch import Tensor

from selfdistill._core.errors import SettingError
from selfdistill._core.labels import one_hot
from selfdistill._core.rng import torch_generator
from selfdistill.losses._cross_entropy import at_least_single
from selfdistill.rivals._method import Method
from selfdistill.targets._base import LabelTargets

_FLOOR = 1e-4  # the authors' least probability after the shift, before and after normalising
_SPREAD = 1e-8  # standard deviation of the parameters at the start
_BATCH = 128  # the authors' gradients are those of means over this many examples
_EPOCHS = 120  # the authors' number of visits to each example


def shifted_cross_entropy(
    logits: Float[Tensor, "b k"], shifted: tuple[Float[Tensor, "b k"], Float[Tensor, "b k"]]
) -> Float[Tensor, " b"]:
    """Cross-entropy between given labels and the prediction with their noise s added, in [0, log 1e4], per example."""
    target, shift = shifted
    raised = (at_least_single(logits).softmax(-1) + shift.detach()).clamp(min=_FLOOR)
    prediction = (raised / raised.sum(-1, keepdim=True)).clamp(min=_FLOOR)
    return -(target.detach() * prediction.log()).sum(-1)


class ShiftedTarget(NamedTuple):
    """Given labels one-hot, and their noise s, ``[b, K]``: in [0, 1] at the given label, in [-1, 0] elsewhere."""

    given: Tensor
    shift: Tensor


@final
class SparseNoise(LabelTargets[ShiftedTarget]):
    """The given label and its noise; rates are α of u and of v, ``seed`` that of the start, normal with 1e-8."""

    noise: Tensor
    in_blocks = False

    def __init__(
        self,
        labels: Tensor,
        num_classes: int,
        *,
        epochs: int,
        rate_u: float = 10.0,
        rate_v: float = 10.0,
        seed: int = 0,
    ) -> None:
        if epochs < 1:
            raise SettingError(f"epochs is {epochs}, but must be at least 1", "Pass the number of epochs of the run.")
        super().__init__(labels, num_classes)
        step = _EPOCHS / epochs / _BATCH
        self.step_u, self.step_v = rate_u * step, rate_v * step
        start = torch.randn(len(labels), num_classes, generator=torch_generator(seed, "sparse noise"))
        self.register_buffer("noise", _SPREAD * start)

    @torch.no_grad()
    def read(self, index: Tensor, logits: Tensor | None = None) -> ShiftedTarget:
        """Return the given labels of ``index`` and their noise."""
        given = self.given(index)
        return ShiftedTarget(given, _shift(self.noise[index], given))

    def commit(self, mean: Tensor, written: Tensor) -> None:
        """Take each example's step of u and v, and keep the predictions."""
        given = one_hot(self.labels, self.num_classes)
        step = torch.where(given > 0, self.step_u, self.step_v)
        moved = self.noise - step * _gradient(self.noise, mean, given)
        self.noise.copy_(torch.where(written[:, None], moved, self.noise))
        super().commit(mean, written)


def _shift(noise: Tensor, given: Tensor) -> Tensor:
    return noise.square().clamp(max=1.0) * (2 * given - 1)


def _gradient(noise: Tensor, p: Tensor, given: Tensor) -> Tensor:
    """Gradients of u, in the column of the given label, and of v, in the others."""
    shift = _shift(noise, given)
    raised = (p + shift).clamp(min=_FLOOR)
    total = raised.sum(-1, keepdim=True)
    moves = (p + shift >= _FLOOR) & (raised / total >= _FLOOR)
    of_cross_entropy = 2 * noise * (1 / total - 1 / raised) * moves * given
    apart = one_hot(p.argmax(-1), p.shape[-1]) + shift - given
    of_square = 4 * noise * apart * (2 * given - 1)
    return (of_cross_entropy + of_square) * (noise.square() <= 1)


METHODS = {
    "sop": Method(
        lambda c: SparseNoise(c.labels, c.num_classes, epochs=c.epochs, seed=c.seed),
        shifted_cross_entropy,
        "each label's noise learned beside the network, as something sparse (SOP, Liu et al. 2022)",
    ),
}
