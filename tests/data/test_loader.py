"""The batches, against the definition of a permutation and its cuts."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from selfdistill._core.errors import SettingError
from selfdistill.data import _loader
from selfdistill.data._loader import TensorLoader, eval_batches


def make(n, batch_size, rank=0, world=1, **more):
    inputs = torch.arange(n, dtype=torch.float32)[:, None] * 10
    return TensorLoader(inputs, torch.arange(n) % 3, batch_size, seed=7, rank=rank, world=world, **more)


@given(n=st.integers(1, 70), batch_size=st.integers(1, 40), world=st.integers(1, 4), epoch=st.integers(0, 3))
@settings(max_examples=150)
def test_ranks_together_see_each_example_once(n, batch_size, world, epoch):
    ranks = [list(make(n, batch_size, rank, world).epoch(epoch)) for rank in range(world)]
    assert len({len(batches) for batches in ranks}) == 1
    assert len(ranks[0]) == len(make(n, batch_size, 0, world))
    single = make(n, batch_size)
    order = torch.cat([batch.index for batch in single.epoch(epoch)])
    seen, start = [], 0
    for step in zip(*ranks, strict=True):
        assert len({len(batch.index) for batch in step}) == 1
        assert len({batch.weight is None for batch in step}) == 1
        total = step[0].total
        whole = torch.full((len(step[0].index) * world,), -1)
        for rank, batch in enumerate(step):
            assert batch.total == total
            assert torch.equal(batch.inputs[:, 0], batch.index * 10.0)
            assert torch.equal(batch.labels, batch.index % 3)
            real = torch.ones_like(batch.index, dtype=torch.bool) if batch.weight is None else batch.weight == 1
            if batch.weight is not None:
                assert set(batch.weight.tolist()) <= {0.0, 1.0}
                assert (batch.index[~real] == order[start]).all()
            whole[rank::world][: len(real)] = torch.where(real, batch.index, -1)
        real_index = whole[whole >= 0]
        assert len(real_index) == total
        assert torch.equal(whole[:total], order[start : start + total])  # the strided parts put together again
        seen += real_index.tolist()
        start += total
    assert sorted(seen) == list(range(n))


@given(n=st.integers(1, 200), batch_size=st.integers(2, 64), world=st.integers(1, 4))
@settings(max_examples=150)
def test_leftovers_smaller_than_two_per_process_are_merged(n, batch_size, world):
    totals = [batch.total for batch in make(n, batch_size, 0, world).epoch(0)]
    assert sum(totals) == n
    assert all(total == batch_size for total in totals[:-1])
    if len(totals) > 1 and batch_size >= 2 * world:
        assert totals[-1] >= 2 * world
    assert totals[-1] < batch_size + 2 * world or len(totals) == 1


@given(n=st.integers(1, 70), batch_size=st.integers(1, 16), steps=st.integers(0, 5), start=st.integers(0, 6))
@settings(max_examples=100)
def test_rows_gathered_for_many_steps_at_once_are_those_of_each(n, batch_size, steps, start):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_loader, "_TOGETHER", steps * 4 * batch_size)  # rows of 4 bytes
        for world in (1, 2):
            loader = make(n, batch_size, 0, world)
            batches = list(loader.epoch(1, start))
            assert len(batches) == max(len(loader) - start, 0)
            for batch in batches:
                assert torch.equal(batch.inputs, loader.inputs[batch.index])
                assert torch.equal(batch.labels, loader.labels[batch.index])


def test_the_rows_gathered_at_once_stay_within_a_mebibyte_but_for_a_step_that_is_larger(monkeypatch):
    sizes = []
    gather = torch.Tensor.index_select
    monkeypatch.setattr(torch.Tensor, "index_select", lambda x, d, i: sizes.append(len(i)) or gather(x, d, i))
    for width, largest in ((2**10, 2**20 // 2**12), (2**20, 16)):
        sizes.clear()
        list(TensorLoader(torch.empty(1, width).expand(400, width), torch.zeros(400).long(), 16, seed=0).epoch(0))
        assert max(sizes) == largest


def test_a_single_leftover_joins_the_batch_before_it():
    assert [batch.total for batch in make(65, 32).epoch(0)] == [32, 33]
    assert [batch.total for batch in make(66, 32).epoch(0)] == [32, 32, 2]
    assert [batch.total for batch in make(5, 32).epoch(0)] == [5]


def test_the_order_depends_on_seed_and_epoch_alone():
    first, again, other = (torch.cat([b.index for b in make(50, 8).epoch(e)]) for e in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    larger = torch.cat([b.index for b in make(50, 25).epoch(0)])
    assert torch.equal(first, larger)


def test_an_epoch_can_go_on_in_the_middle():
    whole = [b.index for b in make(50, 8).epoch(2)]
    rest = [b.index for b in make(50, 8).epoch(2, start=3)]
    assert len(rest) == len(whole) - 3
    assert all(torch.equal(a, b) for a, b in zip(rest, whole[3:], strict=True))


def test_in_order():
    batches = list(eval_batches(torch.zeros(10, 1), torch.arange(10), batch_size=3))
    assert torch.cat([b.index for b in batches]).tolist() == list(range(10))
    assert [len(b.index) for b in batches] == [3, 3, 3, 1]
    assert [b.labels.tolist() for b in eval_batches(torch.zeros(2, 1), batch_size=9)] == [[-1, -1]]


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"batch_size": 0}, "batch_size is 0, but must be at least 1"),
        ({"rank": 2, "world": 2}, "rank is 2 of 2 processes"),
        ({"n": 0}, "0 inputs and 0 labels"),
    ],
)
def test_settings_out_of_range(change, text):
    with pytest.raises(SettingError, match=text):
        make(**({"n": 4, "batch_size": 2} | change))


def test_eval_batches_refuses_size_zero():
    with pytest.raises(SettingError, match="batch_size is 0"):
        next(eval_batches(torch.zeros(2, 1), batch_size=0))
