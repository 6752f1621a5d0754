"""Running cells: what has a record is not measured again, each record is written as its cell finishes."""

from __future__ import annotations

import json
import multiprocessing
import sys
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

from benchmarks.table import Record, Table
from selfdistill._core.errors import one_line

Cell = dict[str, Any]
Work = Callable[[Cell], Record]
Spread = Callable[[Work, Iterable[Cell], int], Iterator[tuple[Cell, Record]]]


@dataclass(frozen=True)
class Suite:
    """A table, and what its suite asks for.

    Attributes:
        table: The records.
        asked: By key what a record of that cell must hold, such as its settings.
        where: Entry of the record that must hold it; ``None``: the record itself.
    """

    table: Table
    asked: Mapping[str, Record]
    where: str | None = "cell"

    def stale(self) -> dict[str, str]:
        """Say by key why a record no longer counts: not asked for, measured with other settings, or marked so."""
        found = {}
        for key, record in self.table.read().items():
            if key == "skipped":
                continue
            if key not in self.asked:
                found[key] = "no cell of the suite asks for it"
            elif other := differing(record[self.where] if self.where else record, self.asked[key]):
                found[key] = f"measured with other {', '.join(other)} than the suite has now"
            elif "outdated" in record:
                found[key] = f"of {record['outdated']}"
            elif "failed" in record:
                found[key] = f"failed: {record['failed']}"
        return found


def differing(record: Record, asked: Record) -> list[str]:
    """Name the entries of a record that are not as asked."""
    return [name for name, value in asked.items() if record.get(name) != value]


def key(cell: Cell) -> str:
    """Name a cell by all it holds."""
    return json.dumps(cell, sort_keys=True)


def one_by_one(work: Work, cells: Iterable[Cell], jobs: int) -> Iterator[tuple[Cell, Record]]:
    """Do one cell after the other in this process."""
    for cell in cells:
        yield cell, work(cell)


def over_processes(work: Work, cells: Iterable[Cell], jobs: int) -> Iterator[tuple[Cell, Record]]:
    """Do some cells at a time, with joblib; each cell is a process of its own, which a thread awaits."""
    from joblib import Parallel, delayed

    pool = Parallel(n_jobs=jobs, backend="threading", return_as="generator_unordered", pre_dispatch=jobs, batch_size=1)
    yield from pool(delayed(lambda cell: (cell, work(cell)))(cell) for cell in cells)


def run(
    table: Table,
    todo: Mapping[str, Cell],
    work: Work,
    *,
    fits: Callable[[Record, Cell], bool] = lambda record, cell: "outdated" not in record,
    line: Callable[[Record], str] = lambda record: "",
    spread: Spread = one_by_one,
    jobs: int = 1,
    minutes: float = float("inf"),
) -> list[str]:
    """Run the cells that have no record that fits, and write each record as it comes."""
    done = table.read()
    left = {key: cell for key, cell in todo.items() if key not in done or not fits(done[key], cell)}
    say(f"{table.path.stem}: {len(todo) - len(left)} cells are there, {len(left)} to run")
    names = {id(cell): key for key, cell in left.items()}
    failed, written, deadline = [], 0, time.monotonic() + 60 * minutes
    for cell, record in spread(work, _until(deadline, left.values()), jobs):
        name = names[id(cell)]
        if "failed" in record:
            failed.append(f"{name}: {record['failed']}")
            say(f"failed: {failed[-1]}")
            continue
        table.add({name: record})
        written += 1
        say(f"{written}/{len(left)} {name}: {line(record)}".rstrip(": "))
    if rest := len(left) - written - len(failed):
        say(f"the budget is spent; {rest} cells are left for a later run")
    return failed


def _until(deadline: float, cells: Iterable[Cell]) -> Iterator[Cell]:
    for cell in cells:
        if time.monotonic() >= deadline:
            return
        yield cell


def say(text: str) -> None:
    """Tell on stderr."""
    print(text, file=sys.stderr, flush=True)


def in_own_process(work: Callable[..., Record], *given: Any, limit: float = 1e6, fork: bool = False) -> Record:
    """Call a function in a process of its own, so that its peak of memory means something and its end ends no other."""
    start = "fork" if fork and "fork" in multiprocessing.get_all_start_methods() else "spawn"
    context = multiprocessing.get_context(start)
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_answer, args=(work, given, sender))
    process.start()
    sender.close()
    try:
        if not receiver.poll(limit):
            return {"failed": f"it took longer than {limit:g} s"}
        result: Record = receiver.recv()
        return result
    except EOFError:
        process.join()
        return {"failed": f"its process ended with {process.exitcode}"}
    finally:
        process.kill()
        process.join()
        receiver.close()


def _answer(work: Callable[..., Record], given: tuple[Any, ...], sender: Connection) -> None:
    import torch
    from threadpoolctl import threadpool_limits

    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    try:
        with threadpool_limits(1):
            sender.send(work(*given))
    except Exception as error:  # any rival may fail in any way; the other cells go on
        sender.send({"failed": f"{type(error).__name__}: {one_line(error)}"})
