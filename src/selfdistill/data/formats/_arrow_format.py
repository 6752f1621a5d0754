"""Feather and Arrow files and streams, and Parquet: one file or a folder of them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote

from selfdistill._core.errors import DataError
from selfdistill.data._limits import check_size
from selfdistill.data._mapped import has_large_vectors
from selfdistill.data._options import ReadOptions
from selfdistill.data._parquet import read_parquet
from selfdistill.data._place import Place
from selfdistill.data.formats._format import TableRead, ends_in, table_format

if TYPE_CHECKING:
    import pyarrow as pa

_PARQUET = (".parquet", ".pq")
_PART = re.compile(r"(?i)(?P<train>train(ing)?)?(?P<test>test(ing)?)?(?P<held>val(id(ation)?)?|dev)?(?![a-z])")
"""How files of a part of the data are called."""


def _read_file(place: Place, options: ReadOptions, part: str, mapped: bool) -> TableRead | None:
    if part == "test":
        return None
    mapped = mapped and has_large_vectors(place.path)
    return TableRead(read_parquet(place.path, mapped=mapped), mapped=mapped)


def _read_arrow(place: Place, options: ReadOptions, part: str, mapped: bool) -> TableRead | None:
    import pyarrow as pa
    import pyarrow.feather as feather

    if part == "test":
        return None
    path = place.path
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
        line = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DataError(f"{path} is truncated or no Arrow file: {line}", "Fetch the file again.") from error


def _files(folder: Path) -> list[Path]:
    found = (path for path in folder.rglob("*") if path.name.lower().endswith(_PARQUET) and path.is_file())
    inside = (path for path in found if not any(p.startswith((".", "_")) for p in path.relative_to(folder).parts))
    return sorted(inside, key=lambda path: [int(p) if p.isdigit() else 0 for p in re.split(r"(\d+)", path.name)])


def _is_folder(path: Path) -> bool:
    return path.is_dir() and bool(_files(path))


def _part_of(path: Path, folder: Path) -> str:
    """Give "train", "test" or "held" where the file's name, or that of its folder, begins with such a word."""
    for name in (path.name, *path.relative_to(folder).parts[:-1]):
        found = _PART.match(name)
        if found is not None and found.lastgroup:
            return next(role for role, text in found.groupdict().items() if text)
    return ""


def _read_folder(place: Place, options: ReadOptions, part: str, mapped: bool) -> TableRead | None:
    import pyarrow as pa

    files = sorted(_files(place.path), key=lambda path: str(path.parent))
    parts = {path: _part_of(path, place.path) for path in files}
    said = []
    if "train" in parts.values():
        has_test = "test" in parts.values()
        if part == "test" and not has_test:
            return None
        wanted = "train" if part == "train" or not has_test else "test"
        left = sum(one not in {"train", "test"} for one in parts.values())
        said = [f"{left:,} of {len(files):,} files of {place.name} are left out: they are no training or test part."]
        said = said if left and part == "train" else []
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
            f"the files of {place.name} differ in the types of their columns: {error}", "Name one."
        ) from error
    return TableRead(table, tuple(said))


def _with_keys(table: pa.Table, path: Path) -> pa.Table:
    """Add the columns that folders called ``name=value`` stand for."""
    import pyarrow as pa

    for folder in path.parts[:-1]:
        name, mark, value = folder.partition("=")
        if mark and name not in table.column_names:
            table = table.append_column(name, pa.array([unquote(value)] * table.num_rows, pa.large_string()))
    return table


PARQUET = table_format("parquet", "Parquet", ends_in(*_PARQUET), _read_file)
ARROW = table_format("arrow", "Feather or Arrow", ends_in(".feather", ".arrow", ".arrows", ".ipc"), _read_arrow)
PARQUET_FOLDER = table_format("parquet-folder", "Parquet files", _is_folder, _read_folder, folder=True)
