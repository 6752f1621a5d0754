"""The tables of records: what they hold, what no longer counts, and how a record is taken out.

python -m benchmarks list [TABLE]               # tables and their sizes; the keys of one
python -m benchmarks show TABLE [KEY ...]       # records as JSON, a line for each
python -m benchmarks drop TABLE KEY ...         # take records out; the next run measures them anew
python -m benchmarks stale [SUITE ...]          # records that their suite no longer asks for, or asks for otherwise

A table is named by its path, or by its name below benchmarks/records without the ending: science/fashion-cpu.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path

from benchmarks import drive
from benchmarks.command import exit_code
from benchmarks.pages import grid
from benchmarks.table import RECORDS, Table
from selfdistill._core.errors import SettingError


def suites() -> dict[str, Callable[[], drive.Suite]]:
    """The suites that say what they ask for."""
    from benchmarks import air_stopping, label_errors, main_job, warning_light
    from benchmarks.claims import records as claims
    from benchmarks.features import records as features
    from benchmarks.science import records as science
    from benchmarks.science.suite import suite_names

    found: dict[str, Callable[[], drive.Suite]] = {
        f"science/{name}": lambda name=name: science.suite(name)  # type: ignore[misc]
        for name in suite_names()
    }
    found |= {f"claims/{form}": lambda form=form: claims.suite(form) for form in ("full", "small")}  # type: ignore[misc]
    found |= {f"features/{part}": lambda part=part: features.suite(part) for part in ("development", "final")}  # type: ignore[misc]
    return found | {
        one.__name__.rpartition(".")[2]: one.suite for one in (main_job, label_errors, warning_light, air_stopping)
    }


def table_of(name: str) -> Table:
    """Find a table."""
    for path in (Path(name), RECORDS / f"{name}.parquet"):
        if path.is_file():
            return Table(path)
    raise SettingError(f"table {name!r} does not exist", "See: python -m benchmarks list.")


def parser() -> argparse.ArgumentParser:
    """Describe the command line."""
    top = argparse.ArgumentParser(
        prog="python -m benchmarks", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = top.add_subparsers(dest="command", required=True)
    commands.add_parser("list").add_argument("table", nargs="?")
    for command, many in (("show", "*"), ("drop", "+")):
        one = commands.add_parser(command)
        one.add_argument("table")
        one.add_argument("keys", nargs=many)
    commands.add_parser("stale").add_argument("suites", nargs="*")
    return top


def main(arguments: list[str] | None = None) -> int:
    """Do what the command line says."""
    given = parser().parse_args(arguments)
    commands = {"list": _list, "show": _show, "drop": _drop, "stale": _stale}
    return exit_code(lambda: commands[given.command](given))


def _list(given: argparse.Namespace) -> int:
    if given.table:
        print(*table_of(given.table).read(), sep="\n")
        return 0
    paths = sorted(RECORDS.rglob("*.parquet"))
    rows = [(path, len(Table(path).read()), path.stat().st_size / 1000) for path in paths]
    body = [[str(path.relative_to(RECORDS).with_suffix("")), f"{n:,}", f"{size:,.0f}"] for path, n, size in rows]
    print("\n".join(grid(["table", "records", "kB"], body)))
    return 0


def _show(given: argparse.Namespace) -> int:
    for key, record in table_of(given.table).read().items():
        if not given.keys or key in given.keys:
            print(json.dumps({"key": key} | record))
    return 0


def _drop(given: argparse.Namespace) -> int:
    table_of(given.table).remove(given.keys)
    return 0


def _stale(given: argparse.Namespace) -> int:
    known, count = suites(), 0
    for name in given.suites:
        if name not in known:
            raise SettingError(f"suite {name!r} is not known here", f"Choose of {', '.join(known)}.")
    for name in given.suites or known:
        found = known[name]().stale()
        count += len(found)
        for key, why in found.items():
            print(f"{name}: {key}: {why}")
    print(f"{count} records are stale", file=sys.stderr)
    return int(count > 0)


if __name__ == "__main__":
    sys.exit(main())
