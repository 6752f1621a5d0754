"""What a network is fed: one tensor, several by position, or several by name; the first dimension counts examples."""

from __future__ import annotations

import copy
from collections.abc import Callable, Generator, Mapping, Sequence
from typing import Any, NamedTuple, final

import numpy as np
import torch
from torch import Tensor

from selfdistill._core.errors import DataError


class Arguments(NamedTuple):
    """What a network is called with."""

    listed: tuple[Any, ...]  # positional arguments: tensors, and dicts of tensors
    named: dict[str, Any]  # named arguments

    def mapped(self, change: Callable[[Tensor], Tensor]) -> Arguments:
        """Change each tensor."""
        return Arguments(tuple(_mapped(change, v) for v in self.listed), _mapped(change, self.named))

    def rows(self, start: int, stop: int) -> Arguments:
        """Give some of the examples, as views."""
        return self.mapped(lambda v: v[start:stop])

    def chosen(self, rows: list[int]) -> Arguments:
        """Give some of the examples, copied."""
        return self.mapped(lambda v: v[rows])


def _mapped(change: Callable[[Tensor], Tensor], value: Any) -> Any:
    if isinstance(value, Tensor):
        return change(value)
    if isinstance(value, dict):
        return {key: _mapped(change, v) for key, v in value.items()}
    return value


def each_tensor(args: Arguments) -> Generator[Tensor]:
    """Go through the tensors."""
    for value in (*args.listed, *args.named.values()):
        yield from value.values() if isinstance(value, dict) else (value,)


def count_of(args: Arguments) -> int:
    """Give the number of examples."""
    return len(next(each_tensor(args)))


@final
class Inputs:
    """Examples for a network, cut in chunks."""

    def __init__(
        self,
        value: Any,
        device: torch.device,
        dtype: torch.dtype | None = None,
        what: str = "inputs",
        *,
        whole: bool = False,
    ) -> None:
        self.device, self._dtype = device, dtype
        named = value if isinstance(value, Mapping) and not whole else {}
        listed = () if named else value if isinstance(value, tuple | list) else (value,)
        self._all = Arguments(
            tuple(_read(v, f"{what}[{i}]" if len(listed) > 1 else what) for i, v in enumerate(listed)),
            {key: _tensor(v, f"{what}[{key!r}]") for key, v in named.items()},
        )
        sizes = {len(v) for v in self.tensors}
        if len(sizes) != 1:
            raise DataError(
                f"{what} hold {sorted(sizes) or 'no'} examples"
                + (", but each must hold the same number" if sizes else ""),
                "Give tensors with one row for each example.",
            )
        if not len(self):
            raise DataError(f"{what} hold no examples", "Give at least one.")

    @property
    def tensors(self) -> list[Tensor]:
        """All tensors."""
        return list(each_tensor(self._all))

    def __len__(self) -> int:
        return len(self.tensors[0])

    def chunk(self, start: int, stop: int) -> Arguments:
        """Give some examples as arguments of the network."""
        return self._all.mapped(lambda v: self._moved(v[start:stop]))

    def chosen(self, rows: Sequence[int]) -> Arguments:
        """Give a few examples as arguments of the network, copied."""
        return self._all.mapped(lambda v: self._moved(v[list(rows)]))

    def rows(self, start: int, stop: int) -> Inputs:
        """Give some of the examples, as views."""
        part = copy.copy(self)
        part._all = self._all.rows(start, stop)
        return part

    def in_double(self) -> Inputs:
        """Give the same with numbers of floating point in 64 bit."""
        twin = copy.copy(self)
        twin._dtype = torch.float64
        return twin

    def as_fed(self) -> Tensor | None:
        """Give all examples where they are one tensor, and chunks are views of it; else ``None``."""
        value = self.tensors[0]
        alone = len(self.tensors) == 1 and value.is_contiguous() and value.is_floating_point()
        return value if alone and self._moved(value) is value else None

    def _moved(self, value: Tensor) -> Tensor:
        return value.to(self.device, self._dtype if value.is_floating_point() else None)


def _read(value: Any, what: str) -> Any:
    if not isinstance(value, Mapping):
        return _tensor(value, what)
    return {key: _tensor(v, f"{what}[{key!r}]") for key, v in value.items()}


def _tensor(value: Any, what: str) -> Tensor:
    if not isinstance(value, Tensor | np.ndarray):
        batches = (
            hasattr(value, "dataset") or hasattr(value, "__getitems__") or type(value).__name__.endswith("Dataset")
        )
        raise DataError(
            f"{what} is a {type(value).__name__}, but must be a tensor or an array",
            "Join what it gives: torch.cat([batch[0] for batch in DataLoader(...)])."
            if batches
            else "Convert it with torch.as_tensor.",
        )
    tensor = torch.as_tensor(value).detach()
    if tensor.is_inference():  # made in inference mode: autograd cannot use it
        tensor = tensor.clone()
    if tensor.ndim == 0:
        raise DataError(f"{what} is a single number", "Give one row for each example, [n, ...].")
    if tensor.is_floating_point() and not all_finite(tensor):
        rows = (~torch.isfinite(tensor)).reshape(len(tensor), -1).any(1).nonzero()[:, 0]
        raise DataError(
            f"{what} have NaN or infinite values in {len(rows)} of {len(tensor)} examples, first in {int(rows[0])}",
            "Leave those out or fill the values in.",
        )
    return tensor


def all_finite(value: Tensor) -> bool:
    """Say whether all numbers are finite: a finite sum says so in one pass without a copy."""
    return bool(torch.isfinite(value.sum())) or bool(torch.isfinite(value).all())
