"""Arrays in an npz file. Objects are refused: they would be pickles."""

from __future__ import annotations

import math
import zipfile
import zlib
from dataclasses import replace
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from selfdistill._core.errors import DataError, one_line
from selfdistill.data._limits import check_size
from selfdistill.data._mapped import is_large, map_member, stays_on_disk
from selfdistill.data._named_arrays import arrays_source, refuse_objects
from selfdistill.data._options import ReadOptions
from selfdistill.data._source import Source

if TYPE_CHECKING:
    from selfdistill.data._preprocess import Preprocess

_SPARSE = {"csr": ("data", "indices", "indptr"), "csc": ("data", "indices", "indptr"), "coo": ("data", "row", "col")}
_NAMES = {"data", "indices", "indptr", "row", "col", "format", "shape", "_is_array", "offsets"}
"""Arrays of `scipy.sparse.save_npz`."""


# What zipfile and NumPy raise on broken archives; NotImplementedError is zipfile's word for an unknown compression.
_DAMAGED = (zipfile.BadZipFile, zlib.error, EOFError, OSError, ValueError, NotImplementedError, RuntimeError)


def read_npz(path: Path, *, mapped: bool = False, objects: list[str] | None = None) -> dict[str, np.ndarray]:
    """Read all arrays of a file."""
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
            left = [member for member in members if _is_objects(archive, member, path)]
            if left and objects is None:
                refuse_objects(path, left[0].filename.removesuffix(".npy"))
            members = [member for member in members if member not in left]
            large = [m for m in members if mapped and is_large(m)]
            check_size(str(path), sum(m.file_size for m in members if m not in large))
        found = {m.filename.removesuffix(".npy"): map_member(path, m) for m in large}
        names = [m.filename.removesuffix(".npy") for m in left]
        if objects is not None:
            objects += names
        with np.load(path, allow_pickle=False) as file:
            return {name: found[name] if name in found else file[name] for name in file.files if name not in names}
    except DataError:
        raise
    except _DAMAGED as error:
        raise DataError(f"{path} is truncated or no npz file: {error}", "Write it again with numpy.savez.") from error


def _is_objects(archive: zipfile.ZipFile, member: zipfile.ZipInfo, path: Path) -> bool:
    with archive.open(member) as file:
        return check_header(file, member.file_size, f"{path}: {member.filename}") is None


def check_header(file: IO[bytes], size: int, where: str) -> int | None:
    """Compare what an array's header says with what is there: memory is taken by the header."""
    version = np.lib.format.read_magic(file)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    try:
        shape, _, dtype = read(file)
    except Exception as error:  # NumPy reads it as Python's source, which fails in any way
        raise ValueError(f"no header: {one_line(error, 100)}") from error
    if dtype.hasobject:
        return None
    said = math.prod(shape) * dtype.itemsize
    if said > size:
        raise DataError(f"{where} is truncated: {said:,} bytes by its header, {size:,} there", "Write it again.")
    return math.prod(shape)


def npz_source(
    path: Path, options: ReadOptions, part: str, preprocess: Preprocess | None, *, mapped: bool = False
) -> Source | None:
    """Read a file with inputs and labels, perhaps true labels and ids."""
    objects: list[str] = []
    arrays: dict[str, Any] = dict(read_npz(path, mapped=mapped, objects=objects))
    matrix = sparse_of(arrays, path)
    if matrix is not None:
        arrays = {"X": matrix} | {name: one for name, one in arrays.items() if name not in _NAMES}
    found = arrays_source(arrays, path, options, part, preprocess, objects=objects)
    return found and replace(found, mapped=mapped and stays_on_disk(found.features))


def sparse_of(arrays: dict[str, np.ndarray], path: Path) -> Any:
    """Take the arrays of `scipy.sparse.save_npz` as a matrix."""
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
