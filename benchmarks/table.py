"""Tables of records: one Parquet file per suite, one row per record.

| column | type | |
|---|---|---|
| `key` | string | names the record in its suite; no two rows share one |
| `created` | string | when it was measured, ISO 8601; empty where the record does not say |
| `commit` | string | state of the code, with `-dirty` where it was not committed; empty where the record does not say |
| `record` | string | all of it as JSON: the cell, its settings, numbers, curves, versions and hardware |

Rows stay in the order in which they were first measured. A table is compressed with zstd, written beside and renamed;
a lock beside it lets several processes add to one table.
"""

from __future__ import annotations

import json
from collections.abc import Generator, Iterable, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from filelock import FileLock

from selfdistill._core.errors import RunError, one_line
from selfdistill._core.files import atomic

RECORDS = Path(__file__).parent / "records"
COLUMNS = pa.schema([pa.field(name, pa.string(), nullable=False) for name in ("key", "created", "commit", "record")])

Record = dict[str, Any]


class Table:
    """The records of a suite on disk.

    Args:
        path: Of the Parquet file; it need not be there yet.
        schema: What each record must hold under ``schema``; ``None``: anything.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     table = Table(Path(folder) / "trial.parquet")
        ...     table.add({"one": {"accuracy": 0.5}})
        ...     table.add({"two": {"accuracy": 0.25}, "one": {"accuracy": 0.75}})
        ...     table.read()
        {'one': {'accuracy': 0.75}, 'two': {'accuracy': 0.25}}
    """

    def __init__(self, path: Path, schema: int | None = None) -> None:
        self.path = path
        self.schema = schema

    def read(self) -> dict[str, Record]:
        """Read all records by key; none where there is no file."""
        found = self._rows()
        for key, record in found.items():
            if self.schema is not None and record.get("schema") != self.schema:
                raise RunError(
                    f"record {key!r} of {self.path} has schema {record.get('schema')!r}, "
                    f"but this version reads schema {self.schema}",
                    self.drop(key),
                )
        return found

    def _rows(self) -> dict[str, Record]:
        if not self.path.is_file():
            return {}
        try:
            columns = pq.read_table(self.path, columns=["key", "record"]).to_pydict()
            return {key: json.loads(text) for key, text in zip(columns["key"], columns["record"], strict=True)}
        except (pa.ArrowException, OSError, ValueError, KeyError) as error:
            raise RunError(
                f"{self.path} is no table of records: {one_line(error)}",
                "Take it from git again, or delete it to measure all of it anew.",
            ) from error

    def drop(self, key: str) -> str:
        """Say how a record is taken out."""
        return f"To measure it anew, take it out: python -m benchmarks drop {self.path} {key!r}."

    def add(self, records: Mapping[str, Record]) -> None:
        """Add records, each in place of one with the same key; all are written or none."""
        with self._locked():
            self._write(self.read() | dict(records))

    def append(self, records: Iterable[Record]) -> None:
        """Add records that have no name: their number is their key."""
        with self._locked():
            found = self.read()
            self._write(found | {f"{number:06}": record for number, record in enumerate(records, len(found))})

    def remove(self, keys: Iterable[str]) -> None:
        """Take records out."""
        with self._locked():
            found = self._rows()
            for key in keys:
                if found.pop(key, None) is None:
                    raise RunError(f"{self.path} has no record {key!r}", f"See: python -m benchmarks list {self.path}.")
            self._write(found)

    @contextmanager
    def _locked(self) -> Generator[None]:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(self.path.with_suffix(".lock")):
            yield

    def _write(self, records: Mapping[str, Record]) -> None:
        rows = [
            {"key": key, "created": r.get("created") or "", "commit": r.get("commit") or "", "record": json.dumps(r)}
            for key, r in records.items()
        ]
        table = pa.Table.from_pylist(rows, COLUMNS)
        with atomic(self.path) as part:
            pq.write_table(
                table, part, compression="zstd", compression_level=6, use_dictionary=False, data_page_size=2**24
            )
