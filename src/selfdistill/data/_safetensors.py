"""Features and labels as tensors in a safetensors file, with the names that an npz file has."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from selfdistill._core.errors import DataError
from selfdistill.data._limits import check_size
from selfdistill.data._named_arrays import arrays_source
from selfdistill.data._options import ReadOptions
from selfdistill.data._source import Source

if TYPE_CHECKING:
    from selfdistill.data._preprocess import Preprocess


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Read all tensors of a file."""
    from safetensors import SafetensorError, safe_open

    try:
        check_size(str(path), path.stat().st_size)
        with safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}  # noqa: SIM118
    except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
        line = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DataError(f"{path} is truncated or no safetensors file: {line}", "Write it again.") from error


def as_arrays(tensors: dict[str, Tensor]) -> dict[str, np.ndarray]:
    """Turn tensors into arrays; numbers that NumPy has no type for become float32."""
    plain = (torch.float16, torch.float32, torch.float64)
    return {
        name: (one.float() if one.is_floating_point() and one.dtype not in plain else one).numpy()
        for name, one in tensors.items()
    }


def tensors_source(path: Path, options: ReadOptions, part: str, preprocess: Preprocess | None) -> Source | None:
    """Read a file with a tensor of features and one of labels."""
    return arrays_source(as_arrays(read_tensors(path)[0]), path, options, part, preprocess)
