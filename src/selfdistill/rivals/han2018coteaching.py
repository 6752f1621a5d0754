r"""Co-teaching (Han et al. 2018, arXiv 1804.06872).

Two networks, each trained on the examples of the batch that the other finds easiest. With losses :math:`\ell_{ij}` of
example i under network j, :math:`R = \max(1, \lfloor (1 - f)\, b \rfloor)` and :math:`S_j` the R examples of least
:math:`\ell_{ij}` (of equal ones the first),

.. math:: v_i = \frac{b}{R} \left([i \in S_2]\, \ell_{i1} + [i \in S_1]\, \ell_{i2}\right), \qquad
    f_e = \tau \min(e / e_k, 1), \quad e = 0, 1, \dots

so that the mean over the batch is the sum of both networks' mean losses over what they keep (algorithm 1). The share f
to forget rises to the noise rate τ over 10 of the paper's 200 epochs, and at least over 1; the first epoch keeps all. R
is rounded down as in the authors' code; the paper's "at least" would round up. The selection is not differentiated;
over several processes each selects within its own share of the batch. The authors' code divides the mean over the kept
examples by R once more, which goes unnoticed under Adam and is left out here.

Where the noise rate is not known it is estimated: how many held-out labels the network of "early-stopping" contradicts.
The authors say that the rate can be inferred using validation sets, and leave it at that. The estimate is right where
the network knows the true classes; where classes overlap it is too high, by the share of examples that nobody could
tell. Its standard error is the square root of ``rate (1 - rate) / m`` over m held-out examples. Where every class is
too small to hold one out, all examples are asked. Against the true rate, on 15 settings (1,797 digits and 600 points in
three classes, near and far; 0 to 60 % symmetric and 30 % pair noise) the mean absolute error was 0.054. Reading the
rate off a noise matrix from anchor points (Liu & Tao 2016, arXiv 1411.7718; Patrini et al. 2017, eq. 12 and 13), from
the predictions of plain training, gave 0.21, and 0.088 with the 97th percentile in the place of the maximum: it
memorises, and then finds no noise. The same from the network of "early-stopping": 0.062 with the percentile.

Cost: 2.00 times the FLOPs of cross-entropy, as published: what is dropped is dropped after its passes; 0.93 more for
the training that comes first where the rate is not given. Memory: ``n (8 K + 12)`` bytes.

Example:
    >>> targets = SmallLoss(torch.tensor([1, 0]), 2, noise_rate=0.4, ramp=2.0)
    >>> targets.write(torch.tensor([0]), torch.tensor([[0.5, 0.5]]))
    >>> _ = targets.end_epoch()
    >>> given, forget = targets.read(torch.tensor([0]))
    >>> given.tolist(), round(forget.item(), 4)
    ([[0.0, 1.0]], 0.2)
    >>> logits = torch.tensor([[[2.0, 0.0], [2.0, 0.0]], [[0.0, 2.0], [0.0, 2.0]]])
    >>> given = torch.tensor([[1.0, 0.0], [1.0, 0.0]])  # the second label is not what the networks say
    >>> co_teaching(logits, (given, torch.tensor(0.5)))[1].item()
    0.0
    >>> from selfdistill.rivals._method import FirstStage
    >>> predicted = torch.tensor([[0.9, 0.1], [0.9, 0.1], [0.9, 0.1], [0.1, 0.9]])
    >>> held_out_noise(Context(torch.tensor([0, 0, 1, 1]), 2, 1, 1, first_stage=FirstStage(predicted, predicted)))
    0.25
"""

from __future__ import annotations

from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

from selfdistill._core.errors import SettingError
from selfdistill._core.labels import held_out
from selfdistill.losses._cross_entropy import each_cross_entropy
from selfdistill.rivals._method import Context, Method
from selfdistill.rivals.chen2021nts import HELD_OUT
from selfdistill.targets._base import LabelTargets

_ROUNDING = 1e-4  # in float32, (1 - 0.33) * 100 is a little below 67
_MOST = 0.9  # a noise rate beyond this would leave next to nothing to learn from


def co_teaching(logits: Float[Tensor, "b 2 k"], target: tuple[Tensor, Tensor]) -> Float[Tensor, " b"]:
    """Cross-entropy of two networks, each on what the other finds easiest; ``target``: distributions, and the share f.

    With f = 0 the sum of both cross-entropies, in nats.
    """  # noqa: DOC201 (predicted in the first line)
    distributions, forget = target
    losses = each_cross_entropy(logits, distributions)
    keep = ((1 - forget) * len(losses) + _ROUNDING).floor().clamp(min=1).to(losses.dtype)
    rank = losses.detach().argsort(dim=0, stable=True).argsort(dim=0)
    kept_by_other = (rank < keep).flip(1)
    return (losses * kept_by_other).sum(1) * (len(losses) / keep)


@final
class SmallLoss(LabelTargets[tuple[Tensor, Tensor]]):
    """The given labels one-hot, and the share to forget, which grows to ``noise_rate`` in ``ramp`` epochs."""

    epoch: Tensor
    forget: Tensor

    def __init__(self, labels: Tensor, num_classes: int, *, noise_rate: float, ramp: float) -> None:
        if not 0 <= noise_rate < 1:
            raise SettingError(f"noise_rate is {noise_rate}, but must be in [0, 1)", "Pass 0.4 for 40 %.")
        if ramp <= 0:
            raise SettingError(f"ramp is {ramp} epochs, but must be above 0", "Pass a tenth of the epochs.")
        super().__init__(labels, num_classes)
        self.noise_rate, self.ramp = noise_rate, ramp
        self.register_buffer("epoch", torch.zeros((), dtype=torch.int64))
        self.register_buffer("forget", torch.zeros(()))

    def read(self, index: Tensor, logits: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return the given labels of ``index`` one-hot, ``[b, K]``, and the share to forget."""
        return self.given(index), self.forget

    def commit(self, mean: Tensor, written: Tensor) -> None:
        """Keep both networks' mean predictions and move the schedule on."""
        super().commit(mean, written)
        self.epoch += 1
        self.forget.fill_(self.noise_rate * min(self.epoch.item() / self.ramp, 1.0))


def held_out_noise(context: Context) -> float:
    """Estimate the share of wrong labels, in [0, 1], from the predictions of "early-stopping" with the same seed."""
    if context.first_stage is None:
        raise SettingError("the noise rate is not known", "Pass noise_rate, or train by early-stopping first.")
    _, asked = held_out(context.labels, HELD_OUT, context.seed)
    wrong = context.first_stage.probabilities.argmax(-1) != context.labels
    return (wrong[asked] if len(asked) else wrong).float().mean().item()


def _targets(context: Context) -> SmallLoss:
    rate = held_out_noise(context) if context.noise_rate is None else context.noise_rate
    ramp = max(1.0, context.epochs / 20)
    return SmallLoss(context.labels, context.num_classes, noise_rate=min(rate, _MOST), ramp=ramp)


METHODS = {
    "co-teaching": Method(
        _targets,
        co_teaching,
        "two networks, each trained on the other's small-loss share of a batch (Han et al. 2018)",
        networks=2,
        whole_batches=True,
        first="early-stopping",
        takes=frozenset({"noise_rate"}),
    ),
}
