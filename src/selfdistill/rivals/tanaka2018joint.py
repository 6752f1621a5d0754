r"""Joint optimisation of weights and labels (Tanaka et al. 2018, arXiv 1803.11364, soft labels).

*joint-optimization-labels*: the given label up to epoch b, then the mean of the last w epochs' predictions, made anew
after each epoch. The loss adds a prior on the classes, which keeps labels from becoming all one class, and the entropy
of the prediction, which makes predictions sharp:

.. math:: \mathrm{KL}(t \,\|\, p) + \alpha \sum_c \pi_c \log\frac{\pi_c}{\bar p_c}
    - \beta \sum_c p_c \log p_c, \qquad \bar p = \text{mean of p over the batch}

α = 1.2 and β = 0.8 are the paper's for CIFAR-10 with symmetric noise. The second term is one number for the whole
batch, which each example's value holds, so that the mean over the batch is the paper's loss; where several processes
share a batch, it is over each one's part. It needs a batch that has the classes in it. The authors' code has
cross-entropy in the place of both divergences, with the same gradient.

*joint-optimization*: plain training on those labels; two trainings in all.

What differs: the authors' b is epoch 70 of 200 and their w is 10 epochs; here b is 0.35 and w is 0.05 of the epochs, w
at least 1. Their prior is the distribution of the classes, even on CIFAR-10; here it is that of the given labels, for
no other is known. They train with one large step size; here the schedule is the one of all methods. Cost of each
training: that of cross-entropy. Memory: ``4 n K (w + 2)`` bytes.

Example:
    >>> targets = JointLabels(torch.tensor([0]), 2, epochs=1)
    >>> targets.write(torch.tensor([0]), torch.tensor([[0.25, 0.75]]))
    >>> _ = targets.end_epoch()
    >>> targets.read(torch.tensor([0])).target.tolist()
    [[0.25, 0.75]]
    >>> even = torch.full((2, 2), 0.5)
    >>> round(joint_optimization(torch.zeros(2, 2), (even, even[0]), beta=1.0).exp()[0].item(), 4)
    2.0
"""

from __future__ import annotations

import math
from typing import NamedTuple, final

import torch
from jaxtyping import Float
from torch import Tensor

from selfdistill import losses
from selfdistill._core.errors import SettingError
from selfdistill._core.labels import one_hot
from selfdistill.losses._cross_entropy import at_least_single
from selfdistill.rivals._method import Method
from selfdistill.targets import FixedTargets, Targets


def joint_optimization(
    logits: Float[Tensor, "b k"],
    labelled: tuple[Float[Tensor, "b k"], Float[Tensor, " k"]],
    alpha: float = 1.2,
    beta: float = 0.8,
) -> Float[Tensor, " b"]:
    """Divergence to updated labels, a prior on the classes and the entropy; per example, in nats, at least 0."""
    target, prior = labelled[0].detach(), labelled[1].detach()
    log_p = at_least_single(logits).log_softmax(-1)
    log_mean = log_p.logsumexp(0) - math.log(len(log_p))  # in log space: a class that nothing is taken for stays finite
    matched = (torch.special.xlogy(target, target) - target * log_p).sum(-1)
    spread = (torch.special.xlogy(prior, prior) - prior * log_mean).sum()
    entropy = -(log_p.exp() * log_p).sum(-1)
    value: Tensor = matched + alpha * spread + beta * entropy
    return value


class JointTarget(NamedTuple):
    """Labels of the batch as distributions, ``[b, K]``, and shares of the classes, ``[K]``."""

    target: Tensor
    prior: Tensor


@final
class JointLabels(Targets[JointTarget]):
    """Labels that are made anew; ``begin`` and ``window`` are b and w as shares of the epochs."""

    prior: Tensor
    recent: Tensor
    epoch: Tensor
    in_blocks = False

    def __init__(
        self, labels: Tensor, num_classes: int, *, epochs: int, begin: float = 0.35, window: float = 0.05
    ) -> None:
        if epochs < 1:
            raise SettingError(f"epochs is {epochs}, but must be at least 1", "Pass the number of epochs of the run.")
        for name, share in (("begin", begin), ("window", window)):
            if not 0 <= share <= 1:
                raise SettingError(f"{name} is {share}, but must be in [0, 1]", "It is a share of the epochs.")
        super().__init__(one_hot(labels, num_classes))
        width = max(1, round(window * epochs))
        self.begin = max(width, round(begin * epochs))
        self.register_buffer("prior", torch.bincount(labels, minlength=num_classes) / len(labels))
        self.register_buffer("recent", torch.zeros(width, len(labels), num_classes))
        self.register_buffer("epoch", torch.zeros((), dtype=torch.int64))

    def read(self, index: Tensor, logits: Tensor | None = None) -> JointTarget:
        """Return the labels of ``index`` and the prior."""
        return JointTarget(self.value[index], self.prior)

    def commit(self, mean: Tensor, written: Tensor) -> None:
        """Put the predictions in the place of the oldest, and make the labels anew."""
        self.recent[int(self.epoch) % len(self.recent)] = torch.where(written[:, None], mean, self.value)
        self.epoch += 1
        if int(self.epoch) >= self.begin:
            self.value.copy_(self.recent.mean(0))


METHODS = {
    "joint-optimization-labels": Method(
        lambda c: JointLabels(c.labels, c.num_classes, epochs=c.epochs),
        joint_optimization,
        "labels made anew from the last epochs' predictions (first step of Tanaka et al. 2018)",
        whole_batches=True,
    ),
    "joint-optimization": Method(
        lambda c: FixedTargets(c.required().refined),
        losses.cross_entropy,
        "plain training on the labels that joint-optimization-labels made; two trainings (Tanaka et al. 2018)",
        first="joint-optimization-labels",
    ),
}
