"""Robust targets in skorch; needs the extra ``skorch``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, Subset

from selfdistill.train._robust_targets import RobustTargets

try:
    from skorch import NeuralNetClassifier
    from skorch.dataset import unpack_data
except ImportError as missing:
    raise ImportError(
        f"selfdistill.integrations.skorch needs skorch ({missing}): pip install 'selfdistill[skorch]'"
    ) from missing

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["SelfDistillNet"]

_INDEX, _INPUT = "selfdistill_index", "selfdistill_input"


class SelfDistillNet(NeuralNetClassifier):  # type: ignore[misc]  # untyped where skorch is absent
    """skorch's ``NeuralNetClassifier``, robust to wrong labels.

    The module returns logits. Each epoch's line of the history also has ``refined_share`` and ``label_issues``, the
    number of labels that look wrong. A pickle keeps the targets, so that ``partial_fit`` goes on after loading as if
    nothing was.

    Args:
        module: A torch module, as in skorch.
        *args: Those of ``NeuralNetClassifier``.
        method: See `RobustTargets`.
        criterion: Loss on a validation part, and what makes probabilities of logits.
        train_split: As in skorch; by default all examples are trained on. Those that are split off have no findings.
        **kwargs: Those of ``NeuralNetClassifier``.

    Attributes:
        robust_: The `RobustTargets`.
    """

    robust_: RobustTargets

    def __init__(
        self,
        module: Any,
        *args: Any,
        method: str = "selfdistill",
        criterion: Any = nn.CrossEntropyLoss,
        train_split: Any = None,
        **kwargs: Any,
    ) -> None:
        self.method = method
        super().__init__(module, *args, criterion=criterion, train_split=train_split, **kwargs)

    def initialize(self) -> SelfDistillNet:
        """Begin anew."""
        if hasattr(self, "robust_"):
            del self.robust_
        super().initialize()
        return self

    def get_split_datasets(self, X: Any, y: Any = None, **fit_params: Any) -> tuple[Any, Any]:
        """Number the examples that are trained on, and make their targets unless they are there."""
        train, valid = super().get_split_datasets(X, y, **fit_params)
        self.rows_ = np.asarray(train.indices) if isinstance(train, Subset) else np.arange(len(train))
        if not hasattr(self, "robust_"):
            given = [int(train[i][1]) for i in range(len(train))] if y is None else np.asarray(y)[self.rows_]
            batch = self.get_iterator(train, training=True)
            self.robust_ = RobustTargets(
                given, len(self.classes_), self.method, epochs=self.max_epochs, steps=len(batch)
            )
        return _Numbered(train), valid

    def get_iterator(self, dataset: Any, training: bool = False) -> Any:
        """Number each batch as a whole where a ``DataLoader`` makes it: to number its examples one by one is slow."""
        iterator = super().get_iterator(dataset, training)
        if isinstance(dataset, _Numbered) and isinstance(iterator, DataLoader):
            iterator.collate_fn = partial(_collated, iterator.collate_fn)
        return iterator

    def infer(self, x: Any, **fit_params: Any) -> Any:
        """Pass inputs on without their index."""
        if isinstance(x, Mapping) and _INDEX in x:
            x = x[_INPUT] if _INPUT in x else {name: part for name, part in x.items() if name != _INDEX}
        return super().infer(x, **fit_params)

    def get_loss(self, y_pred: Any, y_true: Any, X: Any = None, training: bool = False) -> Tensor:
        """Compute the method's loss in training, the criterion in validation."""
        if training:
            return self.robust_.loss(X[_INDEX], y_pred, y_true)
        loss: Tensor = super().get_loss(y_pred, y_true, X, training=training)
        return loss

    def on_epoch_end(self, net: Any, dataset_train: Any = None, dataset_valid: Any = None, **kwargs: Any) -> None:
        """End the targets' epoch, and write down what was found."""
        for name, value in self.robust_.end_epoch().items():
            self.history.record(name, value)
        self.history.record("label_issues", self.robust_._count_issues())
        super().on_epoch_end(net, dataset_train, dataset_valid, **kwargs)

    def get_label_issues(self) -> pd.DataFrame:
        """Give the findings, see `RobustTargets.label_issues`; the index holds the rows' positions in ``X``."""
        return self.robust_.label_issues(self.classes_).set_axis(self.rows_)


class _Numbered(Dataset[Any]):
    """Gives numbers of examples within their inputs, where skorch's hooks see them."""

    def __init__(self, dataset: Any) -> None:
        self.dataset = dataset

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, i: int) -> Any:
        x, y = self.dataset[i]
        return _with_numbers(x, i), y

    def __getitems__(self, numbers: Any) -> _Fetched:
        fetch = getattr(self.dataset, "__getitems__", None)
        return _Fetched(fetch(numbers) if fetch else [self.dataset[i] for i in numbers], numbers)


class _Fetched(NamedTuple):
    """Examples of a batch before they are collated, and their numbers."""

    examples: Any
    numbers: Any


def _collated(collate: Callable[[Any], Any], batch: Any) -> Any:
    """Collate as the ``DataLoader`` would, and add the numbers."""
    if not isinstance(batch, _Fetched):  # one that has its numbers, as without batches of its own
        return collate(batch)
    x, y = unpack_data(collate(batch.examples))
    return [_with_numbers(x, torch.as_tensor(batch.numbers)), y]


def _with_numbers(x: Any, numbers: Any) -> dict[str, Any]:
    return {**x, _INDEX: numbers} if isinstance(x, Mapping) else {_INPUT: x, _INDEX: numbers}
