"""What a format is: how it is recognised, read and copied, and what fits it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import pyarrow as pa

from selfdistill._core.errors import DataError
from selfdistill._core.read_options import ReadOptions
from selfdistill.data._encoded import EncodedPreprocess
from selfdistill.data._images import ImagePreprocess
from selfdistill.data._labelled import Note
from selfdistill.data._labels import text_of
from selfdistill.data._limits import unpacked_name
from selfdistill.data._photos import photo_table
from selfdistill.data._place import Place, naming
from selfdistill.data._preprocess import Preprocess
from selfdistill.data._source import Source, table_source
from selfdistill.data._table import TablePreprocess
from selfdistill.data.formats._copies import NPZ, TABLE, Edit, Endings, edit_source, edit_table, save_arrays, save_table

_COLUMNS = ("label", "annotator", "id", "ignore", "truth", "text", "categorical", "numeric", "decimal", "thousands")
PHOTOS = frozenset({"encoder", "features", "skip_bad"})  # options that every source of photos takes
OF_TABLES = frozenset((*_COLUMNS, "drop_unlabelled", "image_column", "image_size")) | PHOTOS  # those of every table
VECTORS = frozenset({"array", "sparse", "image", "user"})
IMAGES = frozenset({"image", "user", "encoded"})


class Request(NamedTuple):
    """What is to be read."""

    place: Place  # where it lies
    options: ReadOptions  # what the user said
    part: str = "train"  # or "test": the official test part; or "new": examples to predict
    preprocess: Preprocess | None = None  # the one of training; ``None`` when training
    mapped: bool = False  # whether large vectors may stay on disk
    names: bool = False  # whether only ids and labels are wanted, of photos


class Format(ABC):
    """A form in which data lie. A new one is a subclass in a file of its own, and a line in `FORMATS`."""

    name: ClassVar[str]  # one word
    what: ClassVar[str]  # what data in it are, for messages, such as "a table"
    shown: ClassVar[str]  # how a user recognises it, for messages, such as "Excel"
    gives: ClassVar[frozenset[str]]  # kinds of preprocess that its data fit
    uses: ClassVar[frozenset[str]] = frozenset()  # options that say something about it
    folder: ClassVar[bool] = False  # whether it is a folder
    ends: ClassVar[tuple[str, ...]] = ()  # of the names of its files, in small letters
    packed: ClassVar[bool] = False  # whether its files may be packed, as .gz and the like

    def detect(self, path: Path) -> bool:
        """Whether a file or folder that exists is of this format: here, whether its name ends so."""
        return path.is_file() and (unpacked_name(path) if self.packed else path.name.lower()).endswith(self.ends)

    @abstractmethod
    def load(self, request: Request) -> Source | None:
        """Read the raw examples; ``None`` where there is no such part."""

    def table(self, place: Place, options: ReadOptions) -> pa.Table | None:
        """Read the training part as a table, as it stands; ``None`` where it is none."""
        return None

    def endings(self, edit: Edit) -> Endings:
        """Say how a copy may be called."""
        return NPZ

    def copy(self, place: Place, options: ReadOptions, out: Path, edit: Edit) -> None:
        """Write a copy with some rows, another column or other labels; here, a table as a table, all else as npz."""
        table = self.table(place, options)
        if table is not None:
            TABLE.check(out, place.name, self.what)
            save_table(edit_table(table, edit, options, place.name), out)
            return
        NPZ.check(out, place.name, self.what)
        with naming(place):
            source = self.load(Request(place, replace(options, encoder=None)))  # of photos, their pixels
        assert source is not None
        save_arrays(out, edit_source(source, edit, options, place.name))

    def check_labels(self, found: Source, classes: Sequence[str]) -> tuple[Source, list[str]]:
        """Look at the labels of examples to predict: unknown classes become no label, or a warning."""
        return found, [sentence for sentence in found.warnings if not isinstance(sentence, Note)]


class TableRead(NamedTuple):
    """A table as it stands in a file."""

    table: pa.Table  # the columns
    messages: Sequence[str] = ()  # sentences for the user
    mapped: bool = False  # whether it lies on disk


class TableFormat(Format):
    """A format of tables: a subclass says its name, how it is shown, its endings, and how it is read."""

    what = "a table"
    gives = frozenset({"table", "image", "encoded"})
    uses = OF_TABLES
    literal: ClassVar[bool] = True  # whether words such as "null" are labels
    parts: ClassVar[bool] = False  # whether there may be a test part

    @abstractmethod
    def read(self, request: Request) -> TableRead | None:
        """Read a part as it stands; ``None`` where there is no such part."""

    def load(self, request: Request) -> Source | None:
        """Read a part."""
        part = self.read(request) if self.parts or request.part != "test" else None
        if part is None:
            return None
        where = request.place.name
        if not part.table.num_rows:
            raise DataError(f"{where} has no rows", "Add rows.")
        made = request.preprocess
        roles = made.roles if isinstance(made, TablePreprocess) else None
        if request.options.image_column is not None or isinstance(made, ImagePreprocess | EncodedPreprocess):
            source = photo_table(part.table, request.options, where, made, names=request.names, mapped=request.mapped)
        else:
            source = table_source(part.table, request.options, where, roles, mapped=part.mapped)
        return replace(source, literal=self.literal, warnings=(*part.messages, *source.warnings))

    def table(self, place: Place, options: ReadOptions) -> pa.Table | None:
        """Read the training part."""
        part = self.read(Request(place, options))
        return None if part is None else part.table

    def endings(self, edit: Edit) -> Endings:
        """Parquet or CSV."""
        return TABLE


def column_of(values: Sequence[Any]) -> pa.Array:
    """Make a column of Python values; where their types differ they become texts."""
    try:
        made = pa.array(values)
    except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError, OverflowError, TypeError):
        # Cells of several types (Invalid, TypeError), objects without an Arrow type (NotImplemented), or numbers
        # beyond 64 bit (OverflowError): no Arrow column holds them, texts hold them all.
        return pa.array([text_of(value) for value in values], pa.large_string())
    return made
