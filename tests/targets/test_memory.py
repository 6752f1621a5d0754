"""The memory against closed forms and a twin that keeps a list per example."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from selfdistill._core.errors import SettingError
from selfdistill.targets import Memory


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
