"""A small suite to try, and records as its cells would write them."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
from benchmarks.science import suite

TOML = """
title = "A trial"
data = ["digits"]
examples = 200
holdout = 20
noise = ["symmetric-40", "pair-40"]
networks = ["mlp:16"]
methods = ["sat", "selfdistill", "cross-entropy"]
seeds = [100, 101]
budget = 1

[settings]
epochs = 2
"""


def write_suite(folder: Path, text: str = TOML, name: str = "trial") -> suite.Suite:
    (folder / f"{name}.toml").write_text(text)
    return suite.read_suite(name, folder)


def record(trial: suite.Suite, row: str, seed: int, test, held=None, **more) -> dict:
    """A record as a cell would write it, with made-up curves."""
    found = next(c for c in trial.cells() if c["row"] == row and c["seed"] == seed and c["noise"] == "symmetric-40")
    curves = {
        "test_accuracy": test,
        "noisy_holdout_accuracy": held or test,
        "changed_share": [1.0, 0.2, 0.4][: len(test)],
    }
    cost = {
        "cpu_seconds": 12.0,
        "evaluation_cpu_seconds": 2.0,
        "training_peak_mib": 400.0,
        "sample_bytes": 200 * 10 * 4,
    }
    cost |= {"wall_seconds": 20.0, "evaluation_wall_seconds": 4.0}
    made = {
        "schema": 1,
        "cell": found,
        "data": {"examples": 200, "holdout": 20, "test": 360, "classes": 10, "realised_rate": 0.4},
        "diverged": None,
        "kept_epoch": None,
        "returned": test[-1] if test else None,
        "curves": curves,
        "cost": cost,
        "hardware": {"device_name": "one", "threads": 1},
    }
    return made | more


def answer(found, folder):
    """What a cell's process would answer, at once."""
    made = {"schema": 1, "cell": found, "diverged": None, "returned": 0.5, "curves": {"test_accuracy": [0.5]}}
    return made | {"cost": {"cpu_seconds": 1.0, "wall_seconds": 1.0}}


@pytest.fixture(scope="session")
def science() -> SimpleNamespace:
    """The text of a suite, and functions that write it and make records."""
    return SimpleNamespace(toml=TOML, write_suite=write_suite, record=record, answer=answer)
