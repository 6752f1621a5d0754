"""Pages made from records: numbers, tables; written whole, and never with fewer rows than the page that is there."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from statistics import mean, stdev

from selfdistill._core.files import atomic

REPORTS = Path(__file__).parent / "reports"


def write_page(page: Path, lines: Sequence[str]) -> None:
    """Write a page."""
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


def spread(values: Iterable[float], scale: float = 100.0, digits: int = 1) -> str:
    """Write mean ± standard deviation over seeds; the mean alone of one value, a dash of none."""
    found = [*values]
    if not found:
        return "–"
    text = f"{scale * mean(found):.{digits}f}"
    return text + (f" ± {scale * stdev(found):.{digits}f}" if len(found) > 1 else "")


def grid(head: Sequence[str], body: Iterable[Sequence[str]]) -> list[str]:
    """Write a table in Markdown, a line per row."""
    lines = ["| " + " | ".join(cells) + " |" for cells in (head, *body)]
    return [lines[0], "|---" * len(head) + "|", *lines[1:]]
