"""What a run shows while it goes on: a live line on a terminal, plain lines elsewhere. All of it goes to stderr."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING, cast, final

from selfdistill._core.events import BatchDone, EpochDone, Event, Listener, RunStarted, Stage
from selfdistill._core.wording import clean

if TYPE_CHECKING:
    from rich.progress import Progress

_LINE_SECONDS = 5.0
_REFRESH_SECONDS = 0.1


@final
class Clock:
    """How far a run is, how fast, and how long it will still take, from its events."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._begun = now()
        self._before = 0
        self._examples = 0
        self.epochs = self.steps = self.done = self.epoch = 0
        self._first_loss: float | None = None
        self.metrics: dict[str, float] = {}

    @property
    def total(self) -> int:
        """Steps in all."""
        return self.epochs * self.steps

    def __call__(self, event: Event) -> None:
        """Take an event."""
        if isinstance(event, RunStarted):
            self.epochs, self.steps, self.epoch = event.epochs, event.steps, event.first_epoch
            self._begun, self._before, self._examples = self._now(), event.first_epoch * event.steps, 0
            self.done = self._before
            self._first_loss = event.curves[0].get("loss") if event.curves else None
        elif isinstance(event, Stage):
            pass
        elif isinstance(event, BatchDone):
            if self._examples == 0:  # a run may go on in the middle of an epoch
                self._before = event.epoch * self.steps + event.step - 1
            self.epoch, self.done = event.epoch, event.epoch * self.steps + event.step
            self._examples += event.examples
        else:
            self.epoch, self.metrics = event.epoch + 1, event.metrics
            self._first_loss = event.metrics.get("loss") if self._first_loss is None else self._first_loss

    @property
    def current(self) -> int:
        """Number of the epoch in progress, from 1; of the last one when all are done."""
        return min(self.done // self.steps + (self.done % self.steps > 0), self.epochs) if self.done else 0

    def rate(self) -> float:
        """Examples per second since the start, all work counted."""
        return self._examples / max(self._now() - self._begun, 1e-9)

    def left(self) -> float | None:
        """Seconds still to go; ``None`` before the first step."""
        taken = self.done - self._before
        return (self._now() - self._begun) / taken * (self.total - self.done) if taken > 0 else None

    def figures(self) -> list[str]:
        """Return what is known of loss, labels predicted and changed, accuracies and speed."""
        m, shown = self.metrics, list[str]()
        if "loss" in m:
            # The losses of some methods are sums of which ten classes make 20: their course says something, not they.
            first = self._first_loss or 0.0
            shown = [
                f"loss {100 * m['loss'] / first:.0f} % of epoch 1" if first > 0 else f"loss {m['loss']:.3f}",
                f"predicts {100 * m['agreement']:.1f} % of the given labels",
                f"changes {100 * m['refined_share']:.1f} %",
            ]
        shown += [f"{k.removesuffix('_accuracy')} {100 * v:.1f} %" for k, v in m.items() if k.endswith("_accuracy")]
        return [*shown, f"{_short(self.rate())} examples/s"] if self._examples else shown


def duration(seconds: float | None) -> str:
    """Write seconds as ``m:ss`` or ``h:mm:ss``; ``-:--`` where unknown."""
    if seconds is None:
        return "-:--"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def _short(number: float) -> str:
    return f"{number:.0f}" if number < 1000 else f"{number / 1000:.1f}k" if number < 1e6 else f"{number / 1e6:.1f}M"


def first_process() -> bool:
    """Say whether this process is the one that speaks: the only one, or number 0 of those that ``torchrun`` started."""
    return os.environ.get("RANK", "0") == "0"


def speak(text: str) -> None:
    """Write sentences to stderr."""
    print(clean(text, keep="\n"), file=sys.stderr, flush=True)  # noqa: T201 (the door's own voice)


def write(text: str) -> None:
    """Write to stdout what is asked for: tables and JSON."""
    sys.stdout.write(clean(text, keep="\n"))


@final
class _Terminal:
    """What a terminal shows of a table that a program would get as it is."""

    def write(self, text: str) -> int:
        write(text)
        return len(text)

    def flush(self) -> None:
        sys.stdout.flush()


def stdout() -> IO[str]:
    """Give the stream for tables that are data: as they are for a program or a file, cleaned for a terminal."""
    return cast(IO[str], _Terminal()) if sys.stdout.isatty() else sys.stdout


def print_lines(lines: Iterable[str]) -> None:
    """Print what a run found on stdout; on a terminal the lines that begin a part are bold."""
    from rich.console import Console

    console = Console(highlight=False, markup=False, emoji=False, soft_wrap=True)
    for line in lines:
        console.print(clean(line), style=None if line.startswith(" ") or not line else "bold")


def plain_lines(
    title: str = "", write: Callable[[str], None] = speak, now: Callable[[], float] = time.monotonic
) -> Listener:
    """Make a listener that writes a line at the first and last epoch, and in between every five seconds at most."""
    clock, last = Clock(now), [float("-inf")]
    staged: list[Stage] = []

    def tell(event: Event) -> None:
        clock(event)
        if isinstance(event, RunStarted):
            staged.clear()  # of reading
        if isinstance(event, Stage):
            staged.append(event)
            if now() - last[0] >= _LINE_SECONDS:
                last[0] = now()
                write(event.text)
        if not isinstance(event, EpochDone) or staged:
            return
        ended = clock.epoch == clock.epochs
        if ended or now() - last[0] >= _LINE_SECONDS:
            last[0] = now()
            left = [] if ended or clock.left() is None else [f"{duration(clock.left())} left"]
            write(
                "  ".join([*([title] if title else []), f"epoch {clock.epoch}/{clock.epochs}", *clock.figures(), *left])
            )

    return tell


@contextmanager
def showing(title: str = "") -> Generator[Listener, None, None]:
    """Show a run's progress on stderr: live if that is a terminal, else as plain lines."""
    if not sys.stderr.isatty():
        yield plain_lines(title)
        return
    progress, lines = _live()
    clock, shown = Clock(), [float("-inf")]
    task = progress.add_task("", total=None, head="", left="", start=False)

    def tell(event: Event) -> None:
        clock(event)
        if isinstance(event, RunStarted | Stage):
            progress.start()
        if isinstance(event, Stage):
            progress.update(task, head=event.text, left="")
            return
        if isinstance(event, BatchDone) and time.monotonic() - shown[0] < _REFRESH_SECONDS:
            return
        shown[0] = time.monotonic()
        figures = clock.figures()
        lines[:] = ["  ".join(part) for part in (figures[:3], figures[3:]) if part]
        head = f"{title + ' ' if title else ''}epoch {clock.current}/{clock.epochs}"
        left = f"{duration(clock.left())} left"
        progress.update(task, total=clock.total, completed=clock.done, head=head, left=left)
        if isinstance(event, EpochDone) and clock.epoch == clock.epochs:
            progress.stop()

    try:
        yield tell
    finally:
        progress.stop()


def _live() -> tuple[Progress, list[str]]:
    """Make a bar of its own line, and the list whose lines stand below it."""
    from rich.console import Console, RenderableType
    from rich.progress import BarColumn, Progress, TextColumn
    from rich.text import Text

    lines: list[str] = []

    class WithFigures(Progress):
        def get_renderables(self) -> Iterable[RenderableType]:
            yield self.make_tasks_table(self.tasks)
            yield from (Text(line, style="cyan", no_wrap=True, overflow="ellipsis") for line in lines)

    columns = (TextColumn("{task.fields[head]}"), BarColumn(bar_width=40), TextColumn("{task.fields[left]}"))
    return WithFigures(*columns, console=Console(stderr=True, highlight=False), refresh_per_second=5), lines
