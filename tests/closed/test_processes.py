"""Two processes, each with its share of the rows, end with the numbers of one."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import torch

# Rounds are chosen on 400 rows, so that 901 are shared: 450 and 451.
SCRIPT = """
import sys, numpy as np, torch
from pathlib import Path
from selfdistill._core import dist
from selfdistill.closed import _prepare, _refine
from selfdistill.runs._request import FitRequest, start
from selfdistill.train import Settings
from selfdistill.train._runtime import process_group

torch.set_num_threads(1)
_prepare._CHOICE_ROWS = 400
rng = np.random.default_rng(0)
truth = rng.integers(3, size=901)
inputs = (rng.normal(size=(3, 5))[truth] + 0.7 * rng.normal(size=(901, 5))).astype(np.float32)
given = np.where(rng.random(901) < 0.3, rng.integers(3, size=901), truth)
quick = {"landmarks": 100, "forest": False, "dtype": torch.float64}
found = {}
with process_group("cpu"):
    for name, keep in (("kept", 2**30), ("anew", 0)):
        _prepare._KEPT_BYTES = keep
        weight = None if name == "kept" else rng.integers(1, 3, 901)
        seen = []
        rows = _refine.Rows.__call__
        def counted(self, some):
            seen.append(len(range(*some.indices(901))) if isinstance(some, slice) else 0)
            return rows(self, some)
        _refine.Rows.__call__ = counted
        one = _refine.refine_labels(inputs, given, 3, sample_weight=weight, **quick)
        _refine.Rows.__call__ = rows
        found[name] = {"posterior": one.posterior, "prior": one.prior, "quality": torch.from_numpy(one.quality),
                       "values": one.eigenvalues, "energy": one.refined_energy, "read": torch.tensor(max(seen)),
                       "coefficients": one.machine.coefficients}
    if dist.rank() == 0:
        np.savez(sys.argv[1] + "x.npz", X=inputs, y=given)
    dist.barrier()
    settings, out = {"landmarks": 60, "kernel": "rbf"}, Path(sys.argv[1] + "run")
    record, _ = start(FitRequest(sys.argv[1] + "x.npz", settings=Settings(**settings), out=out))
    found["run"] = {"nats": torch.tensor(record.closed.nats)}
    torch.save(found, sys.argv[1] + str(dist.rank()))
"""


def launch(folder, processes):
    script, out = folder / "script.py", folder / f"{processes}-"
    script.write_text(SCRIPT)
    command = [sys.executable]
    if processes > 1:
        command += ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}
    done = subprocess.run(
        [*command, str(script), str(out)], env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    return [torch.load(f"{out}{rank}", weights_only=True) for rank in range(processes)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("processes")


@pytest.fixture(scope="module")
def found(folder):
    return launch(folder, 1) + launch(folder, 2)


@pytest.mark.parametrize(("name", "off"), [("kept", 1e-5), ("anew", 0.02)])  # links magnify the rounding of weights
def test_two_processes_give_the_numbers_of_one(found, name, off):
    alone, first, second = (one[name] for one in found)
    for part, value in alone.items():
        if part == "read":
            continue
        assert torch.equal(first[part], second[part]), part
        torch.testing.assert_close(first[part], value, rtol=0, atol=off * float(value.abs().max()), msg=part)
    assert int(alone["read"]) == 901
    assert int(first["read"]) == 450
    assert int(second["read"]) == 451
    assert bool(alone["quality"].isfinite().all())


def test_two_processes_write_the_run_of_one(found, folder):
    one, two = (pd.read_parquet(folder / f"{processes}-run" / "labels.parquet") for processes in (1, 2))
    assert one["id"].tolist() == two["id"].tolist()
    assert (one["refined_label"] == two["refined_label"]).mean() > 0.98
    np.testing.assert_allclose(one["label_quality"], two["label_quality"], atol=0.05)
    alone, first, second = (float(each["run"]["nats"]) for each in found)
    assert first == second == pytest.approx(alone, abs=1e-3)
