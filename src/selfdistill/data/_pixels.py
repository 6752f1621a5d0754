"""Image files: headers, pixels as 8-bit numbers, and many files as one array."""

from __future__ import annotations

import importlib
import io
import re
import warnings
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from statistics import median_low
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from selfdistill._core.advice import Advice
from selfdistill._core.errors import DataError, one_line
from selfdistill._core.read_options import ReadOptions
from selfdistill.data._images import WHITES, ImagePreprocess
from selfdistill.data._labelled import Note
from selfdistill.data._limits import PIXEL_LIMIT, TRAIN_PIXEL_LIMIT, check_size

if TYPE_CHECKING:
    from PIL.Image import Image

    from selfdistill.data._preprocess import Preprocess

ENDINGS = (
    *(".png", ".jpg", ".jpeg", ".bmp", ".webp", ".gif", ".tif", ".tiff", ".ppm", ".pgm"),
    *(".avif", ".jp2", ".j2k", ".jpx", ".jpf", ".jfif", ".heic", ".heif", ".hif"),
)
BACKGROUND = 128
"""Grey that shows through where an image is transparent: black shapes and white ones both stand out."""
_HEIC = {b"heic", b"heix", b"hevc", b"heim", b"heis", b"mif1", b"msf1"}
_TURNS = {2: 0, 3: 3, 4: 1, 5: 5, 6: 4, 7: 6, 8: 2}
"""Of the EXIF orientation, the `PIL.Image.Transpose` that undoes it."""


@dataclass(frozen=True)
class Encoded:
    """An image in memory, as the bytes of a file."""

    name: str  # its name, for messages
    data: bytes  # the bytes

    def __str__(self) -> str:
        """Give the name."""
        return self.name


class Header(NamedTuple):
    """What an image file says before its pixels are decoded."""

    size: tuple[int, int]  # width and height in pixels, upright
    grey: bool  # whether it has no colours
    deep: str  # "whole" or "float" where a grey value has more than 8 bits; else ""
    clear: bool  # whether it can be transparent


@cache
def _formats() -> tuple[str, ...]:
    """Formats that are decoded; others (PostScript, for one) can start programs."""
    from PIL import features

    found = ["PNG", "JPEG", "BMP", "WEBP", "GIF", "TIFF", "PPM"]
    with suppress(ImportError):  # Pillow's plugin for HEIC
        importlib.import_module("pillow_heif").register_heif_opener()
        found.append("HEIF")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # an older Pillow does not know the feature
        found += [name for name, feature in (("AVIF", "avif"), ("JPEG2000", "jpg_2000")) if features.check(feature)]
    return tuple(found)


def is_image(path: Path) -> bool:
    """Tell whether a file is an image: by its ending, or without an ending by its first bytes."""
    if path.suffix:
        return path.suffix.lower() in ENDINGS
    try:
        if path.is_file():
            _opened(path).close()
            return True
    except DataError:  # an image, of huge size
        return True
    except Exception:  # decoders fail on other files in any way
        return False
    return False


def _opened(path: Path | Encoded) -> Any:
    """Open lazily, only formats that are data, and say what is wrong in one line."""
    from PIL import Image, UnidentifiedImageError

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # large images are refused below, with their size
        try:
            image = Image.open(io.BytesIO(path.data) if isinstance(path, Encoded) else path, formats=_formats())
        except UnidentifiedImageError as error:
            if "HEIF" not in _formats() and _is_heic(path):
                raise ValueError("HEIC, which pip install pillow-heif lets Pillow read") from error
            raise
        except Image.DecompressionBombError as error:
            pixels = re.search(r"\d+", str(error))
            shown = f"{int(pixels.group()):,} pixels" if pixels else str(error)
            raise DataError(
                f"{path} has {shown}, but at most {PIXEL_LIMIT:,} are read", "Make it smaller, or leave it out."
            ) from error
    width, height = image.size
    if width * height > PIXEL_LIMIT:
        image.close()
        raise DataError(
            f"{path} has {width:,} x {height:,} pixels, but at most {PIXEL_LIMIT:,} are read",
            "Make it smaller, or leave it out.",
        )
    return image


def _is_heic(path: Path | Encoded) -> bool:
    if isinstance(path, Encoded):
        head = path.data[:12]
    else:
        with path.open("rb") as file:
            head = file.read(12)
    return head[4:8] == b"ftyp" and head[8:12] in _HEIC


def _turn(image: Any) -> int | None:
    """How to bring an image upright that was just opened. Pillow turns TIFF itself, and its plugin HEIC."""
    if image.format in {"TIFF", "HEIF"} or (
        image.format == "PNG" and not {"exif", "Raw profile type exif"} & set(image.info)
    ):
        return None  # a PNG would be decoded to look for it behind the pixels
    try:
        return _TURNS.get(image.getexif().get(0x0112, 1))
    except Exception:  # damaged metadata does not harm the pixels
        return None


def _deep(image: Any) -> str:
    return "float" if image.mode == "F" else "whole" if image.mode.startswith("I") else ""


def read_header(path: Path | Encoded, *, upright: bool = True) -> Header:
    """Read what an image file says of itself."""
    with _opened(path) as image, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        width, height = image.size
        if upright and (_turn(image) or 0) in {2, 4, 5, 6}:
            width, height = height, width
        grey = image.mode in {"1", "L", "LA", "F"} or image.mode.startswith("I")
        return Header((width, height), grey, _deep(image), bool(image.has_transparency_data))


def value_range(path: Path | Encoded) -> tuple[float, float]:
    """Give the least and the largest value of a grey image of more than 8 bits."""
    with _opened(path) as image:
        array = np.asarray(image)
        return float(array.min()), float(array.max())


def find_white(kind: str, ranges: Sequence[tuple[Path | Encoded, tuple[float, float]]]) -> int:
    """Find which value is white: the least usual one that no image goes beyond."""
    most = WHITES[kind][-1]
    for path, (low, high) in ranges:
        if not (low >= 0 and high <= most):
            raise DataError(
                f"{path} holds grey values from {low:g} to {high:g}, but they must be 0 to {most:,}",
                "Rescale it: whole numbers from 0 to 255, or floats from 0 to 1.",
            )
    largest = max(high for _, (_, high) in ranges)
    return next(white for white in WHITES[kind] if largest <= white)


def _eight_bits(image: Any, white: int) -> Any:
    from PIL import Image

    array = np.asarray(image)
    if image.mode == "F":
        return Image.fromarray(np.clip(np.rint(array * (255 / white)), 0, 255).astype(np.uint8))
    return Image.fromarray((np.clip(array, 0, white) >> (white.bit_length() - 8)).astype(np.uint8))


def _on_grey(image: Image) -> Image:
    from PIL import Image

    shown = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", shown.size, (BACKGROUND,) * 3 + (255,)), shown)


def _check_colours(image: Any, raw: str) -> None:
    """Of colours of 16 bits Pillow gives the upper 8: refuse where all lies in the lower 8."""
    if not re.search(r";16[BLN]", raw):
        return
    bands = [band.getextrema() for band in image.split()]
    if max(high for _, high in bands[:3]) == 0 and all(band == (255, 255) for band in bands[3:]):
        raise ValueError("16 bits for a colour, but none above 255: save it with 8 bits")


def read_image(
    path: Path | Encoded, mode: str, size: int | None, whites: dict[str, int], *, upright: bool = True
) -> np.ndarray:
    """Decode one image; of an animation, the first frame."""
    with _opened(path) as image, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # damaged metadata does not harm the pixels
        picture = _decoded(image, mode, whites, upright)
        if size is not None:
            picture = picture.resize((size, size), 2)  # 2: bilinear
        return np.asarray(picture, dtype=np.uint8)


def open_photo(path: Path | Encoded, least: int) -> Image:
    """Decode one photo by itself: upright, RGB, of its own size; a JPEG of at least ``least`` pixels a side."""
    with _opened(path) as image, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # as above
        if image.format == "JPEG":
            image.draft(None, (least, least))  # decodes an eighth of a large one
        whites = {}  # the least usual value that it does not go beyond
        if kind := _deep(image):
            array = np.asarray(image)
            whites[kind] = find_white(kind, [(path, (float(array.min()), float(array.max())))])
        return _decoded(image, "RGB", whites, upright=True)


def _decoded(image: Any, mode: str, whites: dict[str, int], upright: bool) -> Image:
    from PIL.Image import Transpose

    turn = _turn(image) if upright else None
    raw = str(image.tile[0][3]) if image.tile else ""
    image.load()
    picture: Image = image
    if kind := _deep(image):
        picture = _eight_bits(image, whites[kind])
    else:
        _check_colours(image, raw)
        if upright and image.has_transparency_data:
            picture = _on_grey(image)
        elif image.mode == "P":
            picture = image.convert("RGBA")
    picture = picture.convert(mode)
    return picture if turn is None else picture.transpose(Transpose(turn))


_SHOWN = 5
_DEFAULT_SIDE = 64
"""Most pixels of a side that images of different sizes are brought to where the user names none."""
Picture = Path | Encoded


class Pictures(NamedTuple):
    """What was read."""

    array: np.ndarray  # uint8 ``[n, h, w]`` or ``[n, h, w, 3]``, or features, float32 ``[n, d]``, or files ``[n]``
    places: list[int]  # which of the files these are, ``[n]``
    bad: list[str]  # those that cannot be read, each with the reason
    said: list[str]  # sentences; those of type `Note` are no warnings
    fit: Callable[[Any], tuple[Preprocess, Sequence[str], dict[str, int]]]  # learns the preprocess from the array


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
            bad.append(why_bad(path, error))
    refuse_bad(bad, len(paths), skip)
    return done, bad


def why_bad(path: Picture, error: Exception) -> str:
    """Name an image that cannot be read, with the reason."""
    line = re.sub(
        r"<_io.\w+ object at \w+>", "", (isinstance(error, OSError) and error.strerror) or one_line(error, 120)
    )
    return f"{path} ({line.replace(str(path), '').strip(' :') or type(error).__name__})"


def refuse_bad(bad: Sequence[str], total: int, skip: bool) -> None:
    """Refuse images that cannot be read, unless they are to be left out."""
    if not bad or skip:
        return
    listed = "; ".join(bad[:_SHOWN]) + (f"; ... ({len(bad):,} in all)" if len(bad) > _SHOWN else "")
    raise DataError(
        f"{len(bad):,} of {total:,} images cannot be read: {listed}",
        Advice("Replace them", "leave them out with {--skip-bad}."),
    )


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
                Advice("Have them resized with {--image-size} N, such as 64."),
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
            said.append(f"{name} images hold values above {known[kind]:,}, white in training: they are clipped.")
    return whites, said


def _decided(headers: list[tuple[Picture, Header]], size: int | None, options: ReadOptions) -> list[str]:
    """Say what became of the images of training."""
    said: list[str] = []
    sizes = {header.size for _, header in headers}
    if size is not None and options.image_size is None:
        widths, heights = ([size[side] for size in sizes] for side in (0, 1))
        said.append(
            Note(
                f"images have {len(sizes):,} different sizes, from {min(widths):,} to {max(widths):,} pixels wide "
                f"and {min(heights):,} to {max(heights):,} high: all are resized to {size} x {size} (the median "
                f"of their shorter sides, at most {_DEFAULT_SIDE})",
                "{--image-size} N chooses.",
            )
        )
    if clear := sum(header.clear for _, header in headers):
        said.append(Note(f"{clear:,} images have transparency: they get a grey background ({BACKGROUND})."))
    return said
