"""Inputs that stay on disk: rows are read, and made into inputs, when they are asked for; and Parquet files."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, final

import numpy as np
from torch import Tensor

from selfdistill._core.errors import DataError
from selfdistill._core.files import room_for
from selfdistill.data._limits import check_columns, check_size, damaged

if TYPE_CHECKING:
    import pyarrow as pa

    from selfdistill.data._preprocess import Preprocess

MAPPED_BYTES = 2**28
"""Inputs that take more than this as float32 stay on disk, where that is allowed."""
_BATCH = 4096  # rows of a Parquet file that are unpacked at once


def stays_on_disk(features: Any) -> bool:
    """Say whether features are vectors in a memory map, and many."""
    return isinstance(features, np.memmap) and features.ndim == 2 and 4 * features.size > MAPPED_BYTES


def is_large(size: int) -> bool:
    """Say whether as many bytes of an array are worth mapping."""
    return 2 * size > MAPPED_BYTES


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
        import pyarrow as pa

        return self._preprocess.apply(pa.concat_tables([self._raw.slice(row, 1) for row in rows.tolist()]))


def _map_parquet(path: Path) -> pa.Table:
    """Unpack a Parquet file into a file without a name, and map that."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    with room_for(path.parent / "unpacked"), pq.ParquetFile(path, memory_map=True) as file, _beside(path) as unpacked:
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
    import pyarrow as pa
    import pyarrow.parquet as pq

    from selfdistill.data._vectors import is_vectors

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
    import pyarrow as pa
    import pyarrow.parquet as pq

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
        raise damaged(path, error, what="no Parquet file") from error
    if not table.num_rows:
        raise DataError(f"{path} has no rows", "Add rows.")
    return table
