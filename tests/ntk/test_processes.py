"""Two processes, each with its rows, give the numbers of one."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
import torch

SCRIPT = """
import sys, torch
from torch import nn
from selfdistill._core import dist
from selfdistill.ntk import NTK, _eigenpairs

torch.set_num_threads(1)
out = sys.argv[1]
if "RANK" in __import__("os").environ:
    torch.distributed.init_process_group("gloo")
_eigenpairs._DENSE = 10
torch.manual_seed(0)
first = [nn.Conv2d(2, 4, 3, padding=1), nn.Tanh(), nn.AvgPool2d(2), nn.Flatten()]
model = nn.Sequential(*first, nn.Linear(36, 8), nn.Tanh(), nn.Linear(8, 3))
x = torch.randn(51, 2, 6, 6)
found = {}
for output in ("trace", "full"):
    kernel = NTK(model, x, output=output)
    q = torch.randn(kernel.shape[0], 4, generator=torch.Generator().manual_seed(1))
    rows = kernel.matrix()
    part = rows.clone()
    if dist.world() > 1:
        first = [26, 25] if output == "trace" else [78, 75]
        assert len(rows) == first[dist.rank()], rows.shape
        padded = torch.zeros(max(first), rows.shape[1])
        padded[: len(rows)] = rows
        both = [torch.empty_like(padded) for _ in range(2)]
        torch.distributed.all_gather(both, padded)
        part = torch.cat([b[:n] for b, n in zip(both, first)])
    _eigenpairs.matrix_is_cheaper = lambda kernel, k, width: False
    spectrum = kernel.eigh(5)
    _eigenpairs.matrix_is_cheaper = lambda kernel, k, width: True
    by_matrix = kernel.eigh(5)
    far = torch.randn(3, 2, 6, 6, generator=torch.Generator().manual_seed(2))
    regression = kernel.predict(far, torch.arange(51) % 3, ridge=1.0)
    tight = NTK(model, x, output=output, memory=60_000)
    assert not tight._planner().product(4)[2]
    found[output] = {"matrix": part, "product": kernel @ q, "tight": tight @ q, "diagonal": kernel.diagonal(),
                     "values": spectrum.values, "by_matrix": by_matrix.values,
                     "predicted": regression.outputs, "left out": regression.leave_one_out}
if dist.rank() == 0:
    torch.save(found, out)
if dist.world() > 1:
    torch.distributed.barrier()
    torch.distributed.destroy_process_group()
"""


def launch(folder, processes):
    script, out = folder / "script.py", folder / f"{processes}.pt"
    script.write_text(SCRIPT)
    command = [sys.executable]
    if processes > 1:
        command += ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}
    done = subprocess.run(
        [*command, str(script), str(out)], env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    return torch.load(out, weights_only=True)


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    folder = tmp_path_factory.mktemp("processes")
    return launch(folder, 1), launch(folder, 2)


@pytest.mark.parametrize("output", ["trace", "full"])
def test_two_processes_give_the_numbers_of_one(both, output):
    one, two = (found[output] for found in both)
    assert set(one) == set(two)
    for name, value in one.items():
        torch.testing.assert_close(two[name], value, rtol=1e-4, atol=1e-5 * float(value.abs().max()), msg=name)
    torch.testing.assert_close(one["product"], one["tight"], rtol=1e-4, atol=1e-4)
