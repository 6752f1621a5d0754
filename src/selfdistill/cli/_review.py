"""``selfdistill review``."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from selfdistill._core.errors import SettingError
from selfdistill._core.options import Option
from selfdistill.cli._commands import RUN
from selfdistill.cli._display import speak
from selfdistill.cli._main import leave, leaving_at_once

if TYPE_CHECKING:
    from selfdistill.review._session import Session


@dataclass(frozen=True, kw_only=True)
class ReviewOptions:
    """Which run, and where the page and the decisions lie."""

    run: Annotated[Path, RUN]
    decisions: Annotated[
        Path | None, Option("FILE", "File that keeps the decisions. Default: RUN.decisions.jsonl, beside the run.")
    ] = None
    take: Annotated[
        Path | None,
        Option(
            "FILE",
            "Decisions to start from: CSV with the columns id and label, Label Studio's JSON export, or another run's "
            ".jsonl. Existing decisions stay.",
        ),
    ] = None
    export: Annotated[
        Path | None, Option("FILE", "Write the decisions to a .csv or .json (Label Studio) file, and open no page.")
    ] = None
    no_learn: Annotated[bool, Option("", "Do not re-rank after each decision.")] = False
    port: Annotated[int, Option("N", "Port of the page; 0: any that is free.")] = 0
    no_browser: Annotated[bool, Option("", "Print the address only.")] = False


def review(options: ReviewOptions) -> None:
    """Review doubtful labels by keyboard, on a local page that learns from each decision.

    The most doubtful example comes first. Enter takes the suggested label, Space keeps the given one, a digit gives
    another, Backspace undoes; ? shows all keys. Each decision is on disk at once. In closed form
    all other labels are then refined again, which changes the order, and the page says how many errors are left. The
    run and the data are not changed. Ctrl-C ends it. Needs `pip install "selfdistill[review]"`.

    [bold]Examples:[/bold]

        selfdistill review runs/songs-001
        selfdistill refine runs/songs-001 --relabel --decisions runs/songs-001.decisions.jsonl --out reviewed.csv
        selfdistill fit songs.csv --label genre --decisions runs/songs-001.decisions.jsonl
        selfdistill review runs/songs-001 --export decisions.csv
        selfdistill review runs/songs-001 --take annotations.json
    """  # noqa: DOC501 (this text is the help)
    if options.export is None and (find_spec("starlette") is None or find_spec("uvicorn") is None):
        raise SettingError(
            "review needs starlette and uvicorn, which are not installed",
            'Install them: pip install "selfdistill[review]".',
        )
    with leaving_at_once():
        from selfdistill.review._session import Session

        session = Session(options.run, decisions=options.decisions, take=options.take, learn=not options.no_learn)
    unknown, decided = session.not_taken
    if options.take is not None and unknown + decided:
        why = f"{unknown:,} that name no example of the run, {decided:,} on examples that are decided already"
        speak(f"note: not taken from {options.take}: {why}")
    if options.export is not None:
        count = session.write(options.export)
        session.close()
        speak(f"{count:,} decision{'s' * (count != 1)} in {options.export}")
        return
    try:
        _show(session, options)
    except KeyboardInterrupt:
        leave()  # Python's own way out unloads libraries under the thread that learns, and crashes


def _show(session: Session, options: ReviewOptions) -> None:
    import webbrowser

    from selfdistill.review import _server

    taken, token = _server.listen(options.port), _server.new_token()
    journal = session.journal
    session.start(speak)
    try:
        session.ready.wait()  # so that the first card is there at once
        where = _server.address(taken, token)
        speak(f"{len(journal.decided.labels):,} of {len(session.saved.ids):,} labels decided, in {journal.path}")
        speak(f"The page: {where}")
        speak("Ctrl-C ends it.")
        if not options.no_browser:
            webbrowser.open(where)
        _server.serve(session, taken, token)
    finally:
        session.close()
        count = len(journal.decided.labels)
        speak(f"{count:,} label{'s' * (count != 1)} decided, in {journal.path}")
