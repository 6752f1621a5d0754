"""Which classes a teacher finds alike, against which ones people confuse: early, late, and by the default method.

    python -m benchmarks.distill_votes curve | brief CIFAR VOTES

CIFAR is a folder of CIFAR-10's binary batches, VOTES the counts of CIFAR-10H as npy (Peterson et al. 2019, arXiv
1908.07086), about 50 people for each test image, in the order of the images; neither is kept here. 10,000 of the first
40,000 training images, 40 % of their labels flipped evenly, no augmentation. Soft labels are of test images, which no
teacher was trained on. "curve" looks at each epoch of one training, whose learning rate is still high where it is best
to stop; "brief" at a training of 5 epochs whose learning rate falls to 0 in them. Prints the table of
``docs/distill.md`` and writes ``benchmarks/records/distill_votes.json``, each under its name.

The ceiling is the correlation of the confusion of one half of the votes with that of the other: no teacher could agree
with people more than they do.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from selfdistill import data, noise, train
from selfdistill._core.record import environment, read_record
from selfdistill.data import LabelledData
from selfdistill.distill import candidates, choose, class_similarity, dark_knowledge
from selfdistill.train import Settings

RECORD = Path(__file__).parent / "records" / "distill_votes.json"
SEEDS = (0, 1, 2)
WAYS = ("last", "held-out", "label-wave")
PLAIN = Settings(method="cross-entropy", network="cnn", epochs=20, augment="none", held_out=0.1, keep_epochs="all")


def noisy(folder: Path, seed: int) -> LabelledData:
    full = data.read(folder, data.ReadOptions())
    rows = torch.randperm(40_000, generator=torch.Generator().manual_seed(seed))[:10_000]
    truth, ids = full.labels[rows], full.ids[rows.numpy()]
    given = noise.draw(truth, noise.symmetric(10, 0.4, include_clean=False), seed).labels
    fingerprint = data.fingerprint(full.inputs[rows], given, ids, full.classes)
    return replace(full, inputs=full.inputs[rows], labels=given, ids=ids, truth=truth, fingerprint=fingerprint)


def knows(model: torch.nn.Module, images: Tensor, truth: Tensor, votes: Tensor) -> dict[str, float]:
    """Accuracy and class similarity of what a network says of the test images."""
    soft = train.predict_probabilities(model, images, train.TorchRuntime("cpu"))
    found = dark_knowledge(soft, truth, truth=truth)
    confusion = torch.zeros(10, 10, dtype=torch.float64).index_add_(0, truth, votes)
    said = {"information": found["information"]["corrected"], "similarity": class_similarity(soft, truth, confusion)}
    return {name: found[name] for name in ("accuracy", "beyond_top")} | said


def halves(votes: Tensor, truth: Tensor, seed: int) -> float | None:
    """Correlate the confusion of a half of each image's votes, drawn without putting back, with that of the rest."""
    rng = np.random.default_rng(seed)
    one = torch.from_numpy(
        np.stack([rng.multivariate_hypergeometric(row, row.sum() // 2) for row in votes.long().numpy()])
    )
    confusion = torch.zeros(10, 10, dtype=torch.float64).index_add_(0, truth, (votes - one).double())
    return class_similarity(one.double() / one.sum(1, keepdim=True), truth, confusion)


def one_seed(folder: Path, votes: Tensor, seed: int, place: Path) -> dict[str, Any]:
    examples = noisy(folder, seed)
    test = data.read_test(None, examples, data.ReadOptions(), source=folder)
    assert test is not None
    images, truth = test[:2]
    settings = replace(PLAIN, seed=seed).resolve(len(examples), "cpu")
    run = place / f"run-{seed}"
    train.run(examples, settings, run, source={}, evaluations={"test": (images, truth)})
    record = read_record(run)
    network = train.load_model(run / "model.safetensors").network
    epochs = []
    for one in candidates(run, record):
        if one.path.name != "model.safetensors":
            train.load_epoch(one.path, network)
        else:
            network = train.load_model(one.path).network
        epochs.append({"epoch": one.epoch} | knows(network, images, truth, votes))
    said = choose(run, record, "held-out").said
    at = {way: said[way]["epoch"] for way in WAYS}
    at["oracle"] = max(epochs, key=lambda one: one["accuracy"])["epoch"]
    default = replace(settings, method="selfdistill", held_out=None, keep_epochs=None)
    model = train.fit(examples, default).model
    return {
        "seed": seed,
        "chosen": at,
        "epochs": epochs,
        "agreement": record.curves["agreement"],
        "selfdistill": knows(model, images, truth, votes),
        "halves": halves(votes, truth, seed),
    }


def brief(folder: Path, votes: Tensor, seed: int, place: Path) -> dict[str, Any]:
    examples = noisy(folder, seed)
    test = data.read_test(None, examples, data.ReadOptions(), source=folder)
    assert test is not None
    settings = replace(PLAIN, seed=seed, epochs=5, keep_epochs=None).resolve(len(examples), "cpu")
    return {"seed": seed, "brief": knows(train.fit(examples, settings).model, *test[:2], votes)}


SUITES = {"curve": (one_seed, (*WAYS, "oracle", "selfdistill")), "brief": (brief, ("brief",))}


def table(runs: list[dict[str, Any]], ways: tuple[str, ...]) -> None:
    print("| soft labels of | similarity | accuracy | epochs |\n|---|---|---|---|")
    for way in ways:
        rows = [run.get(way) or run["epochs"][run["chosen"][way] - 1] for run in runs]
        cells = [
            f"{scale * statistics.mean(values):.{places}f} ± {scale * statistics.stdev(values):.{places}f}"
            for name, scale, places in (("similarity", 1, 3), ("accuracy", 100, 1))
            for values in [[row[name] for row in rows]]
        ]
        print(
            "| " + " | ".join([way, *cells, ", ".join(str(run.get("chosen", {}).get(way, "")) for run in runs)]) + " |"
        )
    print("halves", [round(run["halves"], 3) for run in runs if "halves" in run])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("suite", choices=[*SUITES])
    parser.add_argument("cifar", type=Path)
    parser.add_argument("votes", type=Path)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    votes = torch.from_numpy(np.load(asked.votes, allow_pickle=False)).double()[:1000]
    begun, runs = time.process_time(), []
    of_seed, ways = SUITES[asked.suite]
    with tempfile.TemporaryDirectory() as place:
        for seed in SEEDS:
            runs.append(of_seed(asked.cifar, votes, seed, Path(place)))
            print(json.dumps(runs[-1]), flush=True)
    table(runs, ways)
    found = environment("cpu") | {"cpu_seconds": round(time.process_time() - begun), "runs": runs}
    records = json.loads(RECORD.read_text()) if RECORD.exists() else {}
    RECORD.write_text(json.dumps(records | {asked.suite: found}, indent=1) + "\n")


if __name__ == "__main__":
    main()
