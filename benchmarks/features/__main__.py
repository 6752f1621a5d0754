"""The command line of the bench on features.

python -m benchmarks.features prepare --data DIR --cache DIR
python -m benchmarks.features run --data DIR --cache DIR [--part PART] [--only NAME ...] [--rivals NAME ...]
python -m benchmarks.features report [--part PART] [--ours NAME] [--page]
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from benchmarks.command import exit_code
from benchmarks.features import cache, data_sets, drive, records, report
from benchmarks.features.rivals import OURS, RIVALS
from benchmarks.pages import REPORTS, write_page


def parser() -> argparse.ArgumentParser:
    """Describe the command line."""
    top = argparse.ArgumentParser(
        prog="python -m benchmarks.features", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = top.add_subparsers(dest="command", required=True)
    prepare = commands.add_parser("prepare", help="write all data sets into the cache, as plain arrays")
    run = commands.add_parser("run", help="run the cells that have no record yet")
    for command in (prepare, run):
        command.add_argument("--data", type=Path, default=Path("data"), help="folder of the data sets")
        command.add_argument("--cache", type=Path, default=Path("cache"), help="folder of prepared data and packages")
        command.add_argument("--only", nargs="+", default=[], help="data sets; all by default")
    run.add_argument("--noise", nargs="+", default=[], help="kinds of noise; all by default")
    run.add_argument("--rivals", nargs="+", default=[], help=f"all by default: {'; '.join(RIVALS)}")
    run.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    run.add_argument("--limit", type=float, default=drive.LIMIT, help="seconds after which a cell is ended")
    run.add_argument("--again", action="store_true", help="measure anew what has a record")
    run.add_argument("--list", action="store_true", help="name the cells and run none")
    reporting = commands.add_parser("report", help="print the tables")
    reporting.add_argument("--page", action="store_true", help="write benchmarks/reports/features.md instead")
    reporting.add_argument("--ours", default=OURS[0], choices=OURS, help="what the others are compared with")
    for command in (run, reporting):
        command.add_argument("--part", choices=data_sets.PARTS, default="development")
        command.add_argument("--records", type=Path, default=records.RECORDS, help="folder of the records")
    return top


def main(arguments: list[str] | None = None) -> int:
    """Do what the command line says."""
    options = parser().parse_args(arguments)
    return exit_code(lambda: {"prepare": _prepare, "run": _run, "report": _report}[options.command](options))


def _prepare(options: argparse.Namespace) -> int:
    for part in data_sets.PARTS:
        for name in data_sets.names(part):
            if not options.only or name in options.only:
                print(cache.prepare(name, part, options.data, options.cache))
    return 0


def _run(options: argparse.Namespace) -> int:
    load = drive.loader(options.part, options.data, options.cache)
    chosen = {"only": options.only, "kinds": options.noise, "rivals": options.rivals, "seeds": options.seeds}
    todo = drive.cells(options.part, load, **chosen)
    if options.list:
        for cell in todo:
            print(records.key(cell))
        return 0
    return int(drive.run(todo, load, store=options.records, limit=options.limit, again=options.again) > 0)


def _report(options: argparse.Namespace) -> int:
    text = report.write(options.part, options.ours, options.records)
    if options.page:
        how = "<!-- Made by `python -m benchmarks.features report --part final --page`; see benchmarks/features -->"
        write_page(REPORTS / "features.md", [how, *text.splitlines()])
    else:
        print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
