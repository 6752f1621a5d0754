"""Texts as words, as features of the packaged encoder, and as both, in closed form.

    python -m benchmarks.text_encoders --data DIR --cache DIR [--only development final]

Development: TREC and SemEval, part of their training rows, the ready features of `benchmarks.features`; features are
centred and as long, on average, as a share of the words' vector. Final: all training rows and the test rows, through
the package, which encodes the texts itself. Records: ``benchmarks/records/text_encoders.parquet``.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.features import data_sets, noise
from benchmarks.features.cache import as_frame
from benchmarks.features.measure import measure
from benchmarks.table import RECORDS, Table
from selfdistill._core.read_options import ReadOptions
from selfdistill._core.record import environment
from selfdistill.closed import refine_labels
from selfdistill.data._arrays import TEXT_WEIGHT
from selfdistill.data._fitted import TextColumn
from selfdistill.data._source import from_frame

TABLE = Table(RECORDS / "text_encoders.parquet")
SETS = ("semeval", "trec")
KINDS = ("rules", "symmetric-5", "symmetric-20", "symmetric-40", "pair-40")
SHARES = (0.5, 1.0, 2.0)


def keep(key: str, given: np.ndarray, some: Any, train: Any, test: Any, standardise: bool) -> None:
    """Refine labels, measure and record."""
    began = time.process_time()
    found = refine_labels(train, torch.from_numpy(given), some.num_classes, standardise=standardise)
    predicted = found.machine(torch.as_tensor(test)).argmax(1).numpy()
    answer = {"predicted": predicted, "quality": found.quality, "refined": found.posterior.argmax(1).numpy()}
    record = measure(answer, some.truth, given, some.test_truth) | {"nats": found.nats, "kernel": found.kernel}
    print(key, record, flush=True)
    about = {part: environment("cpu")[part] for part in ("versions", "hardware")}
    TABLE.add({key: record | {"cpu_s": time.process_time() - began} | about})


def development(given: argparse.Namespace) -> None:
    """Compare weights on development parts."""
    for name in SETS:
        some = data_sets.read(name, "development", given.data, given.cache)
        texts = data_sets.read(f"{name}-text", "development", given.data, given.cache)
        column = TextColumn.fit(texts.train, 5000)
        assert column is not None
        words = [column.apply(part) for part in (texts.train, texts.test)]
        mean = some.train.mean(0)
        spread = np.sqrt(np.square(some.train - mean).sum(1).mean())
        for kind in KINDS:
            labels = noise.draw(some, kind, 0)
            keep(f"development, {name}, {kind}, words", labels, some, *words, standardise=False)
            keep(f"development, {name}, {kind}, features", labels, some, some.train, some.test, standardise=True)
            for share in SHARES:
                beside = [(part - mean) / spread * TEXT_WEIGHT * share for part in (some.train, some.test)]
                both = [np.hstack(pair).astype(np.float32) for pair in zip(words, beside, strict=True)]
                keep(f"development, {name}, {kind}, both {share}", labels, some, *both, standardise=False)


def final(given: argparse.Namespace) -> None:
    """Measure what the package does on whole data sets."""
    for name in SETS:
        texts = data_sets.read(f"{name}-text", "final", given.data, given.cache)
        for kind in ("rules", "symmetric-40"):
            labels = noise.draw(texts, kind, 0)
            for encoder in ("none", "texts"):
                options = ReadOptions(encoder=encoder, features=str(given.cache / "features"), text=("text",))
                made = from_frame(as_frame(texts.train), labels.astype(str), options=options)
                test = made.preprocess.apply(as_frame(texts.test))
                codes = np.array([int(name) for name in made.classes])
                assert (codes == np.arange(len(codes))).all()
                key = f"final, {name}, {kind}, {'both' if encoder == 'texts' else 'words'}"
                keep(key, labels, texts, made.inputs, test, standardise=False)


def main() -> None:
    """Measure what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument("--only", nargs="+", default=["development", "final"], choices=["development", "final"])
    given = parser.parse_args()
    torch.set_num_threads(1)
    for name in given.only:
        {"development": development, "final": final}[name](given)


if __name__ == "__main__":
    main()
