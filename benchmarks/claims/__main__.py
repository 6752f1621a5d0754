"""The claims of the paper as experiments.

python -m benchmarks.claims run [NAME ...] [--small] [--data DIR] [--seeds ...] [--parts PATTERN] [--budget MINUTES]
python -m benchmarks.claims check                     # the small form anew, beside the committed records
python -m benchmarks.claims report                    # reports/claims.md and its figures from the records
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.claims import drive, records
from benchmarks.claims.claim import SEEDS, flips
from benchmarks.command import exit_code


def parser() -> argparse.ArgumentParser:
    """Describe the command line."""
    top = argparse.ArgumentParser(
        prog="python -m benchmarks.claims", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = top.add_subparsers(dest="command", required=True)
    run = commands.add_parser("run", help="measure what has no record yet")
    run.add_argument("names", nargs="*", help="claims; all by default")
    run.add_argument("--small", action="store_true", help="built-in digits and made-up data; under three minutes")
    run.add_argument("--data", type=Path, default=Path("data"), help="folder that holds fashion-mnist/")
    run.add_argument("--seeds", type=int, nargs="+", default=list(SEEDS))
    run.add_argument("--parts", default="*", help="pattern of parts, such as 'digits-*'; all by default")
    run.add_argument("--budget", type=float, help="minutes after which nothing more is begun")
    check = commands.add_parser("check", help="measure the small form anew; fails if a committed verdict flips")
    check.add_argument("names", nargs="*")
    report = commands.add_parser("report", help="write reports/claims.md and its figures")
    for command in (run, check, report):
        command.add_argument("--records", type=Path, default=records.RECORDS, help="folder of the records")
    return top


def main(arguments: list[str] | None = None) -> int:
    """Do what the command line says."""
    given = parser().parse_args(arguments)
    return exit_code(lambda: _do(given))


def _do(given: argparse.Namespace) -> int:
    import torch

    torch.set_num_threads(1)
    if given.command == "run":
        form = "small" if given.small else "full"
        whole = drive.run(
            drive.select(given.names),
            form,
            given.data,
            seeds=given.seeds,
            only=given.parts,
            budget=given.budget,
            store=given.records,
        )
        return 0 if whole else 1
    if given.command == "check":
        return check(given.names, given.records)
    from benchmarks.claims import report

    print(report.write(given.records))
    return 0


def check(names: list[str], store: Path) -> int:
    """Measure the small form into a folder of its own, and compare the verdicts with the committed ones."""
    chosen, busy = drive.select(names), time.process_time()
    with tempfile.TemporaryDirectory() as folder:
        drive.run(chosen, "small", Path("data"), store=Path(folder))
        turned = [
            line
            for claim in chosen
            for line in flips(
                claim,
                "small",
                records.rows(store, "small", claim),
                records.rows(Path(folder), "small", claim),
            )
        ]
    print("\n".join(turned) if turned else "every verdict stands", f"({time.process_time() - busy:.0f} s of CPU)")
    return 1 if turned else 0


if __name__ == "__main__":
    sys.exit(main())
