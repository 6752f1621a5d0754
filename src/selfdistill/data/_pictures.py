"""Many image files as one array, in memory or on disk."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median_low
from typing import TYPE_CHECKING, Any, NamedTuple, final

import numpy as np

from selfdistill._core import dist
from selfdistill._core.advice import Advice
from selfdistill._core.errors import DataError, one_line
from selfdistill._core.read_options import ReadOptions
from selfdistill._core.wording import listed
from selfdistill.data._images import ImagePreprocess
from selfdistill.data._labelled import Note
from selfdistill.data._limits import TRAIN_PIXEL_LIMIT, check_size
from selfdistill.data._pixels import (
    BACKGROUND,
    Encoded,
    Header,
    Picture,
    find_white,
    read_header,
    read_image,
    value_range,
)
from selfdistill.data._stored import are_many
from selfdistill.encoders._encoder import fingerprint_of
from selfdistill.encoders._store import FeatureStore, default_folder, key_of

if TYPE_CHECKING:
    from selfdistill.data._preprocess import Preprocess

_DEFAULT_SIDE = 64
"""Most pixels of a side that images of different sizes are brought to where the user names none."""


class Pictures(NamedTuple):
    """What was read."""

    array: np.ndarray  # uint8 ``[n, h, w]`` or ``[n, h, w, 3]``, or features, float32 ``[n, d]``, or files ``[n]``
    places: list[int]  # which of the files these are, ``[n]``
    bad: list[str]  # those that cannot be read, each with the reason
    messages: list[str]  # sentences; those of type `Note` are no warnings
    # learns the preprocess from the array; ``None`` where that holds names
    fit: Callable[[Any], tuple[Preprocess, Sequence[str], dict[str, int]]] | None


def read_pictures(
    files: Sequence[Picture], where: Path | str, root: Path | str, options: ReadOptions, made: ImagePreprocess | None
) -> Pictures:
    """Read images; pixels of more than 256 MiB are decoded once, and stay on disk."""
    upright = made is None or made.whites is not None
    found, bad = _try(list(enumerate(files)), options.skip_bad, lambda file: read_header(file, upright=upright))
    headers = [(files[place], header) for place, header in found]
    if not headers:
        raise _none_left(root, files, bad)
    size = _side(headers, made, options.image_size)
    if size is None:
        _check_shape(where, headers, made)
    mode = made.mode if made is not None and made.mode in {"L", "RGB"} else None
    mode = mode or ("L" if all(header.grey for _, header in headers) else "RGB")
    width, height = headers[0][1].size if size is None else (size, size)
    whites, messages = _whites(headers, (made.whites or {}) if made is not None else {}, options.skip_bad)

    def pixels(file: Picture) -> np.ndarray:
        return read_image(file, mode, size, whites, upright=upright)

    def fit(raw: Any) -> tuple[ImagePreprocess, Sequence[str], dict[str, int]]:
        layout = "hw" if mode == "L" else "hwc"
        return ImagePreprocess.fit(raw, layout=layout, resized=size is not None, whites=whites), (), {}

    shape = (len(mode), height, width)
    if are_many(len(headers) * math.prod(shape)):
        decoder = _Decoder(shape, f"{mode}, {shape}, resized {size is not None}, upright {upright}, white {whites}")
        folder = default_folder(decoder) if options.features is None else Path(options.features)
        store = FeatureStore(folder, decoder, np.uint8)
        readable = [file for file, _ in headers]
        rows, good, more = through_store(readable, root, store, lambda file: _flat(pixels(file)), options.skip_bad)
        first = rows.reshape(-1, *shape)
        array, places = first[:, 0] if mode == "L" else first.transpose(0, 2, 3, 1), [found[at][0] for at in good]
    else:
        check_size(str(where), len(headers) * math.prod(shape))
        images, more = _try([(place, files[place]) for place, _ in found], options.skip_bad, pixels)
        if not images:
            raise _none_left(root, files, [*bad, *more])
        array, places = np.stack([image for _, image in images]), [place for place, _ in images]
    if made is None:
        messages += _decided(headers, size, options)
    return Pictures(array, places, [*bad, *more], messages, fit)


def _none_left(root: Path | str, files: Sequence[Picture], bad: Sequence[str]) -> DataError:
    return DataError(f"none of the {len(files):,} images in {root} can be read: {bad[0]}", "Replace them.")


def through_store(
    files: Sequence[Picture],
    root: Path | str,
    store: FeatureStore,
    prepare: Callable[[Picture], Any],
    skip: bool,
) -> tuple[np.ndarray, list[int], list[str]]:
    """Put images through a store: what it holds of those that can be read, their places, and why not the others."""
    keys, bad = _digests(files, root, shared=store.folder is not None)
    readable = list(keys)
    failed = store.fill(
        [str(files[place]) for place in readable], list(keys.values()), lambda number: prepare(files[readable[number]])
    )
    damaged = {keys[readable[number]]: error for number, error in failed.items()}
    bad |= {place: damaged[key] for place, key in keys.items() if key in damaged}
    lines = [why_bad(files[place], bad[place]) for place in sorted(bad)]
    refuse_bad(lines, len(files), skip)
    good = [place for place in readable if place not in bad]
    if not good:
        raise _none_left(root, files, lines)
    return store.gather([keys[place] for place in good]), good, lines


def _digests(
    files: Sequence[Picture], root: Path | str, *, shared: bool
) -> tuple[dict[int, str], dict[int, Exception]]:
    """Digest each file by its place, and say why others cannot be read; processes of one store share the reading."""
    rank, world = (dist.rank(), dist.world()) if shared else (0, 1)
    keys: dict[int, str] = {}
    bad: dict[int, Exception] = {}
    for place in range(rank, len(files), world):
        file = files[place]
        try:
            keys[place] = key_of(file.data if isinstance(file, Encoded) else file.read_bytes())
        except OSError as error:
            bad[place] = error
    if world == 1:
        return keys, bad
    seen = key_of(repr([_name_and_size(file) for file in files]).encode("utf-8", "surrogatepass"))
    parts = dist.from_all((seen, keys, bad))
    if any(other != seen for other, _, _ in parts):
        raise DataError(
            f"the processes do not see the same images in {root}", "Name a place that all machines see, under one name."
        )
    all_keys = {place: key for _, part, _ in parts for place, key in part.items()}
    return dict(sorted(all_keys.items())), {place: error for _, _, part in parts for place, error in part.items()}


def _name_and_size(file: Picture) -> tuple[str, int]:
    if isinstance(file, Encoded):
        return file.name, len(file.data)
    try:
        return file.name, file.stat().st_size
    except OSError:
        return file.name, -1


def _flat(image: np.ndarray) -> np.ndarray:
    """One row of a store, channels first."""
    return (image if image.ndim == 2 else image.transpose(2, 0, 1)).ravel()


@final
class _Decoder:
    """Pixels as they are, for a store: an encoder that changes nothing."""

    kind, name, side = "photos", "pixels", 0

    def __init__(self, shape: tuple[int, ...], about: str) -> None:
        from PIL import __version__

        self.dimension = math.prod(shape)
        self.fingerprint = fingerprint_of([about, f"Pillow {__version__}"])

    def prepare(self, example: np.ndarray) -> np.ndarray:
        return example

    def encode(self, prepared: Sequence[np.ndarray]) -> np.ndarray:
        return np.stack(prepared)

    def cut(self, examples: Sequence[Any]) -> int:
        return 0


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
            bad.append(why_bad(path, error))
    refuse_bad(bad, len(paths), skip)
    return done, bad


def why_bad(path: Picture, error: Exception) -> str:
    """Name an image that cannot be read, with the reason."""
    line = re.sub(
        r"<_io.\w+ object at \w+>", "", (isinstance(error, OSError) and error.strerror) or one_line(error, 120)
    )
    line = re.sub(r"(cannot identify image) file.*", r"\1", line)
    return f"{path} ({line.replace(str(path), '').strip(' :') or type(error).__name__})"


def refuse_bad(bad: Sequence[str], total: int, skip: bool) -> None:
    """Refuse images that cannot be read, unless they are to be left out."""
    if not bad or skip:
        return
    raise DataError(
        f"{len(bad):,} of {total:,} images cannot be read: {listed(bad, show=str, mark='; ')}",
        Advice("Replace them", "leave them out with {--skip-bad}."),
    )


def _side(headers: list[tuple[Picture, Header]], made: ImagePreprocess | None, wanted: int | None) -> int | None:
    """Height and width to resize to: as asked, or as in training, or where sizes differ by a rule."""
    if made is not None:
        return made.input_shape[1] if made.resized else None
    if wanted is not None or len({header.size for _, header in headers}) == 1:
        return wanted
    return min(_DEFAULT_SIDE, int(median_low(min(header.size) for _, header in headers)))


def _check_shape(path: Path | str, headers: list[tuple[Picture, Header]], made: ImagePreprocess | None) -> None:
    """Refuse images of another size than training had, or too large to train on."""
    if made is None:
        width, height = headers[0][1].size
        if width * height > TRAIN_PIXEL_LIMIT:
            raise DataError(
                f"the images of {path} have {width:,} x {height:,} pixels, but training takes at most "
                f"{TRAIN_PIXEL_LIMIT:,}",
                Advice("Resize them with {--image-size} N, such as 64."),
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
    messages: list[str] = []
    for kind, name in (("whole", "16-bit grey"), ("float", "floating-point")):
        deep = [path for path, header in headers if header.deep == kind]
        ranges = [(deep[place], pair) for place, pair in _try(list(enumerate(deep)), skip, value_range)[0]]
        if not ranges:
            continue
        found = find_white(kind, ranges)
        if kind not in known:
            whites[kind] = found
            messages.append(
                Note(f"{len(deep):,} {name} images: values from 0 to {found:,} are taken as black to white.")
            )
        elif any(high > known[kind] for _, (_, high) in ranges):
            messages.append(f"{name} images hold values above {known[kind]:,}, white in training: they are clipped.")
    return whites, messages


def _decided(headers: list[tuple[Picture, Header]], size: int | None, options: ReadOptions) -> list[str]:
    """Say what became of the images of training."""
    messages: list[str] = []
    sizes = {header.size for _, header in headers}
    if size is not None and options.image_size is None:
        widths, heights = ([size[side] for size in sizes] for side in (0, 1))
        messages.append(
            Note(
                f"images have {len(sizes):,} different sizes, from {min(widths):,} to {max(widths):,} pixels wide "
                f"and {min(heights):,} to {max(heights):,} high: all are resized to {size} x {size} (the median "
                f"of their shorter sides, at most {_DEFAULT_SIDE})",
                "{--image-size} N chooses.",
            )
        )
    if clear := sum(header.clear for _, header in headers):
        messages.append(Note(f"{clear:,} images have transparency: they get a grey background ({BACKGROUND})."))
    return messages
