"""Which library reads most of the odd CSV files right: each is asked to find everything out by itself.

python -m benchmarks.csv_readers

Libraries that are not installed are left out.
"""

from __future__ import annotations

import csv
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.odd_csv import ODD, Odd

Reading = tuple[list[str], list[list[str]]]


def ours(path: Path) -> Reading:
    from selfdistill.data.formats._csv import csv_rows

    header, *rows = csv_rows(path)
    return header, rows


def pandas_default(path: Path) -> Reading:
    import pandas as pd

    return _frame(pd.read_csv(path, dtype=str, keep_default_na=False))


def pandas_sniffing(path: Path) -> Reading:
    import pandas as pd

    return _frame(pd.read_csv(path, dtype=str, keep_default_na=False, sep=None, engine="python"))


def _frame(frame: Any) -> Reading:
    if frame.index.dtype == object or type(frame.index).__name__ != "RangeIndex":
        frame = frame.reset_index(names="")
    return list(map(str, frame.columns)), frame.astype(str).to_numpy().tolist()


def arrow(path: Path) -> Reading:
    import pyarrow as pa
    import pyarrow.csv as pc

    names = pc.open_csv(path).schema.names
    table = pc.read_csv(path, convert_options=pc.ConvertOptions(column_types=dict.fromkeys(names, pa.string())))
    return names, [list(map(str, row)) for row in zip(*(c.to_pylist() for c in table.columns), strict=True)]


def polars(path: Path) -> Reading:
    import polars as pl

    table = pl.read_csv(path, infer_schema=False)
    return table.columns, [["" if cell is None else str(cell) for cell in row] for row in table.rows()]


def clever(path: Path) -> Reading:
    import clevercsv

    header, *rows = clevercsv.read_table(str(path))
    return header, rows


def duckdb(path: Path) -> Reading:
    import duckdb as db

    table = db.connect().execute("select * from read_csv(?, all_varchar=true)", [str(path)])
    names = [column[0] for column in table.description]
    return names, [["" if cell is None else str(cell) for cell in row] for row in table.fetchall()]


def sniffer(path: Path) -> Reading:
    text = path.read_text()
    header, *rows = csv.reader(text.splitlines(keepends=True), csv.Sniffer().sniff(text[:4096]))
    return header, rows


READERS: dict[str, Callable[[Path], Reading]] = {
    "selfdistill": ours,
    "pandas": pandas_default,
    "pandas, sep=None": pandas_sniffing,
    "pyarrow": arrow,
    "polars": polars,
    "clevercsv": clever,
    "duckdb": duckdb,
    "csv.Sniffer": sniffer,
}


def _plain(header: list[str]) -> list[str]:
    """Names that readers make up for a column without one count as none."""
    made = ("Unnamed:", "column", "_duplicated", "Column")
    return ["" if name.startswith(made) else name for name in header]


def verdict(reader: Callable[[Path], Reading], odd: Odd, folder: Path) -> str:
    """Say "right", "refused" or "wrong"; of a broken file "right" is that it is refused."""
    path = folder / f"odd{odd.ending}"
    path.write_bytes(odd.data)
    try:
        header, rows = reader(path)
    except ImportError:
        raise
    except Exception:  # each library has errors of its own
        return "right" if odd.rows is None else "refused"
    # a last column without a name, and empty, is as good as none
    if len(header) == len(odd.header) + 1 and _plain(header)[-1] == "" and all(not row[-1] for row in rows):
        header, rows = header[:-1], [row[:-1] for row in rows]
    same = odd.rows is not None and _plain(header) == odd.header and [list(r) for r in rows] == odd.rows
    return "right" if same else "wrong"


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        table: dict[str, list[str]] = {}
        for reader, read in READERS.items():
            try:
                table[reader] = [verdict(read, odd, Path(name)) for odd in ODD]
            except ImportError:
                print(f"{reader}: not installed")
    print(f"{len(ODD)} files | right | refused | wrong")
    for reader, found in table.items():
        print(f"{reader} | {found.count('right')} | {found.count('refused')} | {found.count('wrong')}")
    for place, odd in enumerate(ODD):
        print(f"{odd.name}: " + ", ".join(f"{reader} {found[place]}" for reader, found in table.items()))


if __name__ == "__main__":
    main()
