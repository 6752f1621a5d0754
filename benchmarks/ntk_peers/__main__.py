"""Kernels beside the peers.

    sh benchmarks/ntk_peers/environments.sh FOLDER                 # the peers' environments, outside the repository
    python -m benchmarks.ntk_peers run SUITE --peers FOLDER        # small, medium, large; SUITE may be several
    python -m benchmarks.ntk_peers agree --peers FOLDER            # all implementations, 32 and 64 bits
    python -m benchmarks.ntk_peers spectrum                        # top-20 pairs, n = 1,000 to 10,000, within 2 GiB
    python -m benchmarks.ntk_peers turns                           # transformers: ours and torch.func in turns
    python -m benchmarks.ntk_peers report                          # reports/kernels.md from the records

On a GPU: ``run small medium large --device cuda`` (ours and torch.func), ``spectrum --device cuda --network resnet18
--sizes 50000 --memory 40GiB --no-exact``. Records go to ``benchmarks/records/ntk_peers.parquet``.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from benchmarks.ntk_peers import agreement, driver, report, spectrum, turns
from benchmarks.ntk_peers.suites import ALL, SUITES


def main() -> None:
    """Parse the command line and run what it says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    run, agree, spectra = (commands.add_parser(name) for name in ("run", "agree", "spectrum"))
    alternate = commands.add_parser("turns")
    alternate.add_argument("--outputs", nargs="+", default=[], choices=("sum", "trace", "full"))
    alternate.add_argument("--sizes", nargs="+", type=int, default=[], help="only kernels of so many examples")
    commands.add_parser("report")
    run.add_argument("suites", nargs="+", choices=sorted(SUITES))
    run.add_argument("--methods", nargs="+", default=list(ALL), choices=ALL)
    agree.add_argument("--networks", nargs="+", default=list(agreement.SIZES), choices=list(agreement.SIZES))
    spectra.add_argument("--network", default="cnn")
    spectra.add_argument("--sizes", nargs="+", type=int, default=[1000, 2500, 5000, 10_000])
    spectra.add_argument("--memory", default="2GiB")
    spectra.add_argument("--no-exact", action="store_true", help="no exact eigenvalues to compare with")
    for command in (run, agree, spectra, alternate):
        command.add_argument("--work", type=Path, default=Path(tempfile.gettempdir()) / "ntk-peers")
    for command in (run, agree, spectra):
        command.add_argument("--peers", type=Path, help="folder made by environments.sh")
        command.add_argument("--core", type=int, help="pin each process to this core")
        command.add_argument("--device", default="cpu")
        command.add_argument("--limit", type=float, default=1200.0, help="seconds for a cell")
    a = parser.parse_args()
    if a.command == "report":
        report.write()
        return
    if a.command == "turns":
        turns.run("transformers", a.work, a.outputs, a.sizes)
        return
    place = driver.Place(a.work, a.peers, a.core, a.device, a.limit)
    if a.command == "run":
        for suite in a.suites:
            driver.run(suite, place, tuple(a.methods))
    elif a.command == "agree":
        agreement.run(place, a.networks)
    else:
        spectrum.run(place, a.network, a.sizes, a.memory, exact=not a.no_exact)


if __name__ == "__main__":
    main()
