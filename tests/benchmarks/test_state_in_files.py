"""The page's numbers are those that were measured."""

from __future__ import annotations

from pathlib import Path

import pytest
from benchmarks.state_in_files import TABLE

PAGE = (Path(__file__).parents[2] / "docs" / "scale.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("key", "name", "size"),
    [
        ("memory-10000000-100", '`"memory"`', "10 million, 100"),
        ("selfdistill-10000000-40", "default", "10 million, 40"),
        ("selfdistill-10000000-10", "default, smaller blocks of rows, as it is now", "10 million, 10"),
    ],
)
def test_the_page_shows_the_record_and_the_limit_held(key, name, size):
    found = TABLE.read()[key]
    private, after = found["peak_in_training"]["RssAnon"], found["peak"]["RssAnon"]
    shown = f"{found['disk'] / 1e9:.1f} GB | {private / 1e9:.2f} GB | {after / 1e9:.2f} GB | {found['cpu_s']:.0f} s"
    assert f"| {name} | {size} | {shown} |" in PAGE
    assert after < found["limit"] == 2**31
    assert found.get("rows_equal", True)
