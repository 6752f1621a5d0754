"""Tables in workbooks, databases and saved data sets."""

from __future__ import annotations

import datetime as dt
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
from tests.corpus.case import LABELS, Case, N, columns, rows
from tests.corpus.text_tables import text
from tests.corpus.typed_tables import several
from tests.corpus.workbooks import write_ods, write_xlsx

EXCEL, SQLITE, SAVED = "Workbooks", "Databases", "Saved data sets"
HALF = N // 2


def sheets(**named: Sequence[Sequence[Any]]) -> Callable[[Path], Any]:
    return lambda folder: write_xlsx(folder / "a.xlsx", named)


def _excel() -> list[Case]:
    header, *_ = rows()
    body = [list(row) for row in zip(*columns().values(), strict=True)]
    usual = [header, *body]
    one: dict[str, Any] = {"group": EXCEL, "needs": "python_calamine"}
    dates = [dt.date(2024, 1, 1 + i) for i in range(N)]
    dated = [[*header, "at"], *([*row, day] for row, day in zip(body, dates, strict=True))]
    two = sheets(One=usual, Two=usual)
    book: Mapping[str, Any] = {"source": "a.xlsx"} | one
    return [
        Case(name="Excel", make=sheets(One=usual), shown=True, **book),
        Case(name="Excel, an empty sheet beside", make=sheets(One=usual, Two=[]), **book),
        Case(name="one of several sheets", source="a.xlsx::Two", make=two, shown=True, **one),
        Case(name="several sheets", make=two, error="has 2 sheets with rows: 'One', 'Two'", **book),
        Case(name="a sheet that does not exist", source="a.xlsx::Tow", make=two, error="Did you mean 'Two'", **one),
        Case(
            name="a title above the header",
            make=sheets(One=[["Results of May", None, None], [], *usual]),
            says=["has a title before its header"],
            shown=True,
            **book,
        ),
        Case(name="empty rows and columns", make=sheets(One=[[*row, None] for row in [*usual, [None] * 3]]), **book),
        Case(name="rows that begin in the second column", make=sheets(One=[[None, *row] for row in usual]), **book),
        Case(
            name="numbers as labels",
            labels=["12"[c == "b"] for c in LABELS],
            make=sheets(One=[header, *([a, b, 1 + (c == "b")] for a, b, c in body)]),
            **book,
        ),
        Case(
            name="truth values as labels",
            labels=[str(c == "b") for c in LABELS],
            make=sheets(One=[header, *([a, b, c == "b"] for a, b, c in body)]),
            **book,
        ),
        Case(name="dates", make=sheets(One=dated), says=["column 'at' holds a different word in every row"], **book),
        Case(
            name="a word among numbers",
            make=sheets(One=[header, [0.5, "many", "a"], *body[1:]]),
            kinds={"numeric": ("x",), "categorical": (), "text": ("z",)},
            **book,
        ),
        Case(name="an empty cell", make=sheets(One=[header, [0.5, None, "a"], *body[1:]]), **book),
        Case(name="OpenDocument", source="a.ods", make=lambda f: write_ods(f / "a.ods", usual), shown=True, **one),
        Case(name="an empty workbook", make=sheets(One=[]), error="a.xlsx has no rows", **book),
        Case(name="two columns of one name", make=sheets(One=[["x", "x", "label"], *body]), error="named 'x'", **book),
        Case(
            name="no workbook",
            make=text("a.xlsx", "x,label\n"),
            error="is damaged, has a password or is not a workbook",
            **book,
        ),
    ]


def database(*commands: str, name: str = "a.db") -> Callable[[Path], Any]:
    def make(folder: Path) -> None:
        with closing(sqlite3.connect(folder / name)) as base:
            for command in commands:
                base.execute(command)
            base.commit()

    return make


def _sqlite() -> list[Case]:
    values = ", ".join(f"({a}, {b}, '{c}')" for a, b, c in zip(*columns().values(), strict=True))

    def table(name: str) -> list[str]:
        return [f'CREATE TABLE "{name}" (x REAL, z INTEGER, label TEXT)', f'INSERT INTO "{name}" VALUES {values}']

    view = "CREATE VIEW v AS SELECT x, z, label FROM t"
    odd = 'ta"b le'
    one: dict[str, Any] = {"group": SQLITE}
    return [
        Case(name="SQLite of one table", source="a.db", make=database(*table("t")), shown=True, **one),
        Case(
            name="one of several tables", source="a.db::t", make=database(*table("t"), *table("u")), shown=True, **one
        ),
        Case(name="a view", source="a.db::v", make=database(*table("t"), view), shown=True, **one),
        Case(name="a table beside a view", source="a.db", make=database(*table("t"), view), **one),
        Case(name="SQLite, .sqlite", source="a.sqlite", make=database(*table("t"), name="a.sqlite"), **one),
        Case(name="SQLite, .sqlite3", source="a.sqlite3::t", make=database(*table("t"), name="a.sqlite3"), **one),
        Case(
            name="a table of an odd name",
            source=f"a.db::{odd}",
            make=database(*(c.replace(f'"{odd}"', '"ta""b le"') for c in table(odd))),
            **one,
        ),
        Case(
            name="several tables",
            source="a.db",
            make=database(*table("t"), *table("u")),
            error="has 2 tables: 't', 'u'",
            **one,
        ),
        Case(
            name="a table that does not exist",
            source="a.db::tt",
            make=database(*table("t")),
            error="Did you mean 't'?",
            **one,
        ),
        Case(name="no table", source="a.db", make=database("PRAGMA user_version = 1"), error="has 0 tables", **one),
        Case(name="no rows", source="a.db", make=database(table("t")[0]), error="a.db has no rows", **one),
        Case(
            name="no database",
            source="a.db",
            make=text("a.db", b"no database" * 999),
            error="not an SQLite database",
            **one,
        ),
        Case(
            name="a damaged name of a table",
            source="a.db",
            make=several(
                database(*table("named")),
                lambda f: (f / "a.db").write_bytes((f / "a.db").read_bytes().replace(b"named", b"na\xafed")),
            ),
            error="not an SQLite database",
            **one,
        ),
        Case(
            name="a missing label",
            source="a.db",
            make=database(*table("t"), "UPDATE t SET label = NULL WHERE x = 0.5"),
            error="has no label in 1 of 12 rows",
            **one,
        ),
        Case(
            name="words in a column of numbers",
            source="a.db",
            kinds={"numeric": ("x",), "categorical": (), "text": ("z",)},
            make=database(*table("t"), "UPDATE t SET z = 'many' WHERE x = 0.5"),
            **one,
        ),
    ]


def saved(name: str = "data", *, splits: bool = False, images: bool = False) -> Callable[[Path], Any]:
    def make(folder: Path) -> None:
        import datasets

        datasets.disable_progress_bars()
        features = datasets.Features({"label": datasets.ClassLabel(names=["a", "b"])})
        cells: dict[str, Any] = {"label": [int(c == "b") for c in LABELS]}
        if images:
            from PIL import Image

            features["image"] = datasets.Image()
            cells["image"] = [Image.fromarray(np.full((6, 5), 9 * i, np.uint8)) for i in range(N)]
        else:
            features |= {"x": datasets.Value("float64"), "z": datasets.Value("int64")}
            cells |= {"x": columns()["x"], "z": columns()["z"]}
        whole = datasets.Dataset.from_dict(cells, features=features)
        both = {"train": whole.select(range(HALF)), "test": whole.select(range(HALF, N))}
        (datasets.DatasetDict(both) if splits else whole).save_to_disk(folder / name)

    return make


def _saved() -> list[Case]:
    one: dict[str, Any] = {"group": SAVED, "needs": "datasets"}
    lost = several(saved(), lambda f: next((f / "data").glob("*.arrow")).write_bytes(b"x"))
    return [
        Case(name="a Hugging Face data set", source="data", make=saved(), shown=True, **one),
        Case(name="one of images", source="data", make=saved(images=True), kinds=(1, 6, 5), shown=True, **one),
        Case(
            name="with a training and a test part",
            source="data",
            make=saved(splits=True),
            shown=True,
            labels=LABELS[:HALF],
            test=LABELS[HALF:],
            **one,
        ),
        Case(
            name="one of its parts",
            source="data::test",
            make=saved(splits=True),
            labels=LABELS[HALF:],
            shown=True,
            **one,
        ),
        Case(
            name="images with a test part",
            source="data",
            make=saved(splits=True, images=True),
            kinds=(1, 6, 5),
            labels=LABELS[:HALF],
            test=LABELS[HALF:],
            **one,
        ),
        Case(
            name="a part that does not exist",
            source="data::tset",
            make=saved(splits=True),
            error="Did you mean 'test'",
            **one,
        ),
        Case(name="a part of one without parts", source="data::test", make=saved(), error="has no splits", **one),
        Case(name="one that is damaged", source="data", make=lost, error="is damaged or not a saved data set", **one),
    ]


CASES = [*_excel(), *_sqlite(), *_saved()]
