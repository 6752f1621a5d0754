"""Whether a review of a network's run should learn, in a kernel of its last features or of its inputs.

    python -m benchmarks.review_networks [--data DIR] [--cache DIR] [--cifar DIR]

Truth plays the reviewer, on Fashion-MNIST with 2,000 rows and, where ``DIR/cifar10`` holds its binary batches, on
CIFAR-10 with 2,000; the network is trained by the default method for networks.
Orders: *fixed*, that of the run; *kernel*, the closed form on what the network's last layer sees, all labels refined
anew after every ten decisions; *shift*, the log-odds of the run's label quality plus what the decisions changed in
those of the kernel; *inputs*, the closed form on the inputs, as it would have run on them itself; *inputs shift*;
*inputs added*, the log-odds of the run plus those of the closed form on the inputs, as the page does. Each kind of
wrong labels is a record of ``benchmarks/records/review_networks.parquet``; orders that it lacks are measured.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.special import logit
from torch import nn

from benchmarks.features import cache, noise
from benchmarks.images_by_likelihood import cifar
from benchmarks.table import RECORDS, Table
from selfdistill._core.record import environment
from selfdistill.closed._given import Given
from selfdistill.closed._prepare import ClosedOptions, prepare
from selfdistill.closed._settler import Settler
from selfdistill.runs._label_table import read_findings
from selfdistill.runs._model_file import load_model
from selfdistill.runs._run import fit

TABLE = Table(RECORDS / "review_networks.parquet")
CELLS = [("fashion-2000", kind) for kind in ("symmetric-40", "weak", "pair-40")]
COLOUR = [("cifar10-2000", kind) for kind in ("symmetric-40", "pair-40")]
STOPS = (100, 300)
STEP = 10
WAYS = ("kernel", "shift", "inputs", "inputs shift", "inputs added")


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


def reviewed(features: np.ndarray, given: np.ndarray, truth: np.ndarray, k: int, quality: np.ndarray, way: str):
    """Count wrong labels found at each stop."""
    settler = Settler(prepare(torch.from_numpy(features), Given(given, k), ClosedOptions()))
    decided, wrong, counts = np.full(len(given), -1), given != truth, []
    first = now = settler.settle(decided)[1]
    for count in range(STEP, STOPS[-1] + 1, STEP):
        order = now
        if "shift" in way:
            order = odds(quality) + odds(now) - odds(first)
        elif "added" in way:
            order = odds(quality) + odds(now)
        open_ = np.flatnonzero(decided < 0)
        new = open_[np.argsort(order[open_], kind="stable")[:STEP]]
        decided[new] = truth[new]
        if count in STOPS:
            counts.append(int((wrong & (decided >= 0)).sum()))
        now = settler.settle(decided)[1]
    return counts


def odds(quality: np.ndarray) -> np.ndarray:
    """Give log-odds of what may be 0 or 1."""
    return logit(np.clip(quality.astype(np.float64), 1e-4, 1 - 1e-4))


def measure(data: Any, kind: str, network: str, ways: Sequence[str]) -> dict[str, Any]:
    """Train, and review in these orders."""
    images = np.asarray(data.train, np.float32)
    images = images.transpose(0, 2, 3, 1) if images.ndim == 4 else images.reshape(-1, 28, 28)
    given, truth, k = noise.draw(data, kind, 0), data.truth, data.num_classes
    started = time.process_time()
    with tempfile.TemporaryDirectory() as folder:
        np.savez(Path(folder) / "data.npz", X=(images * (1 if images.max() > 2 else 255)).astype(np.uint8), y=given)
        run = fit(Path(folder) / "data.npz", out=Path(folder) / "run", method="selfdistill", network=network, say=None)
        model, quality = load_model(run.folder / "model.safetensors"), read_findings(run.folder).quality
        epochs = run.record.settings.epochs
    trained = time.process_time() - started
    raw = (images * (1 if images.max() > 2 else 255)).astype(np.uint8)
    features = last_features(model.network, model.preprocess.apply(raw))
    wrong, fixed = given != truth, np.argsort(quality, kind="stable")
    pixels = images.reshape(len(images), -1)
    return {
        "wrong": int(wrong.sum()),
        "fixed": [int(wrong[fixed[:stop]].sum()) for stop in STOPS],
        **{way: reviewed(pixels if "inputs" in way else features, given, truth, k, quality, way) for way in ways},
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
    parser.add_argument("--cifar", type=Path)
    parser.add_argument("--network", default="cnn")
    options = parser.parse_args()
    for name, kind in CELLS + (COLOUR if options.cifar else []):
        key = f"{name}, {kind}, {options.network}"
        known = TABLE.read().get(key, {})
        if missing := [way for way in WAYS if way not in known]:
            if name == "fashion-2000":
                data = cache.load(name, "development", Path(options.data), Path(options.cache))
            else:
                data = cifar(options.cifar, 2000)
            found = measure(data, kind, options.network, missing)
            if known and known["fixed"] != found["fixed"]:
                raise SystemExit(
                    f"{key}: the network finds {found['fixed']}, and did {known['fixed']}: drop the record"
                )
            TABLE.add({key: known | found | environment("cpu")})
        print(key, {one: TABLE.read()[key][one] for one in ("wrong", "fixed", *WAYS)}, flush=True)


if __name__ == "__main__":
    main()
