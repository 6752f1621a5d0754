r"""DivideMix (Li, Socher & Hoi 2020, arXiv 2002.07394, algorithm 1).

Two networks. In the first epochs both learn by cross-entropy. Then, before each epoch, each network divides the
training set for the other: a mixture of two Gaussians is fitted to its losses, stretched to [0, 1], and a label is
right with the posterior w of the lower component (section 3.1). In each step, for each network,

1. labels that are right with w > 1/2 are refined, ``w given + (1 - w) own prediction``, the others are guessed as the
   mean prediction of both networks; both are sharpened with T = 0.5 (eq. 3 and 4);
2. two views of all examples are mixed with a shuffled copy of themselves, inputs and targets alike,
   :math:`\lambda x + (1 - \lambda) x'`, where :math:`\lambda = \max(\beta, 1 - \beta)`, with one
   :math:`\beta \sim \mathrm{Beta}(4, 4)` and one shuffle per step and network, drawn from (seed, epoch, step);
3. the loss of the mixture (eq. 9 to 12; 1/K as in the authors' code) is, with X the examples whose first part is
   labelled, U the others, and s rising to 25,

.. math:: \frac1{|X|} \sum_{i \in X} H(t_i, p_i) + s \frac1{|U|} \sum_{i \in U} \tfrac1K \|t_i - p_i\|^2
    + \sum_c \tfrac1K \log \frac{1/K}{\bar p_c}

FLOPs, counted with ResNet-18 at 32 x 32, where a forward pass takes 0.334 of a step: after the first epochs, per
example and epoch, 4 forward passes without gradient (both networks, two views), 4 steps, and 2 forward passes that
divide: 5.33 times cross-entropy for the steps and 6.00 in all; 2.67 in the first epochs. A fully connected network has
dearer forward passes, 0.42 to 0.44 of a step, and takes 6.5 to 6.7. The authors' code takes ``12 f + 0.67``, f the
share of labels called right (6.67 at one half, 10.3 at 0.8): there each network's training guesses anew. Memory: ``n (8
K + 20)`` bytes.

Differs from the paper and its code:

- They pair a batch of labelled with as large a batch of unlabelled examples. Here a batch of the whole set is split,
  and each kind's mean taken over those that are there; where there is none, its term is 0.
- They train one network for an epoch, then the other, which meanwhile predicts in evaluation mode. Here both take each
  step together, and guess in training mode.
- Warm-up and rise are shares of the run's epochs: 30/300, the longer of the two in the paper, and 16/300.
- The penalty on confident predictions, which they add in the warm-up for asymmetric noise, is left out: it takes
  knowing the kind of noise. So is what they change for 90 % noise.
- They choose λ from {0, 25, 50, 150} by kind and rate of the noise, on a small validation set. Here it is 25.

A warm-up of one epoch of few steps is short. On 898 digits (28 steps an epoch, 30 epochs, 3 seeds) with 40 % symmetric
and 30 % pair noise, the last epoch's test accuracy was 0.842 and 0.870; 0.941 and 0.897 with a tenth of the epochs,
which is the paper's share for CIFAR-100; 0.928 and 0.932 with λ = 0, another of its choices. On 800 points in three
classes all three were within 0.966 and 0.971. Where a run has no augmentation, both views are equal. Over several
processes each mixes and averages within its own share of the batch.

Example:
    >>> division = Division(torch.tensor([0, 0, 0, 0]), 2, epochs=60, steps=1)
    >>> division.warm_up, division.rise
    (2, 3.2)
    >>> predicted = torch.tensor([[0.9, 0.1], [0.8, 0.2], [0.1, 0.9], [0.2, 0.8]])
    >>> division.take_train_predictions(torch.stack([predicted, predicted], 1))
    >>> division.clean[:, 0].round().tolist()
    [1.0, 1.0, 0.0, 0.0]
    >>> own, both = torch.tensor([[0.5, 0.5]] * 2), torch.tensor([[0.25, 0.75]] * 2)
    >>> given = torch.tensor([[1.0, 0.0]] * 2)
    >>> soft_labels(given, torch.tensor([1.0, 0.5]), own, both)
    tensor([[1.0000, 0.0000], [0.1000, 0.9000]])
    >>> target = torch.tensor([[1.0, 0.0]] * 2)
    >>> semi_supervised(torch.zeros(2, 2), target, torch.tensor([False]), 4.0).item()
    1.0
"""

from __future__ import annotations

import math
from typing import NamedTuple, final

import torch
from jaxtyping import Float
from torch import Tensor

from selfdistill import losses
from selfdistill._core.dist import sum_over_processes, world
from selfdistill._core.labels import normalised, one_hot
from selfdistill._core.rng import numpy_generator, torch_generator
from selfdistill.data._loader import Batch
from selfdistill.losses._cross_entropy import at_least_single, pair_cross_entropy
from selfdistill.rivals._method import Context, Forward, LossFn, Method, View, matched
from selfdistill.targets._base import EVERY, LabelTargets

TEMPERATURE, ALPHA, UNLABELLED = 0.5, 4.0, 25.0
"""T, α and λ of the paper's main experiments."""


class TwoGaussians(NamedTuple):
    """A mixture of two Gaussians on the line, the lower mean first; weights, means and variances float64 ``[2]``."""

    weights: Tensor
    means: Tensor
    variances: Tensor

    def log_joint(self, values: Tensor) -> Tensor:
        """Give the log density of each value ``[n]`` together with each component, ``[n, 2]``."""
        away = (values[:, None] - self.means).square() / self.variances
        return self.weights.log() - 0.5 * (away + self.variances.log() + math.log(2 * math.pi))

    def lower(self, values: Tensor) -> Tensor:
        """Give the probability that each value ``[n]`` comes from the component with the lower mean."""
        return self.log_joint(values).softmax(-1)[:, 0]


def two_gaussians(values: Tensor, *, steps: int = 10, tolerance: float = 1e-2, floor: float = 5e-4) -> TwoGaussians:
    """Fit a mixture of two Gaussians to numbers ``[n]``, not all equal, by expectation-maximisation in float64."""
    # Steps, tolerance of the mean log-likelihood and floor of the variances are those of the code of DivideMix.
    values = values.double().cpu()
    high = _upper_cluster(values).double()
    shares = torch.stack([1 - high, high], 1)
    likelihood = -math.inf
    mixture = _maximise(values, shares, floor)
    for _ in range(steps):
        joint = mixture.log_joint(values)
        before, likelihood = likelihood, joint.logsumexp(1).mean().item()
        mixture = _maximise(values, joint.softmax(1), floor)
        if abs(likelihood - before) < tolerance:
            break
    order = mixture.means.argsort()
    return TwoGaussians(*(part[order] for part in mixture))


def _upper_cluster(values: Tensor) -> Tensor:
    """Lloyd's algorithm from the least and the greatest value: bool ``[n]``; neither cluster is empty."""
    high = values > (values.min() + values.max()) / 2
    for _ in range(100):
        moved = values > (values[~high].mean() + values[high].mean()) / 2
        if torch.equal(moved, high):
            break
        high = moved
    return high


def _maximise(values: Tensor, shares: Tensor, floor: float) -> TwoGaussians:
    size = shares.sum(0) + 10 * torch.finfo(shares.dtype).eps  # an empty component divides by no zero
    means = (shares * values[:, None]).sum(0) / size
    variances = (shares * (values[:, None] - means).square()).sum(0) / size + floor
    return TwoGaussians(size / size.sum(), means, variances)


def clean_probability(values: Tensor) -> Tensor:
    """Say how probable each label is right by its loss, ``[n]``; float32, 0.5 everywhere if all losses are equal."""
    stretched = values.cpu().double()  # not every device has float64
    stretched = stretched - stretched.min()
    if not stretched.max() > 0:
        return torch.full_like(values, 0.5, dtype=torch.float32)
    stretched = stretched / stretched.max()  # one very large loss presses all others together: so do the authors
    return two_gaussians(stretched).lower(stretched).float().to(values.device)


@final
class Division(LabelTargets[Tensor]):
    """The given labels one-hot, the probability ``clean`` that each is right, and how far the training is.

    Epoch and step are counted because the draws of the mixing derive from them: a resumed run draws what the whole run
    would have. ``warm_up`` is the share of the epochs with plain cross-entropy, at least 1 epoch; ``rise`` the epochs
    after it in which the weight of the unlabelled examples rises.
    """

    clean: Tensor
    place: Tensor

    def __init__(
        self,
        labels: Tensor,
        num_classes: int,
        *,
        epochs: int,
        steps: int,
        seed: int = 0,
        warm_up: float = 10 / 300,
    ) -> None:
        super().__init__(labels, num_classes)
        self.steps, self.seed = steps, seed
        self.warm_up, self.rise = max(1, round(epochs * warm_up)), epochs * 16 / 300
        self.register_buffer("clean", torch.zeros(len(labels), 2))
        self.register_buffer("place", torch.zeros(2, dtype=torch.int64))

    def now(self) -> tuple[int, int]:
        """Return the epochs done, and the steps written in the current one. Cost: a wait for the device."""
        epoch, step = self.place.tolist()
        return epoch, step

    def risen(self, epoch: int, step: int) -> float:
        """Say how far the weight of the unlabelled examples has risen, in [0, 1], after epochs and steps done."""
        return min(max((epoch + step / self.steps - self.warm_up) / self.rise, 0.0), 1.0)

    def read(self, index: Tensor, logits: Tensor | None = None) -> Tensor:
        """Return the given labels of ``index`` one-hot, ``[b, K]``."""
        return self.given(index)

    def write(self, index: Tensor, probabilities: Tensor) -> None:
        """Stage predictions ``[b, K]`` and count the step."""
        super().write(index, probabilities)
        self.place[1] += 1

    @torch.no_grad()
    def take_train_predictions(self, probabilities: Tensor) -> None:
        """Divide the training set anew by predictions ``[n, 2, K]``; over processes the mean division is kept."""
        given = probabilities.float().gather(2, self.labels[:, None, None].expand(-1, 2, 1))[..., 0]
        values = -given.clamp(min=torch.finfo(torch.float32).tiny).log()
        clean = torch.stack([clean_probability(values[:, network]) for network in (0, 1)], 1)
        self.clean.copy_(sum_over_processes(clean) / world())

    def commit(self, mean: Tensor, written: Tensor) -> None:
        """Keep this epoch's predictions, count the epoch."""
        super().commit(mean, written)
        self.place[0] += 1
        self.place[1] = 0

    def refined(self, rows: slice = EVERY) -> Tensor:
        """Return the co-refined labels, ``[n, K]``, not sharpened."""
        # Where both divisions together call a label right: w of it, 1 - w of the last prediction; else the prediction.
        weight = self.clean[rows].mean(1, keepdim=True)
        weight = torch.where(weight > 0.5, weight, 0.0)
        return torch.lerp(self.value[rows], one_hot(self.labels[rows], self.num_classes), weight)


def squared_error(logits: Float[Tensor, "b k"], target: Float[Tensor, "b k"]) -> Float[Tensor, " b"]:
    """Mean squared difference between a target distribution and the network's, per example, in [0, 2/K]."""
    return (at_least_single(logits).softmax(-1) - target).square().mean(-1)


def far_from_uniform(logits: Float[Tensor, "b k"]) -> Float[Tensor, ""]:
    """Divergence of the uniform distribution from the mean prediction of a batch: against one class for all."""
    b, k = logits.shape
    mean = at_least_single(logits).log_softmax(-1).logsumexp(0) - math.log(b)
    return -mean.mean() - math.log(k)


def divide_mix(forward: Forward, batch: Batch, view: View, target: Division, loss: LossFn) -> tuple[Tensor, Tensor]:
    """Take a step of both networks: values ``[b]``, and logits of the first view ``[b, 2, K]``."""
    epoch, step = target.now()
    if epoch < target.warm_up:
        return matched(forward, batch, view, target, loss)
    views = view(0), view(1)
    with torch.no_grad():
        logits = torch.stack([torch.stack([forward(x, which) for x in views], 1) for which in (0, 1)], 1)
        predicted = logits.float().softmax(-1).mean(2)
        given, clean = target.read(batch.index), target.clean[batch.index]
    strength = UNLABELLED * target.risen(epoch, step)
    values = torch.zeros_like(clean[:, 0])
    for which in (0, 1):
        right = clean[:, 1 - which]  # as the other network sees it
        soft = soft_labels(given, right, predicted[:, which], predicted.mean(1))
        share, order = _draw(target.seed, epoch, step, which, 2 * len(right))
        x, t = (_mixed(torch.cat(two), share, order) for two in (views, (soft, soft)))
        values = values + semi_supervised(forward(x, which), t, right > 0.5, strength)
    return values, logits[:, :, 0]


def soft_labels(given: Tensor, right: Tensor, own: Tensor, both: Tensor) -> Tensor:
    """Refine the labels that are right with a probability above 1/2, guess the others, and sharpen: ``[b, K]``.

    ``right`` is ``[b]``; ``own`` and ``both`` are mean predictions over the views, of the network and of both.
    """  # noqa: DOC201 (predicted in the first line)
    refined = torch.lerp(own, given, right[:, None])
    return sharpened(torch.where(right[:, None] > 0.5, refined, both))


def sharpened(distributions: Tensor, temperature: float = TEMPERATURE) -> Tensor:
    """Raise distributions ``[b, K]`` to the power 1 / ``temperature`` and divide by the sum."""
    return normalised(distributions ** (1 / temperature))


def semi_supervised(logits: Tensor, target: Tensor, labelled: Tensor, strength: float) -> Tensor:
    """Give one value per example ``[b]``, whose mean is the loss of one network on a mixed batch.

    ``logits`` and ``target`` are of both views, one after the other, ``[2 b, K]``; ``labelled`` is bool ``[b]``.
    """  # noqa: DOC201 (predicted in the first line)
    b = len(labelled)
    known = labelled.to(target.dtype)
    unknown = 1 - known
    matching = losses.cross_entropy(logits, target).view(2, b).mean(0)
    guessing = squared_error(logits, target).view(2, b).mean(0)
    each = known * matching * (b / known.sum().clamp(min=1)) + strength * unknown * guessing * (
        b / unknown.sum().clamp(min=1)
    )
    return each + far_from_uniform(logits)


def _draw(seed: int, epoch: int, step: int, which: int, size: int) -> tuple[float, Tensor]:
    """Draw the share of the first part and the order of the second, the same on every device."""
    beta = float(numpy_generator(seed, "mix", epoch, step, which).beta(ALPHA, ALPHA))
    order = torch.randperm(size, generator=torch_generator(seed, "mix", epoch, step, which))
    return max(beta, 1 - beta), order


def _mixed(values: Tensor, share: float, order: Tensor) -> Tensor:
    """Mix with a shuffled copy; pixels stored as whole numbers become fractions."""
    return share * values + (1 - share) * values[order.to(values.device)]


def _targets(c: Context) -> Division:
    return Division(c.labels, c.num_classes, epochs=c.epochs, steps=c.steps, seed=c.seed, warm_up=30 / 300)


METHODS = {
    "dividemix": Method(
        _targets,
        pair_cross_entropy,
        "two networks, labels divided by loss, semi-supervised mixing (DivideMix, Li et al. 2020); 6 times the cost",
        networks=2,
        whole_batches=True,
        objective=divide_mix,
        needs_train_predictions=lambda epoch, epochs: True,
    ),
}
