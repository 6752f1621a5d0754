"""What many people said of each example."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from selfdistill._core.errors import DataError, one_line
from selfdistill.noise._tables import DELIMITERS, check_file, load_arrays, read_rows

__all__ = ["check_votes", "read_votes"]

_ID = "id"
_ENDINGS = (".npz", ".npy", ".csv", ".tsv", ".parquet", ".pq")


def read_votes(
    path: str | Path, *, classes: Sequence[str], array: str | None = None, ids: Sequence[str] | None = None
) -> Tensor:
    r"""Read how many people gave each label to each example.

    ============  ==========================================================================================
    ``.npz``      the only array of two axes, or the one that ``array`` names; columns as ``classes``
    ``.npy``      one array, the same
    ``.csv``      one column per class, named after it, in any order (``.tsv``: by tabs), and perhaps ``id``
    ``.parquet``  the same
    ============  ==========================================================================================

    Args:
        path: The file. Pickles are refused.
        classes: Class names, in the order of the result's columns.
        array: Name of the array, where the file holds several of two axes.
        ids: Names of the examples: there is one row for each, in this order, and a column ``id`` must agree.

    Returns:
        float64 ``[n, K]``: counts or shares, at least 0, each row with some.

    Raises:
        DataError: No such file, another format, damaged, larger than 1 GiB, no such array, other classes or rows, or
            values that are no votes.

    References:
        Peterson et al. 2019, arXiv 1908.07086: CIFAR-10H, about 50 votes for each test image.

    Example:
        >>> import tempfile
        >>> file = Path(tempfile.mkdtemp()) / "votes.csv"
        >>> _ = file.write_text("dog,cat\n1,49\n50,0\n")
        >>> read_votes(file, classes=["cat", "dog"]).tolist()
        [[49.0, 1.0], [0.0, 50.0]]
    """
    path = Path(path)
    check_file(path)
    if path.suffix in {".npz", ".npy"}:
        values, named = _array(path, array), None
    elif path.suffix in _ENDINGS:
        if array is not None:
            raise DataError(f"{path} is a table, which has no array {array!r}", "Leave the name of the array out.")
        values, named = _table(path, classes)
    else:
        raise DataError(
            f"{path} has the ending {path.suffix!r}, which is not one of {', '.join(_ENDINGS)}",
            "Save the votes in one of these formats; files that can hold code, such as .pkl, are never read.",
        )
    votes = check_votes(values, classes, str(path), None if ids is None else len(ids))
    if named is not None and ids is not None:
        odd = next((row for row, pair in enumerate(zip(named, ids, strict=True)) if pair[0] != str(pair[1])), None)
        if odd is not None:
            raise DataError(
                f"{path} has the id {named[odd]!r} in row {odd} (from 0), but the data {str(ids[odd])!r}",
                "Bring its rows into the order of the data, or leave its column id out.",
            )
    return votes


def check_votes(values: Any, classes: Sequence[str], where: str = "votes", rows: int | None = None) -> Tensor:
    """Refuse what cannot be votes.

    Args:
        values: Numbers ``[n, K]``, a tensor or an array.
        classes: Names of the K classes.
        where: What they are, for messages.
        rows: How many there must be.

    Returns:
        float64 ``[n, K]``.

    Raises:
        DataError: Another shape, a value below 0 or not finite, or a row without a vote.

    Example:
        >>> check_votes([[1, 0], [0, 0]], ["cat", "dog"])
        Traceback (most recent call last):
        selfdistill._core.errors.DataError: votes: nobody voted in row 1 (from 0), one of 1 such rows. Give each row \
at least one vote, or leave the example out of the data.
    """
    votes = torch.as_tensor(values).double()
    if votes.ndim != 2 or votes.shape[1] != len(classes):
        listed = ", ".join(classes[:6]) + (", ..." if len(classes) > 6 else "")
        raise DataError(
            f"{where} has votes of shape {list(votes.shape)}, but there are {len(classes)} classes ({listed})",
            f"Give one row per example and one column per class, [n, {len(classes)}].",
        )
    if rows is not None and len(votes) != rows:
        raise DataError(
            f"{where} has {len(votes):,} rows of votes, but there are {rows:,} examples",
            "Give one row per example that is read, in the order of the data.",
        )
    for wrong, what in ((~votes.isfinite(), "not finite"), (votes < 0, "below 0")):
        if bool(wrong.any()):
            row, column = (int(place) for place in wrong.nonzero()[0])
            raise DataError(
                f"{where} has {votes[row, column]:g} votes for {classes[column]!r} in row {row} (from 0), {what}",
                "Give counts of at least 0.",
            )
    empty = (votes.sum(1) == 0).nonzero().flatten().tolist()
    if empty:
        raise DataError(
            f"{where}: nobody voted in row {empty[0]} (from 0), one of {len(empty):,} such rows",
            "Give each row at least one vote, or leave the example out of the data.",
        )
    return votes


def _array(path: Path, name: str | None) -> np.ndarray:
    arrays = load_arrays(path)
    if name is not None and name not in arrays:
        raise DataError(f"{path} holds no array {name!r}", f"Use one of: {', '.join(arrays)}.")
    tables = [one for one, values in arrays.items() if values.ndim == 2]
    if name is None and len(tables) != 1:
        shapes = ", ".join(f"{one} {list(values.shape)}" for one, values in arrays.items())
        raise DataError(
            f"{path} holds {len(tables)} arrays of two axes, but one is taken: {shapes}",
            "Name the one with the votes." if tables else "Give counts [n, K].",
        )
    values = arrays[tables[0] if name is None else name]
    if values.dtype.kind not in "biuf":
        raise DataError(f"{path} holds votes of type {values.dtype}, which are no numbers", "Save counts.")
    return values.astype(np.float64)


def _table(path: Path, classes: Sequence[str]) -> tuple[np.ndarray, list[str] | None]:
    """Read the columns of the classes, in their order, and the names of the rows where they are there."""
    columns = _columns(path)
    missing = [name for name in classes if name not in columns]
    odd = [name for name in columns if name not in classes and name != _ID]
    if missing or odd:
        what = (
            f"no column for {', '.join(map(repr, missing[:6]))}" if missing else "columns that are no class of the data"
        )
        raise DataError(
            f"{path} has {what}; its columns are {', '.join(map(repr, columns))}",
            f"Give one column per class, named after it, and none besides but {_ID}.",
        )
    return np.stack([_numbers(path, name, columns[name]) for name in classes], 1), (
        [str(cell) for cell in columns[_ID]] if _ID in columns and _ID not in classes else None
    )


def _columns(path: Path) -> dict[str, Sequence[Any]]:
    if path.suffix in DELIMITERS:
        header, *rows = read_rows(path)
        if len(set(header)) < len(header):
            raise DataError(f"{path} names a column twice: {', '.join(header)}", "Rename one.")
        return {name: [row[place] for row in rows] for place, name in enumerate(header)}
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(path)
        return {name: table[name].to_pylist() for name in table.column_names}
    except (pa.ArrowException, OSError, KeyError) as error:
        raise DataError(f"{path} is truncated or no Parquet file: {one_line(error)}", "Write it again.") from None


def _numbers(path: Path, name: str, cells: Sequence[Any]) -> np.ndarray:
    found = np.empty(len(cells))
    for row, cell in enumerate(cells):
        try:
            found[row] = float(cell)
        except (TypeError, ValueError):
            raise DataError(
                f"{path} has {cell!r} for {name!r} in row {row} (from 0), which is no number",
                "Give counts, 0 for none.",
            ) from None
    return found
