"""What each objective reads, against a loop over classes that its paper's words give."""

from __future__ import annotations

import math

import pytest
import torch

from selfdistill.distill import OBJECTIVES, objective
from selfdistill.distill._bagherinezhad2018refinery import refined_label
from selfdistill.distill._chen2021noisybest import predicted_label
from selfdistill.distill._furlanello2018bornagain import mixture
from selfdistill.distill._hinton2015knowledge import softened
from selfdistill.distill._jeong2025toptwo import top_two

K, B = 6, 9


def draw(seed=0):
    g = torch.Generator().manual_seed(seed)
    given = torch.eye(K)[torch.randint(0, K, (B,), generator=g)]
    return given, torch.randn(B, K, generator=g) * 2


def softmax(row):
    shares = [math.exp(v) for v in row.tolist()]
    return [s / sum(shares) for s in shares]


def test_refinery_is_the_teacher_alone():
    given, teacher = draw()
    slow = torch.tensor([softmax(row) for row in teacher])
    torch.testing.assert_close(refined_label(given, teacher), slow)
    torch.testing.assert_close(refined_label(1 - given, teacher), slow)


@pytest.mark.parametrize("xi", [-1.0, 0.0, 0.3, 1.0, 2.5])
def test_born_again_mixes_with_any_weight(xi):
    given, teacher = draw(1)
    pairs = zip(given.tolist(), map(softmax, teacher), strict=True)
    slow = [[(1 - xi) * y + xi * q for y, q in zip(*pair, strict=True)] for pair in pairs]
    torch.testing.assert_close(mixture(given, teacher, mixing=xi), torch.tensor(slow))
    torch.testing.assert_close(mixture(given, teacher, mixing=xi).sum(-1), torch.ones(B))


def test_top_2_halves_the_two_largest_and_noisy_best_takes_the_largest():
    given, teacher = draw(2)
    for row, half, hard in zip(teacher.tolist(), top_two(given, teacher), predicted_label(given, teacher), strict=True):
        order = sorted(range(K), key=lambda c: -row[c])
        assert half.tolist() == [0.5 if c in order[:2] else 0.0 for c in range(K)]
        assert hard.tolist() == [1.0 if c == order[0] else 0.0 for c in range(K)]


def test_hinton_lays_logits_beside_labels():
    given, teacher = draw(3)
    soft = softened(given, teacher, temperature=2.0, weight=0.25)
    assert soft.teacher is teacher
    assert soft.given is given
    assert (soft.temperature, soft.weight) == (2.0, 0.25)


@pytest.mark.parametrize("name", OBJECTIVES)
def test_every_objective_gives_one_finite_value_per_example_and_no_gradient_to_the_teacher(name):
    given, teacher = draw(4)
    reading, loss, _ = objective(name)
    logits = torch.randn(B, K, requires_grad=True)
    value = loss(logits, reading(given, teacher))
    assert value.shape == (B,)
    value.sum().backward()
    assert value.isfinite().all()
    assert logits.grad is not None
    assert logits.grad.abs().sum() > 0
