"""The report's sections on development data: rivals with other hyper-parameters, and changes to the default."""

from __future__ import annotations

from pathlib import Path
from statistics import mean

from benchmarks.pages import grid, spread
from benchmarks.science.columns import END, by_seed
from benchmarks.science.conditions import condition, group
from benchmarks.science.suite import Suite, read_suite

_DATA = (
    "on development data: the last 10,000 training images of Fashion-MNIST are the test set, the examples come from "
    "the others; the last epoch counts. The best of a method by its mean is in bold."
)
SECTIONS = {
    "tuning": (
        "## What tuning gives the rivals",
        f"Rivals that cost one pass, with values beside those of their papers, {_DATA} The default was chosen on the "
        "same images with some forty variants. Suite `tuning`.",
    ),
    "development": (
        "## Changes to the default that were tried",
        "The default, what it was before (`docs/decisions/0012-a-slow-noise-matrix.md`), the change in parts, and ELR, "
        f"{_DATA} Suite `development`.",
    ),
    "development-cifar10": (
        "## The same on a network that learns slowly",
        "CIFAR-10, 10,000 of the first 30,000 training images, small CNN, 15 epochs; images 30,000 to 39,999 are the "
        "test set; the last epoch counts. Suite `development-cifar10`.",
    ),
    "development-tabular-text": (
        "## The same where people or rules gave the labels",
        "A fifth of the training rows, with their true labels, is the test set; the last epoch counts. No test row of "
        "`tabular-text` is in it. Suite `development-tabular-text`.",
    ),
    "development-text-clean": (
        "## The texts with their true labels",
        "The same rows, where no label is wrong: larger steps win nothing here, so what they win above is some "
        "resistance to errors made by rules (`docs/decisions/0013-texts-keep-small-steps.md`). Suite "
        "`development-text-clean`.",
    ),
}


def section(store: Path) -> list[str]:
    """Write one table per suite: rows by conditions, last epoch, and the mean that a choice goes by."""
    lines = []
    for name, (title, text) in SECTIONS.items():
        found = _table(read_suite(name), store)
        absent = f"Not measured yet: `python -m benchmarks.science run {name} --data DIR`."
        lines += [title, "", *([text, "", *found] if found else [absent]), ""]
    return lines


def _table(suite: Suite, store: Path) -> list[str]:
    groups = group(suite, store)
    keys = [(data, noise, network) for data in suite.data for noise in suite.noise for network in suite.networks]
    columns = [condition(suite, key) for key in keys]
    found = {
        row.name: {
            condition(suite, key): [*values.values()]
            for key, rows in groups.items()
            if (values := by_seed(rows.get(row.name, []), END))
        }
        for row in suite.rows
    }
    whole = {
        name: 100 * mean(mean(values) for values in every.values())
        for name, every in found.items()
        if [len(values) for values in every.values()] == [len(suite.seeds)] * len(columns)
    }
    best = {
        max((row.name for row in suite.rows if row.method == method and row.name in whole), key=whole.__getitem__)
        for method in {row.method for row in suite.rows if row.name in whole}
    }
    body: list[list[str]] = []
    for row in sorted(suite.rows, key=lambda row: [r.method for r in suite.rows].index(row.method)):
        if found[row.name]:
            shown = [spread(found[row.name].get(column, [])) for column in columns]
            average = f"{whole[row.name]:.1f}" if row.name in whole else "–"
            body.append([f"**{row.name}**" if row.name in best else row.name, *shown, average])
    return grid(["method", *columns, "mean"], body) if body else []
