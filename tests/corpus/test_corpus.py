"""Data as people have them: each file of the corpus is read as it should be, or refused in one line."""

from __future__ import annotations

import pytest
from tests.corpus import all_cases
from tests.corpus.case import Case, run

CASES = all_cases.CASES


@pytest.mark.parametrize("case", CASES, ids=[f"{case.group}: {case.name}" for case in CASES])
def test_each_file_is_read_or_refused(case: Case, tmp_path, monkeypatch):
    run(case, tmp_path, monkeypatch)
