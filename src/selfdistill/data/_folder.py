"""A folder with one sub-folder of images per class."""

from __future__ import annotations

import re
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from selfdistill._core.errors import DataError
from selfdistill.data._images import ImagePreprocess
from selfdistill.data._limits import PIXEL_LIMIT, TRAIN_PIXEL_LIMIT, check_size
from selfdistill.data._options import ReadOptions
from selfdistill.data._source import Source

if TYPE_CHECKING:
    from selfdistill.data._preprocess import Preprocess

__all__ = ["ENDINGS", "folder_source", "is_image_folder", "read_image", "training_root"]

_FORMATS = ("PNG", "JPEG", "BMP", "WEBP", "GIF", "TIFF", "PPM")
"""Formats that are decoded; others (PostScript, for one) can start programs."""
ENDINGS = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".gif", ".tif", ".tiff", ".ppm", ".pgm")
_SHOWN = 5


class _Header(NamedTuple):
    size: tuple[int, int]
    grey: bool


_PARTS = {
    "train": ("train", "training"),
    "test": ("test", "testing"),
    "validation": ("val", "valid", "validation", "dev", "eval"),
}
"""Names of folders that hold a part of a data set, and no class."""


def _images_in(folder: Path) -> list[Path]:
    return sorted(
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in ENDINGS
        and path.is_file()
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    )


def is_image_folder(path: Path) -> bool:
    """Tell whether a folder holds images, or a file is one.

    Args:
        path: File or folder.

    Returns:
        Whether any image lies in it, at whatever depth.
    """
    if path.is_file():
        return path.suffix.lower() in ENDINGS
    return any(item.suffix.lower() in ENDINGS for item in path.rglob("*"))


def _opened(path: Path) -> Any:
    """Open lazily, only formats that are data, and say what is wrong in one line."""
    from PIL import Image

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # large images are refused below, with their size
        try:
            image = Image.open(path, formats=_FORMATS)
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


def _header(path: Path) -> _Header:
    with _opened(path) as image:
        palette_grey = image.mode in {"1", "L", "LA", "I;16", "I;16B", "I;16L", "I"}
        return _Header(image.size, palette_grey)


def read_image(path: Path, mode: str, size: int | None = None) -> np.ndarray:
    """Decode one image; of an animation, the first frame.

    Args:
        path: The file.
        mode: "L" (grey) or "RGB"; transparency is dropped, 16-bit grey is halved to 8.
        size: Height and width to resize to; ``None``: as it is.

    Returns:
        uint8 ``[h, w]`` or ``[h, w, 3]``.
    """
    from PIL import Image

    with _opened(path) as image, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # damaged metadata does not harm the pixels
        image.load()
        picture = image
        if image.mode.startswith("I"):
            picture = Image.fromarray((np.clip(np.asarray(image), 0, 65535) >> 8).astype(np.uint8))
        elif image.mode == "P":
            picture = image.convert("RGBA")
        picture = picture.convert(mode)
        if size is not None:
            picture = picture.resize((size, size), Image.Resampling.BILINEAR)
        return np.asarray(picture, dtype=np.uint8)


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


def _mode_and_size(headers: list[tuple[Path, _Header]], made: ImagePreprocess | None, size: int | None) -> str:
    """Grey where every image is; and refuse two sizes, unless they are resized."""
    first, head = headers[0]
    if size is None:
        for path, other in headers:
            if other.size != head.size:
                raise DataError(
                    f"images have different sizes: {first} has {head.size[0]} x {head.size[1]} pixels, "
                    f"{path} has {other.size[0]} x {other.size[1]}",
                    "Bring them to one size, or pass --image-size N (image_size=N) to have them resized to N x N.",
                )
    if made is not None and made.mode in {"L", "RGB"}:
        return made.mode
    return "L" if all(header.grey for _, header in headers) else "RGB"


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
        DataError: Images that cannot be read, are of different sizes or huge; or no class folders.
    """
    if path.is_file():
        root, files, there = path.parent, [path], part != "test"
    else:
        root, there = _part(path, part)
        files = _images_in(root) if there else []
    if not there:
        return None
    if not files:
        raise DataError(f"the folder {root} holds no images", f"Known are {', '.join(ENDINGS)}.")
    loose = [file for file in files if file.parent == root]
    if loose and part == "train":
        raise DataError(
            f"{loose[0]} lies outside of a class folder ({len(loose):,} such images)",
            "Put every image into the folder of its class.",
        )
    made = preprocess if isinstance(preprocess, ImagePreprocess) else None
    size = options.image_size
    if made is not None:
        size = made.input_shape[1] if made.resized else None
    headers, bad = _try(files, options.skip_bad, _header)
    if not headers:
        raise DataError(f"none of the {len(files):,} images in {root} can be read: {bad[0]}", "Replace them.")
    mode = _mode_and_size(headers, made, size)
    width, height = headers[0][1].size if size is None else (size, size)
    if made is None and width * height > (most := TRAIN_PIXEL_LIMIT):
        raise DataError(
            f"the images of {path} have {width:,} x {height:,} pixels, but training takes at most {most:,}",
            "Have them resized with --image-size N (image_size=N), such as 64.",
        )
    check_size(str(path), len(headers) * width * height * len(mode))
    images, more = _try([file for file, _ in headers], options.skip_bad, lambda file: read_image(file, mode, size))
    bad += more
    if not images:
        raise DataError(f"none of the {len(files):,} images in {root} can be read: {bad[0]}", "Replace them.")
    labels = None if loose else [file.relative_to(root).parts[0] for file, _ in images]
    return Source(
        where=str(path),
        form="image",
        features=np.stack([image for _, image in images]),
        labels=labels,
        ids=[file.relative_to(root).as_posix() for file, _ in images],
        fit=lambda raw: (ImagePreprocess.fit(raw, resized=size is not None), (), {}),
        counts={"skipped_bad": len(bad)} if bad else {},
        warnings=_sentences(bad, root, files),
    )


def _sentences(bad: list[str], root: Path, files: list[Path]) -> list[str]:
    out = []
    if bad:
        listed = "; ".join(bad[:20]) + (f"; ... ({len(bad):,} in all)" if len(bad) > 20 else "")
        out.append(f"{len(bad):,} images cannot be read and are left out: {listed}.")
    used = {file.relative_to(root).parts[0] for file in files}
    empty = sorted(
        item.name for item in root.iterdir() if item.is_dir() and item.name not in used and item.name[0] != "."
    )
    if empty:
        more = ", ..." if len(empty) > 5 else ""
        out.append(f"folders without an image are no class: {', '.join(map(repr, empty[:5]))}{more}.")
    return out
