"""Sparse over-parameterisation of the label noise (Liu et al. 2022, arXiv 2202.14026)."""

from __future__ import annotations

from typing import NamedTuple, final

import torch
from torch import Tensor, nn

from selfdistill._core.errors import SettingError
from selfdistill._core.rng import torch_generator
from selfdistill._core.sample_mean import SampleMean
from selfdistill.targets._protocol import one_hot

__all__ = ["Shifted", "SparseNoise"]

_FLOOR = 1e-4  # the authors' least probability; losses.shifted_cross_entropy has the same
_SPREAD = 1e-8  # standard deviation of the parameters at the start
_BATCH = 128  # the authors' gradients are those of means over this many examples
_EPOCHS = 120  # the authors' number of visits to each example


class Shifted(NamedTuple):
    """What `SparseNoise` gives to ``losses.shifted_cross_entropy``.

    Attributes:
        target: Given labels, one-hot ``[b, K]``.
        shift: Their noise s, ``[b, K]``: in [0, 1] at the given label, in [-1, 0] elsewhere.
    """

    target: Tensor
    shift: Tensor


@final
class SparseNoise(nn.Module):
    r"""The given label, and what of it is noise, learned for each example by gradient descent of its own.

    .. math:: s_i = u_i^2\, e_{y_i} - v_i^2 \odot (1 - e_{y_i}), \qquad u_i \in \mathbb R,\ v_i \in \mathbb R^K

    squares clamped to [0, 1]. The network learns from ``losses.shifted_cross_entropy`` (CE below), u from

    .. math:: \mathrm{CE}(\varphi(p + s), y) + \lVert e_{\arg\max p} + s - e_y \rVert^2

    and v from the second term alone, by plain descent without momentum or decay. The gradients are in closed form,

    .. math:: \partial_u = 2u\left(\frac1{\sum_c r_c} - \frac1{r_y}\right) + 4u\,(h_y + u^2 - 1), \qquad
        \partial_{v_c} = -4 v_c\,(h_c - v_c^2) \quad (c \ne y)

    with r the shifted prediction before it is normalised and h the one-hot argmax of p; clamped quantities pull no
    further. Each example is visited once an epoch, so that a step from the staged predictions at the epoch's end is the
    step that the authors take at the visit.

    The authors' published loss has had several versions; this is the one in which the squared error drives u too. In
    another it drives v alone. What differs: their step is that of the mean over a batch of 128 examples, and is so
    here whatever the batch; their 120 visits of step α are ``epochs`` visits of step 120 α / ``epochs`` here. (With
    step α, 30 epochs leave every v² under 1/2: 79 % instead of 87 % right on four blobs with 40 % wrong labels.) No
    consistency term and no balance term: this is SOP, not SOP+. The value of the loss leaves the squared error out, for
    it does not depend on the network's weights.

    Cost: that of cross-entropy. Memory: ``12 n K`` bytes; u lies in the column of v that has no use, that of the given
    label.

    Args:
        labels: Given labels, int64 ``[n]``.
        num_classes: K.
        epochs: Epochs of the training.
        rate_u: α of u; 10 is the paper's for CIFAR-10.
        rate_v: α of v; 10 is the paper's for CIFAR-10 with symmetric noise.
        seed: Seed of the start, normal with standard deviation 1e-8.

    Raises:
        SettingError: ``epochs`` below 1.

    References:
        Liu et al. (2022), arXiv 2202.14026, table A.1 for the rates, and the authors' published loss.

    Example:
        >>> targets = SparseNoise(torch.tensor([0]), 2, epochs=1)
        >>> targets.read(torch.tensor([0])).target.tolist(), targets.read(torch.tensor([0])).shift.abs().max() < 1e-12
        ([[1.0, 0.0]], tensor(True))
    """

    labels: Tensor
    value: Tensor
    noise: Tensor

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
        super().__init__()
        if epochs < 1:
            raise SettingError(f"epochs is {epochs}, but must be at least 1", "Pass the number of epochs of the run.")
        step = _EPOCHS / epochs / _BATCH
        self.step_u, self.step_v = rate_u * step, rate_v * step
        start = torch.randn(len(labels), num_classes, generator=torch_generator(seed, "sparse noise"))
        self.register_buffer("labels", labels.clone())
        self.register_buffer("value", one_hot(labels, num_classes))
        self.register_buffer("noise", _SPREAD * start)
        self.staged = SampleMean(len(labels), num_classes)

    @torch.no_grad()
    def read(self, index: Tensor, logits: Tensor | None = None) -> Shifted:
        """Return the given labels of ``index`` and their noise; ``logits`` are not looked at."""
        target = one_hot(self.labels[index], self.value.shape[-1])
        return Shifted(target, _shift(self.noise[index], target))

    def write(self, index: Tensor, probabilities: Tensor) -> None:
        """Stage predictions ``[b, K]``."""
        self.staged.stage(index, probabilities)

    @torch.no_grad()
    def end_epoch(self) -> tuple[Tensor, Tensor]:
        """Take each example's step of u and v, and keep the predictions; see `Targets.end_epoch`."""
        mean, written = self.staged.merge()
        target = one_hot(self.labels, self.value.shape[-1])
        step = torch.where(target > 0, self.step_u, self.step_v)
        moved = self.noise - step * _gradient(self.noise, mean, target)
        self.noise.copy_(torch.where(written[:, None], moved, self.noise))
        self.value.copy_(torch.where(written[:, None], mean, self.value))
        return mean, written

    def refined(self) -> Tensor:
        """Return the last epoch's predictions, ``[n, K]``: the network's own, without the noise."""
        return self.value


def _shift(noise: Tensor, target: Tensor) -> Tensor:
    return noise.square().clamp(max=1.0) * (2 * target - 1)


def _gradient(noise: Tensor, p: Tensor, target: Tensor) -> Tensor:
    """Gradients of u, in the column of the given label, and of v, in the others."""
    shift = _shift(noise, target)
    raised = (p + shift).clamp(min=_FLOOR)
    total = raised.sum(-1, keepdim=True)
    moves = (p + shift >= _FLOOR) & (raised / total >= _FLOOR)
    of_cross_entropy = 2 * noise * (1 / total - 1 / raised) * moves * target
    apart = one_hot(p.argmax(-1), p.shape[-1]) + shift - target
    of_square = 4 * noise * apart * (2 * target - 1)
    return (of_cross_entropy + of_square) * (noise.square() <= 1)
