"""ELR against a loop over examples that updates its memory at each visit, as the authors do."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from selfdistill._core.errors import SettingError
from selfdistill.rivals.liu2020elr import EarlyLearning, early_learning_regularized

N, K = 11, 4


def twin(labels, logits, momentum, strength):
    """Losses ``[epochs, N]`` and the memory, one example at a time; the memory takes a step in before it is used."""
    memory, losses = np.zeros((N, K)), []
    for z in logits:
        row = []
        for i in range(N):
            p = np.exp(z[i] - z[i].max())
            p = p / p.sum()
            held = np.clip(p, 1e-4, 1 - 1e-4)
            memory[i] = momentum * memory[i] + (1 - momentum) * held / held.sum()
            row.append(-np.log(p[labels[i]]) + strength * np.log(1 - memory[i] @ held))
        losses.append(row)
    return np.array(losses), memory


@pytest.mark.parametrize("momentum", [0.0, 0.7])
@pytest.mark.parametrize("scale", [1.0, 8.0])  # at 8 probabilities lie under the clamp
def test_equals_the_twin_that_updates_at_each_visit(momentum, scale):
    rng = np.random.default_rng(0)
    labels, logits = rng.integers(0, K, N), rng.normal(0, scale, (5, N, K))
    targets, found = EarlyLearning(torch.from_numpy(labels), K, momentum=momentum), []
    for z in torch.from_numpy(logits):
        row = torch.zeros(N)
        for index in torch.from_numpy(rng.permutation(N)).split(4):
            row[index] = early_learning_regularized(z[index].float(), targets.read(index, z[index]))
            targets.write(index, z[index].softmax(-1))
        targets.end_epoch()
        found.append(row)
    losses, memory = twin(labels, logits, momentum, 3.0)
    np.testing.assert_allclose(torch.stack(found), losses, rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(targets.value, memory, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(targets.refined(), memory / memory.sum(1, keepdims=True), rtol=1e-4, atol=1e-6)


def test_without_strength_it_is_cross_entropy_and_the_gradient_is_the_papers():
    """grad_z = p - y + lambda g, g_c = p_c / (1 - <p, m>) sum_k (m_k - m_c) p_k (lemma on the gradient)."""
    g = torch.Generator().manual_seed(0)
    z = torch.randn(6, K, generator=g, dtype=torch.float64, requires_grad=True)
    m = torch.randn(6, K, generator=g, dtype=torch.float64).softmax(-1)
    y = torch.eye(K, dtype=torch.float64)[torch.randint(0, K, (6,), generator=g)]
    plain = early_learning_regularized(z, (y, m), 0.0)
    torch.testing.assert_close(plain, torch.nn.functional.cross_entropy(z, y, reduction="none"))
    (found,) = torch.autograd.grad(early_learning_regularized(z, (y, m), 3.0).sum(), z)
    p = z.detach().softmax(-1)
    inner = (p * m).sum(-1, keepdim=True)
    torch.testing.assert_close(found, p - y + 3.0 * p / (1 - inner) * (inner - m))


def test_examples_never_written_keep_their_given_label_and_logits_are_needed():
    targets = EarlyLearning(torch.tensor([1, 0]), 2)
    targets.write(torch.tensor([1]), torch.tensor([[0.25, 0.75]]))
    targets.end_epoch()
    torch.testing.assert_close(targets.refined(), torch.tensor([[0.0, 1.0], [0.25, 0.75]]))
    with pytest.raises(SettingError, match="logits are missing"):
        targets.read(torch.tensor([0]))
    with pytest.raises(SettingError, match=r"momentum is 1.0, but must be in \[0, 1\)"):
        EarlyLearning(torch.tensor([0]), 2, momentum=1.0)
