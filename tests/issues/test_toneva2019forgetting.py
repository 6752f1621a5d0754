from __future__ import annotations

from itertools import pairwise
from math import log, prod

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from selfdistill.issues._toneva2019forgetting import LearningDynamics


@given(st.integers(0, 10_000), st.integers(1, 8))
@settings(max_examples=40)
def test_equals_a_twin_that_replays_each_example(seed, epochs):
    g = torch.Generator().manual_seed(seed)
    n, k = 5, 3
    labels = torch.randint(0, k, (n,), generator=g)
    history = torch.rand(epochs, n, k, generator=g).softmax(-1)
    seen = torch.rand(epochs, n, generator=g) < 0.8
    dynamics = LearningDynamics(labels)
    last = [-1] * n  # a first prediction is a change
    for mean, written in zip(history, seen, strict=True):
        dynamics.update(mean, written)
        predicted = [int(p.argmax()) for p in mean]
        assert dynamics.changed == sum(written[i] and predicted[i] != last[i] for i in range(n))
        last = [predicted[i] if written[i] else last[i] for i in range(n)]
    for i in range(n):
        mine = [(e, p[i]) for e, p in enumerate(history) if seen[e, i]]
        right = [(e, bool(p.argmax() == labels[i])) for e, p in mine]
        first = next((e for e, ok in right if ok), -1)
        drops = sum(a and not b for (_, a), (_, b) in pairwise(right))
        assert dynamics.first_learned[i] == first
        assert dynamics.forgotten[i] == drops
        mean = prod(float(p[labels[i]]) for _, p in mine) ** (1 / max(len(mine), 1))
        assert abs(float(dynamics.mean_given()[i]) - mean) < 1e-5
        margins = [log(p[labels[i]]) - max(log(q) for c, q in enumerate(p.tolist()) if c != labels[i]) for _, p in mine]
        assert abs(float(dynamics.mean_margin()[i]) - sum(margins) / max(len(mine), 1)) < 1e-5


def test_a_probability_of_zero_counts_as_next_to_nothing():
    dynamics = LearningDynamics(torch.tensor([0]))
    for p in ([0.0, 1.0], [1.0, 0.0]):
        dynamics.update(torch.tensor([p]), torch.tensor([True]))
    assert abs(float(dynamics.mean_given()[0]) - 1e-6) < 1e-9
