from __future__ import annotations

import resource
import subprocess
import sys

import numpy as np
import pytest
import torch

from selfdistill._core import memory
from selfdistill._core.errors import ResourceError
from selfdistill._core.memory import check_memory, free_memory, translate_out_of_memory


@pytest.mark.parametrize("ask", [torch.empty, np.empty])
def test_what_no_machine_has_is_told_in_one_line(ask):
    with pytest.raises(ResourceError) as error, translate_out_of_memory("Take less."):
        ask(2**58, dtype=torch.float64 if ask is torch.empty else np.float64)
    assert str(error.value) == "out of memory: 2,147,483,648.0 GiB more could not be allocated. Take less."


@pytest.mark.parametrize(
    ("error", "problem"),
    [
        (
            RuntimeError("CUDA out of memory. Tried to allocate 20.00 MiB. GPU 0 has"),
            ": 20.0 MiB more could not be allocated",
        ),
        (RuntimeError("CUDA error: out of memory"), ""),
        (MemoryError(), ""),
    ],
)
def test_the_words_of_other_allocators(error, problem):
    with (
        pytest.raises(ResourceError, match=f"^out of memory{problem}. Take less.$"),
        translate_out_of_memory("Take less."),
    ):
        raise error


def test_other_errors_pass():
    with pytest.raises(RuntimeError, match=r"^shapes differ$"), translate_out_of_memory("Take less."):
        raise RuntimeError("shapes differ")


@pytest.mark.parametrize(
    "files", [("memory.max", "memory.current"), ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes")]
)
def test_what_a_container_leaves(tmp_path, files):
    (tmp_path / "memory").mkdir()
    assert memory._of_group(tmp_path) is None
    for name, number in zip(files, (5000, 1200), strict=True):
        (tmp_path / name).write_text(f"{number}\n")
    assert memory._of_group(tmp_path) == 3800
    (tmp_path / files[0]).write_text("max\n")
    assert memory._of_group(tmp_path) is None


def test_the_least_of_all_limits_counts(monkeypatch):
    for name, left in (("_of_machine", 2**33), ("_of_group", None), ("_of_process", 2**32)):
        monkeypatch.setattr(memory, name, lambda left=left: left)
    assert free_memory() == 2**32
    check_memory("these", 2**32, "Take less.")
    with pytest.raises(ResourceError, match=r"^these take about 5.0 GiB of memory, but 4.0 GiB are free. Take less.$"):
        check_memory("these", 5 * 2**30, "Take less.")
    monkeypatch.setattr(memory, "_of_machine", lambda: None)
    monkeypatch.setattr(memory, "_of_process", lambda: None)
    check_memory("these", 2**60, "Take less.")


@pytest.mark.skipif(sys.platform != "linux", reason="limits are read from Linux")
def test_the_limit_of_a_process():
    code = (
        "import resource; from selfdistill._core.memory import free_memory;"
        "resource.setrlimit(resource.RLIMIT_AS, (2**31, 2**31)); print(free_memory())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert 2**29 < int(done.stdout) < 2**31
    assert resource.getrlimit(resource.RLIMIT_AS)[0] == resource.RLIM_INFINITY or free_memory()
