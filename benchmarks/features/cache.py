"""Prepared data sets as plain arrays in a cache folder, one npz file for each data set and part.

arrays = np.load("CACHE/vehicle.development.npz")
arrays["X_train"], arrays["y_true"], arrays["X_test"], arrays["y_test"]

``given_KIND`` holds labels with real errors. Mixed tables are one-hot and standardised in ``X_train``; their own
columns lie beside, in ``.train.parquet`` and ``.test.parquet``. Texts are TF-IDF in ``X_train`` and lie in
``texts_train``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.features.data_sets import DataSet, Inputs, read
from selfdistill.data._source import from_frame

_GIVEN = "given_"


def as_frame(inputs: Inputs) -> pd.DataFrame:
    """Turn a table or texts into the table that the estimator takes."""
    return inputs if isinstance(inputs, pd.DataFrame) else pd.DataFrame({"text": list(inputs)})


def as_arrays(train: Inputs, test: Inputs) -> tuple[np.ndarray, np.ndarray]:
    """Turn inputs of any form into float32 arrays, the test rows in the way of the training rows."""
    if isinstance(train, np.ndarray):
        return train, np.asarray(test)
    any_labels = np.arange(len(train)) % 2  # a data set must have some; inputs do not depend on them
    made = from_frame(as_frame(train), any_labels.astype(str))
    return made.inputs.numpy(), made.preprocess.apply(as_frame(test)).numpy()


def prepare(name: str, part: str, data: Path, cache: Path) -> Path:
    """Write a data set into the cache, unless it is there."""
    path = cache / f"{name}.{part}.npz"
    if path.exists():
        return path
    found = read(name, part, data, cache)
    arrays: dict[str, Any] = dict(zip(("X_train", "X_test"), as_arrays(found.train, found.test), strict=True))
    if isinstance(found.train, pd.DataFrame):
        for which, inputs in (("train", found.train), ("test", found.test)):
            as_frame(inputs).to_parquet(path.with_suffix(f".{which}.parquet"))
    elif isinstance(found.train, list):
        arrays |= {"texts_train": np.array(found.train), "texts_test": np.array(found.test)}
    arrays |= {"y_true": found.truth, "y_test": found.test_truth, "source": np.array(found.source)}
    arrays |= {f"{_GIVEN}{kind}": labels for kind, labels in found.given.items()}
    cache.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(".part.npz")
    np.savez(unfinished, **arrays)
    unfinished.replace(path)
    return path


def load(name: str, part: str, data: Path, cache: Path) -> DataSet:
    """Read a data set from the cache, which is filled first where it must be."""
    path = prepare(name, part, data, cache)
    with np.load(path, allow_pickle=False) as file:
        arrays = {key: file[key] for key in file.files}
    inputs: list[Inputs] = [arrays["X_train"], arrays["X_test"]]
    if "texts_train" in arrays:
        inputs = [arrays["texts_train"].tolist(), arrays["texts_test"].tolist()]
    elif path.with_suffix(".train.parquet").exists():
        inputs = [pd.read_parquet(path.with_suffix(f".{which}.parquet")) for which in ("train", "test")]
    given = {key.removeprefix(_GIVEN): labels for key, labels in arrays.items() if key.startswith(_GIVEN)}
    source = str(arrays["source"])
    return DataSet(name, part, inputs[0], arrays["y_true"], inputs[1], arrays["y_test"], source, given)
