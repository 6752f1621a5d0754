"""Blocks cover all rows once; matrices in files hold what those in memory hold, and leave nothing behind."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from selfdistill._core import row_blocks as module
from selfdistill._core.errors import ResourceError
from selfdistill._core.row_blocks import in_files, kept_in_files, row_blocks, row_one_hot, row_zeros


@settings(max_examples=30)
@given(st.integers(0, 10_000_000), st.integers(1, 2_000_000))
def test_blocks_follow_one_another_and_are_small(rows, width):
    found = list(islice(row_blocks(rows, width), 1000))
    ends = [part.stop for part in found]
    assert [part.start for part in found] == [0, *ends][: len(found)]
    assert len(found) == 1000 or (ends or [0])[-1] == rows
    assert all((part.stop - part.start) * width <= max(2**20, width) for part in found)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_a_matrix_in_a_file_reads_and_writes_like_one_in_memory(tmp_path, dtype):
    with in_files(tmp_path):
        assert kept_in_files()
        filed = row_zeros(5, 3, dtype)
    assert not kept_in_files()
    plain = row_zeros(5, 3, dtype)
    for one in (filed, plain):
        one[1:3] += 2
        one.index_add_(0, torch.tensor([0, 0, 4]), torch.ones(3, 3, dtype=dtype))
    assert torch.equal(filed, plain)
    assert filed.dtype == dtype


# Only Linux, where CI runs, lists what a process maps; elsewhere nothing else can tell a file that is still mapped.
@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="the system does not list what is mapped")
def test_the_file_has_no_name_and_is_gone_with_the_matrix(tmp_path):
    def held():
        return Path("/proc/self/maps").read_text().count(str(tmp_path))

    with in_files(tmp_path):
        kept = row_one_hot(torch.tensor([2, 0]), 3)
    assert kept.tolist() == [[0, 0, 1], [1, 0, 0]]
    assert list(tmp_path.iterdir()) == []
    assert held() == 1
    del kept
    assert held() == 0


def test_a_full_disk_is_told_before_anything_is_written(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module.os, "posix_fallocate", full)
    with in_files(tmp_path), pytest.raises(ResourceError, match="no room on disk"):
        row_zeros(5, 3)
