"""How many small faults the tests notice: one fault at a time in a module, then the tests of its room.

    python -m benchmarks.mutation run [--rooms targets issues] [--files _rounds] [--each 12] [--seconds 60]
    python -m benchmarks.mutation same KEY "why"           # that a fault which survived changes nothing
    python -m benchmarks.mutation report                   # reports/mutation.md from the records

A fault is a *mutant*: a comparison, a sign, a number, an ``and`` or a condition is turned, or a statement is left out.
Places are drawn at random, the same for the same code. Libraries are loaded once; each mutant is a fork of that
process, in which the changed source is compiled in place of the file; no file is written. The tests of a fault are
those of its room that reach its statement, the quickest first (``benchmarks/reached.py``). A fault that survived is
tried again by the next run, unless it is recorded why it changes nothing. Records of lines that are gone are taken out.
Time limits are seconds of the processor. Records: ``benchmarks/records/mutation.parquet``.
"""

from __future__ import annotations

import argparse
import ast
import copy
import importlib
import json
import os
import random
import resource
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from importlib.machinery import SourceFileLoader
from pathlib import Path
from typing import Any

import pytest

import selfdistill
from benchmarks import drive
from benchmarks.pages import REPORTS, grid, write_page
from benchmarks.reached import ALONE, lines_of, write_reached
from benchmarks.table import RECORDS, Record, Table
from selfdistill._core.errors import RunError

ROOT = Path(__file__).resolve().parents[1]
TABLE = Table(RECORDS / "mutation.parquet", 1)
ROOMS = ("targets", "issues", "losses", "ntk", "closed", "theory", "noise", "air", "distill")
LIBRARIES = ("torch", "torch.fx.experimental.symbolic_shapes", "scipy.sparse", "sklearn.ensemble", "pandas")
SLACK = 6  # on a busy machine a second of the processor takes so many of the clock
COMPARED = {ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq}
SIGNS = {ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult}
JOINED = {ast.And: ast.Or, ast.Or: ast.And}


def turned(node: ast.AST) -> ast.AST | None:
    """Make the mutant of a node; ``None`` where there is none."""
    made = copy.deepcopy(node)
    if isinstance(made, ast.Compare) and type(made.ops[0]) in COMPARED:
        made.ops[0] = COMPARED[type(made.ops[0])]()
    elif isinstance(made, ast.BinOp) and type(made.op) in SIGNS:
        made.op = SIGNS[type(made.op)]()
    elif isinstance(made, ast.BoolOp):
        made.op = JOINED[type(made.op)]()
    elif isinstance(made, ast.Constant) and type(made.value) in {int, float}:
        made.value = made.value + 1
    elif isinstance(made, ast.IfExp | ast.If):
        made.test = ast.UnaryOp(ast.Not(), made.test)
    elif isinstance(made, ast.AugAssign) or (isinstance(made, ast.Expr) and isinstance(made.value, ast.Call)):
        return ast.copy_location(ast.Pass(), node)
    else:
        return None
    return made


def places(tree: ast.Module) -> list[ast.AST]:
    """List the nodes of functions that have a mutant; annotations, defaults and texts of errors have none."""
    found = []

    def walk(node: ast.AST, inside: bool) -> None:
        if isinstance(node, ast.Raise | ast.JoinedStr | ast.arguments):
            return
        if inside and turned(node) is not None:
            found.append(node)
        for name, value in ast.iter_fields(node):
            if name in {"annotation", "returns", "decorator_list"}:
                continue
            for child in value if isinstance(value, list) else [value]:
                if isinstance(child, ast.AST):
                    walk(child, inside or isinstance(node, ast.FunctionDef))

    walk(tree, False)
    return found


class Swap(ast.NodeTransformer):
    """Puts another node in the place of one."""

    def __init__(self, old: ast.AST, new: ast.AST) -> None:
        self.old, self.new = old, new

    def visit(self, node: ast.AST) -> Any:
        """Replace the node, or look below it."""
        return self.new if node is self.old else self.generic_visit(node)


def drawn(path: Path, count: int) -> Iterator[drive.Cell]:
    """Draw faults of a file: its path, the line, and the line before and after."""
    every = places(ast.parse(path.read_text(encoding="utf-8")))
    for number in sorted(random.Random(path.name).sample(range(len(every)), min(count, len(every)))):
        yield fault(path, every, number)


def fault(path: Path, every: list[ast.AST], number: int) -> drive.Cell:
    """Describe one fault of a file."""
    new = turned(every[number])
    assert new is not None
    return {
        "path": str(path.relative_to(ROOT)),
        "number": number,
        "line": every[number].lineno,  # type: ignore[attr-defined]
        "was": ast.unparse(every[number]).splitlines()[0],
        "is": ast.unparse(new).splitlines()[0],
    }


def present(cell: drive.Cell) -> drive.Cell | None:
    """Find a fault in the code as it is, perhaps at another line; ``None`` where its place is gone."""
    path = ROOT / cell["path"]
    every = places(ast.parse(path.read_text(encoding="utf-8"))) if path.is_file() else []
    now = fault(path, every, cell["number"]) if cell["number"] < len(every) else {}
    return now if now == cell | {"line": now.get("line")} else None


def _tree_and_node(cell: drive.Cell) -> tuple[ast.Module, ast.AST]:
    tree = ast.parse((ROOT / cell["path"]).read_text(encoding="utf-8"))
    return tree, places(tree)[cell["number"]]


def source_of(cell: drive.Cell) -> str:
    """Make the source with a fault."""
    tree, old = _tree_and_node(cell)
    new = turned(old)
    assert new is not None
    return ast.unparse(ast.fix_missing_locations(Swap(old, new).visit(tree)))


def forked(work: Callable[[], int], seconds: float) -> str:
    """Run tests in a fork of this process: "killed" where some fail, "survived" or "too long"."""
    child = os.fork()
    if not child:
        os.setsid()
        resource.setrlimit(resource.RLIMIT_CPU, (int(seconds), int(seconds)))
        quiet = os.open(os.devnull, os.O_WRONLY)
        os.dup2(quiet, 1)
        os.dup2(quiet, 2)
        os._exit(work())
    end = time.monotonic() + SLACK * seconds
    while time.monotonic() < end:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            spent = os.WIFSIGNALED(status) and os.WTERMSIG(status) in {signal.SIGXCPU, signal.SIGKILL}
            return "too long" if spent else "survived" if status == 0 else "killed"
        time.sleep(0.05)
    os.killpg(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return "too long"


def forget() -> None:
    """Let a fork load the package anew."""
    for name in [name for name in sys.modules if name.partition(".")[0] == "selfdistill"]:
        del sys.modules[name]


def reached(room: str, place: Path, tests: tuple[str, ...], seconds: float) -> dict[str, list[str]]:
    """Find the tests that reach each line of a folder."""

    def work() -> int:
        forget()
        return write_reached(place, tests, out)

    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder, "reached.json")
        if forked(work, seconds) != "survived":
            raise RunError(f"the tests of {room} fail without a fault", f"See: pytest {' '.join(tests)}.")
        found: dict[str, list[str]] = json.loads(out.read_text(encoding="utf-8"))
    return found


def with_fault(cell: drive.Cell, tests: list[str]) -> int:
    """Run tests with a fault, and return the exit code of pytest."""
    text, path, read = source_of(cell), str(ROOT / cell["path"]), SourceFileLoader.get_code

    def get_code(self: SourceFileLoader, name: str) -> Any:
        return self.source_to_code(text.encode(), path) if self.path == path else read(self, name)

    forget()
    SourceFileLoader.get_code = get_code  # type: ignore[method-assign, assignment]
    return int(pytest.main([*ALONE, *tests]))


def run(rooms: list[str], names: list[str], tests: list[str], each: int, seconds: float) -> None:
    """Try the faults that have no record yet, and those that survived."""
    os.environ["CI"] = "1"  # hypothesis tries the same examples each time
    for name in LIBRARIES:
        importlib.import_module(name)
    if not Path(selfdistill.__file__).is_relative_to(ROOT):
        raise RunError(f"selfdistill is imported from {selfdistill.__file__}", f"Set PYTHONPATH={ROOT / 'src'}:{ROOT}.")
    TABLE.remove([key for key, record in TABLE.read().items() if not present(record["cell"])])
    for room in rooms:
        place = ROOT / "src/selfdistill" / room
        by_line = reached(room, place, tuple(tests) or (f"tests/{room}",), 20 * seconds)
        files = [path for path in sorted(place.glob("_[!_]*.py")) if not names or path.stem in names]

        def work(cell: drive.Cell, room: str = room, by_line: dict[str, list[str]] = by_line) -> Record:
            started = time.monotonic()
            lines = lines_of(*_tree_and_node(cell))
            reach = {test: None for line in lines for test in by_line.get(f"{ROOT / cell['path']}:{line}", [])}
            found = forked(lambda: with_fault(cell, list(reach)), seconds) if reach else "survived"
            before = TABLE.read().get(_key(cell), {}).get("first", found)
            numbers = {"tests": len(reach), "seconds": time.monotonic() - started}
            return {"schema": 1, "room": room, "cell": cell, "first": before, "found": found, **numbers}

        drive.run(
            TABLE,
            {_key(cell): cell for path in files for cell in drawn(path, each)},
            work,
            fits=lambda record, cell: record["found"] != "survived" or "same" in record,
            line=lambda record: f"{record['cell']['is']}: {record['found']} ({record['tests']} tests)",
        )


def _key(cell: drive.Cell) -> str:
    return f"{cell['path']}, {cell['number']}, {cell['was']}"


def same(key: str, why: str) -> None:
    """Record that a fault which survived changes nothing that can be seen."""
    record = TABLE.read()[key]
    if record["found"] != "survived":
        raise RunError(f"the fault {key!r} was noticed", "Name one of those that were not.")
    TABLE.add({key: record | {"same": why}})


def report() -> None:
    """Write ``reports/mutation.md``."""
    rows = [row | {"cell": cell} for row in TABLE.read().values() if (cell := present(row["cell"]))]
    body = []
    for room in ROOMS:
        mine = [row for row in rows if row["room"] == room and "same" not in row]
        alike = sum(row["room"] == room and "same" in row for row in rows)
        counts = [sum(row[when] != "survived" for row in mine) for when in ("first", "found")]
        if mine:
            shares = [f"{count} ({100 * count / len(mine):.0f} %)" for count in counts]
            body.append([room, str(len(mine) + alike), str(alike), *shares])
    lines = [
        "# Faults that the tests notice",
        "",
        "Made by `python -m benchmarks.mutation report`; how: `benchmarks/mutation.py`. Faults are drawn at random",
        "from the code as it is, and tried by the tests of their room alone. A fault that makes these run too long",
        "counts as noticed. Shares are of the faults that change something. *At first* is before tests were added for",
        "the faults that went unnoticed: it says how many of other faults would be noticed, and *now* does not.",
        "",
        *grid(["room", "faults", "change nothing", "noticed at first", "noticed now"], body),
    ]
    found = [row for row in rows if row["found"] == "survived" and "same" not in row]
    if found:
        lines += ["", "## Not noticed", "", *grid(["file", "line", "was", "is"], [_place(row) for row in found])]
    found = [row for row in rows if "same" in row]
    if found:
        shown = [[*_place(row), row["same"]] for row in found]
        lines += ["", "## Change nothing", "", *grid(["file", "line", "was", "is", "why"], shown)]
    write_page(REPORTS / "mutation.md", lines)
    print(REPORTS / "mutation.md")


def _place(row: Record) -> list[str]:
    cell = row["cell"]
    shown = [f"`{cell[name]}`".replace("|", "\\|") for name in ("was", "is")]
    return [cell["path"].removeprefix("src/selfdistill/"), str(cell["line"]), *shown]


def main() -> None:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command", choices=["run", "same", "report"])
    parser.add_argument("words", nargs="*", help="of same: the key of the record, and why the fault changes nothing")
    parser.add_argument("--rooms", nargs="+", default=list(ROOMS), choices=list(ROOMS))
    parser.add_argument("--files", nargs="+", default=[], help="names of modules; by default all of the rooms")
    parser.add_argument("--tests", nargs="+", default=[], help="files of tests; by default all of the room")
    parser.add_argument("--each", type=int, default=6, help="faults of each file")
    parser.add_argument("--seconds", type=float, default=60, help="of the processor, for the tests of a fault")
    given = parser.parse_args()
    if given.command == "run":
        run(given.rooms, given.files, given.tests, given.each, given.seconds)
    elif given.command == "same":
        same(*given.words)
    else:
        report()


if __name__ == "__main__":
    main()
