"""The default: distil the previous epochs' network through a noise matrix that is learned on the way."""

from __future__ import annotations

from typing import ClassVar, NamedTuple, final

import torch
from torch import Tensor

from selfdistill._core.errors import SettingError
from selfdistill._core.labels import normalised, one_hot
from selfdistill._core.row_blocks import row_blocks, row_one_hot, row_zeros
from selfdistill._core.shards import current_shard
from selfdistill.targets._base import LabelTargets, check_momentum
from selfdistill.targets._noise_matrix import MOST_CLASSES, deconvolve, em_step, expected_counts, posterior

_FLOOR = 1e-6  # least prior probability of a class, before normalising: no class is ruled out for good
_EARLY_AFTER = 2.0  # on the clock, epochs after the ramp until which a network counts as early
_HALF = 0.5  # held at least so much, T does not drift, and the posterior's own count is the better one
_TINY = 1e-12  # gives an example that was never written a uniform prior, and changes no other


class PosteriorTarget(NamedTuple):
    """What `Posterior` asks the network to match, see ``losses.anchored_cross_entropy``.

    Attributes:
        target: Distributions, ``[b, K]``.
        memory: Averaged predictions of earlier epochs, ``[b, K]``; rows sum to at most 1.
        momentum: Weight of ``memory`` against this step's prediction.
        strength: λ, how strongly to stay near the two, a scalar.
    """

    target: Tensor
    memory: Tensor
    momentum: float
    strength: Tensor


@final
class Posterior(LabelTargets[PosteriorTarget]):
    r"""Self-distillation through Bayes' rule; needs no noise rate, no clean labels and no stopping time.

    Two memories keep each example's predictions, started at zero: a fast one :math:`f` that anchors the network to what
    it learned early (``losses.anchored_cross_entropy``), and a slow one :math:`m` that serves as prior of the true
    label. At the end of each epoch the noise matrix T is re-estimated (`em_step`), and the target moves from the given
    label to the posterior:

    .. math::

        q_i(c) \propto m_i(c)\, r(c)\, T_{c, y_i}, \qquad
        t_i = (1 - a)\, e_{y_i} + a\, q_i, \qquad a = \min(s / u, 1)

    with u the ramp and s a clock that starts after the warm-up. Both are in epochs, that is in visits to each example.
    The clock runs as far as the network has made up its mind: each epoch adds

    .. math:: \mathrm{clip}\Big(\frac{d_1 - d}{d_1 - d_0}, 0, 1\Big), \qquad
        d = \tfrac1n \big|\{i : \arg\max \bar p_i \ne \arg\max f_i\}\big|

    with d the share of examples on which the epoch's prediction differs from that of the epochs before. A network that
    still changes its mind on most of them errs on many, and is taught by the given labels. The factor :math:`r(c)` is
    the frequency of c among the given labels over its mean in m: it keeps classes from merging where most labels are
    wrong. On clean labels T comes out near the identity, so hard but rightly labelled examples keep their label. Until
    the clock is two epochs past the ramp, T goes only a part of the way to each new estimate: it keeps what it learned
    while the network was early, and does not follow one that memorises. If the network had not settled at the end of
    the warm-up, its early T is no better than it is, and T takes each estimate as far as the clock stood then. The
    anchor weakens with the labels that look wrong: its strength is

    .. math:: \lambda = \lambda_0\, \mathrm{clip}(\hat\rho / \rho_1, \tfrac12, 1) \min(1, \hat\rho / \rho_0), \qquad
        \hat\rho = \tfrac1n \sum_i (1 - q_i(y_i))

    with :math:`\hat\rho` their share: half strength at :math:`\rho_0`, full from :math:`\rho_1` on.

    Where T is not held it may drift, and the posterior then hides wrong labels that were memorised. There what the
    network says between the warm-up and two epochs after the ramp is averaged once more, for it has learned and hardly
    memorised by then: `counts` estimates from it how many labels are wrong; see
    ``docs/decisions/0008-which-labels-are-called-wrong.md``. The targets do not depend on it.

    Merge over processes: predictions are summed and counted (`SampleMean`); all else follows from them on each process.
    Where each keeps rows of its own, sums over the rows are summed over the processes.
    Memory: ``22 n K`` bytes.

    Args:
        labels: Given labels, int64 ``[n]``.
        num_classes: K.
        fast: Momentum of f, per epoch.
        slow: Momentum of m, per epoch.
        warmup: w, epochs on the given labels alone.
        ramp: u, epochs from there to the posterior alone.
        strength: λ₀.
        half_from: ρ₀, in (0, 1]: the share of wrong labels from which the anchor has half its strength.
        full_from: ρ₁, in (0, 1]: the share from which it has all of it.
        unmix: Steps of `deconvolve`; 0 takes the memory as it is.
        noise_step: Weight, in (0, 1], of each new estimate of T until the clock is two epochs past the ramp, for a
            network that had settled by the end of the warm-up; nearer to 1 the less it had, and 1 afterwards.
        settled: d₀, at least 0: the share of changed predictions up to which the clock runs at full speed.
        unsettled: d₁, above d₀: the share from which it stands. See ``docs/decisions/0012-a-slow-noise-matrix.md``.
        stretch: Multiplies w, u and the time constants of both memories, for epochs of so few steps that a visit
            teaches little.

    Raises:
        SettingError: A momentum outside [0, 1), a ramp or stretch of 0 or less, a noise_step outside (0, 1], or
            settled not below unsettled.

    References:
        Dong, Hou, Lu & Zhang (2019), arXiv 1910.01255 (the target: given label and own prediction of earlier epochs);
        Liu et al. (2020), arXiv 2007.00151 (the anchor); Dawid & Skene (1979) (T by expectation-maximisation).

    Example:
        >>> targets = Posterior(torch.tensor([0, 1]), 2)
        >>> targets.read(torch.tensor([0]), torch.zeros(1, 2)).target.tolist()
        [[1.0, 0.0]]
    """

    common: ClassVar[frozenset[str]] = frozenset({"noise", "given_share", "early_counts"})
    target: Tensor
    fast: Tensor
    slow: Tensor
    noise: Tensor
    alpha: Tensor
    mean_alpha: Tensor
    strength: Tensor
    epoch: Tensor
    clock: Tensor
    held: Tensor
    given_share: Tensor
    early: Tensor
    early_counts: Tensor

    def __init__(
        self,
        labels: Tensor,
        num_classes: int,
        *,
        fast: float = 0.7,
        slow: float = 0.9,
        warmup: float = 3.0,
        ramp: float = 5.0,
        strength: float = 2.0,
        half_from: float = 0.15,
        full_from: float = 0.8,
        unmix: int = 10,
        noise_step: float = 0.2,
        settled: float = 0.35,
        unsettled: float = 0.5,
        stretch: float = 1.0,
    ) -> None:
        for name, momentum in (("fast", fast), ("slow", slow)):
            check_momentum(momentum, "Leave it out.", name)
        for name, value in (("ramp", ramp), ("stretch", stretch), ("half_from", half_from), ("full_from", full_from)):
            if value <= 0:
                raise SettingError(f"{name} is {value}, but must be above 0", "Leave it out.")
        if not 0 < noise_step <= 1:
            raise SettingError(f"noise_step is {noise_step}, but must be in (0, 1]", "Leave it out.")
        if not 0 <= settled < unsettled:
            raise SettingError(
                f"settled is {settled} and unsettled {unsettled}, but 0 <= settled < unsettled must hold",
                "Leave both out.",
            )
        super().__init__(labels, num_classes)
        self.settled, self.unsettled = settled, unsettled
        self.noise_step = 1 - (1 - noise_step) ** (1 / stretch)
        self.fast_momentum, self.slow_momentum = fast ** (1 / stretch), slow ** (1 / stretch)
        self.warmup, self.ramp = warmup * stretch, ramp * stretch
        self.full_strength, self.half_from, self.full_from, self.unmix = strength, half_from, full_from, unmix
        n, k = len(labels), num_classes
        whole = current_shard(n)
        counts = whole.total(torch.bincount(labels, minlength=k))
        self.register_buffer("target", row_one_hot(labels, k))
        self.register_buffer("fast", row_zeros(n, k))
        self.register_buffer("slow", row_zeros(n, k))
        self.register_buffer("noise", torch.eye(k))
        self.register_buffer("alpha", torch.zeros(()))
        self.register_buffer("mean_alpha", torch.zeros(()))
        self.register_buffer("strength", torch.tensor(float(strength)))
        self.register_buffer("epoch", torch.zeros((), dtype=torch.int64))
        self.register_buffer("clock", torch.zeros(()))
        self.register_buffer("held", torch.ones(()))
        self.register_buffer("given_share", (counts + 1) / (whole.n + k))
        self.register_buffer("early", row_zeros(n if k <= MOST_CLASSES else 0, k, torch.float16))
        self.register_buffer("early_counts", torch.zeros(k, k))
        self.early_until = self.ramp + _EARLY_AFTER * stretch
        self.watched = round(self.warmup + self.early_until)

    def read(self, index: Tensor, logits: Tensor | None = None) -> PosteriorTarget:
        """Return target and memory of ``index``, with their weights; the loss joins this step's prediction to them."""
        target, memory = self.target.index_select(0, index), self.fast.index_select(0, index)
        return PosteriorTarget(target, memory, self.fast_momentum, self.strength)

    def commit(self, mean: Tensor, written: Tensor) -> None:
        """Average the predictions into both memories, estimate the noise matrix and the posterior anew."""
        speed = self._speed(mean, written)
        if self.warmup <= self.epoch + 1 < self.warmup + 1:  # the last epoch of the warm-up
            self.held.copy_(speed)
        self._watch(mean)
        prior = self.value  # worked on in its place, a block of rows at a time: the state may lie in files
        total = torch.zeros_like(self.given_share)
        for rows in row_blocks(*prior.shape):
            for memory, momentum in ((self.fast, self.fast_momentum), (self.slow, self.slow_momentum)):
                memory[rows].lerp_(mean[rows], (1 - momentum) * written[rows, None])
            prior[rows] = normalised(normalised(self.slow[rows] + _TINY).clamp(min=_FLOOR))
            total += prior[rows].sum(0)
        n = self.shard.n
        balance = self.given_share / (self.shard.total(total) / n + 1 / n)
        self.mean_alpha.copy_(torch.lerp(self.alpha, self.mean_alpha, self.slow_momentum))
        share = self.mean_alpha / (1 - self.slow_momentum ** (self.epoch + 1))
        mixed = torch.lerp(self.noise, torch.eye(len(self.noise), device=prior.device), share)
        for rows in row_blocks(*prior.shape):
            balanced = normalised(prior[rows] * balance)
            prior[rows] = deconvolve(balanced, mixed, self.unmix) if self.epoch > 0 else balanced
        estimated = em_step(prior, self.labels, self.noise if self.epoch > 0 else None, self.shard.total)
        slowly = self.epoch > 0 and self.clock < self.early_until
        weight = 1 - (1 - self.noise_step) * self.held
        self.noise.copy_(torch.lerp(self.noise, estimated, weight) if slowly else estimated)
        self.epoch += 1
        self.clock += (self.epoch - self.warmup).clamp(0, 1) * speed
        self.alpha.copy_((self.clock / self.ramp).clamp(max=1))
        for rows in row_blocks(*prior.shape):
            self.value[rows] = posterior(prior[rows], self.labels[rows], self.noise)
            given = one_hot(self.labels[rows], self.num_classes)
            self.target[rows] = torch.lerp(given, self.value[rows], self.alpha)
        wrong = 1 - self.shard.total(self.value.gather(1, self.labels[:, None]).sum()) / n
        grown = (wrong / self.full_from).clamp(0.5, 1) * (wrong / self.half_from).clamp(max=1)
        self.strength.copy_(self.full_strength * grown)

    def _speed(self, mean: Tensor, written: Tensor) -> Tensor:
        """How far this epoch moves the clock: a scalar in [0, 1]."""
        differs = (mean.argmax(-1) != self.fast.argmax(-1)) & written
        differ, seen = self.shard.total(torch.stack([differs.sum(), written.sum()]))
        changed = differ / seen.clamp(min=1)
        speed: Tensor = (self.unsettled - changed) / (self.unsettled - self.settled)
        return speed.clamp(0, 1)

    def _watch(self, mean: Tensor) -> None:
        """Average the early epochs; at their end, estimate how many labels are wrong."""
        if not self.warmup <= self.epoch < self.watched or self.held >= _HALF or len(self.early_counts) > MOST_CLASSES:
            return
        for rows in row_blocks(*mean.shape):
            self.early[rows] += mean[rows].half()  # at most a hundred or so summands of at most 1: 11 bits do
        if self.epoch + 1 == self.watched:
            self.early_counts.copy_(expected_counts(self.early, self.labels, self.shard))

    def counts(self) -> Tensor | None:
        """Return ``[clean, given]`` counts expected from the early epochs; ``None`` where T was held or K > 300."""
        return self.early_counts if bool(self.early_counts.any()) else None
