"""Whether a review of a network's run should learn in a fixed kernel of its last features.

    python -m benchmarks.review_networks [--data DIR] [--cache DIR]

Truth plays the reviewer, on Fashion-MNIST with 2,000 rows; the network is trained by the default method for networks.
Orders: *fixed*, that of the run; *kernel*, the closed form on what the network's last layer sees, all labels refined
anew after every ten decisions; *shift*, the log-odds of the run's label quality plus what the decisions changed in
those of the kernel. Each kind of wrong labels is a record of ``benchmarks/records/review_networks.parquet``.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.special import logit
from torch import nn

from benchmarks.features import cache, noise
from benchmarks.table import RECORDS, Table
from selfdistill._core.record import environment
from selfdistill.closed._given import Given
from selfdistill.closed._prepare import prepare
from selfdistill.closed._settle import settle
from selfdistill.runs import fit
from selfdistill.runs._label_table import read_findings
from selfdistill.runs._model_file import load_model

TABLE = Table(RECORDS / "review_networks.parquet")
KINDS = ("symmetric-40", "weak", "pair-40")
STOPS = (100, 300)
STEP = 10


def last_features(network: nn.Module, inputs: torch.Tensor) -> np.ndarray:
    """Give what the last linear layer sees, ``[n, d]``."""
    seen: list[torch.Tensor] = []
    last = [module for module in network.modules() if isinstance(module, nn.Linear)][-1]
    handle = last.register_forward_hook(lambda module, given, out: seen.append(given[0].detach()))
    with torch.inference_mode():
        for part in inputs.split(500):
            network(part)
    handle.remove()
    return torch.cat(seen).numpy()


def reviewed(features: np.ndarray, given: np.ndarray, truth: np.ndarray, k: int, quality: np.ndarray, *, shift: bool):
    """Count wrong labels found at each stop."""
    made, settled = prepare(torch.from_numpy(features), Given(given, k)), np.full(len(given), -1)
    first, wrong, counts = settle(made, settled).quality, given != truth, []
    order = quality if shift else first
    for count in range(STEP, STOPS[-1] + 1, STEP):
        open_ = np.flatnonzero(settled < 0)
        new = open_[np.argsort(order[open_], kind="stable")[:STEP]]
        settled[new] = truth[new]
        if count in STOPS:
            counts.append(int((wrong & (settled >= 0)).sum()))
        now = settle(made, settled).quality
        order = odds(quality) + odds(now) - odds(first) if shift else now
    return counts


def odds(quality: np.ndarray) -> np.ndarray:
    """Give log-odds of what may be 0 or 1."""
    return logit(np.clip(quality.astype(np.float64), 1e-4, 1 - 1e-4))


def measure(data: Any, kind: str, network: str) -> dict[str, Any]:
    """Train, and review in three orders."""
    images = np.asarray(data.train, np.float32).reshape(-1, 28, 28)
    given, truth, k = noise.draw(data, kind, 0), data.truth, data.num_classes
    begun = time.process_time()
    with tempfile.TemporaryDirectory() as folder:
        np.savez(Path(folder) / "data.npz", X=(images * (1 if images.max() > 2 else 255)).astype(np.uint8), y=given)
        run = fit(Path(folder) / "data.npz", out=Path(folder) / "run", method="selfdistill", network=network, say=None)
        model, quality = load_model(run.folder / "model.safetensors"), read_findings(run.folder).quality
        epochs = run.record.settings.epochs
    trained = time.process_time() - begun
    raw = (images * (1 if images.max() > 2 else 255)).astype(np.uint8)
    features = last_features(model.network, model.preprocess.apply(raw))
    wrong, fixed = given != truth, np.argsort(quality, kind="stable")
    return {
        "wrong": int(wrong.sum()),
        "fixed": [int(wrong[fixed[:stop]].sum()) for stop in STOPS],
        "kernel": reviewed(features, given, truth, k, quality, shift=False),
        "shift": reviewed(features, given, truth, k, quality, shift=True),
        "features": features.shape[1],
        "epochs": epochs,
        "seconds_training": trained,
        "network": model.spec,
    }


def main() -> None:
    """Measure what has no record yet."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="../shared/data")
    parser.add_argument("--cache", default=".cache/features")
    parser.add_argument("--network", default="cnn")
    options = parser.parse_args()
    data = cache.load("fashion-2000", "development", Path(options.data), Path(options.cache))
    for kind in KINDS:
        key = f"fashion-2000, {kind}, {options.network}"
        if key not in TABLE.read():
            TABLE.add({key: measure(data, kind, options.network) | environment("cpu")})
        print(
            key, {name: one for name, one in TABLE.read()[key].items() if name in {"wrong", "fixed", "kernel", "shift"}}
        )


if __name__ == "__main__":
    main()
