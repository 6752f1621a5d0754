"""Many image files, on disk or in memory, brought to one array."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median_low
from typing import Any, NamedTuple

import numpy as np

from selfdistill._core.errors import DataError, one_line
from selfdistill.data._images import ImagePreprocess
from selfdistill.data._labelled import Note
from selfdistill.data._limits import TRAIN_PIXEL_LIMIT, check_size
from selfdistill.data._options import ReadOptions
from selfdistill.data._pixels import (
    BACKGROUND,
    Encoded,
    Header,
    find_white,
    read_header,
    read_image,
    value_range,
)

_SHOWN = 5
_DEFAULT_SIDE = 64
"""Most pixels of a side that images of different sizes are brought to where the user names none."""
Picture = Path | Encoded


class Pictures(NamedTuple):
    """What was read."""

    array: np.ndarray  # uint8 ``[n, h, w]`` or ``[n, h, w, 3]``
    places: list[int]  # which of the files these are, ``[n]``
    bad: list[str]  # those that cannot be read, each with the reason
    said: list[str]  # sentences; those of type `Note` are no warnings
    fit: Callable[[Any], tuple[ImagePreprocess, Sequence[str], dict[str, int]]]  # learns the preprocess from the array


def read_pictures(
    files: Sequence[Picture], where: Path | str, root: Path | str, options: ReadOptions, made: ImagePreprocess | None
) -> Pictures:
    """Read images."""
    upright = made is None or made.whites is not None
    found, bad = _try(list(enumerate(files)), options.skip_bad, lambda file: read_header(file, upright=upright))
    headers = [(files[place], header) for place, header in found]
    if not headers:
        raise DataError(f"none of the {len(files):,} images in {root} can be read: {bad[0]}", "Replace them.")
    size = _side(headers, made, options.image_size)
    if size is None:
        _check_shape(where, headers, made)
    mode = made.mode if made is not None and made.mode in {"L", "RGB"} else None
    mode = mode or ("L" if all(header.grey for _, header in headers) else "RGB")
    width, height = headers[0][1].size if size is None else (size, size)
    check_size(str(where), len(headers) * width * height * len(mode))
    whites, said = _whites(headers, (made.whites or {}) if made is not None else {}, options.skip_bad)

    def pixels(file: Picture) -> np.ndarray:
        return read_image(file, mode, size, whites, upright=upright)

    def fit(raw: Any) -> tuple[ImagePreprocess, Sequence[str], dict[str, int]]:
        layout = "hw" if mode == "L" else "hwc"
        return ImagePreprocess.fit(raw, layout=layout, resized=size is not None, whites=whites), (), {}

    images, more = _try([(place, files[place]) for place, _ in found], options.skip_bad, pixels)
    bad += more
    if not images:
        raise DataError(f"none of the {len(files):,} images in {root} can be read: {bad[0]}", "Replace them.")
    if made is None:
        said += _decided(headers, size, options)
    return Pictures(np.stack([image for _, image in images]), [place for place, _ in images], bad, said, fit)


def _try(
    paths: Sequence[tuple[int, Picture]], skip: bool, work: Callable[[Picture], Any]
) -> tuple[list[tuple[int, Any]], list[str]]:
    """Do the work on each image; gather those that fail, and refuse them unless they are to be skipped."""
    done, bad = [], []
    for place, path in paths:
        try:
            done.append((place, work(path)))
        except DataError:
            raise
        except Exception as error:  # decoders fail on hostile files in any way
            line = one_line(error, 120) or type(error).__name__
            bad.append(f"{path} ({line.replace(str(path), '').strip(' :') or type(error).__name__})")
    if bad and not skip:
        listed = "; ".join(bad[:_SHOWN]) + (f"; ... ({len(bad):,} in all)" if len(bad) > _SHOWN else "")
        raise DataError(
            f"{len(bad):,} of {len(paths):,} images cannot be read: {listed}",
            "Replace them, or leave them out with --skip-bad (skip_bad=True).",
        )
    return done, bad


def _side(headers: list[tuple[Picture, Header]], made: ImagePreprocess | None, asked: int | None) -> int | None:
    """Height and width to resize to: as asked, or as in training, or where sizes differ by a rule."""
    if made is not None:
        return made.input_shape[1] if made.resized else None
    if asked is not None or len({header.size for _, header in headers}) == 1:
        return asked
    return min(_DEFAULT_SIDE, int(median_low(min(header.size) for _, header in headers)))


def _check_shape(path: Path | str, headers: list[tuple[Picture, Header]], made: ImagePreprocess | None) -> None:
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


def _whites(
    headers: list[tuple[Picture, Header]], known: dict[str, int], skip: bool
) -> tuple[dict[str, int], list[str]]:
    """Which value is white in images of more than 8 bits: as in training, or by all that there are; and sentences."""
    whites = dict(known)
    said: list[str] = []
    for kind, name in (("whole", "16-bit grey"), ("float", "floating-point")):
        deep = [path for path, header in headers if header.deep == kind]
        ranges = [(deep[place], pair) for place, pair in _try(list(enumerate(deep)), skip, value_range)[0]]
        if not ranges:
            continue
        found = find_white(kind, ranges)
        if kind not in known:
            whites[kind] = found
            said.append(Note(f"{len(deep):,} {name} images: values from 0 to {found:,} are taken as black to white."))
        elif any(high > known[kind] for _, (_, high) in ranges):
            said.append(f"{name} images hold values above {known[kind]:,}, white in training: they are cut.")
    return whites, said


def _decided(headers: list[tuple[Picture, Header]], size: int | None, options: ReadOptions) -> list[str]:
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
