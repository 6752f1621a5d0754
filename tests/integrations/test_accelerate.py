"""Robust targets beside accelerate: saved and loaded with the rest, and padded shards of two processes."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
import torch

pytest.importorskip("accelerate")
pytestmark = [pytest.mark.filterwarnings("ignore")]  # of accelerate and what it imports

LOOP = """
import sys, torch
from accelerate import Accelerator
from torch import nn
from torch.utils.data import DataLoader, TensorDataset
from selfdistill import RobustTargets, with_index

def run(folder, epochs, load=None, processes=1):
    g = torch.Generator().manual_seed(0)
    x, y = torch.randn(41, 4, generator=g), torch.randint(0, 3, (41,), generator=g)
    torch.manual_seed(0)
    net, robust = nn.Linear(4, 3), RobustTargets(y, 3, steps=6)
    loader = DataLoader(with_index(TensorDataset(x, y)), 8 // processes)
    accelerator = Accelerator(cpu=True)
    net, optimizer, loader = accelerator.prepare(net, torch.optim.SGD(net.parameters(), lr=0.1), loader)
    accelerator.register_for_checkpointing(robust)
    if load:
        accelerator.load_state(load)
    for _ in range(epochs):
        for inputs, labels, index in loader:
            optimizer.zero_grad()
            accelerator.backward(robust.loss(index, net(inputs), labels))
            optimizer.step()
        robust.end_epoch()
    accelerator.save_state(folder)
    return robust, accelerator.process_index

if __name__ == "__main__":
    robust, rank = run(sys.argv[1], 2, processes=2)
    torch.save(robust.state_dict(), f"{sys.argv[1]}/out-{rank}")
"""


def equal(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


def test_a_state_saved_by_accelerate_goes_on_bit_for_bit(tmp_path):
    names = {"__name__": "loop"}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        exec(LOOP, names)
    whole, _ = names["run"](tmp_path / "whole", 4)
    names["run"](tmp_path / "half", 2)
    again, _ = names["run"](tmp_path / "again", 2, load=tmp_path / "half")
    assert equal(whole.state_dict(), again.state_dict())


def test_what_was_found_reaches_the_trackers_of_the_page(tmp_path, monkeypatch):
    from accelerate import Accelerator
    from accelerate.tracking import GeneralTracker

    messages = []

    class Told(GeneralTracker):
        name, requires_logging_directory, tracker = "told", False, None

        def __init__(self):
            super().__init__()

        def store_init_configuration(self, values):
            pass

        def log(self, values, step=None, **_):
            messages.append(values)

    def tracked(**options):
        accelerator = Accelerator(log_with=[Told()], **options)
        accelerator.init_trackers("run")
        return accelerator

    monkeypatch.chdir(tmp_path)
    page = (Path(__file__).parents[2] / "docs" / "skorch.md").read_text(encoding="utf-8").partition("## accelerate")[2]
    (block,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    block = block.replace("range(15)", "range(2)").replace("= Accelerator(", "= tracked(")
    names = {"X": torch.randn(90, 64), "y": torch.arange(90) % 10, "tracked": tracked}
    exec(compile(block, "page", "exec"), names)
    assert [sorted(line)[0] for line in messages] == ["agreement", "agreement", "label_issues"]


@pytest.mark.slow
def test_examples_that_even_batches_repeat_count_as_their_mean(tmp_path):
    (tmp_path / "loop.py").write_text(LOOP)
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    command = [*launcher, str(tmp_path / "loop.py"), str(tmp_path)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    first, second = (torch.load(tmp_path / f"out-{rank}") for rank in range(2))
    assert equal(first, second)
    assert (first["dynamics.seen"] == 2).all()
    names = {"__name__": "loop"}
    exec(LOOP, names)
    one = names["run"](tmp_path / "one", 2)[0]
    torch.testing.assert_close(first["targets.value"], one.refined(), rtol=0.1, atol=0.05)  # its last batch is padded
