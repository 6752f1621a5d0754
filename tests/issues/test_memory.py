"""A million examples of a hundred classes from a memory map: what is taken beside the findings stays small."""

from __future__ import annotations

import tracemalloc

import numpy as np

from selfdistill.issues import find_issues

N, K = 1_000_000, 100


def test_peak_memory_is_bounded_by_the_findings_and_a_few_blocks(tmp_path):
    soft = np.lib.format.open_memmap(tmp_path / "soft.npy", "w+", np.float16, (N, K))  # 200 MB on disk
    row = np.full(K, 0.5 / (K - 1), np.float16)
    soft[:] = row
    labels = np.arange(N) % K
    soft[np.arange(N), labels] = 0.5
    soft.flush()
    tracemalloc.start()
    found = find_issues(labels, np.load(tmp_path / "soft.npy", mmap_mode="r"), block_bytes=2**21)
    kept, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert abs(found.is_issue.sum() - N / 2) < N * 2e-3
    assert kept < 60 * N  # the vectors of the findings, in bytes
    assert peak < 100 * N  # half of what is on disk, a quarter of float32
