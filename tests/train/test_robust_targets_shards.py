"""State that is spread over processes: the numbers of state that each process holds whole, in a share of the memory."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
import threading

import pandas as pd
import pytest
import torch
import torch.distributed as dist

from selfdistill import RobustTargets
from selfdistill._core import row_blocks
from selfdistill._core.errors import DataError, SettingError
from selfdistill.train._methods import METHODS, is_target

N, K = 43, 3
G = torch.Generator().manual_seed(0)
Y = torch.randint(0, K, (N,), generator=G)
X = torch.randn(N, K, generator=G) + 2 * torch.eye(K)[Y]
Z = torch.randn(11, N, K, generator=G)  # so that some predictions change with each epoch, and the clock runs in parts
IN_MEMORY = {"sop", "joint-optimization-labels"}
SPREAD = [name for name, found in METHODS.items() if is_target(found) and name not in IN_MEMORY]


@pytest.fixture
def together(monkeypatch):
    """Runs a function of the rank in threads that stand for processes, and gives what each returned."""
    place, box = threading.local(), {}

    def run(world, work):
        barrier, found = threading.Barrier(world, timeout=20), {}

        def all_reduce(value):
            assert value.dtype != torch.bool
            box[place.rank] = value.clone()
            barrier.wait()
            total = sum(box[rank] for rank in range(world))
            barrier.wait()
            value.copy_(total)

        def one(rank):
            place.rank = rank
            try:
                found[rank] = work(rank)
            except BaseException as error:
                found[rank] = error
                barrier.abort()

        for name, what in (
            ("is_initialized", lambda: True),
            ("get_world_size", lambda: world),
            ("get_rank", lambda: place.rank),
            ("all_reduce", all_reduce),
        ):
            monkeypatch.setattr(dist, name, what)
        threads = [threading.Thread(target=one, args=(rank,)) for rank in range(world)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        errors = [one for one in found.values() if isinstance(one, Exception)]
        for error in sorted(errors, key=lambda error: isinstance(error, threading.BrokenBarrierError)):
            raise error
        return [found[rank] for rank in range(world)]

    return run


def trained(world, name, shard, folder=None):
    """Give what a process does that draws from its rows, some of them twice."""

    def work(rank):
        robust = RobustTargets(Y.numpy(), K, name, epochs=11, steps=18, shard=shard, folder=folder)
        merged, size = [], -(-N // world)
        own = torch.arange(rank * size, rank * size + size).clamp(max=N - 1)
        for epoch in range(11 if name == "selfdistill" else 3):
            if name == "selfdistill":
                robust.targets.held.zero_()  # so that early epochs are counted
            g = torch.Generator().manual_seed(10 * epoch + rank)
            for index in own[torch.randperm(size, generator=g)].split(4):
                robust.loss(index, (X + 2 * Z[epoch])[index].requires_grad_(), Y[index])
            merged.append(robust.end_epoch())
        return robust, merged, robust.refined(), robust.label_issues(), robust.trust().verdict

    return work


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", SPREAD)
def test_spread_rows_end_where_whole_ones_do(together, monkeypatch, name):
    monkeypatch.setattr(row_blocks, "_BLOCK", 5 * K)
    world = 3 if name in {"selfdistill", "elr"} else 2
    whole, spread = together(world, trained(world, name, False)), together(world, trained(world, name, True))
    within = {"rtol": 0, "atol": 1e-6 if name == "selfdistill" else 0}  # its sums over rows are added in another order
    for (robust, merged, refined, table, verdict), (own, *rest) in zip(whole, spread, strict=True):
        assert rest[0] == merged
        torch.testing.assert_close(rest[1], refined, **within)
        pd.testing.assert_frame_equal(rest[2], table, rtol=0, atol=10 * within["atol"])
        assert rest[3] == verdict
        start, stop = own.rows.min(), own.rows.max() + 1
        for (key, part), mine in zip(robust.targets.named_buffers(), own.targets.buffers(), strict=True):
            rows = part.ndim and len(part) == N
            assert not rows or len(mine) == stop - start
            torch.testing.assert_close(mine, part[start:stop] if rows else part, **within, msg=key)
        torch.testing.assert_close(own.targets.refined(), rest[1][start:stop], rtol=0, atol=0)
        if name == "selfdistill":
            assert bool(own.targets.early_counts.any())
            assert float(own.targets.clock) % 1


def test_each_example_lies_in_one_process_and_all_draw_as_many(together):
    for world, n in itertools.product((1, 2, 3, 4), (13, 16, 41)):
        rows = together(world, lambda rank, n=n: RobustTargets([0] * n, 2, "elr", shard=True).rows)
        assert {len(part) for part in rows} == {-(-n // world)}
        kept = [set(part.tolist()) for part in rows]
        assert sum(map(len, kept)) == n
        assert set().union(*kept) == set(range(n))


@pytest.mark.filterwarnings("ignore")
def test_spread_rows_lie_in_files_too(together, tmp_path):
    spread, filed = (together(2, trained(2, "selfdistill", True, folder)) for folder in (None, tmp_path))
    for (_, merged, refined, *_), (robust, *rest) in zip(spread, filed, strict=True):
        assert rest[0] == merged
        assert torch.equal(rest[1], refined)
        assert robust.targets.value.shape == (22 - (robust.rows.max() == N - 1), K)


def test_rows_of_other_processes_and_methods_that_cannot_be_spread_are_refused(together):
    def loss(rank):
        robust = RobustTargets(Y, K, "elr", shard=True)
        robust.loss(torch.tensor([20, 22]), X[:2].requires_grad_())

    with pytest.raises(DataError, match=r"20 to 22, but this process keeps the examples (0 to 21|22 to 42)\. Draw"):
        together(2, loss)
    with pytest.raises(DataError, match=r"example 30 has the label . in the batch"):
        together(
            2,
            lambda rank: RobustTargets(Y, K, shard=True).loss(
                torch.tensor([[1, 30][rank]]), X[:1].requires_grad_(), Y[[[1, 30][rank]]] + rank
            ),
        )
    with pytest.raises(DataError, match=r"the label of example 40 is 3"):
        together(2, lambda rank: RobustTargets([0] * 40 + [3], K, shard=True))
    with pytest.raises(SettingError, match=r"5 examples cannot be spread over 4 processes. Leave shard out"):
        together(4, lambda rank: RobustTargets(Y[:5], K, shard=True))
    for name in IN_MEMORY:
        with pytest.raises(SettingError, match=f"'{name}' keeps its state in memory. Leave shard out"):
            together(1, lambda rank, name=name: RobustTargets(Y, K, name, epochs=3, shard=True))


# Epochs FIRST to LAST of eleven, the last one cut in half where it is saved in its middle. What is seen of an example
# in an epoch does not depend on who sees it.
TRAIN = """
import os, sys, warnings, numpy as np, torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
from torch.utils.data import DataLoader, Subset, TensorDataset
from selfdistill import RobustTargets, with_index
warnings.simplefilter("ignore")
torch.set_num_threads(1)
method, shard, first, last, load, save = sys.argv[1:]
first, last = float(first), float(last)
world = int(os.environ.get("WORLD_SIZE", "1"))
if world > 1:
    dist.init_process_group("gloo")
g = torch.Generator().manual_seed(0)
N, K = 43, 3
y = torch.randint(0, K, (N,), generator=g)
x = torch.randn(N, K, generator=g) + 2 * torch.eye(K)[y]
robust = RobustTargets(y, K, method, epochs=11, steps=18, shard=shard == "shard")
if load != "none":
    state = {"robust": robust.state_dict()}
    dcp.load(state, checkpoint_id=load)
    robust.load_state_dict(state["robust"])
rank = int(os.environ.get("RANK", "0"))
rows = np.unique(robust.rows) if shard == "shard" else np.array_split(robust.rows, world)[rank]
for half in range(int(2 * first), int(2 * last)):
    epoch = half // 2
    part = Subset(with_index(TensorDataset(x, y)), rows[rows % 2 == half % 2])
    for inputs, labels, index in DataLoader(part, 4, shuffle=True):
        robust.loss(index, ((1 + epoch / 2) * inputs).requires_grad_(), labels)
    if method == "selfdistill":
        robust.targets.held.zero_()
    if half % 2:
        robust.end_epoch()
if not save.endswith(".pt"):
    dcp.save({"robust": robust.state_dict()}, checkpoint_id=save)
else:
    table, refined, state = robust.label_issues(), robust.refined(), robust.state_dict()
    state = {k: v.full_tensor() if hasattr(v, "full_tensor") else v for k, v in state.items()}
    if rank == 0:
        quality = torch.tensor(table.label_quality.to_numpy())
        state |= {"refined": refined, "flagged": torch.tensor(table.is_label_issue), "quality": quality}
        torch.save(state, save)
if world > 1:
    dist.destroy_process_group()
"""


def train(tmp_path, processes, *arguments):
    script = tmp_path / "train.py"
    script.write_text(TRAIN)
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    command = [sys.executable, "-W", "ignore", *(launcher if processes > 1 else []), str(script), *map(str, arguments)]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 0, done.stderr[:3000]
    return torch.load(tmp_path / arguments[-1]) if str(arguments[-1]).endswith(".pt") else None


@pytest.mark.slow
@pytest.mark.parametrize(("method", "at"), [("selfdistill", 4), ("elr", 4.5)], ids=["epoch's end", "mid-epoch"])
def test_two_processes_save_and_one_or_four_go_on(tmp_path, method, at):
    within = {"rtol": 1e-6, "atol": 1e-6} if method == "selfdistill" else {"rtol": 0, "atol": 0}
    whole = train(tmp_path, 2, method, "copied", 0, 11, "none", tmp_path / "whole.pt")
    ends = [train(tmp_path, 2, method, "shard", 0, 11, "none", tmp_path / "two.pt")]
    train(tmp_path, 2, method, "shard", 0, at, "none", tmp_path / "saved")
    for processes in (1, 4):
        out = tmp_path / f"{processes}.pt"
        ends.append(train(tmp_path, processes, method, "shard", at, 11, tmp_path / "saved", out))
    for processes, end in zip((2, 1, 4), ends, strict=True):
        assert end.keys() == whole.keys()
        for key, value in whole.items():
            torch.testing.assert_close(end[key], value, **within, msg=f"{processes} processes: {key}")
