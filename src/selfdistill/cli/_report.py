"""``selfdistill report`` and ``selfdistill show``: what a run found, to be sent and to be seen."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from selfdistill._core.advice import Advice
from selfdistill._core.errors import DataError, SettingError
from selfdistill._core.options import Option
from selfdistill._core.wording import clean, quoted
from selfdistill.cli._commands import RUN
from selfdistill.cli._display import speak, write
from selfdistill.cli._main import leaving_at_once

if TYPE_CHECKING:
    from selfdistill.report._content import Card
    from selfdistill.runs._examples import Examples

_WIDE, _TALL = 24, 12  # of a photo in a terminal, in characters
_LETTERS = 200


@dataclass(frozen=True, kw_only=True)
class ReportOptions:
    """Which run, and where the page goes."""

    run: Annotated[Path, RUN]
    out: Annotated[Path | None, Option("FILE", "An .html file. Default: report.html in the run directory.")] = None
    gallery: Annotated[Path | None, Option("FILE", "Write also a sheet of the most doubtful photos: a .png file.")] = (
        None
    )
    force: Annotated[bool, Option("", "Overwrite files that --out and --gallery name.")] = False


def report(options: ReportOptions) -> None:
    """Write the results of a run as one page to read or to send.

    The page shows how many labels look wrong and how sure that is, the most doubtful examples, confused classes, the
    noise matrix, what was learned first, and what to do next. It contains the photos, texts or cells that it shows:
    send it only to people who may see them. It needs no network; start the command in the folder where `fit` was
    started. Decisions of `selfdistill review` in RUN.decisions.jsonl, beside the run, are applied automatically.

    [bold]Examples:[/bold]

        selfdistill report runs/songs-001
        selfdistill report runs/photos-001 --out photos.html --gallery photos.png
    """  # noqa: DOC501 (this text is the help)
    with leaving_at_once():
        from selfdistill.report._report import Report

    for name in ("out", "gallery"):
        file = getattr(options, name)
        if file is not None and file.exists() and not options.force:
            raise SettingError(
                f"{name} {file} exists already",
                Advice("Choose another name", "overwrite it with {--force}."),
                param=name,
            )
    found = Report.of_run(options.run)
    if options.gallery is not None:
        speak(f"Photos in {found.gallery(options.gallery)}")
    page = found.save(options.out or options.run / "report.html")
    speak(f"Report in {page} ({page.stat().st_size / 1000:,.0f} kB)")


@dataclass(frozen=True, kw_only=True)
class ShowOptions:
    """Which run, and how many examples."""

    run: Annotated[Path, RUN]
    first: Annotated[int, Option("N", "How many examples.")] = 20


def show(options: ShowOptions) -> None:
    """Print the most doubtful examples of a run: given label, likeliest other label, quality, and the text or cells.

    Photos are drawn in a terminal that has colours. A question mark says that the given label is still the likeliest;
    an exclamation mark, that a cell is unusual for the given label.

    [bold]Examples:[/bold]

        selfdistill show runs/songs-001
        selfdistill show runs/photos-001 --first 5
    """  # noqa: DOC501 (this text is the help)
    with leaving_at_once():
        from selfdistill.report._content import Subject, cards

    if options.first < 1:
        raise SettingError(f"first is {options.first}, but must be at least 1", "Leave it out for 20.", param="first")
    subject = Subject.of_run(options.run)
    examples = subject.examples
    rows = subject.doubtful(options.first)
    if examples is not None and examples.missing:
        speak(f"note: only names are shown: {examples.missing}")
    if reviewed := subject.reviewed():
        unsure = f" and {reviewed['unsure']:,} that nobody can say" if reviewed["unsure"] else ""
        speak(f"note: {reviewed['count']:,} that were reviewed{unsure} are left out")
    images = examples is not None and examples.kind == "image"
    for number, (row, card) in enumerate(zip(rows, cards(subject.found, examples, rows, draw=False), strict=True), 1):
        write("\n".join(_lines(number, card)) + "\n")
        if images and examples is not None and sys.stdout.isatty():
            _draw(examples, row)
    if images and not sys.stdout.isatty():
        speak(f"The photos themselves: selfdistill report {quoted(options.run)} --gallery photos.png")


def _lines(number: int, card: Card) -> Iterator[str]:
    sure = "" if card.better else " ?"
    yield (
        f"{number:>3}  {clean(card.given)} -> {clean(card.other)}{sure}   quality {card.quality:.3f}, "
        f"{100 * card.chance:.0f} % {clean(card.other)}   {clean(card.name)}"
    )
    if card.text:
        yield f"     {clean(card.text[:_LETTERS])}"
    if card.cells:
        yield "     " + ", ".join(
            f"{clean(name)} {clean(value) or '-'}{'!' * mark}" for name, value, mark in card.cells
        )


def _draw(examples: Examples, row: int) -> None:
    """Draw a photo with half blocks: two pixels, one above the other, in each character."""
    import io

    import numpy as np
    from PIL import Image
    from rich.console import Console
    from rich.text import Text

    try:
        file = examples.thumbnail(row, 2 * _WIDE)
    except DataError as error:
        write(f"     {error}\n")
        return
    with Image.open(io.BytesIO(file)) as photo:
        small = photo.convert("RGB")
        small.thumbnail((_WIDE, 2 * _TALL))
    pixels, console = np.asarray(small).tolist(), Console(highlight=False)
    for upper, lower in zip(pixels[::2], pixels[1::2], strict=False):
        line = Text("     ")
        for above, below in zip(upper, lower, strict=True):
            line.append("\u2580", "rgb({},{},{}) on rgb({},{},{})".format(*above, *below))
        console.print(line, soft_wrap=True)
