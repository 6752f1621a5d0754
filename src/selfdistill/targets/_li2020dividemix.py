"""The targets of DivideMix: the given labels, and how probable each is, by the losses of each of two networks."""

from __future__ import annotations

from typing import final

import torch
from torch import Tensor, nn

from selfdistill._core.dist import sum_over_processes, world
from selfdistill._core.sample_mean import SampleMean
from selfdistill.targets._gaussian_mixture import two_gaussians
from selfdistill.targets._protocol import one_hot

__all__ = ["Division", "clean_probability"]


def clean_probability(losses: Tensor) -> Tensor:
    """Say how probable each label is right, by its loss: small losses are right, large ones wrong.

    The losses are stretched to [0, 1], and a mixture of two Gaussians is fitted to them; the answer is the posterior of
    the lower one. One very large loss presses all others together: that is how the authors do it.

    Args:
        losses: One per example, finite, ``[n]``.

    Returns:
        float32 ``[n]``, on the same device; 0.5 everywhere if all losses are equal.

    References:
        Li et al. (2020), arXiv 2002.07394, section 3.1; the stretching is in the authors' code.

    Example:
        >>> clean_probability(torch.tensor([0.1, 0.2, 3.0, 3.2])).round().tolist()
        [1.0, 1.0, 0.0, 0.0]
    """
    stretched = losses.cpu().double()  # not every device has float64
    stretched = stretched - stretched.min()
    if not stretched.max() > 0:
        return torch.full_like(losses, 0.5, dtype=torch.float32)
    stretched = stretched / stretched.max()
    return two_gaussians(stretched).lower(stretched).float().to(losses.device)


@final
class Division(nn.Module):
    """The given labels one-hot, the probability that each is right, and how far the training is.

    The probability comes from `survey`, for each network by its own losses; before the first survey it is 0.
    Epoch and step are counted because the draws of the mixing derive from them: a resumed run draws what the whole run
    would have. Memory: ``n (8 K + 20)`` bytes.

    Args:
        labels: Given labels, int64 ``[n]``.
        num_classes: K.
        epochs: Epochs of the run. The code's 16 epochs of rise are taken as a share of its 300.
        steps: Steps per epoch.
        seed: Seed of the mixing.
        warm_up: Share of the epochs, at least 1 epoch. The paper has 10 of 300 for CIFAR-10 and 30 for CIFAR-100.

    Attributes:
        warm_up: Epochs of plain cross-entropy.
        rise: Epochs after them in which the weight of the unlabelled examples rises.

    References:
        Li et al. (2020), arXiv 2002.07394, algorithm 1, lines 4 and 5.

    Example:
        >>> division = Division(torch.tensor([0, 0, 0, 0]), 2, epochs=60, steps=1)
        >>> division.warm_up, division.rise
        (2, 3.2)
        >>> said = torch.tensor([[0.9, 0.1], [0.8, 0.2], [0.1, 0.9], [0.2, 0.8]])
        >>> division.survey(torch.stack([said, said], 1))
        >>> division.clean[:, 0].round().tolist()
        [1.0, 1.0, 0.0, 0.0]
    """

    labels: Tensor
    value: Tensor
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
        super().__init__()
        self.num_classes, self.steps, self.seed = num_classes, steps, seed
        self.warm_up, self.rise = max(1, round(epochs * warm_up)), epochs * 16 / 300
        self.register_buffer("labels", labels.clone())
        self.register_buffer("value", one_hot(labels, num_classes))
        self.register_buffer("clean", torch.zeros(len(labels), 2))
        self.register_buffer("place", torch.zeros(2, dtype=torch.int64))
        self.staged = SampleMean(len(labels), num_classes)

    def now(self) -> tuple[int, int]:
        """Return the epochs done, and the steps written in the current one. Cost: a wait for the device."""
        epoch, step = self.place.tolist()
        return epoch, step

    def risen(self, epoch: int, step: int) -> float:
        """Say how far the weight of the unlabelled examples has risen.

        Args:
            epoch: Epochs done.
            step: Steps done in the current one.

        Returns:
            A number in [0, 1].
        """
        return min(max((epoch + step / self.steps - self.warm_up) / self.rise, 0.0), 1.0)

    def read(self, index: Tensor, logits: Tensor | None = None) -> Tensor:
        """Return the given labels of ``index`` one-hot, ``[b, K]``; ``logits`` are not looked at."""
        return one_hot(self.labels[index], self.num_classes)

    def write(self, index: Tensor, probabilities: Tensor) -> None:
        """Stage predictions ``[b, K]``, kept for `refined` only, and count the step."""
        self.staged.stage(index, probabilities)
        self.place[1] += 1

    @torch.no_grad()
    def survey(self, probabilities: Tensor) -> None:
        """Divide the training set anew, once for each network; over processes the mean of their divisions is kept.

        Args:
            probabilities: Predictions of both networks on the whole set, ``[n, 2, K]``.
        """
        given = probabilities.float().gather(2, self.labels[:, None, None].expand(-1, 2, 1))[..., 0]
        losses = -given.clamp(min=torch.finfo(torch.float32).tiny).log()
        clean = torch.stack([clean_probability(losses[:, network]) for network in (0, 1)], 1)
        self.clean.copy_(sum_over_processes(clean) / world())

    @torch.no_grad()
    def end_epoch(self) -> tuple[Tensor, Tensor]:
        """Keep this epoch's predictions, count the epoch; see `Targets.end_epoch`."""
        mean, written = self.staged.merge()
        self.value.copy_(torch.where(written[:, None], mean, self.value))
        self.place[0] += 1
        self.place[1] = 0
        return mean, written

    def refined(self) -> Tensor:
        """Return the co-refined labels, ``[n, K]``, not sharpened.

        Where both networks' divisions together call a label right (mean probability w above 1/2), w of it and 1 − w of
        the last epoch's mean prediction; elsewhere the prediction alone.
        """
        weight = self.clean.mean(1, keepdim=True)
        weight = torch.where(weight > 0.5, weight, 0.0)
        return torch.lerp(self.value, one_hot(self.labels, self.num_classes), weight)
