"""How raw examples become network inputs, in a form that lies in JSON and tensors: no file that we load runs code."""

from __future__ import annotations

import importlib
from abc import ABC, abstractmethod
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from selfdistill._core.errors import DataError


@dataclass(frozen=True)
class Roles:
    """What the columns that are no features are."""

    label: str | None = None  # the given labels; ``None``: the table has none
    id: str | None = None  # the names; ``None``: rows are numbered
    truth: str | None = None  # the true labels; ``None``: not known
    ignored: tuple[str, ...] = ()  # left out; may be there or not in new data

    def others(self) -> set[str]:
        """Names of all columns that are no features."""
        return {name for name in (self.label, self.id, self.truth, *self.ignored) if name is not None}

    def to_spec(self) -> dict[str, Any]:
        """Give it JSON-able."""
        return asdict(self) | {"ignored": list(self.ignored)}

    @classmethod
    def from_spec(cls, spec: dict[str, Any]) -> Roles:
        """Rebuild what `to_spec` gave."""
        return cls(spec["label"], spec["id"], spec["truth"], tuple(spec["ignored"]))


class Preprocess(ABC):
    """What was learned from the training source about how to read more of its kind.

    Each kind names itself: ``class TablePreprocess(Preprocess, kind="table")``.
    """

    kind: ClassVar[str]
    column: str | None = None  # of photos that a table names: that of their paths
    roles: Roles = Roles()  # of such a table, or of one of features
    _kinds: ClassVar[dict[str, type[Preprocess]]] = {}

    def __init_subclass__(cls, kind: str) -> None:
        cls.kind = kind
        Preprocess._kinds[kind] = cls

    @property
    @abstractmethod
    def input_shape(self) -> tuple[int, ...]:
        """Shape of one input, without the batch."""

    @property
    def stats(self) -> tuple[list[float], list[float]] | None:
        """Mean and standard deviation of each channel, for images; else ``None``: inputs are ready as they are."""
        return None

    @property
    def scaled(self) -> bool:
        """Whether the scale of a column tells its weight, as that of words does: it must not be standardised."""
        return False

    @property
    def only_scaled(self) -> bool:
        """Whether all columns are such: words and nothing else."""
        return self.scaled

    @abstractmethod
    def apply(self, raw: Any) -> Tensor:
        """Turn raw examples, of the form that this kind was made from, into network inputs ``[n, *input_shape]``."""

    def raw(self, inputs: Tensor) -> np.ndarray | None:
        """Turn network inputs back into raw examples, up to rounding; ``None`` for texts and categories."""
        return None

    def doubts(self, raw: Any) -> list[str]:
        """Say what in new examples training never saw, where that is no reason to refuse them."""
        return []

    @abstractmethod
    def facts(self) -> str:
        """Say in a few words what one example is."""

    @abstractmethod
    def to_state(self) -> tuple[dict[str, Any], dict[str, Tensor]]:
        """Give a JSON-able description and the tensors that go with it, as `from_state` takes them."""

    def _paths(self) -> dict[str, Any]:
        """Describe the table that names photos, where one does."""
        return {} if self.column is None else {"column": self.column, "roles": self.roles.to_spec()}

    @classmethod
    @abstractmethod
    def _rebuild(cls, spec: dict[str, Any], tensors: dict[str, Tensor]) -> Preprocess: ...

    @staticmethod
    def from_state(spec: dict[str, Any], tensors: dict[str, Tensor]) -> Preprocess:
        """Rebuild what `to_state` gave; ``spec["kind"]`` chooses the class. What is damaged is refused."""
        for module in ("_arrays", "_images", "_table", "_encoded"):  # they name their kinds when they are imported
            importlib.import_module(f"selfdistill.data.{module}")
        cls = Preprocess._kinds.get(str(spec.get("kind")))
        if cls is None:
            raise DataError(
                f"preprocessing of kind {spec.get('kind')!r} is not known; known are {sorted(Preprocess._kinds)}",
                "The run may come from a newer selfdistill: update it.",
            )
        try:
            made = cls._rebuild(spec, tensors)
            if spec.get("column") is not None:
                made.column, made.roles = str(spec["column"]), Roles.from_spec(spec["roles"])
            state, again = made.to_state()
            same = state == spec and tensors.keys() == again.keys()
            if not same or any(
                tensors[name].dtype != tensor.dtype or not torch.equal(tensors[name], tensor)
                for name, tensor in again.items()
            ):
                raise ValueError("it does not hold what its description says")
        except Exception as error:  # whatever a stranger's description leads to
            raise DataError(
                f"the preprocessing of kind {cls.kind!r} is damaged: {error!r}", "Train again, or restore the file."
            ) from error
        return made
