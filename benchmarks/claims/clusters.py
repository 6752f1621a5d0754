"""Clusterable data with corrupted labels, the model of Li, Soltanolkotabi & Oymak (2020), arXiv 1903.11680."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from selfdistill._core.rng import torch_generator


class Clusters(NamedTuple):
    """Points around centres on the unit sphere, every cluster of one class.

    Attributes:
        inputs: float64 ``[n, d]``, of unit norm.
        truth: int64 ``[n]``.
        given: int64 ``[n]``.
        test_inputs: As many, of the same clusters.
        test_truth: Their classes.
    """

    inputs: Tensor
    truth: Tensor
    given: Tensor
    test_inputs: Tensor
    test_truth: Tensor


def make(
    seed: int,
    *,
    examples: int,
    dimension: int,
    clusters: int,
    radius: float,
    noise: float,
    classes: int = 2,
) -> Clusters:
    """Draw clusters.

    Args:
        seed: Of all that is drawn.
        examples: n, a multiple of the clusters.
        dimension: d.
        clusters: K, a multiple of the classes; equally large.
        radius: Greatest distance of a point to its centre.
        noise: With two classes: the share of labels, of each cluster, that is turned over. With more: the share that
            is drawn anew from all classes, so that the true one may come again.
        classes: C; cluster l has class l mod C.

    Returns:
        The data.
    """
    generator = torch_generator(seed, "claims", "clusters")
    centres = _unit(torch.randn(clusters, dimension, generator=generator, dtype=torch.float64))
    of = torch.arange(examples) % clusters
    inputs, test = (_around(centres[of], radius, generator) for _ in range(2))
    truth = of % classes
    given = truth.clone()
    if classes == 2:
        for cluster in range(clusters):
            members = (of == cluster).nonzero()[:, 0]
            turned = members[torch.randperm(len(members), generator=generator)[: round(noise * len(members))]]
            given[turned] = 1 - truth[turned]
    else:
        redrawn = torch.rand(examples, generator=generator) < noise
        given[redrawn] = torch.randint(classes, (int(redrawn.sum()),), generator=generator)
    return Clusters(inputs, truth, given, test, truth)


def signs(labels: Tensor) -> Tensor:
    """Classes 0 and 1 as -1 and 1, float64."""
    return 2.0 * labels.double() - 1.0


def _unit(z: Tensor) -> Tensor:
    return z / z.norm(dim=1, keepdim=True)


def _around(centres: Tensor, radius: float, generator: torch.Generator) -> Tensor:
    """Turn each centre by an angle whose chord is uniform in volume up to the radius."""
    aside = torch.randn(centres.shape, generator=generator, dtype=torch.float64)
    aside = _unit(aside - (aside * centres).sum(1, keepdim=True) * centres)
    share = torch.rand(len(centres), 1, generator=generator, dtype=torch.float64)
    chord = radius * share ** (1 / (centres.shape[1] - 1))
    angle = 2 * (chord / 2).asin()
    return angle.cos() * centres + angle.sin() * aside
