"""What a method costs, counted and not timed: FLOPs of a whole small fit, and bytes kept per example.

python -m benchmarks.science cost [--networks ..] [--methods ..]
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.science import records
from benchmarks.science.cell import state_bytes
from selfdistill import noise, train
from selfdistill._core.errors import SettingError
from selfdistill._core.files import write_json
from selfdistill._core.record import environment
from selfdistill.data._labelled import LabelledData
from selfdistill.data._source import from_arrays
from selfdistill.train._fit import fit
from selfdistill.train._methods import METHODS
from selfdistill.train._methods import method as train_method

FILE = "cost.json"
PLAIN = "cross-entropy"
CLASSES, EPOCHS, RATE = 10, 40, 0.4
CASES = {"mlp:512,512": ((1, 28, 28), 256, 64), "cnn": ((3, 32, 32), 256, 64)}  # shape, examples, batch

# Passes per image and epoch in the public code of each paper, over those of cross-entropy; ResNet-18, where one forward
# pass is a third of a step.
PUBLISHED = {
    "cross-entropy": "1",
    "sce": "1.00",
    "elr": "1.00",
    "sop": "1.00",
    "gce-truncated": "1.025",
    "co-teaching": "2.00",
    "dividemix": "12 f + 0.67, f the share it takes for clean",
}


def images(shape: tuple[int, ...], examples: int, seed: int = 0) -> LabelledData:
    """Make images that can be told apart: a random pattern per class, noise on top, and 40 % wrong labels."""
    from dataclasses import replace

    rng = np.random.default_rng(seed)
    truth = np.arange(examples) % CLASSES
    patterns = rng.integers(0, 128, (CLASSES, *shape), dtype=np.uint8)
    pixels = patterns[truth] + rng.integers(0, 128, (examples, *shape), dtype=np.uint8)
    made = from_arrays(pixels, truth.astype(str))
    clean = made.labels
    matrix = noise.symmetric(CLASSES, RATE, include_clean=False)
    return replace(made, labels=noise.draw(clean, matrix, seed).labels, truth=clean)


def count(method: str, network: str, epochs: int = EPOCHS) -> dict[str, Any]:
    """Count a whole small fit."""
    shape, examples, batch = CASES[network]
    part = images(shape, examples)
    settings = train.Settings(method=method, network=network, epochs=epochs, batch_size=batch, lr=0.03, augment="none")
    counter = FlopCounterMode(display=False)
    found: dict[str, Any] = {"examples": examples, "classes": CLASSES}
    try:
        with counter:
            fitted = fit(part, settings.resolve(examples, "cpu"))
        found |= {"sample_bytes": state_bytes(fitted.targets)["sample_bytes"]}
    except SettingError as error:
        if "loss became" not in error.problem:
            raise
        found["diverged"] = "diverged"
    flops = counter.get_total_flops()
    return found | {"flops": flops, "flops_per_image": flops / examples / epochs}


def run(networks: Sequence[str] | None, methods: Sequence[str] | None, store: Path = records.RECORDS) -> Path:
    """Count all methods on all networks, and write the record."""
    for network in networks or ():
        if network not in CASES:
            raise SettingError(f"network {network!r} is not counted here", f"Choose one of: {', '.join(CASES)}.")
    names = [*dict.fromkeys([PLAIN, *(methods or METHODS)])]
    for name in names:
        train_method(name)
    torch.set_num_threads(1)
    cases = []
    for network in networks or CASES:
        found = {}
        for name in names:
            found[name] = count(name, network)
            ratio = found[name]["flops"] / found[PLAIN]["flops"]
            print(f"{network:12} {name:20} {ratio:6.3f} x cross-entropy", file=sys.stderr, flush=True)
        cases.append({"network": network, "shape": " x ".join(map(str, CASES[network][0])), "methods": found})
    path = store / FILE
    path.parent.mkdir(parents=True, exist_ok=True)
    record = {"schema": records.SCHEMA, "epochs": EPOCHS, "rate": RATE, "methods": names, "cases": cases}
    write_json(path, record | environment("cpu"))
    return path
