"""Free pages go back to the system, and where there is no way nothing happens."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from selfdistill.ntk import _heap


def resident():
    line = next(v for v in Path("/proc/self/status").read_text().splitlines() if v.startswith("VmRSS"))
    return int(line.split()[1]) * 1024


# What is tested asks glibc for it, and Linux's /proc tells the result: elsewhere there is nothing to give back, which
# the test below holds to be harmless. On Linux with glibc, as in CI, it is never skipped.
@pytest.mark.skipif(_heap._trim() is None or not Path("/proc/self/status").exists(), reason="needs glibc on Linux")
def test_what_lies_free_between_small_tensors_is_no_longer_resident():
    tensors = [torch.ones(8192) for _ in range(1000)]  # 32 kB each: on the heap, none of them mapped alone
    del tensors[:-1]
    before = resident()
    _heap.release(torch.device("cpu"))
    assert before - resident() > 16_000_000


def test_without_a_way_nothing_happens(monkeypatch):
    monkeypatch.setattr(_heap, "_trim", lambda: None)
    _heap.release(torch.device("cpu"))
    _heap.release(torch.device("meta"))
