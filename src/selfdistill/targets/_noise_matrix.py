"""The noise matrix: Bayes' rule through it, its estimate, and how to undo what it did to a prediction."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from selfdistill._core.labels import normalised
from selfdistill._core.row_blocks import row_blocks
from selfdistill._core.shards import Shard

MOST_CLASSES = 300
"""With more classes than this, `expected_counts` would take longer than it is worth."""

_FLOOR = 1e-6
_TINY = 1e-9


def _here(value: Tensor) -> Tensor:
    return value


def em_step(prior: Tensor, labels: Tensor, noise: Tensor | None, total: Callable[[Tensor], Tensor] = _here) -> Tensor:
    """Estimate ``T[clean, given]`` from predictions ``[n, K]`` and given labels: one expectation-maximisation step."""
    # q_i(c) ~ p_i(c) T[c, y_i]; T'[c, j] = (1/K + sum over y_i = j of q_i(c)) / (1 + sum of q_i(c)). Without T, q = p.
    # Dawid & Skene (1979), with predictions in the place of class priors.
    k = prior.shape[-1]
    joint = torch.zeros(k, k, dtype=prior.dtype, device=prior.device)
    for rows in row_blocks(*prior.shape):
        q = prior[rows] if noise is None else posterior(prior[rows], labels[rows], noise)
        joint.index_add_(0, labels[rows], q)
    joint = total(joint).T + 1 / k
    return joint / joint.sum(1, keepdim=True)


def posterior(prior: Tensor, labels: Tensor, noise: Tensor) -> Tensor:
    """Combine predictions ``[n, K]`` with the given labels by Bayes' rule through ``T[clean, given]``, positive."""
    return normalised(noise.T.contiguous().index_select(0, labels).mul_(prior))


def deconvolve(noisy: Tensor, noise: Tensor, steps: int = 10) -> Tensor:
    """Estimate what a network says about true labels from what it says about noisy ones, ``[n, K]``."""
    # A network trained on noisy labels predicts p T where it has not memorised. Each step is one of expectation-
    # maximisation for p, p(c) <- p(c) sum_j T[c, j] noisy(j) / (p T)_j, so that its likelihood never falls and p stays
    # a distribution (Richardson 1972, Lucy 1974). Few steps suffice, and stopping early keeps errors of the predictions
    # from growing where T is nearly singular. Cost: 4 n K² steps FLOPs; with classes first a third of the time.
    noisy, transposed = noisy.T.contiguous(), noise.T.contiguous()
    clean = noisy.clone()
    for _ in range(steps):
        ratio = (transposed @ clean).clamp_(min=_TINY).reciprocal_().mul_(noisy)
        clean.mul_(noise @ ratio)  # each column still sums to 1
    return normalised(clean.T.contiguous())


def expected_counts(
    predictions: Tensor,
    labels: Tensor,
    shard: Shard | None = None,
    *,
    steps: int = 30,
    unmix: int = 10,
    work: float = 2e8,
) -> Tensor:
    """Estimate ``[clean, given]`` counts from predictions, or sums of them, that hardly memorised the labels."""
    # Alternates `deconvolve` and `em_step` until T has settled, then sums the posterior. Honest predictions p T explain
    # the labels as well without noise as with it, so T shrinks towards no noise as the steps go on; 30 keep most of it
    # and take next to no ambiguity for noise. T comes from at most 20,000 and at most work / K² rows, evenly spread.
    k = predictions.shape[1]
    shard = shard or Shard(len(predictions), 0, len(predictions))
    stride = max(1, round(shard.n / min(20_000, max(work / k**2, 1))))
    sample = Shard(-(-shard.n // stride), -(-shard.start // stride), -(-shard.stop // stride))  # of every stride-th
    first = sample.start * stride - shard.start
    part, given = _distributions(sample.block(predictions[first::stride])), sample.block(labels[first::stride])
    noise = em_step(part, given, None)
    for _ in range(steps - 1):
        noise = em_step(deconvolve(part, noise, unmix), given, noise)
    counts = torch.zeros(k, k, device=predictions.device)
    for rows in row_blocks(*predictions.shape):
        q = posterior(deconvolve(_distributions(predictions[rows]), noise, unmix), labels[rows], noise)
        counts.index_add_(0, labels[rows], q)
    return shard.total(counts).T.contiguous()


def _distributions(predictions: Tensor) -> Tensor:
    return normalised(predictions.float().clamp(min=_FLOOR))
