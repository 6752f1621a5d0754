"""Where data lie: folders of images, the home folder, pipes, and what is not read."""

from __future__ import annotations

import os
import threading
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from tests.corpus.case import LABELS, Case, N, lines
from tests.corpus.text_tables import text

from selfdistill.data.formats._idx import write_idx

FOLDERS, PLACES = "Folders of images", "Other places"
PIXELS = np.random.default_rng(3).integers(0, 256, (N, 6, 5), dtype=np.uint8)
IN_ORDER = sorted(LABELS)
HALF = N // 2


def photos(*, ending: str = "png", parts: bool = False) -> Callable[[Path], Any]:
    def make(folder: Path) -> None:
        for i, (pixels, label) in enumerate(zip(PIXELS, LABELS, strict=True)):
            part = ("train" if i < HALF else "test") if parts else "."
            place = folder / "photos" / part / label
            place.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(place / f"{i:02}.{ending}")

    return make


def zipped(make: Callable[[Path], Any], inside: str = "") -> Callable[[Path], Any]:
    """The same in an archive, with what a Mac adds."""

    def archive(folder: Path) -> None:
        make(folder)
        with zipfile.ZipFile(folder / "photos.zip", "w") as out:
            for file in sorted((folder / "photos").rglob("*.*")):
                out.write(file, inside + file.relative_to(folder / "photos").as_posix())
            out.writestr("__MACOSX/._photos", b"x")
            out.writestr(inside + ".DS_Store", b"x")

    return archive


def idx(folder: Path) -> None:
    (folder / "mnist").mkdir()
    codes = np.array([int(c == "b") for c in LABELS], np.uint8)
    for name, rows in (("train", slice(0, HALF)), ("t10k", slice(HALF, N))):
        write_idx(folder / "mnist" / f"{name}-images-idx3-ubyte", PIXELS[rows])
        write_idx(folder / "mnist" / f"{name}-labels-idx1-ubyte", codes[rows])


def cifar(folder: Path) -> None:
    (folder / "cifar").mkdir()
    rows = np.random.default_rng(4).integers(0, 256, (N, 3073), dtype=np.uint8)
    rows[:, 0] = [int(c == "b") for c in LABELS]
    (folder / "cifar" / "data_batch_1.bin").write_bytes(rows[:HALF].tobytes())
    (folder / "cifar" / "test_batch.bin").write_bytes(rows[HALF:].tobytes())


def at_home(folder: Path) -> None:
    (folder / "a.csv").write_text(lines())
    os.environ["HOME"] = str(folder)


def pipe(content: bytes) -> Callable[[Path], Any]:
    def make(folder: Path) -> None:
        os.mkfifo(folder / "pipe")
        threading.Thread(target=lambda: (folder / "pipe").write_bytes(content), daemon=True).start()

    return make


def _places() -> list[Case]:
    codes = [str(int(c == "b")) for c in LABELS]
    one: dict[str, Any] = {"group": PLACES}
    plain = "could run code, and is not read"
    return [
        Case(name="the home folder", source="~/a.csv", make=at_home, shown=True, **one),
        Case(name="a pipe", source="pipe", make=pipe(lines().encode()), **one),
        Case(
            name="a file that does not exist",
            source="b.csv",
            make=text("a.csv", lines()),
            error="b.csv does not exist",
            **one,
        ),
        Case(name="a pickle", source="a.pkl", make=text("a.pkl", b"\x80\x04."), error=plain, **one),
        Case(name="a file of PyTorch", source="a.pt", make=text("a.pt", b"PK"), error=plain, **one),
        Case(name="HDF5", source="a.h5", make=text("a.h5", b"\x89HDF"), error="a.h5 is HDF5 or MATLAB", **one),
        Case(
            name="a Stata file", source="a.dta", make=text("a.dta", b"x"), error="a file of a statistics program", **one
        ),
        Case(
            name="a document",
            source="a.docx",
            make=text("a.docx", b"PK"),
            error="of an unknown kind (.docx)",
            **one,
        ),
        Case(
            name="an empty folder", source="d", make=lambda f: (f / "d").mkdir(), error="the folder d is empty", **one
        ),
        Case(
            name="a folder that holds a table",
            source=".",
            make=text("a.csv", lines()),
            error="but 1 file of data",
            **one,
        ),
        Case(
            name="class folders",
            source="photos",
            make=photos(),
            labels=IN_ORDER,
            kinds=(1, 6, 5),
            shown=True,
            group=FOLDERS,
        ),
        Case(
            name="class folders of bitmaps",
            source="photos",
            make=photos(ending="bmp"),
            labels=IN_ORDER,
            kinds=(1, 6, 5),
            group=FOLDERS,
        ),
        Case(
            name="class folders in a zip archive",
            source="photos.zip",
            make=zipped(photos()),
            labels=IN_ORDER,
            kinds=(1, 6, 5),
            shown=True,
            group=FOLDERS,
        ),
        Case(
            name="parts in a zip archive, within a folder",
            source="photos.zip",
            make=zipped(photos(parts=True), inside="photos/"),
            labels=sorted(LABELS[:HALF]),
            test=sorted(LABELS[HALF:]),
            kinds=(1, 6, 5),
            group=FOLDERS,
        ),
        Case(
            name="class folders of a training and a test part",
            source="photos",
            make=photos(parts=True),
            labels=sorted(LABELS[:HALF]),
            test=sorted(LABELS[HALF:]),
            kinds=(1, 6, 5),
            shown=True,
            group=FOLDERS,
        ),
        Case(
            name="IDX files, as MNIST comes",
            source="mnist",
            make=idx,
            labels=codes[:HALF],
            test=codes[HALF:],
            kinds=(1, 6, 5),
            shown=True,
            group=FOLDERS,
        ),
        Case(
            name="CIFAR batches",
            source="cifar",
            make=cifar,
            labels=codes[:HALF],
            test=codes[HALF:],
            kinds=(3, 32, 32),
            shown=True,
            group=FOLDERS,
        ),
    ]


CASES = _places()
