"""SELC against a loop over examples, its closed form, and its neighbour, the memory."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from selfdistill._core.errors import SettingError
from selfdistill.rivals.lu2022selc import SelfEnsemble
from selfdistill.targets._base import Memory

N, K = 9, 3


def run(targets, logits, seed=0):
    """What each example was matched to, ``[epochs, N, K]``, in batches of 4."""
    rng, read = np.random.default_rng(seed), []
    for z in logits:
        row = torch.zeros(N, K)
        for index in torch.from_numpy(rng.permutation(N)).split(4):
            row[index] = targets.read(index, z[index])
            targets.write(index, z[index].softmax(-1))
        targets.end_epoch()
        read.append(row)
    return torch.stack(read)


def twin(labels, logits, start, momentum):
    t, read = np.eye(K)[labels], []
    for epoch, z in enumerate(logits):
        for i in range(N):
            p = np.exp(z[i]) / np.exp(z[i]).sum()
            if epoch >= start:
                t[i] = momentum * t[i] + (1 - momentum) * p
        read.append(t.copy())
    return np.array(read)


def drawn(epochs=6):
    rng = np.random.default_rng(1)
    return rng.integers(0, K, N), rng.normal(0, 2, (epochs, N, K))


@pytest.mark.parametrize("start", [0, 2, 9])
@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_equals_the_twin_that_updates_at_each_visit(start, momentum):
    labels, logits = drawn()
    targets = SelfEnsemble(torch.from_numpy(labels), K, start=start, momentum=momentum)
    read = run(targets, torch.from_numpy(logits).float())
    expected = twin(labels, logits, start, momentum)
    np.testing.assert_allclose(read, expected, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(targets.refined(), expected[-1], rtol=1e-4, atol=1e-6)


def test_the_given_label_weighs_alpha_to_the_number_of_epochs():
    """t_k = a^k e_y + sum_j (1 - a) a^(k - j) p_j."""
    labels, logits = drawn()
    targets = SelfEnsemble(torch.from_numpy(labels), K, start=2, momentum=0.8)
    run(targets, torch.from_numpy(logits).float())
    p = torch.from_numpy(logits).softmax(-1)[2:]
    weights = torch.tensor([0.2 * 0.8 ** (3 - j) for j in range(4)], dtype=torch.float64)
    expected = 0.8**4 * torch.eye(K, dtype=torch.float64)[labels] + (weights[:, None, None] * p).sum(0)
    torch.testing.assert_close(targets.refined().double(), expected, rtol=1e-4, atol=1e-6)


def test_from_the_first_epoch_on_it_commits_what_the_memory_commits():
    labels, logits = drawn()
    a = SelfEnsemble(torch.from_numpy(labels), K, start=0)
    b = Memory(torch.from_numpy(labels), K, momentum=0.9)
    for targets in (a, b):
        run(targets, torch.from_numpy(logits).float())
    torch.testing.assert_close(a.refined(), b.refined())


def test_errors():
    with pytest.raises(SettingError, match=r"momentum is 1.0, but must be in \[0, 1\)"):
        SelfEnsemble(torch.tensor([0]), 2, start=0, momentum=1.0)
    with pytest.raises(SettingError, match="start is -1, but must be at least 0"):
        SelfEnsemble(torch.tensor([0]), 2, start=-1)
    with pytest.raises(SettingError, match="logits are missing"):
        SelfEnsemble(torch.tensor([0]), 2, start=0).read(torch.tensor([0]))
