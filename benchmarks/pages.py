"""Pages made from records: written whole, and never with fewer rows than the page that is there."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from selfdistill._core.files import atomic


def write_page(page: Path, lines: Sequence[str]) -> None:
    """Write a page.

    Args:
        page: Where to.
        lines: Its lines.

    Raises:
        SystemExit: The page that is there has more table rows: some records are missing here.
    """
    text = "\n".join(lines).rstrip() + "\n"
    before, now = (_rows(one) for one in (page.read_text(encoding="utf-8") if page.exists() else "", text))
    if now < before:
        raise SystemExit(
            f"{page} has {before:,} table rows, but these records give {now:,}: nothing was written. "
            "Name all suites, or delete the page first if rows are to go."
        )
    page.parent.mkdir(parents=True, exist_ok=True)
    with atomic(page) as part:
        part.write_text(text, encoding="utf-8")


def _rows(text: str) -> int:
    return sum(line.startswith("|") for line in text.splitlines())
