"""Data as people have them: each file of the corpus is read as it should be, or refused in one line."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.corpus import all_cases
from tests.corpus.case import Case, run
from tests.corpus.page import page

CASES = all_cases.CASES


@pytest.mark.parametrize("case", CASES, ids=[f"{case.group}: {case.name}" for case in CASES])
def test_each_file_is_read_or_refused(case: Case, tmp_path, monkeypatch):
    run(case, tmp_path, monkeypatch)


def test_the_page_of_what_is_read_is_current():
    written = Path(__file__).parents[2] / "docs" / "what-is-read.md"
    assert written.read_text(encoding="utf-8") == page(), "python -m tests.corpus.page > docs/what-is-read.md"
