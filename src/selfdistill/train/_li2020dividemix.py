"""What DivideMix does with a batch: refine and guess labels, mix examples, match both kinds (arXiv 2002.07394)."""

from __future__ import annotations

import torch
from torch import Tensor

from selfdistill import losses
from selfdistill._core.rng import numpy_generator, torch_generator
from selfdistill.data import Batch
from selfdistill.targets import Division
from selfdistill.train._method import Forward, LossFn, View, matched

__all__ = ["divide_mix", "semi_supervised", "sharpened", "soft_labels"]

TEMPERATURE, ALPHA, UNLABELLED = 0.5, 4.0, 25.0
"""T, α and λ of the paper's main experiments."""


def divide_mix(forward: Forward, batch: Batch, view: View, target: Division, loss: LossFn) -> tuple[Tensor, Tensor]:
    r"""Take a step of DivideMix.

    In the first epochs, cross-entropy of both networks. Then, for each of them:

    1. targets of all examples, see `soft_labels`, by the other network's division of the training set;
    2. both views of all examples are mixed with a shuffled copy of themselves, inputs and targets alike,
       :math:`\lambda x + (1 - \lambda) x'`, where :math:`\lambda = \max(\beta, 1 - \beta)`, with one
       :math:`\beta \sim \mathrm{Beta}(4, 4)` and one shuffle per step and network, drawn from (seed, epoch, step);
    3. a forward pass of the mixture and the loss, see `semi_supervised`.

    Cost after the first epochs, per example and epoch: 4 forward passes without gradient (both networks, two views), 4
    steps, and the survey's 2 forward passes. With ResNet-18 at 32 x 32, where a forward pass takes 0.334 of the FLOPs
    of a step, 5.33 times cross-entropy for the steps and 6.00 with the survey. The authors' code takes
    ``12 f + 0.67``, f the share of labels called right, 6.67 at one half: there each network's training guesses anew.

    Differs from the paper and its code:

    - They pair a batch of labelled with as large a batch of unlabelled examples. Here a batch of the whole set is
      split, and each kind's mean taken over those that are there; where there is none, its term is 0.
    - They train one network for an epoch, then the other, which meanwhile predicts in evaluation mode. Here both take
      each step together, and guess in training mode.
    - The lengths of warm-up and rise are shares of the run's epochs; the learning rate is that of all methods.
    - The penalty on confident predictions, which they add in the warm-up for asymmetric noise, is left out: it takes
      knowing the kind of noise. So is what they change for 90 % noise.
    - They choose λ from {0, 25, 50, 150} by kind and rate of the noise, on a small validation set. Here it is 25.

    A warm-up of one epoch of few steps is short. On 898 digits (28 steps an epoch, 30 epochs, 3 seeds) with 40 %
    symmetric and 30 % pair noise, the last epoch's test accuracy was 0.842 and 0.870; 0.941 and 0.897 with a tenth of
    the epochs, which is the paper's share for CIFAR-100; 0.928 and 0.932 with λ = 0, another of its choices. On 800
    points in three classes all three were within 0.966 and 0.971.

    Where a run has no augmentation, both views are equal. Over several processes each mixes and averages within its own
    share of the batch.

    Args:
        forward: The pair of networks in training mode.
        batch: Examples.
        view: From a number to the batch's inputs, augmented anew for each number.
        target: The division.
        loss: That of the first epochs.

    Returns:
        One value per example ``[b]``, the sum over both networks, and the logits of the first view, ``[b, 2, K]``.

    References:
        Li et al. (2020), arXiv 2002.07394, algorithm 1.
    """
    epoch, step = target.now()
    if epoch < target.warm_up:
        return matched(forward, batch, view, target, loss)
    views = view(0), view(1)
    with torch.no_grad():
        logits = torch.stack([torch.stack([forward(x, which) for x in views], 1) for which in (0, 1)], 1)
        said = logits.float().softmax(-1).mean(2)
        given, clean = target.read(batch.index), target.clean[batch.index]
    strength = UNLABELLED * target.risen(epoch, step)
    values = torch.zeros_like(clean[:, 0])
    for which in (0, 1):
        right = clean[:, 1 - which]  # as the other network sees it
        soft = soft_labels(given, right, said[:, which], said.mean(1))
        share, order = _draw(target.seed, epoch, step, which, 2 * len(right))
        x, t = (_mixed(torch.cat(two), share, order) for two in (views, (soft, soft)))
        values = values + semi_supervised(forward(x, which), t, right > 0.5, strength)
    return values, logits[:, :, 0]


def soft_labels(given: Tensor, right: Tensor, own: Tensor, both: Tensor) -> Tensor:
    """Refine the labels that are probably right, and guess the others.

    Args:
        given: Given labels one-hot, ``[b, K]``.
        right: Probability w that each is right, ``[b]``.
        own: The network's mean prediction over the views, ``[b, K]``.
        both: The mean prediction of both networks over the views, ``[b, K]``.

    Returns:
        ``w given + (1 - w) own`` where w > 1/2, else ``both``; sharpened. ``[b, K]``, rows sum to 1.

    References:
        Li et al. (2020), arXiv 2002.07394, eq. 3 and 4, and algorithm 1, lines 17 to 20.

    Example:
        >>> own, both = torch.tensor([[0.5, 0.5]] * 2), torch.tensor([[0.25, 0.75]] * 2)
        >>> given = torch.tensor([[1.0, 0.0]] * 2)
        >>> soft_labels(given, torch.tensor([1.0, 0.5]), own, both).round(decimals=2).tolist()
        [[1.0, 0.0], [0.10000000149011612, 0.8999999761581421]]
    """
    refined = torch.lerp(own, given, right[:, None])
    return sharpened(torch.where(right[:, None] > 0.5, refined, both))


def sharpened(distributions: Tensor, temperature: float = TEMPERATURE) -> Tensor:
    """Raise distributions ``[b, K]`` to the power 1 / ``temperature`` and divide by the sum."""
    powers = distributions ** (1 / temperature)
    return powers / powers.sum(-1, keepdim=True)


def semi_supervised(logits: Tensor, target: Tensor, labelled: Tensor, strength: float) -> Tensor:
    r"""Give one value per example, whose mean is the loss of one network on a mixed batch.

    .. math:: \frac1{|X|} \sum_{i \in X} H(t_i, p_i) + s \frac1{|U|} \sum_{i \in U} \tfrac1K \|t_i - p_i\|^2
        + \sum_c \tfrac1K \log \frac{1/K}{\bar p_c}

    X are the mixed examples whose first part is labelled, U the others; a term over none is 0.

    Args:
        logits: Of both views, one after the other, ``[2 b, K]``.
        target: Mixed targets, ``[2 b, K]``.
        labelled: Which examples are, bool ``[b]``.
        strength: s.

    Returns:
        ``[b]``.

    References:
        Li et al. (2020), arXiv 2002.07394, eq. 9 to 12; 1/K as in the authors' code.

    Example:
        >>> target = torch.tensor([[1.0, 0.0]] * 2)
        >>> semi_supervised(torch.zeros(2, 2), target, torch.tensor([False]), 4.0).item()
        1.0
    """
    b = len(labelled)
    known = labelled.to(target.dtype)
    unknown = 1 - known
    matching = losses.cross_entropy(logits, target).view(2, b).mean(0)
    guessing = losses.squared_error(logits, target).view(2, b).mean(0)
    each = known * matching * (b / known.sum().clamp(min=1)) + strength * unknown * guessing * (
        b / unknown.sum().clamp(min=1)
    )
    return each + losses.far_from_uniform(logits)


def _draw(seed: int, epoch: int, step: int, which: int, size: int) -> tuple[float, Tensor]:
    """Draw the share of the first part and the order of the second, the same on every device."""
    beta = float(numpy_generator(seed, "mix", epoch, step, which).beta(ALPHA, ALPHA))
    order = torch.randperm(size, generator=torch_generator(seed, "mix", epoch, step, which))
    return max(beta, 1 - beta), order


def _mixed(values: Tensor, share: float, order: Tensor) -> Tensor:
    """Mix with a shuffled copy; pixels stored as whole numbers become fractions."""
    return share * values + (1 - share) * values[order.to(values.device)]
