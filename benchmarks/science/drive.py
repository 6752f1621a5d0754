"""Run what has no record yet: spread over processes with joblib, or over machines with Ray."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from benchmarks import drive
from benchmarks.drive import over_processes, say
from benchmarks.science import records
from benchmarks.science.cell import ROOT, commit, in_own_process
from benchmarks.science.data_sets import missing
from benchmarks.science.suite import Cell, Suite, check_methods, nearest, record_key
from selfdistill._core.errors import ResourceError, SettingError
from selfdistill.train._settings import resolve_device


def select(
    suite: Suite,
    methods: Sequence[str] | None = None,
    seeds: Sequence[int] | None = None,
    noise: Sequence[str] | None = None,
) -> list[Cell]:
    """Choose cells of a suite."""
    names = [*dict.fromkeys(name for row in suite.rows for name in (row.method, row.name))]
    for wanted, known, what in ((methods, names, "method"), (noise, suite.noise, "noise")):
        for name in wanted or ():
            if name not in known:
                raise SettingError(f"suite {suite.name!r} has no {what} {name!r}", nearest(name, known))
    for seed in seeds or ():
        if seed not in suite.seeds:
            raise SettingError(
                f"suite {suite.name!r} has no seed {seed}", f"Choose of {', '.join(map(str, suite.seeds))}."
            )
    rows = [row for row in suite.rows if not methods or row.name in methods or row.method in methods]
    check_methods(rows)
    chosen = {row.name for row in rows}
    return [
        cell
        for cell in suite.cells()
        if cell["row"] in chosen and (not seeds or cell["seed"] in seeds) and (not noise or cell["noise"] in noise)
    ]


def run(
    suite: Suite,
    cells: list[Cell],
    folder: Path,
    *,
    jobs: int = 1,
    budget: float | None = None,
    spread: drive.Spread = over_processes,
    work: Callable[[Cell, str], dict[str, Any]] = in_own_process,
    store: Path = records.RECORDS,
) -> list[str]:
    """Run the cells that have no record yet, and write each as it finishes."""
    if spread is not over_machines:
        _check_device(suite)
    records.finished(suite, cells, store)  # refuses what does not fit
    absent = what_is_absent(suite, folder)
    for name, files in absent.items():
        say(f"{name} is skipped: {folder} has no {', '.join(files)}")
    records.write_skipped(suite.name, absent, store)
    there = [cell for cell in cells if not absent.keys() & {cell["data"], f"{cell['data']}, {cell['noise']}"}]
    place = str(folder.resolve())

    def measured(cell: Cell) -> dict[str, Any]:
        return work(cell, place)

    return drive.run(
        records.table_of(suite.name, store),
        {record_key(cell): cell for cell in there},
        measured,
        line=_line,
        spread=spread,
        jobs=jobs,
        minutes=suite.budget if budget is None else budget,
    )


def _check_device(suite: Suite) -> None:
    try:
        resolve_device(suite.device)
    except ResourceError as error:
        way_out = f"Run it on a machine that has one, or give {suite.name}.toml another device and a name of its own."
        raise ResourceError(f"suite {suite.name!r} trains on {suite.device!r}, which is not there", way_out) from error


def what_is_absent(suite: Suite, folder: Path) -> dict[str, list[str]]:
    """Find the data sets of a suite that are not there, or only their labels for some noise."""
    found = {}
    for data in suite.data:
        if files := missing(data, [], folder):
            found[data] = files
            continue
        found |= {f"{data}, {noise}": files for noise in suite.noise if (files := missing(data, [noise], folder))}
    return found


def _line(record: dict[str, Any]) -> str:
    cost, curve = record["cost"], record["curves"].get("test_accuracy", [])
    last = record["diverged"] or f"{100 * record['returned']:.1f} %, best {100 * max(curve):.1f} %"
    return f"{last}, {cost['cpu_seconds']:.0f} s CPU, {cost['wall_seconds']:.0f} s wall"


def over_machines(work: drive.Work, cells: Iterable[Cell], jobs: int) -> Iterator[tuple[Cell, dict[str, Any]]]:
    """Spread cells over the machines of a Ray cluster; data must lie in the same folder on each.

    Joins the cluster that ``RAY_ADDRESS`` names, else starts one on this machine. The code travels along; the packages
    must be there. A cell of a suite for CUDA takes one GPU.
    """
    try:
        import ray  # type: ignore[import-not-found,unused-ignore]  # an extra
    except ImportError as error:
        raise ResourceError("Ray is not installed", "Install it with: pip install 'selfdistill[ray]'.") from error
    if not ray.is_initialized():
        code = {"working_dir": str(ROOT), "excludes": [".git", ".venv", "build", "docs", "benchmarks/records"]}
        ray.init(runtime_env=code, log_to_driver=False)
    resources = ray.cluster_resources()
    waiting: dict[Any, Cell] = {}
    source = iter(cells)
    room = 1  # until the first cell says whether it wants a GPU
    while True:
        while len(waiting) < room and (cell := next(source, None)) is not None:
            cuda = str(cell["device"]).startswith("cuda")
            room = jobs or max(1, int(resources.get("GPU" if cuda else "CPU", 1)))
            waiting[ray.remote(work).options(num_cpus=1, num_gpus=int(cuda)).remote(cell)] = cell
        if not waiting:
            return
        (ready, *_), _ = ray.wait([*waiting], num_returns=1)
        cell = waiting.pop(ready)
        try:
            made = ray.get(ready)
            yield cell, made | {"commit": made.get("commit") or commit()}  # code that travels leaves its git behind
        except ray.exceptions.RayError as error:  # a machine that went away takes its cell with it, and no other
            yield cell, {"failed": str(error).splitlines()[0]}
