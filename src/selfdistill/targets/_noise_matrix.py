"""The noise matrix: Bayes' rule through it, its estimate, and how to undo what it did to a prediction."""

from __future__ import annotations

import torch
from torch import Tensor

from selfdistill._core.labels import normalised

__all__ = ["MOST_CLASSES", "deconvolve", "em_step", "expected_counts", "posterior"]

MOST_CLASSES = 300
"""With more classes than this, `expected_counts` would take longer than it is worth."""

_TINY = 1e-9


def em_step(prior: Tensor, labels: Tensor, noise: Tensor | None) -> Tensor:
    r"""Estimate the noise matrix from soft predictions and given labels: one step of expectation-maximisation.

    .. math::

        q_i(c) \propto p_i(c)\, T_{c, y_i}, \qquad
        T'_{c,j} = \frac{1/K + \sum_{i: y_i = j} q_i(c)}{1 + \sum_i q_i(c)}

    Args:
        prior: Predictions p before looking at the given label, ``[n, K]``, rows sum to 1.
        labels: Given labels y, int64 ``[n]``.
        noise: T so far, ``T[clean, given]``, rows sum to 1; ``None`` starts from q = p.

    Returns:
        The new T, ``[K, K]``.

    References:
        Dawid & Skene (1979), Applied Statistics 28(1), with predictions in the place of class priors.

    Example:
        >>> prior = torch.tensor([[0.9, 0.1], [0.9, 0.1], [0.1, 0.9]])
        >>> em_step(prior, torch.tensor([0, 1, 1]), None).sum(1).tolist()
        [1.0, 1.0]
    """
    k = prior.shape[-1]
    q = prior if noise is None else posterior(prior, labels, noise)
    joint = torch.zeros(k, k, dtype=prior.dtype, device=prior.device).index_add_(0, labels, q).T + 1 / k
    return joint / joint.sum(1, keepdim=True)


def posterior(prior: Tensor, labels: Tensor, noise: Tensor) -> Tensor:
    """Combine a prediction with the given label by Bayes' rule.

    Args:
        prior: Predictions, ``[n, K]``.
        labels: Given labels, int64 ``[n]``.
        noise: ``T[clean, given]``, ``[K, K]``, positive.

    Returns:
        ``prior * T[:, label]``, rows normalised.
    """
    return normalised(noise.T.contiguous().index_select(0, labels).mul_(prior))


def deconvolve(noisy: Tensor, noise: Tensor, steps: int = 10) -> Tensor:
    r"""Estimate what a network says about true labels from what it says about noisy ones.

    A network trained on noisy labels predicts :math:`\tilde p = p T` where it has not memorised. Each step is one of
    expectation-maximisation for p, so the likelihood of :math:`\tilde p` never falls, and p stays a distribution:

    .. math:: p(c) \leftarrow p(c) \sum_j T_{c,j} \frac{\tilde p(j)}{(p T)_j}, \qquad p = \tilde p \text{ at first}

    Few steps suffice, and stopping early is what keeps errors of :math:`\tilde p` from growing where T is nearly
    singular. Cost: ``4 n K² steps`` FLOPs.

    Args:
        noisy: Predictions of noisy labels, ``[n, K]``, rows sum to 1.
        noise: ``T[clean, given]``, ``[K, K]``, rows sum to 1.
        steps: Number of steps.

    Returns:
        Predictions of true labels, ``[n, K]``.

    References:
        Richardson (1972), J. Opt. Soc. Am. 62; Lucy (1974), Astron. J. 79.

    Example:
        >>> noise = torch.tensor([[0.7, 0.3], [0.3, 0.7]])
        >>> deconvolve(torch.tensor([[0.66, 0.34]]), noise, 200).round(decimals=2)
        tensor([[0.9000, 0.1000]])
    """
    clean = noisy.clone()
    for _ in range(steps):
        ratio = (clean @ noise).clamp_(min=_TINY).reciprocal_().mul_(noisy)
        clean.mul_(ratio @ noise.T)  # each row still sums to 1
    return normalised(clean)


def expected_counts(noisy: Tensor, labels: Tensor, *, steps: int = 30, unmix: int = 10, work: float = 2e8) -> Tensor:
    r"""Estimate how often each true class got each given label, from predictions that hardly memorised the labels.

    Alternates `deconvolve` and `em_step` until T has settled, then sums the posterior:

    .. math:: C_{c,j} = \sum_{i : y_i = j} q_i(c), \qquad q_i(c) \propto p_i(c)\, T_{c, y_i}

    Honest predictions p T explain the labels as well without noise as with it, so T shrinks towards no noise as the
    steps go on; 30 keep most of it and take next to no ambiguity for noise.

    Cost: ``4 r K² unmix steps`` FLOPs, with at most 20,000 and at most ``work / K²`` rows r, evenly spread, for T;
    then the same once for all n rows.

    Args:
        noisy: Predictions of noisy labels, ``[n, K]``, rows sum to 1.
        labels: Given labels, int64 ``[n]``.
        steps: Steps of expectation-maximisation.
        unmix: Steps of `deconvolve` in each.
        work: Bound on rows times K² for T.

    Returns:
        ``[clean, given]``, ``[K, K]``; column j sums to the number of given labels j.

    Example:
        >>> noisy = torch.tensor([[0.9, 0.1], [0.9, 0.1], [0.1, 0.9]])
        >>> expected_counts(noisy, torch.tensor([0, 1, 1])).sum(0).round().tolist()
        [1.0, 2.0]
    """
    n, k = noisy.shape
    stride = max(1, round(n / min(20_000, max(work / k**2, 1))))
    part, given = noisy[::stride], labels[::stride]
    noise = em_step(part, given, None)
    for _ in range(steps - 1):
        noise = em_step(deconvolve(part, noise, unmix), given, noise)
    counts = torch.zeros(k, k, device=noisy.device)
    for start in range(0, n, max(1, 2**22 // k)):
        rows = slice(start, start + max(1, 2**22 // k))
        q = posterior(deconvolve(noisy[rows], noise, unmix), labels[rows], noise)
        counts.index_add_(0, labels[rows], q)
    return counts.T.contiguous()
