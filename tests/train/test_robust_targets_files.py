"""State that lies in files during training: the same numbers bit for bit, and little memory."""

from __future__ import annotations

import io
import subprocess
import sys
from unittest import mock

import numpy as np
import pytest
import torch
from torch import nn

from selfdistill import RobustTargets
from selfdistill._core import row_blocks
from selfdistill._core.errors import DataError, SettingError
from selfdistill.train._methods import METHODS, is_target

N, K = 50, 3
ABLE = [name for name, found in METHODS.items() if is_target(found)]
IN_MEMORY = {"sop", "joint-optimization-labels"}
X = torch.randn(N, 4, generator=torch.Generator().manual_seed(0))
Y = torch.randint(0, K, (N,), generator=torch.Generator().manual_seed(1))


def trained(name, folder, saved=None):
    """Train a while; the default's early epochs end with the tenth. Examples repeat and are missing."""
    epochs = 11 if name == "selfdistill" else 3
    torch.manual_seed(0)
    net = nn.Linear(4, K)
    robust = RobustTargets(Y, K, name, epochs=epochs, steps=18, folder=folder)
    if name == "selfdistill":
        robust.targets.held.zero_()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.5)
    for epoch in range(epochs):
        g = torch.Generator().manual_seed(epoch)
        for index in torch.randint(0, N, (48,), generator=g).split(16):
            optimizer.zero_grad()
            robust.loss(index, net(X[index]), Y[index]).backward()
            optimizer.step()
        if epoch == 1 and saved is not None:  # in the middle of an epoch, and into targets of another kind
            file = io.BytesIO()
            torch.save(robust.state_dict(), file)
            file.seek(0)
            robust = RobustTargets(Y, K, name, epochs=epochs, steps=18, folder=saved)
            robust.load_state_dict(torch.load(file, weights_only=True))
        robust.end_epoch()
    return robust


def equal(a, b):
    a, b = a.state_dict(), b.state_dict()
    assert a.keys() == b.keys()
    return [key for key in a if not torch.equal(a[key], b[key])] == []


@pytest.mark.parametrize("name", [name for name in ABLE if name not in IN_MEMORY])
def test_files_hold_what_memory_holds_bit_for_bit(tmp_path, name):
    with mock.patch.object(row_blocks, "_BLOCK", 7 * K):  # eight blocks
        plain, filed = trained(name, None), trained(name, tmp_path)
        again = trained(name, None, saved=tmp_path)
        tables = [one.table() for one in (plain, filed)]
    assert equal(plain, filed)
    assert equal(plain, again)
    for field in ("refined", "quality", "is_issue", "p_given"):
        np.testing.assert_array_equal(getattr(tables[0], field), getattr(tables[1], field))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ABLE)
def test_blocks_of_rows_change_no_more_than_rounding(name):
    whole = trained(name, None)
    with mock.patch.object(row_blocks, "_BLOCK", 7 * K):
        parts = trained(name, None)
    if name == "selfdistill":
        assert bool(whole.targets.early_counts.any())
    for key, value in whole.state_dict().items():
        torch.testing.assert_close(parts.state_dict()[key], value, rtol=1e-4, atol=1e-5)


def test_a_folder_that_is_none_and_a_method_that_keeps_more_are_refused(tmp_path):
    (tmp_path / "file").touch()
    for folder in (tmp_path / "none", tmp_path / "file", 3):
        with pytest.raises(DataError, match=r"which is no folder. Make one, with room"):
            RobustTargets(Y, K, folder=folder)
    for name in IN_MEMORY:
        with pytest.raises(SettingError, match=f"'{name}' keeps its state in memory. Leave folder out"):
            RobustTargets(Y, K, name, epochs=3, folder=tmp_path)


LITTLE = """
import resource, sys, torch
from selfdistill import RobustTargets
n, k = 400_000, 100
torch.set_num_threads(1)
labels = torch.arange(n) % k
used = next(int(line.split()[1]) * 1024 for line in open("/proc/self/status") if line.startswith("VmData"))
resource.setrlimit(resource.RLIMIT_DATA, (used + 3 * n * k, -1))  # in memory it takes 8 n k
robust = RobustTargets(labels, k, "memory", epochs=1, folder=sys.argv[1] if len(sys.argv) > 1 else None)
weights = torch.nn.Linear(4, k)
for index in torch.arange(n).split(10_000):
    robust.loss(index, weights(torch.zeros(len(index), 4)))
robust.end_epoch()
print(robust.table().is_issue.sum())
"""


@pytest.mark.slow
def test_training_runs_in_a_fraction_of_the_memory_that_a_dense_state_takes(tmp_path):
    command = [sys.executable, "-W", "ignore", "-c", LITTLE]
    filed = subprocess.run([*command, str(tmp_path)], capture_output=True, text=True, timeout=200, check=False)
    assert filed.returncode == 0, filed.stderr
    dense = subprocess.run(command, capture_output=True, text=True, timeout=200, check=False)
    assert dense.returncode != 0
    assert "can't allocate memory" in dense.stderr
