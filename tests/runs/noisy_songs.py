"""A table with nine wrong labels, and a run on it, for the tests of what is written from a run."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from selfdistill import train
from selfdistill._core.read_options import ReadOptions
from selfdistill.data._read import read as data_read
from selfdistill.runs._directory import run as runs_run

N = 60


def frame() -> pd.DataFrame:
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 2, N)
    given = truth.copy()
    given[:9] = 1 - given[:9]
    return pd.DataFrame(
        {
            "id": [f"r{i}" for i in range(N)],
            "x": (truth * 6 + rng.normal(size=N)).round(3),
            "z": rng.normal(size=N).round(3),
            "note": ['says "no", once' if i % 7 == 0 else f"n{i % 3}" for i in range(N)],
            "label": np.array(["früh", "spät"])[given],
        }
    )


def trained(source: str, epochs: int | None = 60, lr: float | None = None, **read: object) -> Path:
    options = ReadOptions(**{k: tuple(v) if isinstance(v, list) else v for k, v in read.items()})
    examples = data_read(source, options)
    settings = train.Settings(network="mlp:8", augment="none", epochs=epochs, lr=lr).resolve(len(examples), "cpu")
    described = {"source": source, "read": read, "test": None}
    runs_run(examples, settings, Path("run"), source=described)
    return Path("run")
