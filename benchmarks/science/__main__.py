"""The command line of the bench.

python -m benchmarks.science run SUITE [--data DIR] [--jobs N] [--seeds ..] [--methods ..] [--budget MINUTES] [--ray]
python -m benchmarks.science report [SUITE ...]
python -m benchmarks.science cost
python -m benchmarks.science throughput
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from benchmarks.command import exit_code


def parser() -> argparse.ArgumentParser:
    """Describe the command line."""
    top = argparse.ArgumentParser(
        prog="python -m benchmarks.science", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = top.add_subparsers(dest="command", required=True)
    run = commands.add_parser("run", help="run the cells of a suite that have no record yet")
    run.add_argument("suite")
    run.add_argument("--data", type=Path, default=Path("data"), help="folder of the data sets")
    run.add_argument("--jobs", type=int, help="cells at a time, one thread each; 1, with --ray all there is room for")
    run.add_argument("--seeds", type=int, nargs="+")
    run.add_argument("--methods", nargs="+", help="methods or rows")
    run.add_argument("--noise", nargs="+")
    run.add_argument("--budget", type=float, help="minutes after which no further cell is started")
    run.add_argument("--ray", action="store_true", help="spread over the machines of a Ray cluster")
    report = commands.add_parser("report", help="write reports/rivals.md and its figures from the records")
    report.add_argument("suites", nargs="*")
    report.add_argument("--short", action="store_true", help="print the short table for the README instead")
    cell = commands.add_parser("cell", help="run one cell here and print its record")
    cell.add_argument("cell", type=json.loads)
    cell.add_argument("--data", type=Path, default=Path("data"))
    cost = commands.add_parser("cost", help="count FLOPs and bytes of each method")
    cost.add_argument("--networks", nargs="+")
    cost.add_argument("--methods", nargs="+")
    speed = commands.add_parser("throughput", help="images per second beside a bare loop and a DataLoader")
    speed.add_argument("--device", default="cpu")
    speed.add_argument("--networks", nargs="+")
    speed.add_argument("--repetitions", type=int, default=7)
    speed.add_argument("--seconds", type=float, default=2.0, help="length of one measurement")
    for command in (run, report, cost, speed):
        command.add_argument(
            "--records", type=Path, help="folder of the records; benchmarks/records/science by default"
        )
    return top


def main(arguments: list[str] | None = None) -> int:
    """Do what the command line says."""
    given = parser().parse_args(arguments)
    return exit_code(lambda: _do(given))


def _do(given: argparse.Namespace) -> int:
    from benchmarks.science.records import RECORDS

    store = getattr(given, "records", None) or RECORDS
    if given.command == "run":
        from benchmarks.science import drive
        from benchmarks.science.suite import read_suite

        suite = read_suite(given.suite)
        cells = drive.select(suite, given.methods, given.seeds, given.noise)
        spread = drive.over_machines if given.ray else drive.over_processes
        failed = drive.run(
            suite,
            cells,
            given.data,
            jobs=given.jobs or int(not given.ray),
            budget=given.budget,
            spread=spread,
            store=store,
        )
        return 1 if failed else 0
    if given.command == "cell":
        from benchmarks.science.cell import run_cell

        print(json.dumps(run_cell(given.cell, given.data)))
    elif given.command == "report":
        from benchmarks.science import report

        if given.short:
            print(report.short_table(given.suites, store))
        else:
            print(report.write(given.suites, store))
    elif given.command == "cost":
        from benchmarks.science import cost

        cost.run(given.networks, given.methods, store)
    else:
        from benchmarks.science import throughput

        throughput.run(given.networks, given.device, given.repetitions, given.seconds, store)
    return 0


if __name__ == "__main__":
    sys.exit(main())
