"""A folder with one sub-folder of images per class."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from statistics import median_low
from typing import TYPE_CHECKING, Any

import numpy as np

from selfdistill._core.errors import DataError
from selfdistill._core.wording import quoted
from selfdistill.data._images import ImagePreprocess
from selfdistill.data._labelled import Note
from selfdistill.data._limits import TRAIN_PIXEL_LIMIT, check_size
from selfdistill.data._options import ReadOptions
from selfdistill.data._pixels import (
    BACKGROUND,
    ENDINGS,
    Header,
    find_white,
    is_image,
    read_header,
    read_image,
    value_range,
)
from selfdistill.data._source import Source

if TYPE_CHECKING:
    from selfdistill.data._preprocess import Preprocess

__all__ = ["folder_source", "images_by_name", "is_image_folder", "training_root"]

_SHOWN = 5
_NUMBERED = re.compile(r"(?P<word>.*?[^\W\d])(?P<gap>[._ -]*)\d+")


_DEFAULT_SIDE = 64
"""Most pixels of a side that images of different sizes are brought to where the user names none."""

_PARTS = {
    "train": ("train", "training"),
    "test": ("test", "testing"),
    "validation": ("val", "valid", "validation", "dev", "eval"),
}
"""Names of folders that hold a part of a data set, and no class."""


def _walk(folder: Path, above: frozenset[Path]) -> Iterator[Path]:
    """Give the files below a folder, also through links, but never a folder within itself, and nothing hidden."""
    real = folder.resolve()
    if real in above:
        return
    try:
        items = sorted(folder.iterdir())
    except PermissionError:
        return
    for item in items:
        if item.name.startswith("."):
            continue
        if item.is_dir():
            yield from _walk(item, above | {real})
        else:
            yield item


def _files(folder: Path) -> Iterator[Path]:
    return _walk(folder, frozenset(folder.resolve().parents))


def _images_in(folder: Path) -> list[Path]:
    return sorted(path for path in _files(folder) if is_image(path) and path.is_file())


def images_by_name(root: Path) -> dict[str, Path]:
    """Find the images of a folder.

    Args:
        root: The folder.

    Returns:
        Files by the name that each example has; sorted.
    """
    return {_name(file, root): file for file in _images_in(root)}


def _name(file: Path, root: Path) -> str:
    """Name a file within a folder; bytes that are no UTF-8 are written as their numbers."""
    return os.fsencode(file.relative_to(root).as_posix()).decode("utf-8", "backslashreplace")


def is_image_folder(path: Path) -> bool:
    """Tell whether a folder holds images, or a file is one.

    Args:
        path: File or folder.

    Returns:
        Whether any image lies in it, at whatever depth.
    """
    return is_image(path) if path.is_file() else any(map(is_image, _files(path)))


def _part(path: Path, part: str) -> tuple[Path, bool]:
    """The folder of classes, and whether the source has it: sub-folders named like parts of a data set are such."""
    found = {item.name.lower(): item for item in path.iterdir() if item.is_dir() and not item.name.startswith(".")}
    names = {name: item for name, item in found.items() if _images_in(item)}
    known = {name: role for role, words in _PARTS.items() for name in words}
    roles = {known[name]: item for name, item in names.items() if name in known}
    split = "train" in roles and set(names) <= set(known) and (len(names) > 1 or _holds_classes(roles["train"]))
    if not split:
        return path, part != "test"
    if part == "train":
        return roles["train"], True
    return roles.get("test", roles["train"]), part == "new" or "test" in roles


def _holds_classes(folder: Path) -> bool:
    """Whether images lie in two or more sub-folders, and none beside them."""
    images = _images_in(folder)
    return len({i.relative_to(folder).parts[0] for i in images}) > 1 and all(i.parent != folder for i in images)


def training_root(path: Path) -> Path:
    """Return the folder of classes that training reads: ``train``, where there are parts."""
    return _part(path, "train")[0]


def _try(paths: list[Path], skip: bool, work: Any) -> tuple[list[tuple[Path, Any]], list[str]]:
    """Do the work on each image; gather those that fail, and refuse them unless they are to be skipped."""
    done, bad = [], []
    for path in paths:
        try:
            done.append((path, work(path)))
        except DataError:
            raise
        except Exception as error:  # decoders fail on hostile files in any way
            line = str(error).splitlines()[0][:120] if str(error) else type(error).__name__
            bad.append(f"{path} ({line.replace(str(path), '').strip(' :') or type(error).__name__})")
    if bad and not skip:
        listed = "; ".join(bad[:_SHOWN]) + (f"; ... ({len(bad):,} in all)" if len(bad) > _SHOWN else "")
        raise DataError(
            f"{len(bad):,} of {len(paths):,} images cannot be read: {listed}",
            "Replace them, or leave them out with --skip-bad (skip_bad=True).",
        )
    return done, bad


def _side(headers: list[tuple[Path, Header]], made: ImagePreprocess | None, asked: int | None) -> int | None:
    """Height and width to resize to: as asked, or as in training, or where sizes differ by a rule."""
    if made is not None:
        return made.input_shape[1] if made.resized else None
    if asked is not None or len({header.size for _, header in headers}) == 1:
        return asked
    return min(_DEFAULT_SIDE, int(median_low(min(header.size) for _, header in headers)))


def _check_shape(path: Path, headers: list[tuple[Path, Header]], made: ImagePreprocess | None) -> None:
    """Refuse images of another size than training had, or too large to train on."""
    if made is None:
        width, height = headers[0][1].size
        if width * height > TRAIN_PIXEL_LIMIT:
            raise DataError(
                f"the images of {path} have {width:,} x {height:,} pixels, but training takes at most "
                f"{TRAIN_PIXEL_LIMIT:,}",
                "Have them resized with --image-size N (image_size=N), such as 64.",
            )
        return
    height, width = made.input_shape[1:]
    for file, header in headers:
        if header.size != (width, height):
            raise DataError(
                f"{file} has {header.size[0]:,} x {header.size[1]:,} pixels, but training had {width:,} x {height:,}",
                "Bring it to the size of training.",
            )


def _whites(headers: list[tuple[Path, Header]], known: dict[str, int], skip: bool) -> tuple[dict[str, int], list[str]]:
    """Which value is white in images of more than 8 bits: as in training, or by all that there are; and sentences."""
    whites = dict(known)
    said: list[str] = []
    for kind, name in (("whole", "16-bit grey"), ("float", "floating-point")):
        deep = [path for path, header in headers if header.deep == kind]
        ranges = _try(deep, skip, value_range)[0]
        if not ranges:
            continue
        found = find_white(kind, ranges)
        if kind not in known:
            whites[kind] = found
            said.append(Note(f"{len(deep):,} {name} images: values from 0 to {found:,} are taken as black to white."))
        elif any(high > known[kind] for _, (_, high) in ranges):
            said.append(f"{name} images hold values above {known[kind]:,}, white in training: they are cut.")
    return whites, said


def _root_and_files(path: Path, part: str) -> tuple[Path, list[Path]] | None:
    """The folder of classes, or of new images, and its images; ``None``: the part is not there."""
    if path.is_file():
        return (path.parent, [path]) if part != "test" else None
    root, there = _part(path, part)
    if not there:
        return None
    files = _images_in(root)
    if not files:
        raise DataError(f"the folder {root} holds no images", f"Known are {', '.join(ENDINGS)}.")
    loose = [file for file in files if file.parent == root]
    if loose and part == "train":
        hint = _classes_in_names(root, loose)
        raise DataError(
            f"{loose[0]} lies outside of a class folder ({len(loose):,} such images)",
            f"Put every image into the folder of its class{hint}.",
        )
    return root, files


def _classes_in_names(root: Path, loose: list[Path]) -> str:
    """Say how images are sorted into folders whose names begin with two classes or more, such as ``cat.0.jpg``."""
    found: dict[str, Counter[str]] = {}
    for path in loose:
        name = _NUMBERED.fullmatch(path.stem)
        if name is None:
            return ""
        found.setdefault(name["word"], Counter())[name["gap"]] += 1
    if len(found) < 2 or min(gaps.total() for gaps in found.values()) < 2:
        return ""
    commands = []
    for word, gaps in list(found.items())[:_SHOWN]:
        where = quoted(root / word)
        start = quoted(root / (word + gaps.most_common(1)[0][0]))
        commands.append(f"mkdir -p {where} && mv {start}[0-9]* {where}/")
    more = f", and so on for {len(found):,} classes" if len(found) > _SHOWN else ""
    named = ", ".join(map(repr, list(found)[:_SHOWN])) + (", ..." if more else "")
    return f"; if the names begin with the class ({named}): {'; '.join(commands)}{more}"


def folder_source(path: Path, options: ReadOptions, part: str, preprocess: Preprocess | None) -> Source | None:
    """Read the images of a folder; the class is the name of the sub-folder.

    Args:
        path: One folder per class; or ``train`` and ``test`` folders that hold them; or for new data any images.
        options: ``skip_bad``, ``image_size``.
        part: "train", "test", or "new": the test part, else all.
        preprocess: The one of training: mode and size.

    Returns:
        The source, sorted by class folder and name, named by relative path; ``None`` where the part is not there.

    Raises:
        DataError: Images that cannot be read, are huge, or of another size than training had; or no class folders.
    """
    found = _root_and_files(path, part)
    if found is None:
        return None
    root, files = found
    made = preprocess if isinstance(preprocess, ImagePreprocess) else None
    upright = made is None or made.whites is not None
    headers, bad = _try(files, options.skip_bad, lambda file: read_header(file, upright=upright))
    if not headers:
        raise DataError(f"none of the {len(files):,} images in {root} can be read: {bad[0]}", "Replace them.")
    size = _side(headers, made, options.image_size)
    if size is None:
        _check_shape(path, headers, made)
    mode = made.mode if made is not None and made.mode in {"L", "RGB"} else None
    mode = mode or ("L" if all(header.grey for _, header in headers) else "RGB")
    width, height = headers[0][1].size if size is None else (size, size)
    check_size(str(path), len(headers) * width * height * len(mode))
    whites, said = _whites(headers, (made.whites or {}) if made is not None else {}, options.skip_bad)

    def pixels(file: Path) -> np.ndarray:
        return read_image(file, mode, size, whites, upright=upright)

    images, more = _try([file for file, _ in headers], options.skip_bad, pixels)
    bad += more
    if not images:
        raise DataError(f"none of the {len(files):,} images in {root} can be read: {bad[0]}", "Replace them.")
    if made is None:
        said += _decided(headers, size, options)
    return Source(
        where=str(path),
        form="image",
        features=np.stack([image for _, image in images]),
        labels=None if any(file.parent == root for file in files) else [_class(file, root) for file, _ in images],
        ids=[_name(file, root) for file, _ in images],
        fit=lambda raw: (
            ImagePreprocess.fit(raw, layout="hw" if mode == "L" else "hwc", resized=size is not None, whites=whites),
            (),
            {},
        ),
        counts={"skipped_bad": len(bad)} if bad else {},
        warnings=_sentences(bad, root, files, new=made is not None) + said,
    )


def _class(file: Path, root: Path) -> str:
    return _name(file, root).split("/")[0]


def _decided(headers: list[tuple[Path, Header]], size: int | None, options: ReadOptions) -> list[str]:
    """Say what became of the images of training."""
    said: list[str] = []
    sizes = {header.size for _, header in headers}
    if size is not None and options.image_size is None:
        widths, heights = ([size[side] for size in sizes] for side in (0, 1))
        said.append(
            Note(
                f"images have {len(sizes):,} different sizes, from {min(widths):,} to {max(widths):,} pixels wide and "
                f"{min(heights):,} to {max(heights):,} high: all are resized to {size} x {size} "
                f"(the median of their shorter sides, at most {_DEFAULT_SIDE}; --image-size N chooses)."
            )
        )
    if clear := sum(header.clear for _, header in headers):
        said.append(Note(f"{clear:,} images have transparency: they are laid on grey ({BACKGROUND})."))
    return said


def _sentences(bad: list[str], root: Path, files: list[Path], *, new: bool) -> list[str]:
    out = []
    if bad:
        listed = "; ".join(bad[:20]) + (f"; ... ({len(bad):,} in all)" if len(bad) > 20 else "")
        out.append(f"{len(bad):,} images cannot be read and are left out: {listed}.")
    used = {file.relative_to(root).parts[0] for file in files}
    empty = sorted(
        item.name for item in root.iterdir() if item.is_dir() and item.name not in used and item.name[0] != "."
    )
    if empty and not new:
        more = ", ..." if len(empty) > 5 else ""
        out.append(f"folders without an image are no class: {', '.join(map(repr, empty[:5]))}{more}.")
    return out
