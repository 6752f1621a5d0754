"""Arrays and Parquet as files store them, read or mapped. Objects are refused: they would be pickles."""

from __future__ import annotations

import math
import struct
import tempfile
import zipfile
from pathlib import Path
from typing import IO, Any, NoReturn, final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch import Tensor

from selfdistill._core.errors import DataError, one_line
from selfdistill._core.files import translate_disk_full
from selfdistill.data._arrow_types import is_vectors
from selfdistill.data._limits import DAMAGED_ZIP, check_columns, check_size, damaged
from selfdistill.data._preprocess import Preprocess

MAPPED_BYTES = 2**28
"""Vectors that take more than this as float32 stay on disk, where that is allowed, and pixels as bytes."""
_BATCH = 4096  # rows of a Parquet file that are unpacked at once


def are_many(size: int) -> bool:
    """Say whether pixels of as many bytes stay on disk."""
    return size > MAPPED_BYTES


def stays_on_disk(features: Any) -> bool:
    """Say whether features are vectors in a memory map, and many."""
    return isinstance(features, np.memmap) and features.ndim == 2 and 4 * features.size > MAPPED_BYTES


@final
class MappedInputs:
    """Vectors made from a memory map, a part at a time; the same numbers as made from all at once."""

    def __init__(self, raw: Any, preprocess: Preprocess) -> None:
        self._raw, self._preprocess = raw, preprocess
        self.shape = (len(raw), *preprocess.input_shape)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: slice | Tensor) -> Tensor:
        """Make some rows, by slice or positions: float32 ``[b, d]``."""
        if isinstance(self._raw, np.ndarray):
            return self._preprocess.apply(self._raw[rows.numpy() if isinstance(rows, Tensor) else rows])
        if isinstance(rows, slice):
            start, stop, _ = rows.indices(len(self))
            return self._preprocess.apply(self._raw.slice(start, stop - start))
        return self._preprocess.apply(pa.concat_tables([self._raw.slice(row, 1) for row in rows.tolist()]))


def _map_parquet(path: Path) -> pa.Table:
    """Unpack a Parquet file into a file without a name, and map that."""
    with (
        translate_disk_full(path.parent / "unpacked"),
        pq.ParquetFile(path, memory_map=True) as file,
        _beside(path) as unpacked,
    ):
        with pa.ipc.new_file(unpacked.name, file.schema_arrow) as writer:
            for batch in file.iter_batches(_BATCH):
                writer.write_batch(batch)
        with pa.memory_map(unpacked.name) as mapped:
            return pa.ipc.open_file(mapped).read_all()


def _beside(path: Path) -> Any:
    try:
        return tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.")
    except OSError:
        return tempfile.NamedTemporaryFile(prefix=f".{path.name}.")


def has_large_vectors(path: Path) -> bool:
    """Say whether a Parquet file holds lists of numbers, and many."""
    try:
        meta = pq.read_metadata(path)
        lists = {field.name for field in meta.schema.to_arrow_schema() if is_vectors(field.type)}
    except (pa.ArrowException, OSError):
        return False  # what reads it says so
    groups = [meta.row_group(i) for i in range(meta.num_row_groups)]
    columns = [group.column(j) for group in groups for j in range(group.num_columns)]
    numbers = sum(int(c.num_values) for c in columns if c.path_in_schema.split(".")[0] in lists)
    return 4 * numbers > MAPPED_BYTES


def read_parquet(path: Path, *, mapped: bool = False) -> pa.Table:
    """Read a Parquet file."""
    try:
        file = pq.ParquetFile(path, memory_map=True)
        meta = file.metadata
        check_columns(meta.num_columns, str(path))
        size = sum(meta.row_group(i).total_byte_size for i in range(meta.num_row_groups))
        if not mapped:
            check_size(str(path), max(size, meta.num_rows * meta.num_columns))
        table = _map_parquet(path) if mapped else file.read()
        if not mapped:
            table.validate(full=True)  # texts that are not UTF-8
    except (pa.ArrowException, OSError) as error:
        raise damaged(path, error, what="not a Parquet file") from error
    if not table.num_rows:
        raise DataError(f"{path} has no rows", "Add rows.")
    return table


SPARSE_NAMES = {"data", "indices", "indptr", "row", "col", "format", "shape", "_is_array", "offsets"}
"""Arrays of `scipy.sparse.save_npz`."""
_SPARSE = {"csr": ("data", "indices", "indptr"), "csc": ("data", "indices", "indptr"), "coo": ("data", "row", "col")}
_DAMAGED = (ValueError, *DAMAGED_ZIP)  # NumPy raises ValueError on broken headers


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
    expected = 0 if dtype.hasobject else math.prod(shape) * dtype.itemsize
    if expected > size:
        raise DataError(f"{where} is truncated: {expected:,} bytes by its header, {size:,} there", "Write it again.")
    return shape, fortran, dtype


def _are_pixels(shape: tuple[int, ...], dtype: np.dtype[Any]) -> bool:
    """Say whether an array holds pixels, which are trained on where they lie."""
    return dtype == np.uint8 and len(shape) > 2


def read_npy(path: Path, *, mapped: bool = False) -> np.ndarray:
    """Map an array into memory."""
    try:
        with path.open("rb") as file:
            shape, _, dtype = _header(file, path.stat().st_size, str(path))
        if dtype.hasobject:
            refuse_objects(path.parent, path.stem)
        if not mapped and not _are_pixels(shape, dtype):
            check_size(str(path), 4 * math.prod(shape))
        array: np.ndarray = np.load(path, mmap_mode="r" if math.prod(shape) else None, allow_pickle=False)
    except DataError:
        raise
    except (EOFError, OSError, ValueError) as error:
        raise damaged(path, error, "Write it again with numpy.save.", "not an npy file") from error
    return array


def read_npz(path: Path, *, mapped: bool = False, objects: list[str] | None = None) -> dict[str, np.ndarray]:
    """Read all arrays of a file; the names of those of objects join ``objects``, without which they are refused."""
    try:
        with zipfile.ZipFile(path) as archive:
            plain, large, names = list[zipfile.ZipInfo](), list[zipfile.ZipInfo](), list[str]()
            for member in archive.infolist():
                name = member.filename.removesuffix(".npy")
                with archive.open(member) as file:
                    shape, _, dtype = _header(file, member.file_size, f"{path}: {member.filename}")
                if dtype.hasobject:
                    if objects is None:
                        refuse_objects(path, name)
                    names.append(name)
                    continue
                # an array that is not compressed can be mapped as it lies in the archive
                lies = (mapped or _are_pixels(shape, dtype)) and not member.compress_type
                (large if lies and 2 * member.file_size > MAPPED_BYTES else plain).append(member)
            check_size(str(path), sum(m.file_size for m in plain))
        on_disk = {m.filename.removesuffix(".npy"): _map_member(path, m) for m in large}
        if objects is not None:
            objects += names
        with np.load(path, allow_pickle=False) as file:
            return {name: on_disk[name] if name in on_disk else file[name] for name in file.files if name not in names}
    except DataError:
        raise
    except _DAMAGED as error:
        raise damaged(path, error, "Write it again with numpy.savez.", "not an npz file") from error


def _map_member(path: Path, member: zipfile.ZipInfo) -> np.ndarray:
    with path.open("rb") as file:
        file.seek(member.header_offset + 26)
        name, extra = struct.unpack("<HH", file.read(4))
        file.seek(member.header_offset + 30 + name + extra)
        shape, fortran, dtype = _header(file, member.file_size, f"{path}: {member.filename}")
        array: np.ndarray = np.memmap(path, dtype, "r", file.tell(), shape, "F" if fortran else "C")
    return array


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
        if np.any(np.diff(made.indptr.astype(np.int64)) < 0):  # where the last is negative, SciPy checks nothing
            raise ValueError("its index pointers decrease")
        made.check_format(full_check=True)  # an index out of bounds would be followed
        return made.tocsr()
    except (KeyError, ValueError, TypeError, IndexError, OverflowError) as error:
        raise DataError(f"{path} holds a damaged sparse matrix: {one_line(error)}", "Save it again.") from error


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
        raise damaged(path, error, "Write it again.", "not a safetensors file") from error


def as_arrays(tensors: dict[str, Tensor]) -> dict[str, np.ndarray]:
    """Turn tensors into arrays, without copying; numbers that NumPy has no type for become float32."""
    plain = (torch.float16, torch.float32, torch.float64)
    return {
        name: (one.float() if one.is_floating_point() and one.dtype not in plain else one).numpy()
        for name, one in tensors.items()
    }
