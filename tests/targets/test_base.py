"""Targets of plain training, fixed targets and the memory."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from selfdistill._core.errors import SettingError
from selfdistill._core.shards import Shard, over_processes
from selfdistill.targets import FixedTargets, Targets
from selfdistill.targets._base import LabelTargets, Memory


def test_the_target_stays_and_the_refined_labels_are_the_last_predictions():
    g = torch.Generator().manual_seed(0)
    target, first, second = torch.randn(3, 4, 3, generator=g).softmax(-1)
    targets = FixedTargets(target)
    assert torch.equal(targets.refined(), target)
    for p, index in ((first, torch.arange(4)), (second, torch.tensor([2, 0]))):
        targets.write(index, p[index])
        targets.end_epoch()
        assert torch.equal(targets.read(torch.tensor([3, 1])), target[[3, 1]])
    assert torch.equal(targets.refined(), torch.stack([second[0], first[1], second[2], first[3]]))


def test_it_holds_a_copy():
    target = torch.eye(2)
    targets = FixedTargets(target)
    target.zero_()
    assert torch.equal(targets.read(torch.arange(2)), torch.eye(2))


def test_labels_are_no_distributions():
    with pytest.raises(SettingError, match=r"target has 1 axes, but must have two. Pass distributions \[n, K\]."):
        FixedTargets(torch.tensor([0, 1]))


@given(st.integers(0, 1000), st.floats(0, 0.99), st.integers(1, 6))
@settings(max_examples=25)
def test_equals_the_average_written_out(seed, momentum, epochs):
    """m after k epochs = b^k e_y + sum_j (1-b) b^(k-1-j) p_j: the given label's weight decays geometrically."""
    g = torch.Generator().manual_seed(seed)
    n, k = 5, 3
    labels = torch.randint(0, k, (n,), generator=g)
    history = torch.rand(epochs, n, k, generator=g).softmax(-1)
    memory = Memory(labels, k, momentum=momentum)
    for p in history:
        order = torch.randperm(n, generator=g)
        memory.write(order[:2], p[order[:2]])
        memory.write(order[2:], p[order[2:]])
        memory.end_epoch()
    weights = [(1 - momentum) * momentum ** (epochs - 1 - j) for j in range(epochs)]
    expected = momentum**epochs * torch.eye(k)[labels] + sum(w * p for w, p in zip(weights, history, strict=True))
    torch.testing.assert_close(memory.refined(), expected, rtol=1e-4, atol=1e-5)


def test_hardness_turns_the_reading_to_the_argmax():
    memory = Memory(torch.tensor([0]), 2, momentum=0.5, hardness=lambda progress: progress, epochs=2)
    readings = []
    for _ in range(2):
        memory.write(torch.tensor([0]), torch.tensor([[0.1, 0.9]]))
        memory.end_epoch()
        readings.append(memory.read(torch.tensor([0]))[0].tolist())
    assert readings[0] == pytest.approx([0.5 * 0.55 + 0.5, 0.5 * 0.45])  # half average [.55, .45], half its argmax
    assert readings[1] == pytest.approx([0.0, 1.0])


def test_unwritten_examples_keep_their_memory():
    memory = Memory(torch.tensor([0, 1]), 2, momentum=0.5)
    memory.write(torch.tensor([0]), torch.tensor([[0.0, 1.0]]))
    memory.end_epoch()
    assert memory.refined().tolist() == [[0.5, 0.5], [0.0, 1.0]]


@pytest.mark.parametrize(("kwargs", "words"), [({"momentum": 1.0}, "momentum is 1.0"), ({"epochs": 0}, "epochs is 0")])
def test_errors(kwargs, words):
    with pytest.raises(SettingError, match=words):
        Memory(torch.tensor([0, 1]), 2, **kwargs)


class Halves(LabelTargets):
    """A target of one's own: the given label and the last predictions in equal parts."""

    def read(self, index, logits=None):
        return (self.given(index) + self.value[index]) / 2


def test_a_target_of_ones_own_implements_read_alone():
    targets = Halves(torch.tensor([0, 1, 1]), 2)
    targets.write(torch.tensor([0, 0, 2]), torch.tensor([[0.0, 1.0], [1.0, 0.0], [0.25, 0.75]]))
    assert targets.read(torch.tensor([0])).tolist() == [[1.0, 0.0]]  # staged, not committed
    mean, written = targets.end_epoch()
    assert mean.tolist() == [[0.5, 0.5], [0.0, 0.0], [0.25, 0.75]]
    assert written.tolist() == [True, False, True]
    assert targets.refined().tolist() == [[0.5, 0.5], [0.0, 1.0], [0.25, 0.75]]  # not written: as it was
    assert targets.read(torch.tensor([2])).tolist() == [[0.125, 0.875]]


def test_a_target_without_read_is_none():
    with pytest.raises(TypeError, match="abstract"):
        Targets(torch.ones(1, 2))


def test_rows_that_are_no_probabilities_are_refused_in_first_writes_and_at_the_end_of_an_epoch():
    targets, right = FixedTargets(torch.eye(3)), torch.eye(3)
    wrong = torch.tensor([[1.0, 0.0, 0.0], [0.3, 0.0, 0.0], [1.0, 0.5, 0.4]])
    with pytest.raises(SettingError, match=r"predictions of a row sum to 1.9 and go down to 0, but must be"):
        targets.write(torch.arange(3), wrong)
    for rows in (right[:1], right[1:], right, wrong):
        targets.write(torch.arange(3)[: len(rows)], rows)
    with pytest.raises(SettingError, match=r"predictions of a row sum to .* but must be probabilities"):
        targets.end_epoch()


def test_a_forgotten_end_of_an_epoch_is_told_after_two_rounds_of_what_a_process_keeps():
    with over_processes(Shard(40, 0, 10)):
        targets = FixedTargets(torch.full((10, 2), 0.5))
    rows = torch.full((5, 2), 0.5)
    for start in (1, 2, 3, 4, 5):
        targets.write(torch.arange(start, start + 5), rows)
    with pytest.warns(UserWarning, match=r"30 predictions were written since the last end_epoch, but there are 10"):
        targets.write(torch.arange(5), rows)
