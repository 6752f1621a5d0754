"""Tables of photos: one column holds their paths."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from selfdistill._core.advice import Advice
from selfdistill._core.errors import DataError, SettingError
from selfdistill._core.read_options import ReadOptions
from selfdistill.data._encoded import EncodedPreprocess, is_encoded
from selfdistill.data._labelled import Note
from selfdistill.data._labels import listed, near_matches, texts
from selfdistill.data._photos import bad_photo_messages, read_photos
from selfdistill.data._pixels import ENDINGS, Encoded, Picture
from selfdistill.data._place import find_place
from selfdistill.data._source import Source, columns_of, roles_of
from selfdistill.data._stored import stays_on_disk

_TRIED = 20  # cells that are tried to find where the photos lie


def _files(table: pa.Table, column: str, where: str) -> list[Picture]:
    """Give the photos' paths, those that are relative from the table's folder, or one beside it."""
    if column not in table.column_names:
        problem = Advice("{where} has no column {column!r} ({--image-column})", where=where, column=column)
        raise DataError(problem, near_matches(column, table.column_names))
    place = find_place(where).path if Path(where).exists() or "::" in where else Path()
    folder = place.parent
    cells = texts(table[column])
    root, ending = _root(folder, [cell for cell in cells[:_TRIED] if cell])
    return [
        root / f"{cell}{ending}" if cell else Encoded(f"row {row} without a path", b"")
        for row, cell in enumerate(cells)
    ]


def _root(folder: Path, cells: Sequence[str]) -> tuple[Path, str]:
    """Where the photos lie, and the ending that the cells lack: ``images/`` beside a table of bare names is usual."""
    beside = sorted(item for item in folder.iterdir() if item.is_dir()) if folder.is_dir() else []
    for root in (folder, *beside):
        for ending in ("", *ENDINGS):
            if any((root / f"{cell}{ending}").is_file() for cell in cells):
                return root, ending
    return folder, ""


def readable(table: pa.Table, options: ReadOptions, where: str) -> list[bool]:
    """Say which rows have a photo that can be read."""
    files = _files(table, str(options.image_column), where)
    good = set(read_photos(files, where, where, options, None, names=True).places)
    return [place in good for place in range(len(files))]


def photo_table(
    table: pa.Table, options: ReadOptions, where: str, made: Any, *, names: bool = False, mapped: bool = False
) -> Source:
    """Take the photos of a table as a source; its other columns are not looked at."""
    trained = made if isinstance(made, EncodedPreprocess) else None
    column = options.image_column or (trained and trained.column)
    if column is None:
        raise DataError(
            f"{where} is a table, but training had a folder of photos", "Give data of the kind of training."
        )
    if trained is None and not is_encoded(options) and not names:
        raise SettingError(
            "image_column needs an encoder, and there is none",
            Advice("pip install 'selfdistill[photos]'", "name another {--encoder}."),
            param="image_column",
        )
    table, roles, options, notes = roles_of(table, options, where, trained and trained.roles)
    files = _files(table, column, where)
    pictures = read_photos(files, where, where, options, trained, names=names, roles=roles)
    parts = {name: _taken(cells, pictures.places) for name, cells in columns_of(table, roles, options).items()}
    if parts["ids"] is None:
        paths = [str(cell) for cell in _taken(table[column], pictures.places)]
        parts["ids"] = paths if len(set(paths)) == len(paths) else None
    unused = [name for name in table.column_names if name not in {column, *roles.others()}]
    if unused and trained is None:
        notes.append(Note(f"columns beside the photos are not used: {listed(unused)}."))
    source = Source(where, "image", pictures.array, **parts, fit=pictures.fit)
    return replace(
        source,
        counts={"skipped_bad": len(pictures.bad)} if pictures.bad else {},
        warnings=[*notes, *bad_photo_messages(pictures.bad), *pictures.messages],
        mapped=mapped and stays_on_disk(pictures.array),
    )


def _taken(cells: Any, places: Sequence[int]) -> Any:
    rows = np.array(places, np.int64)
    return cells[rows] if isinstance(cells, np.ndarray) else None if cells is None else cells.take(rows)
