"""Teachers from outside: functions, what a teacher said of the data, scikit-learn's classifiers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, final

import numpy as np
import torch
from torch import Tensor, nn

from selfdistill._core.errors import DataError, SettingError
from selfdistill.data import LabelledData
from selfdistill.distill._store_file import About, Store
from selfdistill.targets import SoftLogits

__all__ = ["Called", "logits_of", "said_by", "said_by_classifier"]

_WIDE = 1e-3  # by which rows of probabilities may miss 1


@final
class Called(nn.Module):
    """A function of inputs as a network.

    Args:
        function: From inputs ``[b, ...]`` to logits ``[b, K]``, an array or a tensor.
    """

    def __init__(self, function: Callable[[Tensor], Any]) -> None:
        super().__init__()
        self.function, self.name = function, getattr(function, "__name__", type(function).__name__)

    def forward(self, inputs: Tensor) -> Any:
        """Call the function."""
        return self.function(inputs)


def logits_of(found: Any, name: str) -> Tensor:
    """Take the logits out of what a network gave.

    Args:
        found: A tensor or an array, or something that holds it under ``logits``, such as a ``ModelOutput``.
        name: Of the network, for messages.

    Returns:
        The tensor.

    Raises:
        DataError: Neither.
    """
    held = found.get("logits") if isinstance(found, Mapping) else getattr(found, "logits", None)
    held = found if held is None else held
    if isinstance(held, np.ndarray):
        return torch.from_numpy(held)
    if isinstance(held, Tensor):
        return held
    raise DataError(
        f"{name} gives a {type(held).__name__}, which holds no logits",
        "Give a function that takes them out, such as lambda inputs: network(inputs)[0].",
    )


def said_by(given: Any, data: LabelledData, name: str) -> Store:
    """Take what a teacher said of the data as soft labels.

    Args:
        given: Logits or probabilities ``[n, K]``, in the order of the data and of ``data.classes``; a DataFrame whose
            columns are named after the classes may have them in any order. Rows of numbers of at least 0 that sum to 1
            are probabilities.
        data: The data.
        name: Who teaches, for records.

    Returns:
        The soft labels.

    Raises:
        DataError: Another shape, or numbers that are no logits.
    """
    if hasattr(given, "columns") and set(map(str, given.columns)) == set(data.classes):
        given = given[sorted(given.columns, key=lambda column: data.classes.index(str(column)))]
    if isinstance(given, Tensor):
        given = given.detach().cpu().double().numpy()
    try:
        said = torch.from_numpy(np.array(given, dtype=np.float64))
    except (TypeError, ValueError) as error:
        raise DataError(f"what {name} said is no array of numbers", "Give logits [n, K].") from error
    n, k = len(data), data.num_classes
    if said.shape != (n, k):
        raise DataError(
            f"what {name} said has shape {list(said.shape)}, but there are {n:,} examples of {k} classes",
            f"Give logits [{n}, {k}], in the order of the data.",
        )
    if bool((said.isnan() | said.isposinf()).any()) or not bool(said.amax(-1).isfinite().all()):
        raise DataError(f"what {name} said holds numbers that are no logits", "Look for NaN and infinite ones.")
    if bool((said >= 0).all()) and bool(((said.sum(-1) - 1).abs() < _WIDE).all()):
        said = said.log()
    soft = SoftLogits(1, n, k)
    soft.write(0, slice(0, n), said)
    return Store(soft, About({"name": name, "kind": "soft labels"}, data.classes, data.fingerprint, n))


def said_by_classifier(given: Any, data: LabelledData) -> Store:
    """Ask a classifier with scikit-learn's interface about the data.

    Args:
        given: With ``predict_proba`` and ``classes_``; it gets the examples as they were before they were standardised,
            images as vectors.
        data: The data, made of arrays.

    Returns:
        The soft labels.

    Raises:
        SettingError: The examples cannot be had as they were.
        DataError: Other classes, or it cannot take these examples.
    """
    name = type(given).__name__
    raw = data.preprocess.raw(data.inputs)
    if raw is None:
        raise SettingError(
            f"{name} cannot be asked: the data were turned into numbers in a way of their own",
            "Give what it says of them: its predict_proba(X).",
        )
    classes = [str(one) for one in getattr(given, "classes_", ())]
    if sorted(classes) != sorted(data.classes):
        raise DataError(
            f"{name} knows the classes {', '.join(classes[:6]) or 'none'}, but the data have "
            f"{', '.join(data.classes[:6])}",
            "Fit it on data with these classes.",
        )
    try:
        said = given.predict_proba(raw.reshape(len(data), -1))
    except (TypeError, ValueError) as error:
        raise DataError(
            f"{name} cannot take these examples: {error}".splitlines()[0],
            "Give what it says of them: predict_proba(X).",
        ) from error
    return said_by(np.asarray(said)[:, [classes.index(one) for one in data.classes]], data, name)
