"""Where soft labels of many examples and classes are kept: dense, in sixteen bits, the largest few, or on disk.

All kinds are read in the same way: ``store[rows]`` gives float32 ``[b, K]`` by slice or positions, sums within 1e-3 of
1; ``write(rows, values)`` replaces rows; ``shape`` is (n, K); ``describe()`` gives kind, bytes and tolerance for the
record. Equal within: float16, 5e-4 of each value; `TopK`, the same for the given label and the largest others, while
the rest of each row is spread evenly.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import Any, final

import numpy as np
import torch
from torch import Tensor, nn

from selfdistill._core.errors import DataError, SettingError
from selfdistill._core.files import translate_disk_full

DENSE_BYTES = 2**30
"""Up to this size soft labels stay float32."""
HALF_BYTES = 2**31
"""Up to this size, in sixteen bits, they are kept so; above, in a file, or the largest few."""
_DISK_SHARE = 4
"""A file of soft labels is made where this many times its size is free: ``labels.parquet`` is to follow."""
_BLOCK_BYTES = 2**22


@final
class Dense(nn.Module):
    """Every probability, as float32 or float16. Memory: ``4 n K`` or ``2 n K`` bytes."""

    value: Tensor

    def __init__(self, n: int, k: int, *, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        self.register_buffer("value", torch.zeros(n, k, dtype=dtype))

    @property
    def shape(self) -> tuple[int, int]:
        """Number of examples and of classes."""
        return self.value.shape[0], self.value.shape[1]

    def __getitem__(self, rows: Any) -> Tensor:
        """Read rows."""
        return self.value[rows].float()

    def write(self, rows: Any, values: Tensor) -> None:
        """Replace rows."""
        self.value[rows] = values.to(self.value.dtype)

    def describe(self) -> dict[str, Any]:
        """Describe what is kept, for the record."""
        half = self.value.dtype == torch.float16
        return {
            "kind": "float16" if half else "float32",
            "bytes": self.value.numel() * self.value.element_size(),
            "tolerance": 5e-4 if half else 0.0,
        }


@final
class TopK(nn.Module):
    """The given label and the largest others of each row, in sixteen bits; what is left is spread evenly."""

    # \hat q_i(c) = \begin{cases} q_i(c) & c \in S_i \\ (1 - \sum_{S_i} q_i) / (K - k) & \text{else}\end{cases}
    # with `S_i` the given label and the k − 1 most likely others. The likeliest class, its probability and that
    # of the given label are kept, so rankings and flags are too. Memory: ``4 n k`` bytes up to 32,767 classes, else ``6
    # n k``; 26 MB for 1.28 million examples of 1000 classes at k = 5.

    labels: Tensor
    value: Tensor
    classes: Tensor

    def __init__(self, labels: Tensor, num_classes: int, *, k: int = 5) -> None:
        super().__init__()
        if not 2 <= k <= num_classes:
            raise SettingError(f"k is {k}, but must be from 2 to the {num_classes} classes", "5 is a good choice.")
        n, self.num_classes = len(labels), num_classes
        index = torch.int16 if num_classes <= torch.iinfo(torch.int16).max else torch.int32
        self.register_buffer("labels", labels)
        self.register_buffer("value", torch.zeros(n, k, dtype=torch.float16))
        self.register_buffer("classes", torch.zeros(n, k, dtype=index))

    @property
    def shape(self) -> tuple[int, int]:
        """Number of examples and of classes."""
        return len(self.value), self.num_classes

    def __getitem__(self, rows: Any) -> Tensor:
        """Read rows."""
        value, classes = self.value[rows].float(), self.classes[rows].long()
        k = value.shape[1]
        rest = (1 - value.sum(1, keepdim=True)).clamp(min=0) / max(self.num_classes - k, 1)
        return rest.expand(-1, self.num_classes).clone().scatter_(1, classes, value)

    def write(self, rows: Any, values: Tensor) -> None:
        """Replace rows."""
        k = self.value.shape[1]
        given = self.labels[rows][:, None]
        others = values.scatter(1, given, -1.0).topk(k - 1, dim=1).indices
        chosen = torch.cat([given, others], 1)
        self.classes[rows] = chosen.to(self.classes.dtype)
        self.value[rows] = values.gather(1, chosen).to(self.value.dtype)

    def describe(self) -> dict[str, Any]:
        """Describe what is kept, for the record."""
        parts = (self.value, self.classes)
        return {
            "kind": f"top-{self.value.shape[1]}",
            "bytes": sum(part.numel() * part.element_size() for part in parts),
            "tolerance": 5e-4,
        }


@final
class Mapped:
    """Every probability, as float16 in a file; only the rows that are read come into memory."""

    def __init__(self, path: Path, n: int, k: int) -> None:
        self.value: np.ndarray
        if path.is_dir():
            with translate_disk_full(path / "soft labels"), tempfile.TemporaryFile(dir=path) as file:
                if hasattr(os, "posix_fallocate"):  # to write into a file with holes on a full disk kills the process
                    os.posix_fallocate(file.fileno(), 0, 2 * n * k)
                self.value = np.memmap(file, np.float16, "w+", shape=(n, k))
        elif path.exists():
            raise DataError(f"{path} exists already", "Choose another file for the soft labels.")
        else:
            self.value = np.lib.format.open_memmap(path, "w+", np.float16, (n, k))

    @property
    def shape(self) -> tuple[int, int]:
        """Number of examples and of classes."""
        return self.value.shape[0], self.value.shape[1]

    def __getitem__(self, rows: Any) -> Tensor:
        """Read rows."""
        return torch.from_numpy(np.asarray(self.value[rows], np.float32))

    def write(self, rows: Any, values: Tensor) -> None:
        """Replace rows."""
        self.value[rows] = values.cpu().numpy().astype(np.float16)

    def describe(self) -> dict[str, Any]:
        """Describe what is kept, for the record."""
        return {"kind": "memory map", "bytes": self.value.nbytes, "tolerance": 5e-4}


def open_mapped(path: Path | str) -> np.ndarray:
    """Open soft labels that lie on disk; `issues` reads them in blocks."""
    if not Path(path).is_file():
        raise DataError(
            f"{path} {'is a folder' if Path(path).exists() else 'does not exist'}",
            "Name the file that holds the soft labels.",
        )
    try:
        found: np.ndarray = np.lib.format.open_memmap(path, "r")
    except ValueError as error:
        held = Path(path).stat().st_size
        raise DataError(
            f"{path} ({held:,} bytes) is damaged, cut short or no .npy file: {error}", "Write it again."
        ) from error
    if found.ndim != 2 or found.dtype.kind != "f":
        raise DataError(
            f"{path} holds {found.dtype} of shape {found.shape}, but soft labels are floats with two axes",
            "Name the file that holds the soft labels.",
        )
    return found


SoftStore = Dense | TopK | Mapped
"""Any of the three."""


def choose_store(n: int, k: int, folder: Path | None = None) -> tuple[str, str]:
    """Choose by size how soft labels are kept."""
    full, half = 4 * n * k, 2 * n * k
    if full <= DENSE_BYTES:
        return "float32", f"it takes {_mib(full)}, at most {_mib(DENSE_BYTES)}"
    if half <= HALF_BYTES:
        return "float16", f"float32 would take {_mib(full)}, more than {_mib(DENSE_BYTES)}"
    why = f"float16 would take {_mib(half)}, more than {_mib(HALF_BYTES)}"
    if folder is None:
        return "top-5", f"{why}, and there is no folder"
    free = shutil.disk_usage(folder).free
    if free < _DISK_SHARE * half:
        return "top-5", f"{why}, and the disk has {_mib(free)} free, less than {_mib(_DISK_SHARE * half)}"
    return "memory map", f"{why}; the disk has room"


def _mib(size: int) -> str:
    return f"{-(-size // 2**20):,} MiB"


def compact(soft: Tensor, labels: Tensor, kind: str | None = None, folder: Path | None = None) -> SoftStore:
    """Copy soft labels into the store that fits their size, a block of rows at a time."""
    n, k = soft.shape
    kind = kind or choose_store(n, k, folder)[0]
    store: SoftStore
    if kind.startswith("top-"):
        store = TopK(labels.cpu(), k, k=min(int(kind.removeprefix("top-")), k))
    elif kind == "memory map":
        if folder is None:
            raise SettingError("a memory map needs a folder, but none is given", "Pass folder.")
        store = Mapped(folder, n, k)
    else:
        store = Dense(n, k, dtype=torch.float16 if kind == "float16" else torch.float32)
    step = max(1, _BLOCK_BYTES // (4 * k))
    for start in range(0, n, step):
        rows = slice(start, start + step)
        store.write(rows, soft[rows].detach().float().cpu())
    return store
