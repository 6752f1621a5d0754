"""Objectives by name, and what each reads, against loops over classes."""

from __future__ import annotations

import math

import pytest
import torch

from selfdistill._core.errors import SettingError
from selfdistill.distill._objective import (
    OBJECTIVES,
    _distribution,
    _mixture,
    _predicted_label,
    _softened,
    _top_two,
    objective,
)


def test_numbers_left_out_are_filled_in():
    assert objective("hinton")[2] == {"temperature": 4.0, "weight": 0.9}
    assert objective("born-again", mixing=-2.0)[2] == {"mixing": -2.0}
    assert objective("top-2")[2] == {}


@pytest.mark.parametrize("t", [0.0, -1.0, float("inf"), float("nan")])
def test_temperatures_without_a_softmax_are_refused(t):
    with pytest.raises(SettingError, match=r"temperature is .*, but must be finite and above 0"):
        objective("hinton", temperature=t)


def test_other_numbers_out_of_range_are_refused():
    with pytest.raises(SettingError, match=r"weight is 1.5, but must be in \[0, 1\]"):
        objective("hinton", weight=1.5)
    for name in ("alpha", "beta"):
        with pytest.raises(SettingError, match=f"{name} is -1.0, but must be finite and at least 0. 1 and 8 are usual"):
            objective("dkd", **{name: -1.0})
    with pytest.raises(SettingError, match="mixing is nan, but must be finite"):
        objective("born-again", mixing=float("nan"))


def test_a_number_that_it_does_not_take_and_a_name_that_is_none_are_refused():
    with pytest.raises(SettingError, match=r"'refinery' takes no `temperature`. Leave `temperature` out, or .* hinton"):
        objective("refinery", temperature=2.0)
    with pytest.raises(SettingError, match=r"'hintn' does not exist. Did you mean hinton\? Choose one of: hinton, ref"):
        objective("hintn")


@pytest.mark.parametrize("value", [[4.0], "4", True])
def test_what_is_no_number_is_named(value):
    with pytest.raises(SettingError, match=r"temperature is .*, but must be a number"):
        objective("hinton", temperature=value)


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
    torch.testing.assert_close(_distribution(given, teacher), slow)
    torch.testing.assert_close(_distribution(1 - given, teacher), slow)


@pytest.mark.parametrize("xi", [-1.0, 0.0, 0.3, 1.0, 2.5])
def test_born_again_mixes_with_any_weight(xi):
    given, teacher = draw(1)
    pairs = zip(given.tolist(), map(softmax, teacher), strict=True)
    slow = [[(1 - xi) * y + xi * q for y, q in zip(*pair, strict=True)] for pair in pairs]
    torch.testing.assert_close(_mixture(given, teacher, mixing=xi), torch.tensor(slow))
    torch.testing.assert_close(_mixture(given, teacher, mixing=xi).sum(-1), torch.ones(B))


def test_top_2_halves_the_two_largest_and_noisy_best_takes_the_largest():
    given, teacher = draw(2)
    for row, half, hard in zip(
        teacher.tolist(), _top_two(given, teacher), _predicted_label(given, teacher), strict=True
    ):
        order = sorted(range(K), key=lambda c: -row[c])
        assert half.tolist() == [0.5 if c in order[:2] else 0.0 for c in range(K)]
        assert hard.tolist() == [1.0 if c == order[0] else 0.0 for c in range(K)]


def test_hinton_lays_logits_beside_labels():
    given, teacher = draw(3)
    soft = _softened(given, teacher, temperature=2.0, weight=0.25)
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
