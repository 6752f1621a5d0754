"""Many processes and machines: sharded weights, two nodes, and a restart with another number of processes."""

from __future__ import annotations

import os
import socket
import subprocess
import sys

import pandas as pd
import pytest
import torch

pytestmark = pytest.mark.slow

# Trains from step FIRST to step LAST of six per epoch, on what both of two processes would see, whoever sees it.
TRAIN = """
import os, sys, torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
from torch import nn
from torch.distributed.fsdp import fully_shard
from torch.utils.data import DataLoader, DistributedSampler, TensorDataset
from selfdistill import RobustTargets, with_index
torch.set_num_threads(1)
kind, first, last, load, save = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4], sys.argv[5]
world = int(os.environ.get("WORLD_SIZE", "1"))
if world > 1:
    dist.init_process_group("gloo")
rank = dist.get_rank() if world > 1 else 0
g = torch.Generator().manual_seed(0)
x, y = torch.randn(41, 4, generator=g), torch.randint(0, 3, (41,), generator=g)
torch.manual_seed(0)
net = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 3))
robust, data = RobustTargets(y, 3, steps=18), with_index(TensorDataset(x, y))
if world > 1 and kind in ("sharded", "mixed"):
    for part in (net[0], net[2], net):
        fully_shard(part, mesh=dist.init_device_mesh("cpu", (2,)))
model = nn.parallel.DistributedDataParallel(net) if world > 1 and kind == "copied" else net
optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
scaler = torch.amp.GradScaler("cpu", enabled=kind in ("mixed", "alone"), init_scale=1024.0)
state = {"robust": robust.state_dict(), "net": net.state_dict()}
if load.endswith(".pt"):
    state = torch.load(load)
elif load != "none":
    dcp.load(state, checkpoint_id=load)
robust.load_state_dict(state["robust"])
net.load_state_dict(state["net"])
for epoch in range(first // 6, -(-last // 6)):
    parts = []
    for r in range(2):  # the batches of both processes; one process takes both
        sampler = DistributedSampler(data, 2, r, seed=0)
        sampler.set_epoch(epoch)
        parts.append(list(DataLoader(data, 4, sampler=sampler)))
    assert len(parts[0]) == 6
    for step, both in enumerate(zip(*parts)):
        if first <= 6 * epoch + step < last:
            mine = [both[rank]] if world > 1 else both
            if kind in ("mixed", "alone"):  # each half batch in two parts, in bfloat16, its loss scaled
                mine = [[t[part::2] for t in one] for one in mine for part in range(2) if len(one[0]) > part]
            for at, (a, b, i) in enumerate(mine):
                if kind == "mixed":
                    net.set_requires_gradient_sync(at == len(mine) - 1)
                with torch.autocast("cpu", torch.bfloat16, enabled=kind in ("mixed", "alone")):
                    logits = model(a)
                scaler.scale(robust.loss(i, logits, b) / (len(mine))).backward()
            scaler.step(optimizer)
            scaler.update()
            optimizer.zero_grad()
    if last >= 6 * epoch + 6:
        robust.end_epoch()
if save.endswith(".pt"):
    robust.gather()
    weights = {name: w.full_tensor() if hasattr(w, "full_tensor") else w for name, w in net.state_dict().items()}
    if rank == 0:
        torch.save({"robust": robust.state_dict(), "net": weights}, save)
else:
    dcp.save({"robust": robust.state_dict(), "net": net.state_dict()}, checkpoint_id=save)
if world > 1:
    dist.destroy_process_group()
"""


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return str(one.getsockname()[1])


def launch(commands):
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}
    python = [sys.executable, "-W", "ignore"]
    kind = {"env": environment, "stderr": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    started = [subprocess.Popen([*python, *command], **kind) for command in commands]
    try:
        outputs = [process.communicate(timeout=200) for process in started]
    finally:
        for process in started:
            process.kill()
    assert all(process.returncode == 0 for process in started), outputs
    return outputs


def train(tmp_path, processes, *arguments):
    (tmp_path / "train.py").write_text(TRAIN)
    one = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"] if processes == 2 else []
    launch([[*one, str(tmp_path / "train.py"), *map(str, arguments)]])


def same(tmp_path, one, other, within=1e-5):
    one, other = (torch.load(tmp_path / name) for name in (one, other))
    for part in ("robust", "net"):
        assert one[part].keys() == other[part].keys()
        for key, value in one[part].items():
            torch.testing.assert_close(other[part][key], value, rtol=10 * within, atol=within)


def test_sharded_weights_end_where_one_process_does(tmp_path):
    train(tmp_path, 1, "copied", 0, 24, "none", tmp_path / "one.pt")
    train(tmp_path, 2, "sharded", 0, 24, "none", tmp_path / "two.pt")
    same(tmp_path, "one.pt", "two.pt")


def test_sharded_weights_in_half_precision_with_accumulation_end_where_one_process_does(tmp_path):
    train(tmp_path, 1, "alone", 0, 24, "none", tmp_path / "one.pt")
    train(tmp_path, 2, "mixed", 0, 24, "none", tmp_path / "two.pt")
    same(tmp_path, "one.pt", "two.pt", 1e-3)  # gradients are added in another order, weights rounded to 8 bits


@pytest.mark.parametrize("before", [2, 1])
@pytest.mark.parametrize(("step", "file"), [(12, "state"), (15, "state.pt")], ids=["dcp", "mid-epoch"])
def test_a_restart_with_another_number_of_processes_changes_nothing(tmp_path, before, step, file):
    train(tmp_path, 1, "copied", 0, 24, "none", tmp_path / "whole.pt")
    train(tmp_path, before, "copied", 0, step, "none", tmp_path / file)
    train(tmp_path, 3 - before, "copied", step, 24, tmp_path / file, tmp_path / "ended.pt")
    same(tmp_path, "whole.pt", "ended.pt")


def nodes(backend):
    """The options of two machines, here two launchers on one."""
    port = free_port()
    for node in range(2):
        if backend == "static":
            meet = ["--node-rank", str(node), "--master-addr", "127.0.0.1", "--master-port", port]
        else:
            meet = ["--rdzv-backend", "c10d", "--rdzv-endpoint", f"localhost:{port}", "--rdzv-id", "one"]
        yield ["-m", "torch.distributed.run", "--nnodes", "2", "--nproc-per-node", "1", *meet]


@pytest.mark.parametrize("backend", ["static", "c10d"])
def test_two_nodes_end_where_one_process_does(tmp_path, backend):
    train(tmp_path, 1, "copied", 0, 24, "none", tmp_path / "one.pt")
    script = [str(tmp_path / "train.py"), "copied", "0", "24", "none", str(tmp_path / "two.pt")]
    launch([[*node, *script] for node in nodes(backend)])
    same(tmp_path, "one.pt", "two.pt")


def test_the_command_fits_on_two_nodes(tmp_path):
    table = tmp_path / "t.csv"
    rows = "".join(f"{i % 7},{i % 5},{'xy'[(i % 7) > 3]}\n" for i in range(60))
    table.write_text("a,b,label\n" + rows)
    fit = ["-m", "selfdistill", "fit", str(table), "--epochs", "3", "--network", "mlp:8", "--out"]
    launch([[*node, *fit, str(tmp_path / "two")] for node in nodes("static")])
    launch([[*fit, str(tmp_path / "one")]])
    one, two = (pd.read_parquet(tmp_path / name / "labels.parquet") for name in ("one", "two"))
    pd.testing.assert_frame_equal(one, two, rtol=1e-3, atol=1e-4)
