"""All files of the corpus."""

from __future__ import annotations

from tests.corpus import array_files, label_columns, places, stored_tables, text_tables, typed_tables

CASES = [
    *text_tables.CASES,
    *typed_tables.CASES,
    *stored_tables.CASES,
    *array_files.CASES,
    *label_columns.CASES,
    *places.CASES,
]
