"""Tables in text."""

from __future__ import annotations

from pathlib import Path
from typing import final

from selfdistill._core.files import atomic
from selfdistill.data._csv import csv_records, is_csv, read_csv
from selfdistill.data._dialect import find_dialect
from selfdistill.data._labelled import ReadOptions
from selfdistill.data._limits import unpacked_name
from selfdistill.data._place import Place
from selfdistill.data._roles import label_column
from selfdistill.data.formats._copies import TEXT, Edit, Endings, check_free, csv_line, csv_text, labelled, spread
from selfdistill.data.formats._format import OF_TABLES, TableFormat, TableRead


@final
class Csv(TableFormat):
    """CSV, TSV and their kin, plain or packed."""

    name, shown = "csv", "CSV or TSV (.gz, .bz2, .xz, .zst too)"
    uses = OF_TABLES | {"encoding"}
    literal = False

    def detect(self, path: Path) -> bool:
        return path.is_file() and is_csv(path)

    def read(self, place: Place, options: ReadOptions, part: str, *, mapped: bool) -> TableRead:
        dialect = find_dialect(place.path, options.encoding)
        return TableRead(read_csv(place.path, dialect), dialect.said)

    def endings(self, edit: Edit) -> Endings:
        return TEXT

    def copy(self, place: Place, options: ReadOptions, out: Path, edit: Edit) -> None:
        """Copy row by row; where no label changes, byte by byte, with quotation and ends of lines."""
        dialect = find_dialect(place.path, options.encoding)
        table = read_csv(place.path, dialect)
        names, known = table.column_names, labelled(table, options, place.name, literal=False)
        stay, added, new, at = edit.stay(known), None, None, 0
        if edit.labels is not None:
            label, _ = label_column(names, options, place.name)
            at, new = names.index(label), edit.relabelled(known, options, place.name)
            added = [edit.original or f"{label}_before_noise", *table[label].to_pylist()]
            check_free(names, added[0], place.name, noise=True)
        elif edit.column is not None:
            added = [edit.column[0], *spread(known, map(str, edit.column[1]), "")]
            check_free(names, added[0], place.name)
        delimiter = "\t" if unpacked_name(out).endswith(".tsv") else dialect.separator
        same = new is None and delimiter == dialect.separator and dialect.plain
        with atomic(out) as part, part.open("wb") as raw, csv_text(raw, out) as file:
            file.write("\ufeff" if same and dialect.encoding == "utf-8-sig" else "")
            for number, (row, text) in enumerate(csv_records(place.path, dialect)):
                if number and not stay[number - 1]:
                    continue
                if new is not None and number and new[number - 1] is not None:
                    row = [*row[:at], new[number - 1], *row[at + 1 :]]
                file.write(_line(row, text if same else None, None if added is None else added[number], delimiter))


def _line(row: list[str], text: str | None, cell: str | None, delimiter: str) -> str:
    """Add a cell to a row, whose text stays as it is; without a text, the row is written anew."""
    if text is None:
        return csv_line(row if cell is None else [*row, cell], delimiter)
    if cell is None:
        return text
    body = text.rstrip("\r\n")
    return body + csv_line(["", cell], delimiter).removesuffix("\n") + text[len(body) :]
