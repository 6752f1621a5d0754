"""Targets in someone else's loop: what the package's own loop gives, and a naive twin, whatever the loop does."""

from __future__ import annotations

import copy
import os
import pickle
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader

from selfdistill import RobustTargets, with_index
from selfdistill._core.errors import ReliabilityWarning, SettingError
from selfdistill._core.settings import Settings
from selfdistill.data._loader import TensorLoader
from selfdistill.data._source import from_arrays
from selfdistill.issues._table import issue_frame
from selfdistill.networks._build import build
from selfdistill.targets import Posterior
from selfdistill.train._fit import _optimizer, fit
from selfdistill.train._methods import METHODS, is_target

K, N = 3, 60
ABLE = [name for name, found in METHODS.items() if is_target(found)]


def blobs(n=N, seed=0):
    g = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, K, (n,), generator=g)
    x = torch.randn(n, 4, generator=g) + 2 * torch.eye(K, 4)[labels]
    wrong = torch.rand(n, generator=g) < 0.3
    return x, torch.where(wrong, torch.randint(0, K, (n,), generator=g), labels)


def equal(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


@pytest.mark.parametrize("name", ABLE)
def test_a_loop_of_ones_own_ends_where_the_packages_does(name):
    x, y = blobs()
    settings = Settings(method=name, network="mlp:8", epochs=4, batch_size=16).resolve(N, "cpu")
    data = from_arrays(x.numpy(), y.numpy())
    fitted = fit(data, settings)

    net = build("mlp:8", (4,), K, seed=0)
    robust = RobustTargets(data.labels, K, name, epochs=4, steps=4)
    loader = TensorLoader(data.inputs, data.labels, 16, seed=0, device=torch.device("cpu"), rank=0, world=1)
    optimizer, schedule = _optimizer(net, settings, 16)
    for epoch in range(4):
        for batch in loader.epoch(epoch, 0):
            robust.loss(batch.index, net(batch.inputs), batch.labels).backward()
            optimizer.step()
            schedule.step()
            optimizer.zero_grad()
        curve = robust.end_epoch()
        assert all(curve[key] == pytest.approx(fitted.curves[epoch][key], abs=0.02) for key in curve)
    torch.testing.assert_close(robust.refined(), fitted.refined, rtol=1e-3, atol=1e-4)
    with pytest.warns(ReliabilityWarning) if robust.trust().verdict != "trust" else np.errstate():
        mine = robust.label_issues()
    pd.testing.assert_frame_equal(mine, issue_frame(fitted.table(), np.arange(K)), rtol=1e-3, atol=1e-4)
    assert robust.trust().verdict == fitted.trust(fitted.table(), list("abc")).verdict


def naive(y, epochs):
    """The default's state from what each epoch's visits said of each example, averaged one by one."""
    posterior = Posterior(y, K)
    for visits in epochs:
        writes = {}
        for i, p in visits:
            writes.setdefault(i, []).append(p.double())
        mean, written = torch.zeros(len(y), K), torch.zeros(len(y), dtype=torch.bool)
        for i, rows in writes.items():
            mean[i], written[i] = torch.stack(rows).mean(0).float(), True
        posterior.commit(mean, written)
    return posterior


def test_repeated_and_missing_examples_drop_last_and_small_parts_of_batches_count_as_often_as_they_are_seen():
    x, y = blobs()
    net, robust = nn.Linear(4, K), RobustTargets(y, K)
    g, epochs = torch.Generator().manual_seed(1), []
    for _ in range(4):
        drawn = torch.randint(0, N, (50,), generator=g)  # with replacement
        visits = []
        for index in drawn.split(8)[:-1]:
            for part in index.split(3):  # gradient accumulation
                logits = net(x[part])
                (robust.loss(part, logits) / 3).backward()
                visits += list(zip(part.tolist(), logits.detach().softmax(-1), strict=True))
        robust.end_epoch()
        epochs.append(visits)
    twin = naive(y, epochs)
    for name, value in twin.state_dict().items():
        torch.testing.assert_close(robust.targets.state_dict()[name], value, rtol=1e-5, atol=1e-6)
    never = N - len({i for visits in epochs for i, _ in visits})
    with pytest.warns(UserWarning, match=f"^{never} of 60 examples were never seen"):
        robust.label_issues()


def train(net, robust, x, y, epochs=3, precision=None, scale=None):
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    scaler = torch.amp.GradScaler("cpu", enabled=scale is not None, init_scale=scale or 1.0)

    def loss_of(index, inputs):
        with torch.autocast("cpu", precision, enabled=precision is not None):
            logits = net(inputs)
        return robust.loss(index, logits)

    for epoch in range(epochs):
        g = torch.Generator().manual_seed(epoch)
        for index in torch.randperm(len(y), generator=g).split(16):
            optimizer.zero_grad()
            scaler.scale(loss_of(index, x[index])).backward()
            scaler.step(optimizer)
            scaler.update()
        robust.end_epoch()
    return robust


def test_a_stream_trains_as_the_data_set_it_comes_from():
    datasets = pytest.importorskip("datasets")
    x, y = blobs()
    rows = datasets.Dataset.from_dict({"x": x.numpy(), "y": y.numpy()}).with_format("torch")
    ends = []
    for data in (rows, rows.to_iterable_dataset()):
        net, robust = linear(), RobustTargets(y, K, steps=18)
        optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
        for _ in range(3):
            for batch in DataLoader(with_index(data), 16):
                optimizer.zero_grad()
                robust.loss(batch["index"], net(batch["x"]), batch["y"]).backward()
                optimizer.step()
            robust.end_epoch()
        ends.append(robust.state_dict())
    assert equal(*ends)


def linear():
    torch.manual_seed(0)
    return nn.Linear(4, K)


def test_a_scaler_changes_nothing_and_half_precision_little():
    x, y = blobs()
    plain = train(linear(), RobustTargets(y, K, steps=4), x, y)
    scaled = train(linear(), RobustTargets(y, K, steps=4), x, y, scale=2.0**16)
    half = train(linear(), RobustTargets(y, K, steps=4), x, y, precision=torch.bfloat16, scale=2.0**16)
    assert equal(plain.state_dict(), scaled.state_dict())
    assert half.refined().dtype == torch.float32
    torch.testing.assert_close(half.refined(), plain.refined(), rtol=0, atol=0.05)


COMPILED = """
import torch
from torch import nn
from torch.utils.data import DataLoader
from selfdistill import RobustTargets, with_index
torch.manual_seed(0)
x, y = torch.randn(60, 4), torch.randint(0, 3, (60,))
for method in ("selfdistill", "elr", "dong-3"):
    ends = []
    for compiled in (False, True):
        torch.manual_seed(1)
        net, robust = nn.Linear(4, 3), RobustTargets(y, 3, method, steps=4)
        step = lambda index: robust.loss(index, net(x[index]), y[index])
        step = torch.compile(step, backend="eager") if compiled else step
        optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
        for epoch in range(2):
            for index in torch.randperm(60).split(16):
                optimizer.zero_grad()
                step(index).backward()
                optimizer.step()
            robust.end_epoch()
        ends.append(robust.refined())
    torch.testing.assert_close(*ends, rtol=1e-5, atol=1e-6)
"""


@pytest.mark.slow
def test_a_compiled_step_gives_the_same():
    command = [sys.executable, "-W", "ignore", "-c", COMPILED]  # without jaxtyping's hook, which dynamo cannot trace
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", ABLE)
def test_a_state_put_back_in_the_middle_of_an_epoch_goes_on_as_if_nothing_was(name):
    x, y = blobs()
    net = linear()
    robust = RobustTargets(y, K, name, epochs=4, steps=4)
    train(net, robust, x, y, epochs=2)
    robust.loss(torch.arange(5, 25), net(x[5:25]))
    other, copied = RobustTargets(y, K, name, epochs=4, steps=4), pickle.loads(pickle.dumps(robust))
    other.load_state_dict({key: value.clone() for key, value in robust.state_dict().items()})
    ends = []
    for one in (robust, other, copied, copy.deepcopy(robust)):
        one.loss(torch.arange(30), net(x[:30]))
        one.end_epoch()
        ends.append(one.state_dict())
    assert all(equal(end, ends[0]) for end in ends)


TWO = """
import sys, torch
import torch.distributed as dist
from torch import nn
from torch.utils.data import DataLoader
from torch.nn.parallel import DistributedDataParallel as DDP
from torch.utils.data import DataLoader, DistributedSampler, TensorDataset
from selfdistill import RobustTargets, with_index
torch.set_num_threads(1)
world, out = int(sys.argv[1]), sys.argv[2]
if world > 1:
    dist.init_process_group("gloo", f"file://{sys.argv[3]}", rank=int(sys.argv[4]), world_size=2)
g = torch.Generator().manual_seed(0)
x, y = torch.randn(41, 4, generator=g), torch.randint(0, 3, (41,), generator=g)
torch.manual_seed(0)
net = nn.Linear(4, 3)
robust, data = RobustTargets(y, 3, steps=6), with_index(TensorDataset(x, y))
model = DDP(net) if world > 1 else net
optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
rank = dist.get_rank() if world > 1 else 0
for epoch in range(3):
    parts = []
    for r in range(2):  # the batches of both processes; one process takes both
        sampler = DistributedSampler(data, 2, r, seed=0)
        sampler.set_epoch(epoch)
        parts.append(list(DataLoader(data, 4, sampler=sampler)))
    for step, both in enumerate(zip(*parts)):
        mine = [both[rank]] if world > 1 else both
        loss = sum(robust.loss(i, model(a), b) for a, b, i in mine) / len(mine)
        optimizer.zero_grad(); loss.backward(); optimizer.step()
        if epoch == 1 and step == 2:  # saved by the first process and read by all, in the middle of an epoch
            robust.gather()
            state = [robust.state_dict() if rank == 0 else None]
            if world > 1:
                dist.broadcast_object_list(state)
            robust = RobustTargets(y, 3, steps=6)
            robust.load_state_dict(state[0])
    robust.end_epoch()
if world > 1:
    robust.loss(torch.tensor([0]), model(x[:1]))
    try:
        robust.state_dict()
    except ValueError as error:
        assert "2 processes have staged batches of their own" in str(error), error
    else:
        raise SystemExit("state_dict kept silent")
    robust.targets.staged.clear()
torch.save(robust._state(), f"{out}-{world}-{rank}")
"""


@pytest.mark.slow
def test_two_processes_with_padded_shards_end_where_one_does(tmp_path, monkeypatch):
    arguments = [str(tmp_path / "out"), str(tmp_path / "store")]
    monkeypatch.setattr(sys, "argv", ["one", "1", *arguments])
    exec(compile(TWO, "one", "exec"), {})
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}
    command = [sys.executable, "-c", TWO, "2", *arguments]
    started = [
        subprocess.Popen([*command, str(r)], env=environment, stderr=subprocess.PIPE, text=True) for r in range(2)
    ]
    for process in started:
        output = process.communicate(timeout=120)[1]
        assert process.returncode == 0, output
    one, first, second = (torch.load(tmp_path / f"out-{name}") for name in ("1-0", "2-0", "2-1"))
    assert equal(first, second)
    for key, value in one.items():
        torch.testing.assert_close(first[key], value, rtol=1e-4, atol=1e-5)


def test_a_method_that_is_more_than_a_target_or_counts_epochs_is_refused_with_the_way_out():
    y = torch.tensor([0, 1, 2])
    with pytest.raises(SettingError, match=r"'dividemix' needs more than a loss.*Choose one of: selfdistill,"):
        RobustTargets(y, K, "dividemix")
    with pytest.raises(
        SettingError, match=r"'divide' does not exist. Choose one of: selfdistill, cross-entropy, memory"
    ):
        RobustTargets(torch.arange(6) % 2, 2, "divide")  # nearest is one that is refused
    with pytest.raises(SettingError, match=r"'kernel' trains no network"):
        RobustTargets(y, K, "kernel")
    with pytest.raises(SettingError, match=r"Did you mean selfdistill\?"):
        RobustTargets(y, K, "selfdistil")
    with pytest.raises(SettingError, match=r"'sop' follows a schedule over the epochs. Pass epochs, their number."):
        RobustTargets(y, K, "sop")
    with pytest.raises(SettingError, match=r"steps is 0, but must be at least 1"):
        RobustTargets(y, K, steps=0)


def test_the_page_names_the_methods_that_are_more_than_a_target():
    page = (Path(__file__).parents[2] / "docs" / "methods.md").read_text(encoding="utf-8")
    listed = page.partition("## In a loop of your own")[2].partition("##")[0].partition("extra passes:")[2]
    assert set(re.findall(r"`([\w-]+)`", listed)) == METHODS.keys() - set(ABLE)


def test_few_steps_are_asked_for_once():
    x, y = blobs()
    with pytest.warns(UserWarning, match=r"An epoch has 4 steps.* Pass steps=4 to RobustTargets") as warned:
        train(linear(), RobustTargets(y, K), x, y)
    assert len(warned) == 1
    train(linear(), RobustTargets(y, K, "elr"), x, y)  # asks for none
