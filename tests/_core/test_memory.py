from __future__ import annotations

import numpy as np
import pytest
import torch

from selfdistill._core.errors import ResourceError
from selfdistill._core.memory import enough_memory


@pytest.mark.parametrize("ask", [torch.empty, np.empty])
def test_what_no_machine_has_is_told_in_one_line(ask):
    with pytest.raises(ResourceError) as told, enough_memory("Take less."):
        ask(2**58, dtype=torch.float64 if ask is torch.empty else np.float64)
    assert str(told.value) == "there is no memory for another 2,147,483,648.0 GiB. Take less."


@pytest.mark.parametrize(
    ("error", "problem"),
    [
        (RuntimeError("CUDA out of memory. Tried to allocate 20.00 MiB. GPU 0 has"), "another 20.0 MiB"),
        (RuntimeError("CUDA error: out of memory"), "this"),
        (MemoryError(), "this"),
    ],
)
def test_the_words_of_other_allocators(error, problem):
    with (
        pytest.raises(ResourceError, match=f"^there is no memory for {problem}. Take less.$"),
        enough_memory("Take less."),
    ):
        raise error


def test_other_errors_pass():
    with pytest.raises(RuntimeError, match=r"^shapes differ$"), enough_memory("Take less."):
        raise RuntimeError("shapes differ")
