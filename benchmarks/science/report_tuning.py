"""The report's section on tuning: rivals with other hyper-parameters than their papers', on development data."""

from __future__ import annotations

from pathlib import Path
from statistics import mean

from benchmarks.science.columns import END, by_seed, grid
from benchmarks.science.conditions import group
from benchmarks.science.suite import read_suite

NAME = "tuning"


def section(store: Path) -> list[str]:
    """Write one table: rows by conditions, last epoch, and the mean that a choice goes by.

    Args:
        store: Where records lie.

    Returns:
        Lines of the report.
    """
    suite = read_suite(NAME)
    groups = group(suite, store)
    lines = ["## What tuning gives the rivals", ""]
    if not groups:
        return [*lines, f"Not measured yet: `python -m benchmarks.science run {NAME} --data DIR`.", ""]
    lines += [
        "Rivals that cost one pass, with values beside those of their papers, on development data: the last 10,000 "
        "training images of Fashion-MNIST are the test set, the examples come from the others, seed 0; the last epoch "
        "counts, as it does for the default, which was chosen on the same images with about twenty variants on the "
        f"same seed. Suite `{NAME}`. The best of a method by its mean is in bold.",
        "",
    ]
    found = {
        row.name: {
            key[1]: 100 * values[suite.seeds[0]]
            for key, rows in groups.items()
            if (values := by_seed(rows.get(row.name, []), END)).keys() >= {suite.seeds[0]}
        }
        for row in suite.rows
    }
    whole = {name: mean(values.values()) for name, values in found.items() if len(values) == len(suite.noise)}
    best = {
        max((row.name for row in suite.rows if row.method == method and row.name in whole), key=whole.__getitem__)
        for method in {row.method for row in suite.rows if row.name in whole}
    }
    body: list[list[str]] = []
    for row in sorted(suite.rows, key=lambda row: [r.method for r in suite.rows].index(row.method)):
        shown = [f"{found[row.name][noise]:.1f}" if noise in found[row.name] else "–" for noise in suite.noise]
        average = f"{whole[row.name]:.1f}" if row.name in whole else "–"
        body.append([f"**{row.name}**" if row.name in best else row.name, *shown, average])
    return [*lines, *grid(["method", *suite.noise, "mean"], body), ""]
