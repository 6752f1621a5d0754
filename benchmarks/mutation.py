"""How many small faults the tests notice: one fault at a time in a module, then the tests of its room.

    python -m benchmarks.mutation run [--rooms targets issues] [--files _rounds] [--each 12] [--seconds 60]
    python -m benchmarks.mutation report                   # reports/mutation.md from the records

A fault is a *mutant*: a comparison, a sign, a number, an ``and`` or a condition is turned, or a statement is left out.
Places are drawn at random, the same for the same code. Libraries are loaded once; each mutant is a fork of that
process, in which the changed source is compiled in place of the file. The module's mirror test comes first, then the
others of the room. Records: ``benchmarks/records/mutation.parquet``.
"""

from __future__ import annotations

import argparse
import ast
import copy
import importlib
import os
import random
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks import drive
from benchmarks.pages import REPORTS, grid, write_page
from benchmarks.table import RECORDS, Table
from selfdistill._core.errors import RunError

ROOT = Path(__file__).resolve().parents[1]
TABLE = Table(RECORDS / "mutation.parquet", 1)
ROOMS = {  # which modules, and by which tests
    "targets": ("src/selfdistill/targets", ("tests/targets",)),
    "issues": ("src/selfdistill/issues", ("tests/issues",)),
    "kernel spectrum": ("src/selfdistill/theory/_spectrum.py", ("tests/theory",)),
    "ntk": ("src/selfdistill/ntk", ("tests/ntk",)),
    "closed form": ("src/selfdistill/closed", ("tests/closed",)),
}
LIBRARIES = ("torch", "numpy", "scipy.sparse", "sklearn.linear_model", "pandas")
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


def mutants(path: Path, count: int) -> Iterator[drive.Cell]:
    """Draw mutants of a file: its path, the line, and the line before and after."""
    text = path.read_text(encoding="utf-8")
    tree = ast.parse(text)
    every = places(tree)
    for number in sorted(random.Random(path.name).sample(range(len(every)), min(count, len(every)))):
        new = turned(every[number])
        assert new is not None
        yield {
            "path": str(path.relative_to(ROOT)),
            "number": number,
            "line": every[number].lineno,  # type: ignore[attr-defined]
            "was": ast.unparse(every[number]).splitlines()[0],
            "is": ast.unparse(new).splitlines()[0],
        }


def source_of(cell: drive.Cell) -> str:
    """Make the source with the fault of a cell; without a number there is none."""
    if "number" not in cell:
        return (ROOT / cell["path"]).read_text(encoding="utf-8")
    tree = ast.parse((ROOT / cell["path"]).read_text(encoding="utf-8"))
    old = places(tree)[cell["number"]]
    new = turned(old)
    assert new is not None
    return ast.unparse(ast.fix_missing_locations(Swap(old, new).visit(tree)))


def survives(cell: drive.Cell, tests: tuple[str, ...], seconds: float) -> str:
    """Run the tests with a fault in a fork of this process: "killed", "survived" or "too long"."""
    child = os.fork()
    if not child:
        os.setsid()
        quiet = os.open(os.devnull, os.O_WRONLY)
        os.dup2(quiet, 1)
        os.dup2(quiet, 2)
        os._exit(_tested(cell, tests))
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return "survived" if status == 0 else "killed"
        time.sleep(0.05)
    os.killpg(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return "too long"


def _tested(cell: drive.Cell, tests: tuple[str, ...]) -> int:
    from _frozen_importlib_external import SourceFileLoader

    import pytest

    text, path, read = source_of(cell), str(ROOT / cell["path"]), SourceFileLoader.get_code

    def get_code(self: SourceFileLoader, name: str) -> Any:
        return compile(text, path, "exec") if self.path == path else read(self, name)

    for name in [name for name in sys.modules if name.partition(".")[0] == "selfdistill"]:
        del sys.modules[name]  # the package is loaded anew, with the fault
    SourceFileLoader.get_code = get_code  # type: ignore[method-assign]
    return int(pytest.main(["-q", "-x", "-p", "no:cacheprovider", "-p", "no:randomly", *tests]))


def run(rooms: list[str], names: list[str], each: int, seconds: float) -> None:
    """Try the mutants that have no record yet; a record is of the line as it was."""
    os.environ["CI"] = "1"  # hypothesis tries the same examples each time
    for name in LIBRARIES:
        importlib.import_module(name)
    for room in rooms:
        place, tests = ROOMS[room]
        files = sorted(path for path in ([ROOT / place] if place.endswith(".py") else (ROOT / place).glob("_*.py")))
        files = [path for path in files if not names or path.stem in names]
        if survives({"path": str(files[0].relative_to(ROOT))}, tests, 10 * seconds) != "survived":
            raise RunError(f"the tests of {room} fail without a fault", f"See: pytest {' '.join(tests)}.")
        cells = [cell for path in files if path.name != "__init__.py" for cell in mutants(path, each)]

        def work(cell: drive.Cell, room: str = room, tests: tuple[str, ...] = tests) -> dict[str, Any]:
            started = time.monotonic()
            mirrors = [f"{folder}/test{Path(cell['path']).stem}.py" for folder in tests]
            first = tuple(mirror for mirror in mirrors if (ROOT / mirror).exists())
            found = survives(cell, first, seconds) if first else "survived"
            found = survives(cell, tests, seconds) if found == "survived" else found
            return {"schema": 1, "room": room, "cell": cell, "found": found, "seconds": time.monotonic() - started}

        todo = {f"{cell['path']}, {cell['number']}, {cell['was']}": cell for cell in cells}
        drive.run(TABLE, todo, work, line=lambda record: f"{record['cell']['is']}: {record['found']}")


def report() -> None:
    """Write ``reports/mutation.md``."""
    rows = list(TABLE.read().values())
    body, lines = [], ["# Faults that the tests notice", ""]
    for room in ROOMS:
        mine = [row for row in rows if row["room"] == room]
        killed = sum(row["found"] != "survived" for row in mine)
        if mine:
            body.append([room, str(len(mine)), str(killed), f"{100 * killed / len(mine):.0f} %"])
    lines += [
        "Made by `python -m benchmarks.mutation report`; how: `benchmarks/mutation.py`. A fault that makes the tests"
    ]
    lines += ["run too long counts as noticed.", "", *grid(["room", "faults", "noticed", "share"], body), ""]
    lines += [
        "## Not noticed",
        "",
        "Some of these change nothing that can be seen, such as a tolerance or a block size.",
        "",
    ]
    left = [row["cell"] for row in rows if row["found"] == "survived"]
    lines += grid(
        ["file", "line", "was", "is"], [[c["path"][16:], str(c["line"]), f"`{c['was']}`", f"`{c['is']}`"] for c in left]
    )
    write_page(REPORTS / "mutation.md", [line.replace("||", "\\|\\|") for line in lines])
    print(REPORTS / "mutation.md")


def main() -> None:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command", choices=["run", "report"])
    parser.add_argument("--rooms", nargs="+", default=list(ROOMS), choices=list(ROOMS))
    parser.add_argument("--files", nargs="+", default=[], help="names of modules; by default all of the rooms")
    parser.add_argument("--each", type=int, default=6, help="mutants of each file")
    parser.add_argument("--seconds", type=float, default=60, help="after which the tests of a mutant are ended")
    given = parser.parse_args()
    if given.command == "run":
        run(given.rooms, given.files, given.each, given.seconds)
    else:
        report()


if __name__ == "__main__":
    main()
