"""Feather and Arrow files and streams, and Parquet: one file or a folder of them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import final
from urllib.parse import unquote

import pyarrow as pa
import pyarrow.feather as feather

from selfdistill._core.errors import DataError, one_line
from selfdistill.data._limits import by_number, check_size, damaged
from selfdistill.data._stored import has_large_vectors, read_parquet
from selfdistill.data.formats import _copies
from selfdistill.data.formats._copies import Edit, Endings
from selfdistill.data.formats._format import Request, TableFormat, TableRead

_PART = re.compile(r"(?i)(?P<train>train(ing)?)?(?P<test>test(ing)?)?(?P<held>val(id(ation)?)?|dev)?(?![a-z])")
"""How files of a part of the data are called."""


@final
class Parquet(TableFormat):
    """One file."""

    name, shown = "parquet", "Parquet"
    ends = _copies.PARQUET.taken

    def read(self, request: Request) -> TableRead:
        mapped = request.mapped and has_large_vectors(request.place.path)
        return TableRead(read_parquet(request.place.path, mapped=mapped), mapped=mapped)

    def endings(self, edit: Edit) -> Endings:
        return _copies.PARQUET


@final
class Arrow(TableFormat):
    """A file or a stream."""

    name, shown = "arrow", "Feather or Arrow"
    ends = (".feather", ".arrow", ".arrows", ".ipc")

    def read(self, request: Request) -> TableRead:
        path = request.place.path
        try:
            with path.open("rb") as file:
                whole = file.read(6) in {b"ARROW1", b"FEA1\0\0"} or path.suffix.lower() == ".feather"
            check_size(str(path), path.stat().st_size)
            if whole:
                table = feather.read_table(path, memory_map=True)
            else:
                with pa.memory_map(str(path)) as stream:
                    table = pa.ipc.open_stream(stream).read_all()
            table.validate(full=True)  # offsets that lead out of the file would be followed
            names = table.column_names  # raises where one is not UTF-8
            return TableRead(table.rename_columns(names))
        except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
            raise damaged(path, error, what="not an Arrow file") from error


@final
class ParquetFolder(TableFormat):
    """A folder of Parquet files, perhaps of a training and a test part."""

    name, shown = "parquet-folder", "Parquet files"
    folder = parts = True

    def detect(self, path: Path) -> bool:
        return path.is_dir() and bool(_parquet_files(path))

    def read(self, request: Request) -> TableRead | None:
        place, part = request.place, request.part
        files = sorted(_parquet_files(place.path), key=lambda path: str(path.parent))
        parts = {path: _part_of(path, place.path) for path in files}
        messages: list[str] = []
        if "train" in parts.values():
            has_test = "test" in parts.values()
            if part == "test" and not has_test:
                return None
            wanted = "train" if part == "train" or not has_test else "test"
            unused = sum(one not in {"train", "test"} for one in parts.values())
            if unused and part == "train":
                what = f"{unused:,} of {len(files):,} files of {place.name}"
                messages.append(f"{what} are left out: they belong to neither training nor test part.")
            files = [path for path in files if parts[path] == wanted]
        elif part == "test":
            return None
        tables = [_with_keys(read_parquet(path), path.relative_to(place.path)) for path in files]
        for path, table in zip(files, tables, strict=True):
            if set(table.column_names) != set(tables[0].column_names):
                differ = sorted(set(table.column_names) ^ set(tables[0].column_names))
                raise DataError(
                    f"{path} has other columns than {files[0]}: {', '.join(map(repr, differ[:5]))}",
                    "Name one of the files.",
                )
        try:
            table = pa.concat_tables([table.unify_dictionaries() for table in tables], promote_options="permissive")
        except pa.ArrowException as error:
            raise DataError(
                f"the files of {place.name} differ in the types of their columns: {one_line(error)}", "Name one."
            ) from error
        return TableRead(table, messages)


def _parquet_files(folder: Path) -> list[Path]:
    files = (path for path in folder.rglob("*") if path.name.lower().endswith(Parquet.ends) and path.is_file())
    visible = (path for path in files if not any(p.startswith((".", "_")) for p in path.relative_to(folder).parts))
    return sorted(visible, key=by_number)


def _part_of(path: Path, folder: Path) -> str:
    """Give "train", "test" or "held" where the file's name, or that of its folder, begins with such a word."""
    for name in (path.name, *path.relative_to(folder).parts[:-1]):
        match = _PART.match(name)
        if match is not None and match.lastgroup:
            return next(role for role, text in match.groupdict().items() if text)
    return ""


def _with_keys(table: pa.Table, path: Path) -> pa.Table:
    """Add the columns that folders called ``name=value`` stand for."""
    for folder in path.parts[:-1]:
        name, mark, value = folder.partition("=")
        if mark and name not in table.column_names:
            table = table.append_column(name, pa.array([unquote(value)] * table.num_rows, pa.large_string()))
    return table
