"""Image files: headers, and pixels as 8-bit numbers."""

from __future__ import annotations

import importlib
import io
import re
import warnings
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from selfdistill._core.errors import DataError
from selfdistill.data._images import WHITES
from selfdistill.data._limits import PIXEL_LIMIT

if TYPE_CHECKING:
    from PIL.Image import Image

ENDINGS = (
    *(".png", ".jpg", ".jpeg", ".bmp", ".webp", ".gif", ".tif", ".tiff", ".ppm", ".pgm"),
    *(".avif", ".jp2", ".j2k", ".jpx", ".jpf", ".jfif", ".heic", ".heif", ".hif"),
)
BACKGROUND = 128  # grey that shows through where an image is transparent: black shapes and white ones both stand out
_HEIC = {b"heic", b"heix", b"hevc", b"heim", b"heis", b"mif1", b"msf1"}
_TURNS = {2: 0, 3: 3, 4: 1, 5: 5, 6: 4, 7: 6, 8: 2}  # of the EXIF orientation, the `PIL.Image.Transpose` that undoes it


@dataclass(frozen=True)
class Encoded:
    """An image in memory, as the bytes of a file."""

    name: str  # its name, for messages
    data: bytes  # the bytes

    def __str__(self) -> str:
        """Give the name."""
        return self.name


Picture = Path | Encoded


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


def _opened(path: Picture) -> Any:
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
            raise _too_large(path, f"{int(pixels.group()):,} pixels" if pixels else str(error)) from error
    width, height = image.size
    if width * height > PIXEL_LIMIT:
        image.close()
        raise _too_large(path, f"{width:,} x {height:,} pixels")
    return image


def _too_large(path: Picture, size: str) -> DataError:
    return DataError(f"{path} has {size}, but at most {PIXEL_LIMIT:,} are read", "Make it smaller, or leave it out.")


def _is_heic(path: Picture) -> bool:
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


def read_header(path: Picture, *, upright: bool = True) -> Header:
    """Read what an image file says of itself."""
    with _opened(path) as image, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        width, height = image.size
        if upright and (_turn(image) or 0) in {2, 4, 5, 6}:
            width, height = height, width
        grey = image.mode in {"1", "L", "LA", "F"} or image.mode.startswith("I")
        return Header((width, height), grey, _deep(image), bool(image.has_transparency_data))


def value_range(path: Picture) -> tuple[float, float]:
    """Give the least and the largest value of a grey image of more than 8 bits."""
    with _opened(path) as image:
        return _range(image)


def _range(image: Any) -> tuple[float, float]:
    array = np.asarray(image)
    return float(array.min()), float(array.max())


def find_white(kind: str, ranges: Sequence[tuple[Picture, tuple[float, float]]]) -> int:
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
    path: Picture, mode: str, size: int | None, whites: dict[str, int], *, upright: bool = True
) -> np.ndarray:
    """Decode one image; of an animation, the first frame."""
    with _opened(path) as image, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # damaged metadata does not harm the pixels
        picture = _decoded(image, mode, whites, upright)
        if size is not None:
            picture = picture.resize((size, size), 2)  # 2: bilinear
        return np.asarray(picture, dtype=np.uint8)


def open_photo(path: Picture, least: int) -> Image:
    """Decode one photo by itself: upright, RGB, of its own size; a JPEG of at least ``least`` pixels a side."""
    with _opened(path) as image, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # as above
        if image.format == "JPEG":
            image.draft(None, (least, least))  # decodes an eighth of a large one
        whites = {}  # the least usual value that it does not go beyond
        if kind := _deep(image):
            whites[kind] = find_white(kind, [(path, _range(image))])
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
