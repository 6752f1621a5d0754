from __future__ import annotations

from unittest import mock

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from selfdistill._core import sample_mean
from selfdistill._core.sample_mean import SampleMean


@given(st.integers(1, 6), st.integers(1, 3), st.lists(st.integers(0, 10_000), max_size=5), st.sampled_from([1, 8, 99]))
@settings(max_examples=40)
def test_equals_a_twin_that_keeps_lists(n, width, seeds, together):
    with mock.patch.object(sample_mean, "_TOGETHER", together):
        check_against_a_twin(n, width, seeds)


def check_against_a_twin(n, width, seeds):
    staged, lists = SampleMean(n, width), [[] for _ in range(n)]
    for seed in seeds:
        g = torch.Generator().manual_seed(seed)
        index = torch.randint(0, n, (4,), generator=g)
        values = torch.rand(4, width, generator=g)
        staged.stage(index, values)
        for i, v in zip(index.tolist(), values, strict=True):
            lists[i].append(v)
    mean, written = staged.merge()
    assert written.tolist() == [bool(vs) for vs in lists]
    for i, vs in enumerate(lists):
        expected = torch.stack(vs).mean(0) if vs else torch.zeros(width)
        torch.testing.assert_close(mean[i], expected, rtol=1e-5, atol=1e-6)
    assert not staged.merge()[1].any()


def test_staged_writes_are_in_the_state():
    a, b = SampleMean(2, 1), SampleMean(2, 1)
    a.stage(torch.tensor([1]), torch.tensor([[3.0]]))
    b.load_state_dict(a.state_dict())
    assert b.merge()[0].tolist() == [[0.0], [3.0]]


def test_what_was_written_before_another_state_is_loaded_is_gone():
    a, b = SampleMean(2, 1), SampleMean(2, 1)
    a.stage(torch.tensor([1]), torch.tensor([[3.0]]))
    a.load_state_dict(b.state_dict())
    assert not a.merge()[1].any()


def test_moves_with_what_was_written():
    a = SampleMean(2, 1)
    a.stage(torch.tensor([1]), torch.tensor([[3.0]]))
    assert a.to(torch.float64).merge()[0].tolist() == [[0.0], [3.0]]
