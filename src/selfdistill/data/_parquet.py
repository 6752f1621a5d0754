"""Parquet files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from selfdistill._core.errors import DataError
from selfdistill.data._limits import check_columns, check_size
from selfdistill.data._mapped import map_parquet

if TYPE_CHECKING:
    import pyarrow as pa


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
        table = map_parquet(path) if mapped else file.read()
        if not mapped:
            table.validate(full=True)  # texts that are not UTF-8
    except (pa.ArrowException, OSError) as error:
        line = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DataError(f"{path} is truncated or no Parquet file: {line}", "Fetch the file again.") from error
    if not table.num_rows:
        raise DataError(f"{path} has no rows", "Add rows.")
    return table
