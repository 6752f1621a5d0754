"""One of two processes is killed in the middle of training: the other ends within a minute, and a line says why."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

START = """
import os, sys, torch, warnings
warnings.simplefilter("ignore")
torch.set_num_threads(1)
from torch import nn
from torch.utils.data import DataLoader, DistributedSampler, TensorDataset
from selfdistill import RobustTargets, with_index
x, y = torch.randn(64, 4), torch.arange(64) % 3
robust = RobustTargets(y, 3, steps=18)

def report_start(rank):  # called in each step: the first tells who it is
    if not os.path.exists(f"{sys.argv[1]}/{rank}"):
        with open(f"{sys.argv[1]}/{rank}.new", "w") as file:
            file.write(str(os.getpid()))
        os.replace(f"{sys.argv[1]}/{rank}.new", f"{sys.argv[1]}/{rank}")
"""

LOOP = (
    START
    + """
import torch.distributed as dist
dist.init_process_group("gloo")
data = with_index(TensorDataset(x, y))
net = nn.parallel.DistributedDataParallel(nn.Linear(4, 3))
loader = DataLoader(data, 8, sampler=DistributedSampler(data))
while True:
    for inputs, labels, index in loader:
        robust.loss(index, net(inputs), labels).backward()
        report_start(dist.get_rank())
    robust.end_epoch()
"""
)

ACCELERATE = (
    START
    + """
from accelerate import Accelerator
accelerator = Accelerator(cpu=True)
net, loader = nn.Linear(4, 3), DataLoader(with_index(TensorDataset(x, y)), 8)
net, loader = accelerator.prepare(net, loader)
while True:
    for inputs, labels, index in loader:
        accelerator.backward(robust.loss(index, net(inputs), labels))
        report_start(accelerator.process_index)
    robust.end_epoch()
"""
)

TRAINER = (
    START
    + """
from transformers import BertConfig, BertForSequenceClassification, TrainerCallback, TrainingArguments
from selfdistill.integrations.transformers import SelfDistillTrainer

class Tell(TrainerCallback):
    def on_step_end(self, args, state, control, **_):
        report_start(args.process_index)

size = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8, "num_labels": 3}
quiet = {"use_cpu": True, "report_to": [], "disable_tqdm": True, "save_strategy": "no", "logging_strategy": "no"}
items = [{"input_ids": torch.arange(5), "labels": int(label)} for label in y]
SelfDistillTrainer(
    model=BertForSequenceClassification(BertConfig(vocab_size=16, max_position_embeddings=8, **size)),
    args=TrainingArguments(sys.argv[1] + "/runs", num_train_epochs=10**6, **quiet),
    train_dataset=items, callbacks=[Tell()],
).train()
"""
)

LIGHTNING = (
    START
    + """
import lightning
from selfdistill.integrations.lightning import SelfDistillCallback

class Net(lightning.LightningModule):
    def __init__(self):
        super().__init__()
        self.net = nn.Linear(4, 3)

    def training_step(self, batch, _):
        report_start(self.global_rank)
        return robust.loss(batch[2], self.net(batch[0]), batch[1])

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)

if __name__ == "__main__":
    quiet = dict.fromkeys(("enable_progress_bar", "enable_model_summary", "enable_checkpointing", "logger"), False)
    lightning.Trainer(
        max_epochs=-1, accelerator="cpu", devices=2, strategy="ddp", callbacks=[SelfDistillCallback(robust)], **quiet
    ).fit(Net(), DataLoader(with_index(TensorDataset(x, y)), 8))
"""
)

HANGS = LOOP.replace('("gloo")', '("gloo", timeout=__import__("datetime").timedelta(seconds=10))')

TORCHRUN = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
LAUNCHER_SAYS = r"Signal 9 \(SIGKILL\) received by PID"
PEER_IS_GONE = r"Connection closed by peer|Connection reset by peer|Broken pipe"


@pytest.mark.parametrize(
    ("library", "program", "launcher", "rank", "says"),
    [
        pytest.param("torch", LOOP, TORCHRUN, 0, LAUNCHER_SAYS, id="loop-torchrun-0"),
        pytest.param("torch", LOOP, TORCHRUN, 1, LAUNCHER_SAYS, id="loop-torchrun-1"),
        pytest.param("torch", LOOP, [], 0, PEER_IS_GONE, id="loop-alone-0"),
        pytest.param("torch", LOOP, [], 1, PEER_IS_GONE, id="loop-alone-1"),
        pytest.param("accelerate", ACCELERATE, TORCHRUN, 1, LAUNCHER_SAYS, id="accelerate-1"),
        pytest.param("transformers", TRAINER, TORCHRUN, 1, LAUNCHER_SAYS, id="trainer-1"),
        pytest.param("lightning", LIGHTNING, [], 0, PEER_IS_GONE, id="lightning-0"),
        pytest.param("lightning", LIGHTNING, [], 1, PEER_IS_GONE, id="lightning-1"),
        pytest.param("lightning", LIGHTNING, TORCHRUN, 1, LAUNCHER_SAYS, id="lightning-torchrun-1"),
        pytest.param("torch", HANGS, [], 1, "Timed out waiting 10000ms", id="loop-alone-hangs"),
    ],
)
def test_the_other_process_ends_within_a_minute(tmp_path, library, program, launcher, says, rank):
    pytest.importorskip(library)
    (tmp_path / "train.py").write_text(program)
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    ranks = [{}]
    if program in {LOOP, HANGS} and not launcher:  # two processes that nobody watches
        port = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port()), "WORLD_SIZE": "2"}
        ranks = [port | {"RANK": str(r)} for r in range(2)]
    command = [sys.executable, *launcher, str(tmp_path / "train.py"), str(tmp_path)]
    with (tmp_path / "log").open("w") as log:
        started = [subprocess.Popen(command, env=environment | more, stderr=log, stdout=log) for more in ranks]
    pids = {}
    try:
        pids = {r: wait_for(tmp_path / str(r)) for r in range(2)}
        os.kill(pids[rank], signal.SIGSTOP if program is HANGS else signal.SIGKILL)
        killed = time.monotonic()
        for process in started if program is not HANGS else started[1 - rank :][:1]:
            assert process.wait(timeout=60) != 0
        while alive(pids[1 - rank]) and time.monotonic() - killed < 60:
            time.sleep(0.1)
        assert not alive(pids[1 - rank])
        ended = time.monotonic() - killed
    finally:
        for process in started:
            process.kill()
            process.wait()
        for pid in filter(alive, pids.values()):
            os.kill(pid, signal.SIGKILL)
    print(f"ended after {ended:.1f} s")
    output = (tmp_path / "log").read_text()
    assert re.search(says, output), output


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def wait_for(file):
    end = time.monotonic() + 120
    while not file.exists():
        assert time.monotonic() < end, (file.parent / "log").read_text()
        time.sleep(0.1)
    return int(file.read_text())


def alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False
