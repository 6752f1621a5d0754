"""The authors' five losses, each against a twin that takes one example at a time; and the mathematics of the family."""

from __future__ import annotations

import math

import pytest
import torch

from selfdistill import losses, targets
from selfdistill._core.errors import SettingError
from selfdistill._core.labels import one_hot
from selfdistill.targets._dong2019selfdistill import Agreement, authors_loss, hard, identity, sequential, temperature

N, K, B = 12, 4, 6


def kl_divergence(z, target):
    return torch.nn.functional.kl_div(z.log_softmax(-1), target, reduction="none").sum(-1)


@pytest.fixture
def batch():
    g = torch.Generator().manual_seed(1)
    labels = torch.randint(0, K, (N,), generator=g)
    index = torch.randperm(N, generator=g)[:B]
    return labels, index, torch.randn(B, K, generator=g, dtype=torch.float64) * 2


def softmax(z, t=1.0):
    e = [math.exp((x - max(z)) / t) for x in z]
    return [x / sum(e) for x in e]


def onehot(c):
    return [float(i == c) for i in range(K)]


def twin_loss(number, labels, index, z, *, t=0.0, predict=None):
    """KL(target || p) averaged over the batch, as the authors' code states it, example by example."""
    rows = z.tolist()
    given = [int(labels[i]) for i in index]
    best = [row.index(max(row)) for row in rows]
    agreement = sum(b == y for b, y in zip(best, given, strict=True)) / len(rows)
    total = 0.0
    for j, row in enumerate(rows):
        lam, own = {
            1: lambda: (0.2, softmax(row)),
            2: lambda: (0.1, softmax(predict[j])),
            3: lambda: (agreement, onehot(best[j])),
            4: lambda: (0.1, onehot(best[j])),
            5: lambda: (0.9 * agreement, onehot(best[j]) if t == 0 else softmax(row, t)),
        }[number]()
        target = [(1 - lam) * a + lam * b for a, b in zip(onehot(given[j]), own, strict=True)]
        p = softmax(row)
        total += sum(a * (math.log(a) - math.log(b)) for a, b in zip(target, p, strict=True) if a > 0)
    return total / len(rows)


@pytest.mark.parametrize(("number", "t"), [(1, 0.0), (3, 0.0), (4, 0.0), (5, 0.0), (5, 0.5), (5, 3.0)])
def test_authors_losses_with_instant_predictions_equal_their_twins(batch, number, t):
    labels, index, z = batch
    assert 0 < (z.argmax(-1) == labels[index]).double().mean() < 1  # else no cap and no agreement would show
    target = authors_loss(number, labels, K, t=t).read(index, z)
    assert kl_divergence(z, target.double()).mean().item() == pytest.approx(
        twin_loss(number, labels, index, z, t=t), rel=1e-5
    )


def test_authors_loss_2_equals_its_twin_on_the_previous_epochs_predictions(batch):
    labels, index, z = batch
    predict = torch.randn(N, K, generator=torch.Generator().manual_seed(8))
    family = authors_loss(2, labels, K)
    assert torch.equal(family.read(index), one_hot(labels[index], K))  # no previous epoch yet
    family.write(torch.arange(N), predict.softmax(-1))
    family.end_epoch()
    value = kl_divergence(z, family.read(index).double()).mean().item()
    expected = twin_loss(2, labels, index, z, predict=predict[index].tolist())
    assert value == pytest.approx(expected, rel=1e-5)


def test_the_sequential_form_equals_its_twin_epoch_by_epoch():
    """Example by example: own hard labels of the epoch before, the given label fading from the fifth epoch on."""
    g = torch.Generator().manual_seed(4)
    labels = torch.randint(0, K, (N,), generator=g)
    family, own = sequential(labels, K, epochs=12), labels.tolist()
    for done in range(12):
        weight = 1.0 if done <= 5 else math.exp(-(done - 5) / 5)
        rows = [
            [weight * a + (1 - weight) * b for a, b in zip(onehot(int(y)), onehot(c), strict=True)]
            for y, c in zip(labels, own, strict=True)
        ]
        assert torch.allclose(family.read(torch.arange(N)), torch.tensor(rows), atol=1e-6)
        p = torch.randn(N, K, generator=g).softmax(-1)
        family.write(torch.arange(N), p)
        family.end_epoch()
        own = [row.index(max(row)) for row in p.tolist()]
    assert torch.equal(family.refined(), p)


def test_instant_soft_is_cross_entropy_with_a_smaller_step(batch):
    """Theory: the gradient in the logits is (1 - lam)(p - e_y) exactly, so nothing is gained but a smaller step."""
    labels, index, z = batch
    lam = 0.25  # exact in binary
    z = z.requires_grad_()
    family = targets.SelfDistillation(labels, K, function=identity, given_weight=1 - lam)
    family.double()
    kl_divergence(z, family.read(index, z.detach())).sum().backward()
    mixed = z.grad.clone()
    z.grad = None
    losses.cross_entropy(z, one_hot(labels[index], K).double()).sum().backward()
    assert (mixed - (1 - lam) * z.grad).abs().max() < 1e-12


def test_hard_function_does_more_than_rescale(batch):
    """The same with a hard h differs: the identity above is a property of soft targets, not of the test."""
    labels, index, z = batch
    z = z.requires_grad_()
    family = targets.SelfDistillation(labels, K, given_weight=0.7)
    kl_divergence(z, family.read(index, z.detach()).double()).sum().backward()
    mixed = z.grad.clone()
    z.grad = None
    losses.cross_entropy(z, one_hot(labels[index], K).double()).sum().backward()
    assert (mixed - 0.7 * z.grad).abs().max() > 1e-2


@pytest.mark.parametrize("own_weight", [0.45, 0.55])
def test_a_wrong_example_keeps_the_truth_only_above_one_half(own_weight):
    """Kernel regime of one isolated example that starts at the truth: own weight 1/2 is the threshold, whatever K."""
    family = targets.SelfDistillation(torch.tensor([0]), K, given_weight=1 - own_weight)
    z = torch.zeros(1, K)
    z[0, 2] = 1.0  # predicts the truth, 2; the given label is 0
    for _ in range(3000):
        p = z.softmax(-1)
        z = z + 0.1 * (family.read(torch.tensor([0]), z) - p)
    assert (z.argmax().item() == 2) == (own_weight > 0.5)


def test_temperature_keeps_the_truth_above_its_own_threshold():
    """lam_c(t) = min over z of sigma(z)/sigma(z/t); at t = 0.3 it is 0.732."""
    outcomes = {}
    for lam in (0.70, 0.76):
        family = targets.SelfDistillation(torch.tensor([0]), 2, function=temperature(0.3), given_weight=1 - lam)
        z = torch.tensor([[0.0, 4.0]])
        for _ in range(6000):
            z = z + 0.1 * (family.read(torch.tensor([0]), z) - z.softmax(-1))
        outcomes[lam] = z.argmax().item() == 1
    assert outcomes == {0.70: False, 0.76: True}


@pytest.mark.parametrize("cap", [1.0, 0.9, 0.5])
def test_agreement_in_the_batch_weighs_the_own_prediction_up_to_the_cap(cap):
    labels, logits = torch.tensor([0, 1, 1, 0]), torch.tensor([[2.0, 0.0], [0.0, 1.0], [1.0, 0.0], [3.0, 0.0]])
    family = targets.SelfDistillation(labels, 2, given_weight=Agreement("batch", cap))
    own_weight = cap * 3 / 4  # the third example differs
    expected = (1 - own_weight) * torch.eye(2)[labels] + own_weight * torch.eye(2)[logits.argmax(-1)]
    torch.testing.assert_close(family.read(torch.arange(4), logits), expected)


def test_schedule_and_epoch_agreement_move_alpha_at_the_end_of_the_epoch():
    labels = torch.tensor([0, 1, 1, 0])
    scheduled = targets.SelfDistillation(labels, 2, given_weight=lambda progress: 1 - progress, epochs=4)
    adaptive = targets.SelfDistillation(labels, 2, given_weight=Agreement("epoch", 0.8))
    assert scheduled.alpha == adaptive.alpha == 1
    for family in (scheduled, adaptive):
        family.write(torch.arange(4), torch.tensor([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4], [0.7, 0.3]]))
        assert family.alpha == 1
        family.end_epoch()
    assert scheduled.alpha.item() == pytest.approx(0.75)
    assert adaptive.alpha.item() == pytest.approx(1 - 0.8 * 0.75)


def test_hard_on_ties_and_temperature_zero():
    z = torch.tensor([[1.0, 1.0, 0.0]])
    assert hard(z).tolist() == temperature(0)(z).tolist() == [[1.0, 0.0, 0.0]]
    torch.testing.assert_close(temperature(1e-3)(torch.tensor([[1.0, 0.9]])), torch.tensor([[1.0, 0.0]]))


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda y: targets.SelfDistillation(y, 2, given_weight=1.2), "given_weight is 1.2"),
        (lambda y: targets.SelfDistillation(y, 2, own="later"), "own is 'later'"),
        (lambda y: authors_loss(6, y, 2), "loss 6 does not exist"),
        (lambda y: sequential(y, 2, epochs=9, early=0), "early is 0"),
        (lambda y: temperature(-1), "temperature is -1"),
        (lambda y: targets.SelfDistillation(y, 2).read(torch.tensor([0])), "logits are missing"),
    ],
)
def test_errors_name_value_and_way_out(make, words):
    with pytest.raises(SettingError, match=words):
        make(torch.tensor([0, 1]))
