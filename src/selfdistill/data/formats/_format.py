"""What a format is: how it is recognised and read, and what fits it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from selfdistill._core.errors import DataError
from selfdistill.data._frames import table_source
from selfdistill.data._limits import unpacked_name
from selfdistill.data._options import ReadOptions
from selfdistill.data._place import Place
from selfdistill.data._source import Source

if TYPE_CHECKING:
    import pyarrow as pa

    from selfdistill.data._preprocess import Preprocess

Load = Callable[[Place, ReadOptions, str, "Preprocess | None", bool], Source | None]
OF_TABLES = frozenset(
    (
        *("label", "annotator", "id", "ignore", "truth", "text", "categorical", "numeric", "decimal", "thousands"),
        "drop_unlabelled",
    )
)
"""Options that every table takes."""


@dataclass(frozen=True)
class Format:
    """A form in which data lie.

    Attributes:
        name: One word.
        what: What data in it are, for messages, such as "a table".
        shown: How a user recognises it, for messages, such as "Excel".
        detect: Whether a file or folder that exists is one.
        load: Reads it, with options, the part ("train", "test", "new"), the preprocess of training, and whether large
            vectors may stay on disk; ``None`` where it has no such part.
        gives: Kinds of preprocess that its data fit.
        uses: Options that say something about it.
        table: Reads it as a table, as it stands; ``None``, or what gives it, where it is none.
        folder: Whether it is a folder.
    """

    name: str
    what: str
    shown: str
    detect: Callable[[Path], bool]
    load: Load
    gives: frozenset[str]
    uses: frozenset[str]
    table: Callable[[Place, ReadOptions], pa.Table | None] | None = None
    folder: bool = False


class TableRead(NamedTuple):
    """A table as it stands in a file."""

    table: pa.Table  # the columns
    said: tuple[str, ...] = ()  # sentences for the user
    mapped: bool = False  # whether it lies on disk


def ends_in(*endings: str, packed: bool = False) -> Callable[[Path], bool]:
    """Make a test of a file's name."""
    return lambda path: path.is_file() and (unpacked_name(path) if packed else path.name.lower()).endswith(endings)


def table_format(
    name: str,
    shown: str,
    detect: Callable[[Path], bool],
    read: Callable[[Place, ReadOptions, str, bool], TableRead | None],
    *,
    literal: bool = True,
    uses: frozenset[str] = frozenset(),
    folder: bool = False,
) -> Format:
    """Make a format of tables."""

    def load(
        place: Place, options: ReadOptions, part: str, preprocess: Preprocess | None, mapped: bool
    ) -> Source | None:
        from selfdistill.data._table import TablePreprocess

        found = read(place, options, part, mapped)
        if found is None:
            return None
        if not found.table.num_rows:
            raise DataError(f"{place.name} has no rows", "Add rows.")
        roles = preprocess.roles if isinstance(preprocess, TablePreprocess) else None
        source = table_source(found.table, options, place.name, roles, mapped=found.mapped)
        return replace(source, literal=literal, warnings=(*found.said, *source.warnings))

    def table(place: Place, options: ReadOptions) -> pa.Table:
        found = read(place, options, "train", False)
        assert found is not None
        return found.table

    return Format(name, "a table", shown, detect, load, frozenset({"table"}), OF_TABLES | uses, table, folder)


def load_with(read: Any, *, mapped: bool = False) -> Load:
    """Make the reading of a format of a reader that takes path, options, part and preprocess."""

    def load(
        place: Place, options: ReadOptions, part: str, preprocess: Preprocess | None, on_disk: bool
    ) -> Source | None:
        said = {"mapped": on_disk} if mapped else {}
        found: Source | None = read(place.path, options, part, preprocess, **said)
        return found

    return load
