"""CIFAR-10 and CIFAR-100 in their binary form."""

from __future__ import annotations

from pathlib import Path
from typing import final

import numpy as np

from selfdistill._core.errors import DataError
from selfdistill.data._limits import by_number, check_size
from selfdistill.data._source import Source
from selfdistill.data.formats._format import IMAGES, Format, Request

_PIXELS = 3 * 32 * 32
_CLASSES = {1: 10, 2: 100}  # by label bytes of a record: CIFAR-100 has a coarse and a fine label


def _batches(path: Path) -> list[Path]:
    if path.is_file():
        return [path] if path.suffix == ".bin" else []
    files = [item for item in path.iterdir() if item.suffix == ".bin" and item.is_file()]
    return sorted(files, key=by_number)


def label_bytes(folder: Path, files: list[Path]) -> int:
    """Tell CIFAR-10 (one label byte) from CIFAR-100 (coarse and fine)."""
    if (folder / "fine_label_names.txt").is_file():
        return 2
    if (folder / "batches.meta.txt").is_file() or any("batch" in file.name for file in files):
        return 1
    if any(file.name in {"train.bin", "test.bin"} for file in files):
        return 2
    return 2 if all(file.stat().st_size % (_PIXELS + 2) == 0 for file in files) else 1


def parse_batch(path: Path, heads: int) -> tuple[np.ndarray, np.ndarray]:
    """Read one file of records: label bytes, then 3 x 32 x 32 pixels."""
    size, record, limit = path.stat().st_size, heads + _PIXELS, _CLASSES[heads]
    check_size(str(path), size)
    if size % record or not size:
        raise DataError(
            f"{path} is truncated or no CIFAR-{limit} batch: {size:,} bytes are "
            f"{size // record:,} records of {record:,} bytes and {size % record:,} bytes more",
            "Fetch the file again.",
        )
    data = np.fromfile(path, np.uint8).reshape(-1, record)
    labels = data[:, heads - 1]
    if labels.max() >= limit:
        row = int(np.argmax(labels >= limit))
        raise DataError(
            f"{path}: record {row} has the label {labels[row]}, but CIFAR-{limit} has 0 to {limit - 1}",
            "Fetch the file again.",
        )
    return data[:, heads:].reshape(-1, 3, 32, 32), labels.copy()


def _names(folder: Path, heads: int) -> list[str] | None:
    path = folder / ("batches.meta.txt" if heads == 1 else "fine_label_names.txt")
    if not path.is_file():
        return None
    names = [line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    if len(names) != _CLASSES[heads] or len(set(names)) < len(names):
        what = f"{path} holds {len(names)} names ({len(set(names))} different)"
        raise DataError(what, f"It needs {_CLASSES[heads]}.")
    return names


@final
class Cifar(Format):
    """Batches of records: label bytes, then pixels; files that begin with "test" are the test part."""

    name, what, shown = "cifar", "CIFAR data", "CIFAR batches"
    gives = IMAGES
    folder = True

    def detect(self, path: Path) -> bool:
        return bool(_batches(path))

    def load(self, request: Request) -> Source | None:
        path, files = request.place.path, _batches(request.place.path)
        folder = path if path.is_dir() else path.parent
        heads = label_bytes(folder, files)
        test = [file for file in files if file.name.lower().startswith("test")]
        train = [file for file in files if file not in test]
        parts = {"train": train or test, "test": test if train else [], "new": test or train}
        chosen = files if path.is_file() else parts[request.part]
        if not chosen:
            return None
        check_size(str(path), sum(file.stat().st_size for file in chosen))
        read = [parse_batch(file, heads) for file in chosen]
        labels = np.concatenate([labels for _, labels in read])
        names = _names(folder, heads)
        given = labels if names is None else np.array(names, dtype=object)[labels]
        return Source(str(path), "image", np.concatenate([images for images, _ in read]), given)
