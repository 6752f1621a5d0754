"""SAT against a loop over batches and examples, as the authors write it."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from selfdistill.rivals.huang2020sat import SelfAdaptive, weighted_cross_entropy

N, K = 10, 4


def twin(labels, logits, batches, start, momentum):
    """The loss of each batch, ``[epochs][batches]``: weighted sum over sum of the weights."""
    t, found = np.eye(K)[labels], []
    for epoch, z in enumerate(logits):
        row = []
        for batch in batches[epoch]:
            top, bottom = 0.0, 0.0
            for i in batch:
                p = np.exp(z[i]) / np.exp(z[i]).sum()
                if epoch >= start:
                    t[i] = momentum * t[i] + (1 - momentum) * p
                weight = t[i].max() if epoch >= start else 1.0
                top += weight * -(t[i] * np.log(p)).sum()
                bottom += weight
            row.append(top / bottom)
        found.append(row)
    return found, t


@pytest.mark.parametrize("start", [0, 2])
def test_equals_the_twin_over_epochs_and_batches(start):
    rng = np.random.default_rng(0)
    labels, logits = rng.integers(0, K, N), rng.normal(0, 2, (5, N, K))
    batches = [np.array_split(rng.permutation(N), 3) for _ in logits]
    targets, found = SelfAdaptive(torch.from_numpy(labels), K, start=start, momentum=0.7), []
    for z, parts in zip(torch.from_numpy(logits).float(), batches, strict=True):
        row = []
        for part in parts:
            index = torch.from_numpy(part)
            row.append(weighted_cross_entropy(z[index], targets.read(index, z[index])).mean().item())
            targets.write(index, z[index].softmax(-1))
        targets.end_epoch()
        found.append(row)
    losses, t = twin(labels, logits, batches, start, 0.7)
    np.testing.assert_allclose(found, losses, rtol=1e-4)
    np.testing.assert_allclose(targets.refined(), t, rtol=1e-4, atol=1e-6)


def test_weights_are_one_until_the_start_and_follow_how_sure_the_average_is_then():
    labels, index = torch.tensor([0, 1, 2]), torch.arange(3)
    targets = SelfAdaptive(labels, 3, start=1, momentum=0.5)
    z = torch.tensor([[9.0, 0, 0], [9.0, 0, 0], [0.0, 0, 0]])
    assert targets.read(index, z).weight.tolist() == [1.0, 1.0, 1.0]
    targets.write(index, z.softmax(-1))
    targets.end_epoch()
    weight = targets.read(index, z).weight
    assert weight.mean().item() == pytest.approx(1.0)
    assert weight[0] > weight[2] > weight[1]  # sure and right, undecided, sure of another class
