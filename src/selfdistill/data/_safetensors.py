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

__all__ = ["as_arrays", "read_tensors", "tensors_source"]


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Read all tensors of a file.

    Args:
        path: The file.

    Returns:
        The tensors by name, and what the file says of itself.

    Raises:
        DataError: It is damaged, or unfolds beyond the limit.
    """
    from safetensors import SafetensorError, safe_open

    try:
        check_size(str(path), path.stat().st_size)
        with safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}  # noqa: SIM118
    except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
        line = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DataError(f"{path} is truncated or no safetensors file: {line}", "Write it again.") from error


def as_arrays(tensors: dict[str, Tensor]) -> dict[str, np.ndarray]:
    """Turn tensors into arrays; numbers that NumPy has no type for become float32.

    Args:
        tensors: By name.

    Returns:
        The arrays, which share the tensors' memory where they can.

    Example:
        >>> as_arrays({"X": torch.ones(2, 1, dtype=torch.bfloat16)})["X"].dtype
        dtype('float32')
    """
    plain = (torch.float16, torch.float32, torch.float64)
    return {
        name: (one.float() if one.is_floating_point() and one.dtype not in plain else one).numpy()
        for name, one in tensors.items()
    }


def tensors_source(path: Path, options: ReadOptions, part: str, preprocess: Preprocess | None) -> Source | None:
    """Read a file with a tensor of features and one of labels.

    Args:
        path: The file.
        options: See `npz_source`.
        part: See `npz_source`.
        preprocess: The one of training: its kind is the form.

    Returns:
        The source; ``None`` where the part is not there.
    """
    return arrays_source(as_arrays(read_tensors(path)[0]), path, options, part, preprocess)
