"""Small images of digits and the like: IDX files, as MNIST comes, plain or packed, and the digits of scikit-learn."""

from __future__ import annotations

import math
import struct
from pathlib import Path
from typing import IO, final

import numpy as np

from selfdistill._core.errors import DataError
from selfdistill._core.read_options import ReadOptions
from selfdistill.data._labels import texts
from selfdistill.data._limits import DAMAGED, check_size, damaged, open_bytes
from selfdistill.data._place import Place
from selfdistill.data._source import Source, array_form
from selfdistill.data.formats._copies import FOLDER, NPZ, Edit, Endings, link_or_copy, new_folder, typed_labels
from selfdistill.data.formats._format import IMAGES, VECTORS, Format, Request

_PACKED = (".gz", ".bz2", ".xz", ".zst")
_TYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}


def _bare(path: Path) -> str:
    """Name of a file when it is unpacked."""
    return path.stem if path.suffix.lower() in _PACKED else path.name


def _is_images(path: Path) -> bool:
    name = _bare(path).lower()
    return path.is_file() and "images" in name and ("idx" in name or name.endswith("ubyte"))


def _is_test(path: Path) -> bool:
    name = path.name.lower()
    return "t10k" in name or "test" in name


def _beside(images: Path, *names: str) -> Path | None:
    """Find the first file beside the images that has one of these names, packed or not."""
    tries = (images.with_name(name + ending) for name in names for ending in ("", *_PACKED))
    return next((path for path in tries if path.is_file() and path != images), None)


def _find_images(path: Path, part: str) -> Path | None:
    """Choose the images file of one part."""
    if path.is_file():
        return path
    found = {_bare(item): item for item in sorted(path.iterdir(), reverse=True) if _is_images(item)}
    test = sorted(item for item in found.values() if _is_test(item))
    train = sorted(item for item in found.values() if not _is_test(item))
    chosen = {"train": train or test, "test": test if train else [], "new": test or train}[part]
    if len(chosen) > 1:
        names = ", ".join(item.name for item in chosen[:5])
        raise DataError(
            f"{path} holds {len(chosen)} sets of images: {names}",
            "Name the images file, or keep one set in the folder.",
        )
    return chosen[0] if chosen else None


def _find_labels(images: Path) -> Path | None:
    name = _bare(images).replace("images", "labels")
    return _beside(images, name.replace("idx3", "idx1"), name)


def _truth_name(images: Path) -> str:
    """Name of the file beside the images that holds the true labels of a noisy copy."""
    return _bare(images).replace("images", "truth").replace("idx3", "idx1")


def parse_idx(path: Path) -> np.ndarray:
    """Read one IDX file: two zero bytes, type, number of axes, the sizes as big-endian 32-bit numbers, the values."""
    with open_bytes(path) as file:
        zero, kind, axes = struct.unpack(">HBB", read_exactly(file, 4, path, whole=False))
        if zero or kind not in _TYPES or not 1 <= axes <= 8:
            raise DataError(
                f"{path} does not begin like an IDX file (bytes {zero:04x} {kind:02x} {axes:02x})",
                "Fetch the file again.",
            )
        shape = struct.unpack(f">{axes}I", read_exactly(file, 4 * axes, path, whole=False))
        dtype = np.dtype(_TYPES[kind])
        data = read_exactly(file, math.prod(shape) * dtype.itemsize, path)
    return np.frombuffer(data, dtype).reshape(shape).astype(dtype.newbyteorder("="))


def read_exactly(file: IO[bytes], size: int, path: Path, *, whole: bool = True) -> bytes:
    """Read the next bytes; if ``whole``, there must be no more."""
    check_size(str(path), size)
    try:
        data = file.read(size)
        more = whole and bool(file.read(1))
    except DAMAGED as error:
        raise damaged(path, error) from error
    if len(data) < size:
        raise DataError(
            f"{path} is truncated: it should hold {size:,} more bytes here, but ends after {len(data):,}",
            "Fetch the file again.",
        )
    if more:
        raise DataError(f"{path} holds more bytes than its header says ({size:,})", "Fetch the file again.")
    return data


def write_idx(path: Path, array: np.ndarray) -> None:
    """Write a uint8 or int32 array as an IDX file."""
    kind = 0x08 if array.dtype == np.uint8 else 0x0C
    header = struct.pack(f">HBB{array.ndim}I", 0, kind, array.ndim, *array.shape)
    path.write_bytes(header + array.astype(_TYPES[kind]).tobytes())


@final
class Idx(Format):
    """Images in one file and labels in another, of a training and perhaps a test part."""

    name, what, shown = "idx", "IDX data", "IDX files"
    gives = VECTORS
    folder = True

    def detect(self, path: Path) -> bool:
        return any(map(_is_images, path.iterdir())) if path.is_dir() else _is_images(path)

    def load(self, request: Request) -> Source | None:
        file = _find_images(request.place.path, request.part)
        if file is None:
            return None
        images, named = parse_idx(file), _find_labels(file)
        labels = None if named is None else parse_idx(named)
        if named is None and request.part == "train":
            name = file.name.replace("images", "labels").replace("idx3", "idx1")
            raise DataError(f"{file} has no labels file beside it", f"Add {name}.")
        if named is not None and labels is not None and (labels.ndim != 1 or len(labels) != len(images)):
            raise DataError(
                f"{file.name} holds {len(images):,} images, but {named.name} holds "
                f"{len(labels):,} labels{f' of shape {labels.shape[1:]}' if labels.ndim > 1 else ''}",
                "Use the two files of one set.",
            )
        form = array_form(images.shape, str(file))
        return Source(str(request.place.path), form, images, labels, truth=_truth(file, images))

    def endings(self, edit: Edit) -> Endings:
        return NPZ if edit.labels is None else FOLDER

    def copy(self, place: Place, options: ReadOptions, out: Path, edit: Edit) -> None:
        """With other labels, a folder of all files, and the labels from before as the truth."""
        if edit.labels is None:
            super().copy(place, options, out, edit)
            return
        images = _find_images(place.path, "train")
        named = None if images is None else _find_labels(images)
        if images is None or named is None:
            raise DataError(f"{place.name} has no labels file", "Give a folder with images and labels.")
        given = parse_idx(named)
        known = [name is not None for name in texts(given)]
        labels = typed_labels(edit.relabelled(known, ReadOptions(), place.name), given)
        if labels.dtype.kind not in "iu":
            raise DataError(
                f"IDX files hold whole numbers, not labels such as {edit.labels[0]!r}", "Give the labels as numbers."
            )
        replaced = {_bare(named), _truth_name(images)}
        with new_folder(out) as folder:
            for file in images.parent.iterdir():
                if file.is_file() and "idx" in file.name and _bare(file) not in replaced:
                    link_or_copy(file, folder / file.name)
            write_idx(folder / _bare(named), labels)
            write_idx(folder / _truth_name(images), given)


def _truth(path: Path, images: np.ndarray) -> np.ndarray | None:
    file = _beside(path, _truth_name(path))
    truth = None if file is None else parse_idx(file)
    if file is not None and truth is not None and truth.shape != (len(images),):
        raise DataError(
            f"{path.name} holds {len(images):,} images, but {file.name} holds labels of shape {truth.shape}",
            "Remove it, or use the one that belongs to the images.",
        )
    return truth


@final
class Digits(Format):
    """The handwritten digits of scikit-learn, which need no file."""

    name, what, shown = "digits", "a built-in set of images", "'digits'"
    gives = IMAGES

    def load(self, request: Request) -> Source | None:
        if request.part == "test":
            return None
        from sklearn.datasets import load_digits

        images, labels = load_digits(return_X_y=True)
        return Source("digits", "image", images.reshape(-1, 8, 8).astype(np.uint8), labels, truth=labels)
