"""Words, or words and characters: which terms of a text serve the closed form, and which the network.

    python -m benchmarks.text_features run closed [--data DIR] [--cache DIR]   # resumable, one fit at a time
    python -m benchmarks.text_features run network [--cases symmetric-40 rules] [--seeds 0 1 2]
    python -m benchmarks.text_features run light      # what a run says of its findings, with the closed form's opinion
    python -m benchmarks.text_features report                                  # the tables of docs/decisions/0016

Development data alone: a part of the training rows of TREC and SemEval is kept from training for the accuracy. A recipe
is a list of blocks, words and pairs of words or characters 2 to 5 within words, each a TF-IDF of its own; the blocks of
a text have the same length if nothing else is said, and together they have the length said. One JSON line per fit goes
to ``benchmarks/records/text_features.parquet``.
"""

from __future__ import annotations

import argparse
import time
from functools import cache
from pathlib import Path
from statistics import mean
from typing import Any, NamedTuple

import numpy as np
import torch
from sklearn.feature_extraction.text import TfidfVectorizer
from torch import nn

from benchmarks import drive
from benchmarks.features import cache as caches
from benchmarks.features import noise
from benchmarks.features.data_sets import DataSet
from benchmarks.features.measure import measure
from benchmarks.table import RECORDS, Table

TABLE = Table(RECORDS / "text_features.parquet")
DATA = ("semeval-text", "trec-text")
CASES = ("symmetric-5", "symmetric-20", "symmetric-40", "pair-40", "rules")


class Recipe(NamedTuple):
    """Most terms of words and of characters (0: no such block), length of a text's vector, and the characters' share.

    The share is of the squared length, where there are both.
    """

    words: int
    characters: int
    length: float = 10.0
    share: float = 0.5


RECIPES = {
    "words": Recipe(5000, 0),
    "words+chars": Recipe(5000, 5000),
    "words+20k": Recipe(5000, 20000),
    "chars": Recipe(0, 5000),
    "half+half": Recipe(2500, 2500),
    "quarter": Recipe(5000, 5000, share=0.25),
    "third": Recipe(5000, 5000, share=1 / 3),
    "words/5": Recipe(5000, 0, 5.0),
    "third/5": Recipe(5000, 5000, 5.0, 1 / 3),
    "words+chars/5": Recipe(5000, 5000, 5.0),
}
_CLOSED = ("words", "words+chars", "quarter", "third", "half+half", "words+20k", "chars")
LIGHT = [("words", "mlp:128"), ("third", "linear"), ("third", "mlp:128")]
CLOSED = [(r, k) for r in _CLOSED for k in ("linear", "relu1")]
NETWORK = [
    ("words", "mlp:128"),
    ("third", "mlp:128"),
    ("third/5", "linear"),
    ("third", "linear"),
    ("words", "linear"),
    ("third/5", "mlp:128"),
    ("words/5", "linear"),
    ("words+chars", "mlp:128"),
    ("words+chars/5", "linear"),
    ("words+chars/5", "mlp:128"),
]

FORMS = {"closed": CLOSED, "network": NETWORK, "light": LIGHT}


def block(kind: str, limit: int, cells: list[str]) -> Any:
    """Fit a TF-IDF on the training texts."""
    words: dict[str, Any] = {"ngram_range": (1, 2), "token_pattern": r"(?u)\b\w+\b"}
    chosen = words if kind == "words" else {"ngram_range": (2, 5), "analyzer": "char_wb"}
    made = TfidfVectorizer(sublinear_tf=True, max_features=limit, min_df=2, dtype=np.float64, **chosen)
    return made.fit(cells)


@cache
def features(name: str, recipe: str, data: Path, folder: Path) -> tuple[DataSet, torch.Tensor, torch.Tensor]:
    """Give the data set with vectors of its training and of its test texts."""
    found = caches.load(name, "development", data, folder)
    plan = RECIPES[recipe]
    limits = [(kind, limit) for kind, limit in (("words", plan.words), ("chars", plan.characters)) if limit]
    made = [block(kind, limit, list(found.train)) for kind, limit in limits]
    shares = (1 - plan.share, plan.share) if len(made) > 1 else (1.0,)
    lengths = [plan.length * np.sqrt(share) for share in shares]

    def vectors(cells: list[str]) -> torch.Tensor:
        blocks = [one.transform(cells).toarray() * length for one, length in zip(made, lengths, strict=True)]
        return torch.from_numpy(np.concatenate(blocks, 1).astype(np.float32))

    return found, vectors(list(found.train)), vectors(list(found.test))


def closed_form(inputs: torch.Tensor, test: torch.Tensor, given: np.ndarray, k: int, kernel: str) -> dict[str, Any]:
    """Refine in closed form."""
    from selfdistill import closed
    from selfdistill.issues import find_issues, out_of_sample_trust

    found = closed.refine_labels(inputs, torch.from_numpy(given), k, kernel=kernel, standardise=False)
    table = find_issues(torch.from_numpy(given), found.posterior.numpy(), quality=found.quality)
    light = out_of_sample_trust(table, found.prior.numpy(), [str(one) for one in range(k)])
    with torch.no_grad():
        predicted = found.machine(test).argmax(1).numpy()
    return {"predicted": predicted, "table": table, "light": light.verdict, "nats": found.nats, "round": _rounds(found)}


def _rounds(found: Any) -> int:
    return int(found.choice.best.round)


def network(
    inputs: torch.Tensor, test: torch.Tensor, given: np.ndarray, k: int, spec: str, seed: int, *, second: bool
) -> dict[str, Any]:
    """Train the network default; "linear" is one layer. The light has a second opinion where that is asked for."""
    from selfdistill import train
    from selfdistill._core.rng import derive, drawing_from, torch_generator
    from selfdistill.data import LabelledData, SparsePreprocess
    from selfdistill.train import trust_of

    names = tuple(str(one) for one in range(k))
    ids = np.array([str(row) for row in range(len(given))], dtype=object)
    part = LabelledData(inputs, torch.from_numpy(given), names, ids, SparsePreprocess(1.0, inputs.shape[1]))
    own = None
    if spec == "linear":
        with drawing_from(torch_generator(derive(seed, "linear"))):
            own = nn.Linear(inputs.shape[1], k)
    chosen = {} if own is not None else {"network": spec}
    settings = train.Settings(method="selfdistill", seed=seed, augment="none", **chosen).resolve(len(part), "cpu")
    fitted = train.fit(part, settings, model=own)
    table = fitted.table()
    with torch.no_grad():
        predicted = fitted.model(test).argmax(1).numpy()
    curve = [round(epoch["agreement"], 4) for epoch in fitted.curves]
    light = trust_of(part, fitted, table) if second else fitted.trust(table, names)
    return {"predicted": predicted, "table": table, "light": light.verdict, "agreement": curve}


def draw(found: DataSet, case: str, seed: int) -> np.ndarray:
    """Give labels that may be wrong; "random": none of them has to do with the text."""
    if case == "random":
        return np.random.default_rng(seed).permutation(found.truth)
    return noise.draw(found, case, seed)


def one_fit(row: dict[str, Any], data: Path, folder: Path) -> dict[str, Any]:
    """Fit once and measure."""
    torch.set_num_threads(1)
    found, inputs, test = features(row["data"], row["recipe"], data, folder)
    given, k = draw(found, row["case"], row["seed"]), found.num_classes
    began = time.perf_counter()
    if row["learner"] == "closed":
        said = closed_form(inputs, test, given, k, row["form"])
    else:
        said = network(inputs, test, given, k, row["form"], row["seed"], second=row["learner"] == "light")
    table = said.pop("table")
    answer = {
        "predicted": said.pop("predicted"),
        "quality": table.quality,
        "flagged": np.asarray(table.is_issue),
        "refined": np.asarray(table.refined),
    }
    numbers = measure(answer, found.truth, given, found.test_truth)
    seconds = round(time.perf_counter() - began, 1)
    return row | said | numbers | {"columns": inputs.shape[1], "seconds": seconds}


def key(row: dict[str, Any]) -> str:
    """Name a fit."""
    return " ".join(str(row[part]) for part in ("learner", "data", "recipe", "form", "case", "seed"))


def run(
    learner: str, cases: list[str], seeds: list[int], data: Path, folder: Path, names: list[str], only: list[str]
) -> None:
    """Fit what has no record yet; labels made by rules and a closed form have no seed."""
    forms = [one for one in FORMS[learner] if not only or one[0] in only]
    rows = [
        {"learner": learner, "data": name, "recipe": recipe, "form": form, "case": case, "seed": seed}
        for recipe, form in forms
        for name in names
        for case in cases
        for seed in seeds
        if seed == 0 or case != "rules" or learner != "closed"
    ]
    line = "{accuracy:.3f} {seconds} s".format_map
    drive.run(TABLE, {key(row): row for row in rows}, lambda row: one_fit(row, data, folder), line=line)


def report() -> None:
    """Print a table for each learner: accuracy, AUROC and average precision in per cent, means over seeds."""
    for learner, forms in FORMS.items():
        rows = [row for row in TABLE.read().values() if row["learner"] == learner]
        cases = [case for case in (*CASES, "symmetric-0", "random") if any(row["case"] == case for row in rows)]
        print(f"\n| {learner} | | " + " | ".join(cases) + " | mean of all |")
        print("|---" * (3 + len(cases)) + "|")
        for name in DATA:
            for recipe, form in forms:
                mine = [r for r in rows if (r["data"], r["recipe"], r["form"]) == (name, recipe, form)]
                if mine:
                    by_case = [[r for r in mine if r["case"] == case] for case in cases]
                    cells = [*map(_cell, by_case), _mean_of(by_case, cases)]
                    print(f"| {name} | {recipe}, {form} | " + " | ".join(cells) + " |")


def _mean_of(by_case: list[list[dict[str, Any]]], cases: list[str]) -> str:
    """Weigh every case of wrong labels alike, whatever its number of seeds."""
    parts = []
    for name in ("accuracy", "auroc", "average_precision"):
        values = [
            mean(row[name] for row in rows)
            for rows, case in zip(by_case, cases, strict=True)
            if rows and case not in {"random", "symmetric-0"}
        ]
        parts.append(f"{100 * mean(values):.1f}" if values else "—")
    return " / ".join(parts)


def _cell(rows: list[dict[str, Any]]) -> str:
    if not rows:
        return "—"
    parts = []
    for name in ("accuracy", "auroc", "average_precision"):
        values = [row[name] for row in rows if row[name] is not None]
        parts.append(f"{100 * mean(values):.1f}" if values else "—")
    verdicts = "".join(row["light"][0] for row in rows)
    return f"{' / '.join(parts)} ({verdicts})"


def main() -> None:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command", choices=["run", "report"])
    parser.add_argument("learner", nargs="?", choices=list(FORMS), default="closed")
    parser.add_argument("--data", type=Path, default=Path("data"))
    parser.add_argument("--cache", type=Path, default=Path("data") / "cache")
    parser.add_argument("--cases", nargs="+", default=list(CASES))
    parser.add_argument("--names", nargs="+", default=list(DATA))
    parser.add_argument("--recipes", nargs="+", default=[], choices=list(RECIPES))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    said = parser.parse_args()
    if said.command == "run":
        run(said.learner, said.cases, said.seeds, said.data, said.cache, said.names, said.recipes)
    else:
        report()


if __name__ == "__main__":
    main()
