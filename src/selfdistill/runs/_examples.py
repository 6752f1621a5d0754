"""Single examples of a finished run, to be seen by a person: its photo, its text, or the cells of its row."""

from __future__ import annotations

import io
import zipfile
from functools import cached_property, lru_cache, partial
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from selfdistill._core.errors import DataError, one_line
from selfdistill._core.record import read_finished
from selfdistill._core.run_record import RunRecord
from selfdistill.data._columns import as_numbers, as_strings
from selfdistill.data._encoded import is_encoded
from selfdistill.data._images import find_layout
from selfdistill.data._numerals import PLAIN, Notation
from selfdistill.data._pixels import ENDINGS, Encoded, open_photo
from selfdistill.data._place import HIDDEN, find_place, is_there
from selfdistill.data._read import find_format, load
from selfdistill.data._source import known_labels
from selfdistill.data._table import column_kinds, column_notations
from selfdistill.data.formats import BUILT_IN
from selfdistill.data.formats._folder import training_root
from selfdistill.runs._label_table import named_rows

if TYPE_CHECKING:
    import pyarrow as pa

    from selfdistill.data._source import Source

Cell = tuple[str, str, bool]
_COMPARED = 2000  # rows of a label that a cell is compared with, at most
_FEW = 20  # with fewer of them nothing is called unusual
_FAR = 3.5  # robust standard deviations from the median: Iglewicz and Hoaglin 1993
_RARE = 0.02  # share of the label's rows that hold the same value
_PIXELS = 16  # images whose sides have no more are enlarged as squares


class Examples:
    """Examples of a finished run, to be looked at one by one; of this kind there is nothing to see but their names."""

    kind = "vector"

    def __init__(self, names: np.ndarray, missing: str = "") -> None:
        self.names, self.missing = names, missing  # `missing`: why the data cannot be opened again

    def __len__(self) -> int:
        return len(self.names)

    def name(self, index: int) -> str:
        """Give the name of its file or row."""
        return str(self.names[index])

    def thumbnail(self, index: int, side: int) -> bytes:
        """Draw an image, as PNG where it is small and as JPEG else; its longer side has ``side`` pixels."""
        try:
            picture = self.picture(index, side)
        except DataError:
            raise
        except Exception as error:  # decoders fail on damaged files in any way
            raise DataError(f"{self.name(index)} cannot be shown: {one_line(error)}", "Put the file back.") from error
        small = max(picture.size) <= _PIXELS
        scale = side / max(picture.size)
        width, height = (max(1, round(scale * one)) for one in picture.size)
        picture = picture.resize((width, height), Image.Resampling.NEAREST if small else Image.Resampling.LANCZOS)
        file = io.BytesIO()
        picture.save(file, "PNG", optimize=True) if small else picture.save(file, "JPEG", quality=80)
        return file.getvalue()

    def picture(self, index: int, side: int) -> Image.Image:
        """Open an image, of no fewer pixels than ``side`` where it has them."""
        raise DataError("this run has no images", "Look at its table.")

    def text(self, index: int) -> str:
        """Give its text; "" where it has none."""
        return ""

    def texts(self, index: int) -> dict[str, str]:
        """Give each column of text with what it holds; {} where there is none."""
        return {}

    def texts_of(self, rows: np.ndarray) -> list[str]:
        """Give the texts of some examples, of several columns one after the other."""
        return [""] * len(rows)

    def row(self, index: int) -> pa.Table | None:
        """Give its row, with all columns of features; ``None`` where the data are no table."""
        return None

    def search(self, words: str) -> np.ndarray:
        """Find examples of which a text or a cell holds some words, whatever the case: bool ``[n]``."""
        return np.zeros(len(self), bool)

    def cells(self, index: int) -> list[Cell]:
        """Give name and value of each feature that is no text, and whether it is unusual for the given label."""
        return []


class _Files(Examples):
    """Images in files of a folder, or in a zip archive."""

    kind = "image"

    def __init__(self, names: np.ndarray, path: Path) -> None:
        super().__init__(names)
        self._archive, self._root = None, Path()
        if path.is_file():
            self._archive = zipfile.ZipFile(path)
            inside = set(self._archive.namelist())
            ends = [one.removesuffix(names[0]) for one in inside if ("/" + one).endswith("/" + names[0])]
            held = [one for one in sorted(ends, key=len) if all(one + name in inside for name in names)]
            if not held:
                raise DataError(f"{path} does not hold the images of this run", "Put it back.")
            self._before = held[0]
        else:
            self._root = training_root(path)

    def picture(self, index: int, side: int) -> Image.Image:
        name = self.name(index)
        if self._archive is not None:
            return open_photo(Encoded(name, self._archive.read(self._before + name)), side)
        file = self._root / name
        if ".." in PurePosixPath(name).parts or Path(name).is_absolute() or not file.is_file():
            raise DataError(f"{file} does not exist", "Put the image back.")
        return open_photo(file, side)


class _Photos(Examples):
    """Photos that a table names."""

    kind = "image"

    def __init__(self, names: np.ndarray, files: np.ndarray) -> None:
        super().__init__(names)
        self._files = files

    def picture(self, index: int, side: int) -> Image.Image:
        return open_photo(self._files[index], side)


class _Pixels(Examples):
    """Images in an array."""

    kind = "image"

    def __init__(self, names: np.ndarray, array: Any) -> None:
        super().__init__(names)
        self._array, self._layout = array, find_layout(array.shape)
        sample = np.asarray(array[:: max(1, len(array) // 100)], np.float64)
        self._low, self._high = min(0.0, float(sample.min())), float(sample.max())
        if array.dtype == np.uint8 and self._high > 127:
            self._high = 255.0

    def picture(self, index: int, side: int) -> Image.Image:
        image = np.asarray(self._array[index], np.float64)
        image = np.atleast_3d(image.transpose(1, 2, 0) if self._layout == "chw" else image)
        shown = image[..., :3] if image.shape[-1] >= 3 else image[..., 0]
        scale = 255 / max(self._high - self._low, 1e-30)
        return Image.fromarray(np.clip(np.rint((shown - self._low) * scale), 0, 255).astype(np.uint8))


class _Rows(Examples):
    """Rows of a table."""

    def __init__(self, names: np.ndarray, source: Source, given: np.ndarray) -> None:
        super().__init__(names)
        self._table: pa.Table = source.features
        assert isinstance(source.fit, partial)  # it holds what was decided about the columns
        roles, options = source.fit.keywords["roles"], source.fit.keywords["options"]
        self._notations, _ = column_notations(self._table, roles, options)
        kinds, _ = column_kinds(self._table, roles, options, self._notations)
        self._kinds, self._given = kinds, given
        self.kind = "text" if kinds["text"] else "table" if kinds["numeric"] or kinds["categorical"] else "vector"
        self._usual = lru_cache(maxsize=64)(self._compared)

    def text(self, index: int) -> str:
        cells = self.texts(index)
        if len(cells) == 1:
            return next(iter(cells.values()))
        return "\n".join(f"{name}: {cell}" for name, cell in cells.items())

    def texts(self, index: int) -> dict[str, str]:
        return {name: as_strings(self._table[name].slice(index, 1), name)[0] or "" for name in self._kinds["text"]}

    def texts_of(self, rows: np.ndarray) -> list[str]:
        columns = [as_strings(self._table[name].take(rows), name) for name in self._kinds["text"]]
        return [" ".join(filter(None, cells)) for cells in zip(*columns, strict=True)]

    def row(self, index: int) -> pa.Table | None:
        return self._table.slice(index, 1)

    def search(self, words: str) -> np.ndarray:
        # The first time, all cells are spelled out, about 1 s for 100,000 rows of 7 columns; then it takes 20 ms.
        import pyarrow.compute as pc

        found: np.ndarray = pc.match_substring(self._spelled, words.casefold()).to_numpy(zero_copy_only=False)
        return found

    @cached_property
    def _spelled(self) -> pa.Array:
        """All cells of each row in lower case, a line each."""
        import pyarrow as pa

        shown = [name for kind in ("text", "numeric", "categorical") for name in self._kinds[kind]]
        columns = [as_strings(self._table[name], name) for name in shown]
        lines = ["\n".join(filter(None, row)).casefold() for row in zip(*columns, strict=True)]
        return pa.array(lines or [""] * len(self._table), pa.large_string())

    def cells(self, index: int) -> list[Cell]:
        # A number is unusual that lies more than 3.5 robust standard deviations from the median of up to 2,000 rows
        # with the same given label; another value, or a gap, that fewer than 2 % of them share.
        usual, found = self._usual(self._given[index]), []
        for name in self._table.column_names:
            if name not in usual:
                continue
            cell = as_strings(self._table[name].slice(index, 1), name)[0]
            found.append((name, "" if cell is None else cell, usual[name].marks(self._table[name].slice(index, 1))))
        return found

    def _compared(self, label: str) -> dict[str, _Usual]:
        """What rows with a given label usually hold."""
        rows = np.flatnonzero(self._given == label)
        part = self._table.take(rows[:: max(1, -(-len(rows) // _COMPARED))])
        numbers = {name: self._notations.get(name, PLAIN) for name in self._kinds["numeric"]}
        names = [*numbers, *self._kinds["categorical"]]
        return {name: _Usual(part[name], name, numbers.get(name)) for name in names}


class _Usual:
    """What is usual in a column."""

    def __init__(self, column: pa.ChunkedArray, name: str, notation: Notation | None) -> None:
        self._name, self._notation, self._few = name, notation, len(column) < _FEW
        cells = as_strings(column, name)
        values, counts = np.unique(np.array(["" if one is None else one for one in cells], object), return_counts=True)
        common = counts >= _RARE * len(cells)
        self._values = set(values[common]) if counts[common].sum() > len(cells) / 2 else None
        self._gaps = "" in values[common]
        if notation is not None:
            numbers = as_numbers(column, name, notation)
            known = numbers[~np.isnan(numbers)]
            self._median = float(np.median(known)) if len(known) else 0.0
            away = np.abs(known - self._median)
            self._spread = 1.4826 * float(np.median(away)) if len(known) else 0.0
            self._spread = self._spread or (1.2533 * float(away.mean()) if len(known) else 0.0)

    def marks(self, cell: pa.ChunkedArray) -> bool:
        """Say whether a cell is unusual."""
        text = as_strings(cell, self._name)[0]
        if self._few:
            return False
        if text is None:
            return not self._gaps
        if self._notation is None:
            return self._values is not None and text not in self._values
        number = float(as_numbers(cell, self._name, self._notation)[0])
        return abs(number - self._median) > _FAR * self._spread


def open_examples(run: Path, rows: tuple[np.ndarray, np.ndarray] | None = None) -> Examples:
    """Open the data of a finished run again; what cannot be opened is shown by its name alone."""
    record = read_finished(run)
    names, given = rows or named_rows(run)
    try:
        return _opened(record, names, given)
    except (DataError, OSError) as error:
        return Examples(names, missing=one_line(error))


def _opened(record: RunRecord, names: np.ndarray, given: np.ndarray) -> Examples:
    """Open the data of a run again, and check that they hold its rows."""
    where, options = record.data.source or "digits", record.data.read
    if options is None:
        raise DataError("the run was trained on data in memory", "Start it with `selfdistill fit` to see them.")
    if where not in BUILT_IN and not is_there(where):
        raise DataError(f"{where} does not exist", "Start this in the folder where `fit` was started.")
    if Path(where).suffix.lower() == ".zip" and _holds_images(Path(where)):
        return _Files(names, Path(where))
    if find_format(find_place(where)).name == "folder":
        return _Files(names, find_place(where).path)
    by_name = is_encoded(options) or options.image_column is not None
    found = load(where, options, mapped=True, names=by_name)
    assert found is not None
    found = known_labels(found, options)
    ids = found.named()
    if record.data.source is None:  # the demonstration trains on a part
        rows = {name: row for row, name in enumerate(ids)}
        found = found.take(np.array([rows[name] for name in names]))
    elif len(ids) != len(names) or (ids != names).any():
        raise DataError(f"{where} holds other rows than the run was trained on", "Train on it again with `fit`.")
    if found.form == "image":
        return _Photos(names, found.features) if by_name else _Pixels(names, found.features)
    return _Rows(names, found, given) if found.form == "table" else Examples(names)


def _holds_images(path: Path) -> bool:
    with zipfile.ZipFile(path) as archive:
        files = [one for one in archive.infolist() if not one.is_dir() and not HIDDEN.search(one.filename)]
    return len(files) > 1 and all(one.filename.lower().endswith(ENDINGS) for one in files)
