"""SOP against autograd on parameters of its own, stepped by torch's SGD at each visit."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from selfdistill._core.errors import SettingError
from selfdistill.losses import cross_entropy
from selfdistill.rivals.liu2022sop import SparseNoise, _gradient, shifted_cross_entropy

N, K, EPOCHS = 12, 4, 30


def terms(z, u, v, y):
    """Both terms of the authors' loss, per example: cross-entropy for weights and u, squared error for u and v."""
    up, down = (u**2 * y).clamp(0, 1), (v**2 * (1 - y)).clamp(0, 1)
    p = (z.softmax(-1) + up - down.detach()).clamp(min=1e-4)
    p = torch.nn.functional.normalize(p, p=1, eps=1e-4).clamp(1e-4, 1.0)
    hard = torch.nn.functional.one_hot(z.argmax(-1), K).to(z.dtype)
    return -(y * p.log()).sum(-1), (hard + up - down - y).square().sum(-1)


def twin(labels, logits, u, v, batches, rates):
    """Losses of each visit and what u and v end as; the gradient is that of a mean over 128 examples."""
    u, v = (torch.nn.Parameter(part.clone()) for part in (u, v))
    optimizer = torch.optim.SGD([{"params": [u], "lr": rates[0]}, {"params": [v], "lr": rates[1]}])
    y, found = torch.eye(K, dtype=torch.float64)[labels], torch.zeros(len(logits), N, dtype=torch.float64)
    for epoch, z in enumerate(logits):
        for index in batches[epoch]:
            of_weights, square = terms(z[index], u[index], v[index], y[index])
            optimizer.zero_grad()
            ((of_weights + square).sum() / 128).backward()
            optimizer.step()
            found[epoch, index] = of_weights.detach()
    return found, u.detach(), v.detach()


def drawn(seed=0):
    """Predictions that learn: labels are wrong at the first four examples, and the network sees through it."""
    g = torch.Generator().manual_seed(seed)
    truth = torch.randint(0, K, (N,), generator=g)
    labels = torch.where(torch.arange(N) < 4, (truth + 1) % K, truth)
    noise = torch.randn(EPOCHS, N, K, generator=g, dtype=torch.float64)
    return labels, truth, noise + 3 * torch.eye(K, dtype=torch.float64)[truth]


@pytest.mark.parametrize(("start", "reached"), [(1e-8, 1e-16), (0.3, 1.0)])  # from 0.3 squares pass the clamp
@pytest.mark.parametrize("rates", [(10.0, 10.0), (1.0, 100.0)])
def test_equals_autograd_on_explicit_parameters_at_each_visit(start, reached, rates):
    labels, _, logits = drawn()
    g = torch.Generator().manual_seed(1)
    batches = [torch.randperm(N, generator=g).split(5) for _ in logits]
    targets = SparseNoise(labels, K, epochs=EPOCHS, rate_u=rates[0], rate_v=rates[1]).double()
    targets.noise.mul_(start / 1e-8)
    y = torch.eye(K, dtype=torch.float64)[labels]
    u, v = targets.noise.gather(1, labels[:, None]), targets.noise * (1 - y)
    scaled = [rate * 120 / EPOCHS for rate in rates]
    losses, u, v = twin(labels, logits, u, v, batches, scaled)
    found = torch.zeros_like(losses)
    for epoch, z in enumerate(logits):
        for index in batches[epoch]:
            found[epoch, index] = shifted_cross_entropy(z[index], targets.read(index, z[index]))
            targets.write(index, z[index].softmax(-1))
        targets.end_epoch()
    torch.testing.assert_close(targets.noise, u * y + v, rtol=1e-6, atol=1e-14)
    torch.testing.assert_close(found, losses, rtol=1e-6, atol=1e-12)
    assert targets.noise.square().max() > reached


def test_the_gradient_is_that_of_autograd_on_both_sides_of_each_clamp():
    g = torch.Generator().manual_seed(0)
    z = 6 * torch.randn(500, K, generator=g, dtype=torch.float64)
    y = torch.eye(K, dtype=torch.float64)[torch.randint(0, K, (500,), generator=g)]
    w = torch.randn(500, K, generator=g, dtype=torch.float64)
    w[::2] *= 1e-3  # so that a label's probability stays under the clamp with its noise added
    u, v = ((w * y).sum(-1, keepdim=True).requires_grad_(), (w * (1 - y)).requires_grad_())
    of_weights, square = terms(z, u, v, y)
    of_u, of_v = torch.autograd.grad((of_weights + square).sum(), (u, v))
    torch.testing.assert_close(_gradient(w, z.softmax(-1), y), of_u * y + of_v)
    assert ((z.softmax(-1) + w.square())[y > 0] < 1e-4).sum() > 10
    assert (w.square() > 1).any()


def test_wrong_labels_are_explained_away_and_right_ones_are_not():
    """u grows at a label that the network contradicts; v at the class that it says instead."""
    labels, truth, _ = drawn()
    logits = 6 * torch.eye(K)[truth]
    targets, index = SparseNoise(labels, K, epochs=EPOCHS), torch.arange(N)
    for _ in range(EPOCHS):
        targets.write(index, logits.softmax(-1))
        targets.end_epoch()
    shift = targets.read(index).shift
    at_given = shift.gather(1, labels[:, None])[:, 0]
    assert (at_given[:4] > 0.9).all()
    assert (at_given[4:] < 1e-6).all()
    assert (shift.gather(1, truth[:, None])[:4, 0] < -0.9).all()
    pulled = cross_entropy(logits, torch.eye(K)[labels])
    freed = shifted_cross_entropy(logits, targets.read(index))
    assert (freed[:4] < 0.2 * pulled[:4]).all()
    torch.testing.assert_close(freed[4:], pulled[4:])


def test_without_noise_it_is_cross_entropy_down_to_the_clamp():
    z = torch.tensor([[3.0, 0.0, -1.0], [0.0, 0.0, 30.0]])
    y = torch.eye(3)[[0, 1]]
    value = shifted_cross_entropy(z, (y, torch.zeros(2, 3)))
    assert value[0].item() == pytest.approx(cross_entropy(z, y)[0].item(), rel=1e-5)
    assert value[1].item() == pytest.approx(-math.log(1e-4), rel=1e-3)


def test_the_start_follows_from_the_seed_and_errors():
    labels = torch.zeros(50, dtype=torch.int64)
    a, b, c = (SparseNoise(labels, 3, epochs=1, seed=seed).noise for seed in (0, 0, 1))
    assert torch.equal(a, b)
    assert not torch.equal(a, c)
    assert 0.5e-8 < a.std() < 2e-8
    with pytest.raises(SettingError, match="epochs is 0, but must be at least 1"):
        SparseNoise(labels, 3, epochs=0)


def test_an_example_that_is_not_written_takes_no_step():
    targets = SparseNoise(torch.tensor([0, 1]), 2, epochs=1)
    before = targets.noise.clone()
    targets.write(torch.tensor([0]), torch.tensor([[0.1, 0.9]]))
    targets.end_epoch()
    assert torch.equal(targets.noise[1], before[1])
    assert not torch.equal(targets.noise[0], before[0])
    np.testing.assert_allclose(targets.refined(), [[0.1, 0.9], [0.0, 1.0]])
