"""One training each, and what every rival makes of it; each stage runs in a process of its own.

A stage takes the prepared data and settings and returns its record and the arrays that later stages need.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from selfdistill._core.read_options import ReadOptions
from selfdistill.data._read import read as data_read
from selfdistill.issues import compare_with_truth, label_table
from selfdistill.targets._base import GivenLabels
from selfdistill.train import Settings
from selfdistill.train._fit import fit
from selfdistill.train._loop import predict_probabilities
from selfdistill.train._runtime import TorchRuntime

NEIGHBOURS = 10
FOLDS = 5


class Watch:
    """Wall seconds, CPU seconds and the process's peak of resident memory since it was made (Linux)."""

    def __init__(self) -> None:
        Path("/proc/self/clear_refs").write_text("5")  # sets the peak back to what is held now
        self.held = self._peak()
        self.wall, self.cpu = time.perf_counter(), time.process_time()

    @staticmethod
    def _peak() -> float:
        status = Path("/proc/self/status").read_text()
        return int(status.split("VmHWM:")[1].split()[0]) / 1024

    def read(self) -> dict[str, float]:
        """Give the cost so far; memory in MiB, above what was held at the start."""
        cost = {"wall": time.perf_counter() - self.wall, "cpu": time.process_time() - self.cpu}
        return cost | {"peak_mib": self._peak() - self.held, "held_mib": self.held}


class Recorder(nn.Module):
    """Plain targets that also add up each example's margin and loss, as the batches pass."""

    def __init__(self, labels: Tensor, num_classes: int) -> None:
        super().__init__()
        self.given = GivenLabels(labels, num_classes)
        n = len(labels)
        self.margin, self.loss, self.last_loss, self.visits = (torch.zeros(n) for _ in range(4))

    def read(self, index: Tensor, logits: Tensor) -> Tensor:
        """Record, and return the given labels one-hot."""
        labels = self.given.labels[index]
        own = logits.gather(1, labels[:, None])[:, 0]
        others = logits.scatter(1, labels[:, None], -torch.inf).max(1).values
        self.last_loss[index] = logits.logsumexp(1) - own
        self.margin[index] += own - others
        self.loss[index] += self.last_loss[index]
        self.visits[index] += 1
        return self.given.read(index)

    def write(self, index: Tensor, probabilities: Tensor) -> None:
        """Stage predictions."""
        self.given.write(index, probabilities)

    def end_epoch(self) -> tuple[Tensor, Tensor]:
        """Keep the epoch's predictions."""
        return self.given.end_epoch()

    def refined(self) -> Tensor:
        """Return the last epoch's predictions."""
        return self.given.refined()


def warm_up(part: Any, settings: Settings) -> None:
    """Take a few steps first, so that what torch loads at its first step counts for nobody."""
    from dataclasses import replace

    fit(subset(part, np.arange(100)), replace(settings, epochs=1))


def measure(quality: np.ndarray, flagged: np.ndarray, truth: np.ndarray, given: np.ndarray) -> dict[str, float]:
    """Measure a ranking (low = bad) and a set of flagged labels against the truth."""
    from sklearn.metrics import average_precision_score, roc_auc_score

    wrong = given != truth
    worst = np.argsort(quality, kind="stable")[: wrong.sum()]
    return {
        "wrong": int(wrong.sum()),
        "flagged": int(flagged.sum()),
        "precision": float(wrong[flagged].mean()) if flagged.any() else float("nan"),
        "recall": float(flagged[wrong].mean()),
        "precision_at_k": float(wrong[worst].mean()),
        "auroc": float(roc_auc_score(wrong, -quality)),
        "average_precision": float(average_precision_score(wrong, -quality)),
    }


def noise_error(found: np.ndarray, truth: np.ndarray, given: np.ndarray) -> dict[str, Any]:
    """Compare a noise matrix ``T[true, given]`` with the realised one: mean absolute error of each row."""
    real = np.zeros_like(found)
    np.add.at(real, (truth, given), 1)
    real /= real.sum(1, keepdims=True)
    rows = np.abs(found - real).mean(1)
    return {"mae": float(rows.mean()), "rows": rows.tolist()}


def run_default(part: Any, test: Any, settings: Settings) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """One training with the default method."""
    watch = Watch()
    fitted = fit(part, settings)
    trained = watch.read()
    table = label_table(fitted.targets.refined(), fitted.dynamics, counts=fitted.counts)
    cost = watch.read()
    truth, given = part.truth.numpy(), part.labels.numpy()
    matrices = {"learned T": fitted.targets.noise.double().numpy(), "the run's estimate": table.noise.noise_matrix}
    refined = table.refined != given
    record = {
        "methods": {
            "selfdistill": measure(table.quality, table.is_issue, truth, given) | cost,
            "selfdistill, refined label differs": measure(table.quality, refined, truth, given) | cost,
        },
        "trained": trained,
        "refined": compare_with_truth(table, truth),
        "noise_matrix": {name: noise_error(m.astype(float), truth, given) for name, m in matrices.items()},
        "test_accuracy": accuracy(fitted, test),
        "curves": fitted.curves,
    }
    kept = {"refined": table.refined, "is_issue": table.is_issue, "quality": table.quality}
    kept |= {"distribution": table.distribution, "mean_given": fitted.dynamics.mean_given().numpy()}
    return record, kept


def run_plain(part: Any, test: Any, settings: Settings) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """One training with cross-entropy, and all rivals that need no more."""
    from doubtlab.reason import WrongPredictionReason

    recorder = Recorder(part.labels, part.num_classes)
    watch = Watch()
    fitted = fit(part, settings, targets=recorder)
    trained = watch.read()
    truth, given = part.truth.numpy(), part.labels.numpy()
    margin, mean_loss = (recorder.margin / recorder.visits).numpy(), (recorder.loss / recorder.visits).numpy()
    last_loss = recorder.last_loss.numpy()
    features = penultimate(fitted.model, part.inputs)
    raw = part.inputs.numpy().reshape(len(part), -1).astype(np.float32)
    rivals: dict[str, Callable[[], tuple[np.ndarray, np.ndarray]]] = {
        "AUM": lambda: (margin, margin < 0),
        "small loss, mean": lambda: (-mean_loss, mixture(mean_loss)),
        "small loss, last": lambda: (-last_loss, mixture(last_loss)),
        "wrong prediction (doubtlab)": lambda: wrong_prediction(
            WrongPredictionReason, probabilities(fitted, part.inputs), given
        ),
        "neighbours, features": lambda: neighbours(features, given, part.num_classes),
        "neighbours, inputs": lambda: neighbours(raw, given, part.num_classes),
    }
    methods = {}
    for name, rival in rivals.items():
        extra = Watch()
        quality, flagged = rival()
        spent = extra.read()
        cost = {key: trained[key] * (name != "neighbours, inputs") + spent[key] for key in ("wall", "cpu")}
        cost["peak_mib"] = max(trained["peak_mib"], extra.held - watch.held + spent["peak_mib"])
        methods[name] = measure(quality, flagged, truth, given) | cost
    return {
        "methods": methods,
        "trained": trained,
        "test_accuracy": accuracy(fitted, test),
        "curves": fitted.curves,
    }, {}


def run_cleanlab(part: Any, test: Any, settings: Settings) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Five trainings with cross-entropy on four fifths each; cleanlab on the predictions for the fifth left out."""
    from cleanlab import count, filter, rank
    from sklearn.model_selection import StratifiedKFold

    given, truth = part.labels.numpy(), part.truth.numpy()
    watch = Watch()
    predicted = np.zeros((len(part), part.num_classes), np.float32)
    for kept, left_out in StratifiedKFold(FOLDS, shuffle=True, random_state=settings.seed).split(given, given):
        fitted = fit(subset(part, kept), settings)
        predicted[left_out] = probabilities(fitted, part.inputs[left_out])
    trained = watch.read()
    flagged = filter.find_label_issues(given, predicted, n_jobs=1)
    quality = rank.get_label_quality_scores(given, predicted, method="self_confidence")
    cost = watch.read()
    confident = count.compute_confident_joint(given, predicted)
    noise = count.estimate_latent(confident, given)[1].T  # cleanlab's is [given, true]
    right = predicted.argmax(1) == truth
    record = {
        "methods": {"cleanlab, 5 folds": measure(quality, flagged, truth, given) | cost},
        "trained": trained,
        "refined": {"wrong_set_right": float(right[given != truth].mean()), "refined_right": float(right.mean())},
        "noise_matrix": {"cleanlab": noise_error(noise, truth, given)},
    }
    return record, {"is_issue": flagged, "quality": quality, "predicted": predicted}


def run_again(part: Any, test: Any, settings: Settings) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Cross-entropy anew on labels that a stage before has changed or dropped."""
    watch = Watch()
    fitted = fit(part, settings)
    return {"test_accuracy": accuracy(fitted, test), "examples": len(part), "trained": watch.read()}, {}


def subset(part: Any, index: np.ndarray, labels: Tensor | None = None) -> Any:
    """Take some examples, with other labels where given."""
    from dataclasses import replace

    labels = part.labels if labels is None else labels
    truth = part.truth[index]
    return replace(part, inputs=part.inputs[index], labels=labels[index], ids=part.ids[index], truth=truth)


def probabilities(fitted: Any, inputs: Tensor) -> np.ndarray:
    """Predict in evaluation mode."""
    return predict_probabilities(fitted.model, inputs, TorchRuntime("cpu", "fp32")).numpy()


def accuracy(fitted: Any, test: Any) -> float:
    """Measure on the clean test set."""
    return float((probabilities(fitted, test[0]).argmax(1) == test[1].numpy()).mean())


@torch.no_grad()
def penultimate(model: nn.Module, inputs: Tensor) -> np.ndarray:
    """Compute what the last linear layer sees."""
    layer = next(m for name, m in model.named_modules() if name.rpartition(".")[2] == "classifier")
    seen: list[Tensor] = []
    handle = layer.register_forward_pre_hook(lambda module, args: seen.append(args[0].flatten(1)))
    for start in range(0, len(inputs), 1024):
        model(inputs[start : start + 1024])
    handle.remove()
    return torch.cat(seen).numpy()


def neighbours(features: np.ndarray, given: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Vote of the ten nearest others by cosine: share with the given label; flagged where another label has more."""
    from sklearn.neighbors import NearestNeighbors
    from sklearn.preprocessing import normalize

    units = normalize(features)
    near = NearestNeighbors(n_neighbors=NEIGHBOURS + 1, algorithm="brute", n_jobs=1).fit(units)
    found = near.kneighbors(units, return_distance=False)
    others = np.array([row[row != i][:NEIGHBOURS] for i, row in enumerate(found)])
    votes = np.zeros((len(given), k))
    for column in others.T:
        np.add.at(votes, (np.arange(len(given)), given[column]), 1 / NEIGHBOURS)
    own = votes[np.arange(len(given)), given]
    return own, votes.max(1) > own


def mixture(loss: np.ndarray) -> np.ndarray:
    """Flag by a mixture of two Gaussians on the losses: more likely of the one with the higher mean."""
    from sklearn.mixture import GaussianMixture

    scaled = ((loss - loss.min()) / (np.ptp(loss) + 1e-12))[:, None]
    fitted = GaussianMixture(2, reg_covar=5e-4, max_iter=100, random_state=0).fit(scaled)
    return np.asarray(fitted.predict(scaled) == fitted.means_.argmax())


def wrong_prediction(reason: Any, predicted: np.ndarray, given: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Doubt where the prediction is not the given label: no ranking but 0 and 1."""
    doubt = reason.from_predict(predicted.argmax(1), given).astype(float)
    return -doubt, doubt > 0


def prepare(cell: dict[str, Any], folder: Path) -> tuple[Any, tuple[Tensor, Tensor]]:
    """Read a cell's data: training set with noisy labels and truth, and the clean test set."""
    from benchmarks import main_job

    if cell["data"] != "cifar10n":
        train_set, test_x, test_y = main_job.load(cell, folder)
        return train_set, (test_x, test_y)
    full = data_read(folder / "cifar10", ReadOptions())
    human = torch.from_numpy(np.load(folder / "cifar10" / "cifar10n.npz")[cell["noise"]].astype(np.int64))
    order = torch.randperm(40_000, generator=torch.Generator().manual_seed(0))[: cell["examples"]]
    part = main_job.subset(full, order, human[order], full.labels[order])
    return part, (full.inputs[40_000:], full.labels[40_000:])  # the last batch of 10,000 is the clean test set
