"""Photos from disk, one batch at a time: as features of an encoder, as pixels, or by their names; tables of photos."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from selfdistill._core.errors import DataError
from selfdistill._core.read_options import ReadOptions
from selfdistill._core.wording import listed
from selfdistill.data._arrays import ArrayPreprocess
from selfdistill.data._encoded import EncodedPreprocess, encoder_for, is_encoded, store_for
from selfdistill.data._images import ImagePreprocess
from selfdistill.data._labelled import Note
from selfdistill.data._labels import texts
from selfdistill.data._pictures import Pictures, read_pictures, through_store, why_bad
from selfdistill.data._pixels import ENDINGS, Encoded, Picture, open_photo
from selfdistill.data._place import find_place
from selfdistill.data._preprocess import Preprocess
from selfdistill.data._roles import check_known
from selfdistill.data._source import Source, columns_of, roles_of
from selfdistill.data._stored import stays_on_disk

_TRIED = 20  # cells that are tried to find where the photos lie
_LISTED = 20  # photos that are named


def read_photos(
    files: Sequence[Picture],
    where: Path | str,
    root: Path | str,
    options: ReadOptions,
    made: object,
    *,
    names: bool = False,
) -> Pictures:
    """Read photos: as features where an encoder is asked for or training had one, else as pixels; or their files."""
    if names:
        return _names(files, options)
    trained = made if isinstance(made, EncodedPreprocess) else None
    if trained is None and not is_encoded(options):
        return read_pictures(files, where, root, options, made if isinstance(made, ImagePreprocess) else None)
    encoder = encoder_for("photos", options, trained and trained.encoder)

    def prepare(file: Picture) -> Any:
        return encoder.prepare(open_photo(file, 2 * encoder.side))

    features, good, bad = through_store(files, root, store_for(encoder, options), prepare, options.skip_bad)
    mark = (encoder.name, encoder.fingerprint)

    def fit(raw: Any) -> tuple[EncodedPreprocess, Sequence[str], dict[str, int]]:
        return EncodedPreprocess(mark, ArrayPreprocess.fit(raw)), (), {}

    return Pictures(features, good, bad, [], fit)


def _names(files: Sequence[Picture], options: ReadOptions) -> Pictures:
    """Of each photo its file; those that cannot be read are told from the others only where they may be left out."""

    def failure(file: Picture) -> Exception | None:
        try:
            open_photo(file, 1)
        except Exception as error:  # decoders fail on hostile files in any way
            return error
        return None

    with ThreadPoolExecutor() as pool:
        errors = list(pool.map(failure, files)) if options.skip_bad else [None] * len(files)
    good = [place for place, error in enumerate(errors) if error is None]
    array = np.array([files[place] for place in good], dtype=object)
    bad = [why_bad(file, error) for file, error in zip(files, errors, strict=True) if error is not None]
    return Pictures(array, good, bad, [], None)


def photo_source(photos: Pictures, where: str, notes: Sequence[str], *, mapped: bool = False, **parts: Any) -> Source:
    """Take photos as a source, with what goes with them; it says which were left out."""
    bad = photos.bad
    names = listed(bad, _LISTED, show=str, mark="; ")
    what = "image cannot be read and is" if len(bad) == 1 else "images cannot be read and are"
    return Source(
        where,
        "image",
        photos.array,
        **parts,
        fit=photos.fit,
        counts={"skipped_bad": len(bad)} if bad else {},
        warnings=[*notes, *([f"{len(bad):,} {what} left out: {names}."] if bad else []), *photos.messages],
        mapped=mapped and stays_on_disk(photos.array),
    )


def _files(table: pa.Table, column: str, where: str) -> list[Picture]:
    """Give the photos' paths, those that are relative from the table's folder, or one beside it."""
    check_known([column], table.column_names, where, "image_column")
    folder = (find_place(where).path if Path(where).exists() or "::" in where else Path()).parent
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
    good = set(_names(files, options).places)
    return [place in good for place in range(len(files))]


def photo_table(
    table: pa.Table, options: ReadOptions, where: str, made: Any, *, names: bool = False, mapped: bool = False
) -> Source:
    """Take the photos of a table as a source; its other columns are not looked at."""
    trained = made if isinstance(made, EncodedPreprocess | ImagePreprocess) else None
    column = options.image_column or (trained and trained.column)
    if column is None:
        had = "a folder of photos" if isinstance(made, EncodedPreprocess) else trained and trained.facts()
        raise DataError(f"{where} is a table, but training had {had}", "Give data of the kind of training.")
    table, roles, options, notes = roles_of(table, options, where, trained and trained.roles)
    files = _files(table, column, where)
    photos = read_photos(files, where, where, options, trained, names=names)

    def fit(raw: Any) -> tuple[Preprocess, Sequence[str], dict[str, int]]:
        assert photos.fit is not None  # names alone teach nothing
        made, notes, counts = photos.fit(raw)
        made.column, made.roles = column, roles
        return made, notes, counts

    rows = np.array(photos.places, np.int64)
    parts = {
        name: cells if cells is None else cells[rows] if isinstance(cells, np.ndarray) else cells.take(rows)
        for name, cells in columns_of(table, roles, options).items()
    }
    if parts["ids"] is None:
        paths = [str(cell) for cell in table[column].take(rows)]
        parts["ids"] = paths if len(set(paths)) == len(paths) else None
    unused = [name for name in table.column_names if name not in {column, *roles.others()}]
    if unused and trained is None:
        notes.append(Note(f"columns beside the photos are not used: {listed(unused)}."))
    return photo_source(photos._replace(fit=fit), where, notes, mapped=mapped, **parts)
