"""The loss of joint optimisation of weights and labels (Tanaka et al. 2018, arXiv 1803.11364)."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

from selfdistill.losses._precision import at_least_single

__all__ = ["joint_optimization"]


def joint_optimization(
    logits: Float[Tensor, "b k"],
    labelled: tuple[Float[Tensor, "b k"], Float[Tensor, " k"]],
    alpha: float = 1.2,
    beta: float = 0.8,
) -> Float[Tensor, " b"]:
    r"""Divergence to a label that is updated, a prior on the classes, and the entropy of the prediction.

    .. math:: \mathrm{KL}(t \,\|\, p) + \alpha \sum_c \pi_c \log\frac{\pi_c}{\bar p_c}
        - \beta \sum_c p_c \log p_c, \qquad p = \mathrm{softmax}(z), \qquad \bar p = \text{mean of p over the batch}

    The second term keeps labels from becoming all one class, the third makes predictions sharp. The second is one
    number for the whole batch, which each example's value holds, so that the mean over the batch is the paper's loss;
    where several processes share a batch, it is over each one's part. It needs a batch that has the classes in it.

    Args:
        logits: Network outputs z, ``[b, K]``.
        labelled: Labels t as distributions ``[b, K]``; shares π of the classes ``[K]``. Not differentiated.
        alpha: α, weight of the prior; 1.2 is the paper's for CIFAR-10 with symmetric noise.
        beta: β, weight of the entropy; 0.8 likewise.

    Returns:
        One value per example, at least 0 up to rounding, in nats.

    References:
        Tanaka et al. (2018), arXiv 1803.11364: classification loss and the two regularisers; the authors' code has
        cross-entropy in the place of both divergences, with the same gradient.

    Example:
        >>> even = torch.full((2, 2), 0.5)
        >>> round(joint_optimization(torch.zeros(2, 2), (even, even[0]), beta=1.0).exp()[0].item(), 4)
        2.0
    """
    target, prior = labelled[0].detach(), labelled[1].detach()
    log_p = at_least_single(logits).log_softmax(-1)
    log_mean = log_p.logsumexp(0) - math.log(len(log_p))  # in log space: a class that nothing is taken for stays finite
    matched = (torch.special.xlogy(target, target) - target * log_p).sum(-1)
    spread = (torch.special.xlogy(prior, prior) - prior * log_mean).sum()
    entropy = -(log_p.exp() * log_p).sum(-1)
    value: Tensor = matched + alpha * spread + beta * entropy
    return value
