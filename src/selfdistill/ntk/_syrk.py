"""Half of a symmetric product in place, by BLAS: on a CPU about 1.4 times as fast as blocks of full products."""

from __future__ import annotations

import functools
from contextlib import nullcontext

import numpy as np
import torch
from threadpoolctl import ThreadpoolController
from torch import Tensor

__all__ = ["has_syrk", "syrk"]


def has_syrk(kernel: Tensor) -> bool:
    """Say whether `syrk` takes a kernel: on the CPU, in 32 or 64 bit."""
    return kernel.device.type == "cpu" and kernel.dtype in {torch.float32, torch.float64}


def syrk(kernel: Tensor, rows: Tensor) -> None:
    """Add the products of rows with each other to the upper half of a kernel."""
    from scipy.linalg import blas

    update = blas.ssyrk if kernel.dtype == torch.float32 else blas.dsyrk
    whole = kernel.numpy().T  # in the order of Fortran, where this half is the lower one
    threads = torch.get_num_threads()
    same = all(library.num_threads == threads for library in _blas().lib_controllers)  # a change takes 0.2 ms
    with nullcontext() if same else _blas().limit(limits=threads, user_api="blas"):
        out = update(1.0, rows.numpy().T, beta=1.0, c=whole, trans=1, lower=1, overwrite_c=1)
    if not np.shares_memory(out, whole):
        whole[...] = out


@functools.cache
def _blas() -> ThreadpoolController:
    return ThreadpoolController().select(user_api="blas")
