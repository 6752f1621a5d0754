"""Texts whose labels have real errors: words, features of the packaged encoder, and both; ours and cleanlab.

    python -m benchmarks.text_people --data DIR --cache DIR [--seeds 3]

DIR holds, of two public repositories, which stay there:

- ``ground_truth_cause.csv`` and ``ground_truth_treat.csv`` of github.com/CrowdTruth/Medical-Relation-Extraction
  (Dumitrache et al. 2018): 3,984 sentences labelled by distant supervision, of which 975 and 621 an expert judged. A
  seed parts the judged ones in halves: one is tested on, the other is trained on with all else and says what was found.
- ``labeled_data.csv`` of github.com/t-davidson/hate-speech-and-offensive-language (Davidson et al. 2017): tweets with
  three votes or more. Of 4,000 tweets drawn once, a seed trains on 2,500, each with one of its votes, and tests on
  the others against the majority.

Records: ``benchmarks/records/text_people.parquet``.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import scipy.sparse
import torch

from benchmarks.features.measure import measure
from benchmarks.table import RECORDS, Table
from selfdistill._core.read_options import ReadOptions
from selfdistill._core.record import environment
from selfdistill.closed import refine_labels
from selfdistill.data._source import from_frame

TABLE = Table(RECORDS / "text_people.parquet")
KINDS = ("words", "features", "both")
FOLDS = 5
STRENGTHS = (1.0, 10.0, 100.0)


@dataclass(frozen=True)
class Part:
    """Texts of one seed: what is trained on, what is tested on, and which training rows have a known truth."""

    train: list[str]
    given: np.ndarray
    truth: np.ndarray  # -1: not known
    test: list[str]
    test_truth: np.ndarray


def medical(folder: Path, relation: str, seed: int) -> Part:
    """Distant supervision against the experts."""
    table = pd.read_csv(folder / f"ground_truth_{relation}.csv")
    truth = table["expert"].map({-1.0: 0, 1.0: 1}).fillna(-1).astype(int).to_numpy()
    given = (table["baseline"] > 0).astype(int).to_numpy()
    judged = np.random.default_rng(seed).permutation(np.flatnonzero(truth >= 0))
    test = np.isin(np.arange(len(table)), judged[: len(judged) // 2])
    texts = table["sentence"]
    return Part(texts[~test].tolist(), given[~test], truth[~test], texts[test].tolist(), truth[test])


def hate_speech(folder: Path, seed: int) -> Part:
    """One vote against the majority."""
    table = pd.read_csv(folder / "labeled_data.csv").sample(4000, random_state=0)
    votes = table[["hate_speech", "offensive_language", "neither"]].to_numpy(float)
    rng = np.random.default_rng(seed)
    shares = votes / votes.sum(1, keepdims=True)
    given = (rng.random((len(table), 1)) > shares.cumsum(1)).sum(1).clip(max=2)
    rows = rng.permutation(len(table))
    train, test = np.sort(rows[:2500]), np.sort(rows[2500:])
    texts, truth = table["tweet"].to_numpy(), table["class"].to_numpy()
    return Part(texts[train].tolist(), given[train], truth[train], texts[test].tolist(), truth[test])


SETS: dict[str, Callable[[Path, int], Part]] = {
    "medical cause": lambda folder, seed: medical(folder, "cause", seed),
    "medical treat": lambda folder, seed: medical(folder, "treat", seed),
    "hate speech": hate_speech,
}


def inputs(part: Part, cache: Path) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Inputs of training and test, as the package makes them."""
    found = {}
    for kind, encoder in (("words", "none"), ("both", "texts")):
        options = ReadOptions(encoder=encoder, features=str(cache), text=("text",))
        made = from_frame(pd.DataFrame({"text": part.train}), part.given.astype(str), options=options)
        found[kind] = made.inputs.numpy(), made.preprocess.apply(pd.DataFrame({"text": part.test})).numpy()
    words = found["words"][0].shape[1]
    np.testing.assert_allclose(found["both"][0][:, :words], found["words"][0], atol=1e-6)
    train, test = found["both"]
    return found | {"features": (train[:, words:], test[:, words:])}


def ours(train: np.ndarray, given: np.ndarray, k: int, test: np.ndarray, kind: str, judged: np.ndarray) -> Any:
    """The closed form."""
    found = refine_labels(train, torch.from_numpy(given), k, standardise=kind == "features")
    predicted = found.machine(torch.as_tensor(test)).argmax(1).numpy()
    right = found.posterior.numpy()[np.arange(len(given)), given]
    answer = {"predicted": predicted, "quality": found.quality, "refined": found.posterior.argmax(1).numpy()}
    return answer | {"expected_wrong": (1 - right)[judged].sum()}


def cleanlab(train: np.ndarray, given: np.ndarray, k: int, test: np.ndarray, kind: str, judged: np.ndarray) -> Any:
    """CleanLearning around logistic regression, whose strength is chosen by likelihood of the given labels."""
    from cleanlab.classification import CleanLearning
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import cross_val_score

    rows, new = (scipy.sparse.csr_matrix(one) if kind == "words" else one for one in (train, test))
    models = [LogisticRegression(C=strength, max_iter=200) for strength in STRENGTHS]
    scores = [cross_val_score(model, rows, given, cv=3, scoring="neg_log_loss").mean() for model in models]
    learning = CleanLearning(models[int(np.argmax(scores))], seed=0, cv_n_folds=FOLDS)
    issues = learning.find_label_issues(rows, given)
    learning.fit(rows, given, label_issues=issues)
    flagged = issues["is_label_issue"].to_numpy()
    answer = {"predicted": learning.predict(new), "quality": issues["label_quality"].to_numpy(), "flagged": flagged}
    return answer | {"refined": issues["predicted_label"].to_numpy(), "expected_wrong": flagged[judged].sum()}


def main() -> None:
    """Measure what has no record yet."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=3)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    for name, read in SETS.items():
        for seed in range(asked.seeds):
            wanted = [f"{name}, seed {seed}, {kind}, {by}" for kind in KINDS for by in ("ours", "cleanlab")]
            if all(key in TABLE.read() for key in wanted):
                continue
            part = read(asked.data, seed)
            judged, made = part.truth >= 0, inputs(part, asked.cache)
            for kind in KINDS:
                for by, method in (("ours", ours), ("cleanlab", cleanlab)):
                    key = f"{name}, seed {seed}, {kind}, {by}"
                    if key in TABLE.read():
                        continue
                    began = time.process_time()
                    k = int(part.given.max()) + 1
                    found = method(made[kind][0], part.given, k, made[kind][1], kind, judged)
                    for array in ("quality", "refined", "flagged"):
                        if array in found:
                            found[array] = found[array][judged]
                    record = measure(found, part.truth[judged], part.given[judged], part.test_truth)
                    record |= {"judged": int(judged.sum()), "cpu_s": round(time.process_time() - began, 1)}
                    print(key, record, flush=True)
                    TABLE.add({key: record | {one: environment("cpu")[one] for one in ("versions", "hardware")}})


if __name__ == "__main__":
    main()
