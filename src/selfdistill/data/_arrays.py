"""Arrays: vectors that are standardised, sparse ones that are scaled, and whatever a user's module takes."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, Protocol, final

import numpy as np
import torch
from scipy.sparse import issparse
from torch import Tensor

from selfdistill._core.advice import Notice
from selfdistill._core.errors import DataError, one_line
from selfdistill._core.row_blocks import row_blocks
from selfdistill._core.wording import listed
from selfdistill.data._numerals import codes_in
from selfdistill.data._preprocess import Preprocess

_BLOCK = 2**21  # numbers that are looked at at once
_SAMPLE = 1000  # new rows that are compared with those of training
_FAR = 100.0  # standard deviations
_LARGEST = 1e15  # standardised values are held to ±1e15: their squares are finite in float32


class Columns(Protocol):
    """Numbers ``[n, d]`` that can be read in blocks of rows."""

    @property
    def shape(self) -> tuple[int, ...]:
        """``(n, d)``."""
        ...

    def __getitem__(self, rows: slice, /) -> Any:
        """Read rows."""
        ...


def as_numpy(raw: Any) -> np.ndarray:
    """Take an array-like as a numeric NumPy array."""
    if isinstance(raw, Tensor):
        raw = raw.detach().cpu().numpy()
    array = np.asarray(raw)
    if array.dtype.names:
        raise DataError(
            f"the array is a structured array, with the fields {listed(array.dtype.names)}",
            "Pass it as a table: pandas.DataFrame(array).",
        )
    problem = f"is of type {array.dtype}, but must hold numbers" if array.dtype.kind not in "biufO" else ""
    try:
        array = array.astype(np.float64) if array.dtype == object else array
    except (TypeError, ValueError) as error:
        problem = f"does not hold numbers: {one_line(error)}"
    if problem:
        raise DataError(f"the array {problem}", "Pass a DataFrame to use text columns.")
    return array


def first_bad(array: np.ndarray) -> tuple[int, int] | None:
    """Find the first value that is not finite: its row, and its place in the row."""
    if array.dtype.kind != "f" or array.size == 0:
        return None
    flat = array.reshape(len(array), -1)
    for rows in row_blocks(*flat.shape):
        bad = ~np.isfinite(flat[rows])
        if bad.any():
            row, place = (int(one[0]) for one in bad.nonzero())
            return rows.start + row, place
    return None


def check_finite(array: np.ndarray) -> None:
    """Refuse NaN and infinity, naming the first place."""
    bad = first_bad(array)
    if bad is None:
        return
    value = array.reshape(len(array), -1)[bad]
    nan = np.isnan(value)
    raise DataError(
        f"the inputs hold {'NaN' if nan else f'infinite ({value})'} in row {bad[0]}, column {bad[1]}",
        "Impute it first, or pass a table (DataFrame, CSV, Parquet), where missing values are imputed."
        if nan
        else "Replace infinite values first.",
    )


def column_scales(columns: Columns) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Find what standardises each column, without overflow: values are first divided by the largest of the column."""
    n, d = columns.shape
    step = max(1, _BLOCK // max(1, d))

    def parts() -> Iterator[np.ndarray]:
        for start in range(0, n, step):
            yield np.asarray(columns[start : start + step]).astype(np.float64)

    scale, mean, square = np.zeros(d), np.zeros(d), np.zeros(d)
    for part in parts():
        np.maximum(scale, np.abs(part).max(axis=0, initial=0.0), out=scale)
    scale[scale == 0] = 1.0
    for part in parts():
        part /= scale
        mean += part.sum(axis=0)
    mean /= max(1, n)
    for part in parts():
        part /= scale
        part -= mean
        square += np.square(part, out=part).sum(axis=0)
    std = np.sqrt(square / max(1, n))
    std[std <= 1e-12 * np.abs(mean)] = 0.0  # constant up to rounding
    return scale, mean, std


def check_scales(scales: Sequence[np.ndarray] | np.ndarray, width: int) -> None:
    """Refuse what a file gives as the result of `column_scales` and cannot be one."""
    for one in scales:
        if one.shape != (width,):
            raise ValueError(f"scales of shape {one.shape} for {width} columns")
    scale, _, std = scales
    if not (np.isfinite(scales).all() and (scale > 0).all() and (std >= 0).all()):
        raise ValueError("scales that are not finite, or not above 0")


def standardise(columns: Columns, scale: np.ndarray, mean: np.ndarray, std: np.ndarray) -> np.ndarray:
    """Standardise columns in float64 and give them as float32; constant columns become 0."""
    out = np.empty(columns.shape, np.float32)
    factor = np.divide(1.0, std, out=np.zeros_like(std), where=std > 0)
    for rows in row_blocks(*columns.shape):
        part = np.asarray(columns[rows]).astype(np.float64)
        with np.errstate(over="ignore", invalid="ignore"):  # held to the limit below
            part = (part / scale - mean) * factor
        part[:, std == 0] = 0.0
        out[rows] = np.clip(part, -_LARGEST, _LARGEST)
    return out


class _Gap(NamedTuple):
    """A column with numbers that stand for missing values."""

    column: int
    codes: list[float]
    median: float


class _Filled:
    """Columns with the median in the gaps, read in blocks."""

    def __init__(self, array: np.ndarray, gaps: Sequence[_Gap]) -> None:
        self._array, self._gaps, self.shape = array, gaps, array.shape

    def __getitem__(self, rows: slice, /) -> np.ndarray:
        part = np.array(self._array[rows], dtype=np.float64)
        for gap in self._gaps:
            part[np.isin(part[:, gap.column], gap.codes), gap.column] = gap.median
        return part


@final
class ArrayPreprocess(Preprocess, kind="array"):
    """Vectors ``[n, d]``, each column standardised as in training; codes for missing values become its median."""

    def __init__(self, scale: np.ndarray, mean: np.ndarray, std: np.ndarray, gaps: Sequence[_Gap] = ()) -> None:
        self._scales, self._gaps = (scale, mean, std), tuple(gaps)

    @classmethod
    def fit(cls, raw: Any) -> ArrayPreprocess:
        array = as_numpy(raw)
        check_finite(array)
        gaps = []
        for place, codes in codes_in(array).items():
            known = np.asarray(array[~np.isin(array[:, place], codes), place], np.float64)
            gaps.append(_Gap(place, codes, float(np.median(known))))
        return cls(*column_scales(_Filled(array, gaps) if gaps else array), gaps)

    @property
    def input_shape(self) -> tuple[int, ...]:
        return self._scales[0].shape

    def apply(self, raw: Any) -> Tensor:
        array = as_numpy(raw)
        if array.ndim != 2 or array.shape[1] != len(self._scales[0]):
            raise DataError(
                f"the array has shape {array.shape}, but training had {len(self._scales[0])} columns",
                f"Pass an array of shape [n, {len(self._scales[0])}].",
            )
        check_finite(array)
        return torch.from_numpy(standardise(_Filled(array, self._gaps) if self._gaps else array, *self._scales))

    def raw(self, inputs: Tensor) -> np.ndarray:
        scale, mean, std = self._scales
        return np.asarray((inputs.double().cpu().numpy() * std + mean) * scale)

    def facts(self) -> str:
        d = len(self._scales[0])
        return f"{d:,} number{'s' if d != 1 else ''}"

    def doubts(self, raw: Any) -> list[str]:
        array, (scale, mean, std) = as_numpy(raw), self._scales
        sample = np.asarray(array[:: max(1, len(array) // _SAMPLE)], np.float64)
        far = (np.abs(sample / scale - mean) > _FAR * std) & (std > 0)
        columns = np.flatnonzero(2 * far.sum(0) > len(sample))
        if len(sample) < 2 or not len(columns):
            return []
        place, more = columns[0], len(columns) - 1
        others = f"; so do {more:,} more columns" if more > 1 else "; so does one more column" if more else ""
        return [
            f"column {place} (counted from 0) holds other numbers than in training: the median is "
            f"{np.median(sample[:, place]):.4g}, in training the mean was {mean[place] * scale[place]:.4g}{others}; "
            "check the unit."
        ]

    def notes(self, array: np.ndarray) -> tuple[tuple[str, ...], dict[str, int]]:
        """Say which numbers of the training array count as missing, and how many there are."""
        missing = [int(np.isin(array[:, gap.column], gap.codes).sum()) for gap in self._gaps]
        if not missing:
            return (), {}
        gap, more = self._gaps[0], len(missing) - 1
        codes = " and ".join(f"{code:.15g}" for code in gap.codes)
        others = f"; so do those of {more:,} more column{'s' * (more > 1)}" if more else ""
        note = Notice(
            f"column {gap.column} (counted from 0): {codes} in {missing[0]:,} rows, far from all other numbers, counts "
            f"as missing and becomes the median{others}",
            "to take it as it stands, pass a table (DataFrame, CSV, Parquet) and name the column with {--numeric}.",
        )
        return (note,), {"missing_values": sum(missing)}

    def to_state(self) -> tuple[dict[str, Any], dict[str, Tensor]]:
        names = ("scale", "mean", "std")
        spec = {"kind": self.kind} | ({"gaps": [list(gap) for gap in self._gaps]} if self._gaps else {})
        return spec, {name: torch.from_numpy(a) for name, a in zip(names, self._scales, strict=True)}

    @classmethod
    def _rebuild(cls, spec: dict[str, Any], tensors: dict[str, Tensor]) -> ArrayPreprocess:
        scale, mean, std = (tensors[name].double().numpy() for name in ("scale", "mean", "std"))
        check_scales((scale, mean, std), len(scale))
        gaps = [_Gap(*one) for one in spec.get("gaps", ())]
        for gap in gaps:
            if not 0 <= gap.column < len(scale) or not np.isfinite([*gap.codes, gap.median]).all():
                raise ValueError(f"a gap of {gap}")
        return cls(scale, mean, std, gaps)


@final
class UserPreprocess(Preprocess, kind="user"):
    """Inputs of one shape for a user's own module, as they are: of type "float32", "int64" or "uint8"."""

    def __init__(self, shape: tuple[int, ...], dtype: str = "float32") -> None:
        self._shape, self._dtype = shape, dtype

    @classmethod
    def fit(cls, raw: Any) -> UserPreprocess:
        array = as_numpy(raw)
        dtype = "float32" if array.dtype.kind == "f" else "uint8" if array.dtype == np.uint8 else "int64"
        return cls(array.shape[1:], dtype)

    @property
    def input_shape(self) -> tuple[int, ...]:
        return self._shape

    def apply(self, raw: Any) -> Tensor:
        array = as_numpy(raw)
        if array.shape[1:] != self._shape:
            raise DataError(
                f"inputs have shape {array.shape}, but training had [n, {', '.join(map(str, self._shape))}]",
                "Pass inputs of the training shape.",
            )
        check_finite(array)
        if self._dtype != "float32" and array.dtype.kind == "f":
            raise DataError(
                f"inputs are {array.dtype}, but training had {self._dtype}", "Pass inputs of the training type."
            )
        return torch.from_numpy(np.ascontiguousarray(array.astype(self._dtype)))

    def raw(self, inputs: Tensor) -> np.ndarray:
        return inputs.cpu().numpy()

    def facts(self) -> str:
        return f"inputs of shape {' x '.join(map(str, self._shape))}"

    def to_state(self) -> tuple[dict[str, Any], dict[str, Tensor]]:
        return {"kind": self.kind, "shape": list(self._shape), "dtype": self._dtype}, {}

    @classmethod
    def _rebuild(cls, spec: dict[str, Any], tensors: dict[str, Tensor]) -> UserPreprocess:
        if spec["dtype"] not in {"float32", "int64", "uint8"}:
            raise KeyError(spec["dtype"])
        return cls(tuple(int(side) for side in spec["shape"]), spec["dtype"])


TEXT_WEIGHT = 10.0  # length of a text's vector: it weighs like a hundred standardised columns, each of mean square 1
_BYTES = 2 * 2**30


def as_dense(matrix: Any) -> np.ndarray:
    """Write a sparse matrix ``[n, d]`` out as float32, if it takes no more than 2 GiB."""
    size = 4 * math.prod(matrix.shape)
    if size > _BYTES:
        raise DataError(
            f"the sparse matrix of {matrix.shape[0]:,} x {matrix.shape[1]:,} takes {size / 2**30:,.1f} GiB when "
            f"written out, but at most {_BYTES / 2**30:,.0f} GiB are",
            "Take fewer columns (TfidfVectorizer(max_features=5000)), or reduce them first: "
            "make_pipeline(TfidfVectorizer(), TruncatedSVD(256), SelfDistillClassifier()).",
        )
    return np.asarray(matrix.astype(np.float32).toarray())


@final
class SparsePreprocess(Preprocess, kind="sparse"):
    """Vectors ``[n, d]`` that keep the scales of their columns; all are multiplied by one number."""

    # The factor gives training vectors a root mean square length of 10, which texts have in a table.

    def __init__(self, factor: float, columns: int) -> None:
        self._factor, self._columns = factor, columns

    @classmethod
    def fit(cls, raw: Any) -> SparsePreprocess:
        values = np.asarray(raw.tocsr().data if issparse(raw) else as_numpy(raw), np.float64)
        largest = float(np.abs(values).max(initial=0.0))
        if not math.isfinite(largest):
            check_finite(as_dense(raw) if issparse(raw) else values)
        length = largest * math.sqrt(float(np.square(values / (largest or 1.0)).sum()) / raw.shape[0])
        return cls(TEXT_WEIGHT / length if length else 1.0, int(raw.shape[1]))

    @property
    def input_shape(self) -> tuple[int, ...]:
        return (self._columns,)

    @property
    def scaled(self) -> bool:
        return True

    def apply(self, raw: Any) -> Tensor:
        plain = raw.tocsr() if issparse(raw) else as_numpy(raw)
        if plain.ndim != 2 or plain.shape[1] != self._columns:
            raise DataError(
                f"the array has shape {plain.shape}, but training had {self._columns} columns",
                f"Pass an array of shape [n, {self._columns}].",
            )
        if issparse(plain):
            scaled = plain.astype(np.float64, copy=False) * self._factor
            if not np.isfinite(scaled.data).all():
                check_finite(as_dense(plain))
            return torch.from_numpy(as_dense(scaled))
        check_finite(plain)
        return torch.from_numpy((plain * self._factor).astype(np.float32))

    def facts(self) -> str:
        return f"{self._columns:,} number{'s' if self._columns != 1 else ''}, not standardised"

    def to_state(self) -> tuple[dict[str, Any], dict[str, Tensor]]:
        return {"kind": self.kind, "factor": self._factor, "columns": self._columns}, {}

    @classmethod
    def _rebuild(cls, spec: dict[str, Any], tensors: dict[str, Tensor]) -> SparsePreprocess:
        factor, columns = spec["factor"], spec["columns"]
        if not (isinstance(factor, float) and math.isfinite(factor) and factor > 0) or int(columns) < 1:
            raise ValueError(f"a factor of {factor!r} for {columns!r} columns")
        return cls(factor, int(columns))
