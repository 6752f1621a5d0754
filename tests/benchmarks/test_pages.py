"""A page is not cut by a report from a part of the records."""

import pytest
from benchmarks.pages import write_page

TABLE = ["# Title", "", "| a |", "|---|", "| 1 |", "| 2 |"]


def test_a_page_with_as_many_rows_or_more_is_written(tmp_path):
    page = tmp_path / "docs" / "page.md"
    write_page(page, TABLE)
    write_page(page, ["# New title", *TABLE[2:]])
    write_page(page, [*TABLE, "| 3 |", "", ""])
    assert page.read_text() == "\n".join([*TABLE, "| 3 |"]) + "\n"
    assert list(page.parent.iterdir()) == [page]


def test_a_page_with_fewer_rows_is_refused_and_the_old_one_stays(tmp_path):
    page = tmp_path / "page.md"
    write_page(page, TABLE)
    with pytest.raises(SystemExit, match=r"page\.md has 4 table rows, but these records give 3: nothing was written"):
        write_page(page, TABLE[:-1])
    assert page.read_text() == "\n".join(TABLE) + "\n"
