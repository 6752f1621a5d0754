"""Arrays as npy, npz and safetensors files store them. Objects are refused: they would be pickles."""

from __future__ import annotations

import math
import struct
import zipfile
import zlib
from pathlib import Path
from typing import IO, Any, NoReturn

import numpy as np
import torch
from torch import Tensor

from selfdistill._core.errors import DataError, one_line
from selfdistill.data._limits import check_size, damaged
from selfdistill.data._mapped import is_large

SPARSE_NAMES = {"data", "indices", "indptr", "row", "col", "format", "shape", "_is_array", "offsets"}
"""Arrays of `scipy.sparse.save_npz`."""
_SPARSE = {"csr": ("data", "indices", "indptr"), "csc": ("data", "indices", "indptr"), "coo": ("data", "row", "col")}
# What zipfile and NumPy raise on broken archives; NotImplementedError is zipfile's word for an unknown compression.
_DAMAGED = (zipfile.BadZipFile, zlib.error, EOFError, OSError, ValueError, NotImplementedError, RuntimeError)


def refuse_objects(where: Path | str, name: str) -> NoReturn:
    """Say why an array of objects is not read."""
    raise DataError(
        f"{where}: {name}.npy holds Python objects, which are not read: they could run code",
        "Save texts as an array of type str: numpy.asarray(texts, dtype=str).",
    )


def _header(file: IO[bytes], size: int, where: str) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Read an array's header, and compare it with what is there: memory is taken by the header."""
    version = np.lib.format.read_magic(file)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    try:
        shape, fortran, dtype = read(file)
    except Exception as error:  # NumPy reads it as Python's source, which fails in any way
        raise ValueError(f"no header: {one_line(error, 100)}") from error
    said = 0 if dtype.hasobject else math.prod(shape) * dtype.itemsize
    if said > size:
        raise DataError(f"{where} is truncated: {said:,} bytes by its header, {size:,} there", "Write it again.")
    return shape, fortran, dtype


def read_npy(path: Path, *, mapped: bool = False) -> np.ndarray:
    """Map an array into memory."""
    try:
        with path.open("rb") as file:
            shape, _, dtype = _header(file, path.stat().st_size, str(path))
        if dtype.hasobject:
            refuse_objects(path.parent, path.stem)
        if not mapped:
            check_size(str(path), 4 * math.prod(shape))
        found: np.ndarray = np.load(path, mmap_mode="r" if math.prod(shape) else None, allow_pickle=False)
    except DataError:
        raise
    except (EOFError, OSError, ValueError) as error:
        raise damaged(path, error, "Write it again with numpy.save.", "no npy file") from error
    return found


def read_npz(path: Path, *, mapped: bool = False, objects: list[str] | None = None) -> dict[str, np.ndarray]:
    """Read all arrays of a file; the names of those of objects join ``objects``, without which they are refused."""
    try:
        with zipfile.ZipFile(path) as archive:
            plain, names = [], []
            for member in archive.infolist():
                name = member.filename.removesuffix(".npy")
                with archive.open(member) as file:
                    _, _, dtype = _header(file, member.file_size, f"{path}: {member.filename}")
                if dtype.hasobject and objects is None:
                    refuse_objects(path, name)
                names += [name] if dtype.hasobject else []
                plain += [] if dtype.hasobject else [member]
            # an array that is not compressed can be mapped as it lies in the archive
            large = [m for m in plain if mapped and not m.compress_type and is_large(m.file_size)]
            check_size(str(path), sum(m.file_size for m in plain if m not in large))
        found = {m.filename.removesuffix(".npy"): _map_member(path, m) for m in large}
        if objects is not None:
            objects += names
        with np.load(path, allow_pickle=False) as file:
            return {name: found[name] if name in found else file[name] for name in file.files if name not in names}
    except DataError:
        raise
    except _DAMAGED as error:
        raise damaged(path, error, "Write it again with numpy.savez.", "no npz file") from error


def _map_member(path: Path, member: zipfile.ZipInfo) -> np.ndarray:
    with path.open("rb") as file:
        file.seek(member.header_offset + 26)
        name, extra = struct.unpack("<HH", file.read(4))
        file.seek(member.header_offset + 30 + name + extra)
        shape, fortran, dtype = _header(file, member.file_size, f"{path}: {member.filename}")
        found: np.ndarray = np.memmap(path, dtype, "r", file.tell(), shape, "F" if fortran else "C")
    return found


def sparse_of(arrays: dict[str, np.ndarray], path: Path) -> Any:
    """Take the arrays of `scipy.sparse.save_npz` as a matrix; ``None`` where they are others."""
    if not {"format", "shape", "data"} <= arrays.keys() or arrays["format"].ndim or arrays["shape"].shape != (2,):
        return None
    form = arrays["format"].item()
    form = form.decode("ascii", "replace") if isinstance(form, bytes) else str(form)
    if form not in _SPARSE:
        raise DataError(f"{path} holds a sparse matrix of the form {form!r}", "Save matrix.tocsr().")
    import scipy.sparse

    try:
        data, one, two = (arrays[name] for name in _SPARSE[form])
        shape = tuple(map(int, arrays["shape"]))
        if form == "coo":
            return scipy.sparse.coo_array((data, (one, two)), shape=shape).tocsr()
        made = (scipy.sparse.csr_array if form == "csr" else scipy.sparse.csc_array)((data, one, two), shape=shape)
        made.check_format(full_check=True)  # an index out of bounds would be followed
        return made.tocsr()
    except (KeyError, ValueError, TypeError, IndexError, OverflowError) as error:
        raise DataError(f"{path} holds a damaged sparse matrix: {error}", "Save it again.") from error


def save_sparse(matrix: Any) -> dict[str, np.ndarray]:
    """Give the arrays that `scipy.sparse.save_npz` writes."""
    shape = np.asarray(matrix.shape)
    return {name: getattr(matrix, name) for name in _SPARSE["csr"]} | {"shape": shape, "format": np.asarray(b"csr")}


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Read all tensors of a safetensors file, and what the file says of itself."""
    from safetensors import SafetensorError, safe_open

    try:
        check_size(str(path), path.stat().st_size)
        with safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}  # noqa: SIM118
    except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
        raise damaged(path, error, "Write it again.", "no safetensors file") from error


def as_arrays(tensors: dict[str, Tensor]) -> dict[str, np.ndarray]:
    """Turn tensors into arrays, without copying; numbers that NumPy has no type for become float32."""
    plain = (torch.float16, torch.float32, torch.float64)
    return {
        name: (one.float() if one.is_floating_point() and one.dtype not in plain else one).numpy()
        for name, one in tensors.items()
    }
