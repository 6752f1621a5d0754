"""Where a source lies: a file or folder, a part of a file after ``::``, an archive, or standard input."""

from __future__ import annotations

import atexit
import logging
import re
import shutil
import sys
import tempfile
import zipfile
from collections.abc import Generator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path, PurePosixPath
from typing import IO, NamedTuple, cast

from selfdistill._core.errors import DataError, one_line
from selfdistill._core.files import check_name, translate_disk_full
from selfdistill._core.wording import listed
from selfdistill.data._labels import near_matches
from selfdistill.data._limits import DAMAGED_ZIP, check_size, expand_limit
from selfdistill.data._pixels import ENDINGS

STANDARD_INPUT = "-"  # the source that means standard input
HUB = "datasets:"
"""What a data set's name begins with that the library `datasets` loads: ``datasets:OWNER/NAME[:CONFIG][::SPLIT]``."""
_BLOCK = 2**20
_REACHED = 5.0  # seconds to wait for the hub
HIDDEN = re.compile(r"(^|/)(\.(?!\./)|__MACOSX/|(Thumbs\.db|desktop\.ini)$)")
"""What programs put into archives of their own accord."""
_MAGIC = (
    (b"PAR1", ".parquet"),
    (b"ARROW1", ".arrow"),
    (b"SQLite format 3\0", ".db"),
    (b"\x93NUMPY", ".npy"),
    (b"\xd0\xcf\x11\xe0", ".xls"),
    (b"PK\x03\x04", ".zip"),
    (b"\x1f\x8b", ".csv.gz"),
    (b"BZh", ".csv.bz2"),
    (b"\xfd7zXZ\0", ".csv.xz"),
    (b"\x28\xb5\x2f\xfd", ".csv.zst"),
    (b"{", ".json"),
    (b"[", ".json"),
)
"""First bytes of what comes without a name."""
_unpacked: dict[tuple[str, str, int, int], Path] = {}


class Place(NamedTuple):
    """Where a source lies."""

    path: Path  # the file or folder that holds it
    part: str = ""  # the table, sheet or split of it, or ""
    name: str = ""  # what the user called it, for messages


def find_place(source: Path | str) -> Place:
    """Find a source."""
    name = str(source)
    if name == STANDARD_INPUT:
        return Place(_spooled(name), "", "standard input")
    check_name(name)
    if name.startswith(HUB):
        known, _, part = name.removeprefix(HUB).partition("::")
        return Place(_loaded(known), part, name)
    path, part = _on_disk(name)
    if path.is_fifo() or path.is_char_device():
        return Place(_spooled(str(path)), part, name)
    if path.suffix.lower() == ".zip" and path.is_file():
        return Place(_member(path, part), "", name)
    return Place(path, part, name)


def is_there(source: Path | str) -> bool:
    """Say whether a source's file or folder exists, unread; of standard input ``False``: it can be read once."""
    name = str(source)
    if name == STANDARD_INPUT:
        return False
    if name.startswith(HUB):
        return True
    check_name(name)
    return _on_disk(name)[0].exists()


def _on_disk(name: str) -> tuple[Path, str]:
    """Give the path that a name means, in the user's home after ~, and the part after its last ``::``."""
    path, part = Path(name), ""
    if not path.exists() and "::" in name:
        before, _, part = name.rpartition("::")
        path = Path(before)
    if not path.exists() and name.startswith("~"):
        with suppress(RuntimeError):  # no such user
            path = path.expanduser()
    return path, part


@contextmanager
def naming(place: Place) -> Generator[None]:
    """Call a source in errors what the user called it, not the temporary file that holds it."""
    try:
        yield
    except DataError as error:
        file, given = str(place.path), place.name.rpartition("::")[0] if place.part else place.name
        if file == given or _folder() not in place.path.parents or file not in error.problem:
            raise
        raise DataError(error.problem.replace(file, given), error.hint, param=error.param) from error


@cache
def _folder() -> Path:
    """Folder of temporary files; gone with the process."""
    folder = Path(tempfile.mkdtemp(prefix="selfdistill-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


@cache
def _spooled(name: str) -> Path:
    """Read a stream to its end; once in a process."""
    if name == STANDARD_INPUT and sys.stdin.isatty():
        raise DataError(
            "standard input is a terminal, but '-' reads data from it", "Say: cat FILE | selfdistill fit - ..."
        )
    with open(sys.stdin.fileno() if name == STANDARD_INPUT else name, "rb", closefd=name != STANDARD_INPUT) as file:
        head = file.read(_BLOCK)
        if not head:
            raise DataError(f"{'standard input' if name == STANDARD_INPUT else name} is empty", "Give it data.")
        start = head.removeprefix(b"\xef\xbb\xbf").lstrip()
        ending = next((ending for magic, ending in _MAGIC if start.startswith(magic)), ".csv")
        path = _folder() / f"input-{len(list(_folder().iterdir()))}{ending}"
        _copy(head, cast(IO[bytes], file), path, "standard input")
    if ending != ".zip":
        return path
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
    if "[Content_Types].xml" in names:
        return path.rename(path.with_suffix(".xlsx"))
    return path.rename(path.with_suffix(".npz")) if all(n.endswith(".npy") for n in names) else _member(path, "")


@contextmanager
def _hushed(name: str) -> Generator[None]:
    """Keep the warnings of a library from the terminal."""
    logger = logging.getLogger(name)
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


@contextmanager
def _offline_if_unreachable() -> Generator[None]:
    """Have the library take what is cached where the hub is not reached: by itself it tries for half a minute."""
    import datasets
    from huggingface_hub import constants, get_session

    before = constants.HF_HUB_OFFLINE, datasets.config.HF_HUB_OFFLINE
    try:
        get_session().head(constants.ENDPOINT, timeout=_REACHED)
    except Exception:  # of the network: which one depends on the library's version
        constants.HF_HUB_OFFLINE = datasets.config.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE, datasets.config.HF_HUB_OFFLINE = before


@cache
def _loaded(name: str) -> Path:
    """Load a data set by name, and save it for the time of this process."""
    try:
        import datasets
    except ImportError as missing:
        raise DataError(f"{HUB}{name} needs the library datasets", "pip install 'selfdistill[hf]'") from missing
    known, _, config = name.partition(":")
    if not known:
        raise DataError(f"{HUB}{name} names no data set", f"Name it after the colon, such as {HUB}OWNER/NAME.")
    try:
        with _hushed("huggingface_hub"), _offline_if_unreachable():  # retries are told in a line of their own each
            dataset = datasets.load_dataset(known, config or None)
    except (OSError, ValueError, RuntimeError) as error:  # of the library, the hub and the network
        raise DataError(
            f"{HUB}{name} cannot be loaded: {one_line(error)}",
            "Check the name. Without a network, load it where there is one, save_to_disk, and name the folder here.",
        ) from error
    folder = Path(tempfile.mkdtemp(dir=_folder()))
    silent = datasets.are_progress_bars_disabled()
    datasets.disable_progress_bars()
    with translate_disk_full(folder):
        dataset.save_to_disk(folder)
    if not silent:
        datasets.enable_progress_bars()
    return folder


def _copy(head: bytes, file: IO[bytes], path: Path, what: str) -> None:
    total, block = 0, head
    with path.open("wb") as out:
        while block:
            total += len(block)
            if total > expand_limit():
                raise DataError(f"{what} unpacks to more than {expand_limit() / 2**30:,.1f} GiB", "Use a part of it.")
            out.write(block)
            block = file.read(_BLOCK)


def _member(path: Path, part: str) -> Path:
    """Unpack one file of a zip archive, or all where they are images."""
    state = path.stat()
    key = (str(path.resolve()), part, state.st_size, state.st_mtime_ns)
    if key in _unpacked:
        return _unpacked[key]
    try:
        with zipfile.ZipFile(path) as archive:
            files = [m for m in archive.infolist() if not m.is_dir() and not HIDDEN.search(m.filename)]
            out = Path(tempfile.mkdtemp(dir=_folder()))
            if not part and len(files) > 1 and all(m.filename.lower().endswith(ENDINGS) for m in files):
                out = _unpack_images(path, archive, files, out)
            else:
                member = _choose(path, files, part)
                check_size(f"{path}: {member.filename}", member.file_size)
                out /= Path(member.filename).name
                with archive.open(member) as file:
                    _copy(file.read(_BLOCK), file, out, f"{path}: {member.filename}")
    except DAMAGED_ZIP as error:
        raise DataError(
            f"{path} cannot be unpacked: {one_line(error)}", "Unpack it first, or fetch it again."
        ) from error
    _unpacked[key] = out
    return out


def _unpack_images(path: Path, archive: zipfile.ZipFile, files: list[zipfile.ZipInfo], out: Path) -> Path:
    """Unpack images; give the folder that holds the folders of the classes."""
    check_size(str(path), sum(member.file_size for member in files))
    names = [PurePosixPath(member.filename).parts for member in files]
    for member, parts in zip(files, names, strict=True):
        if ".." in parts or parts[0] == "/":
            raise DataError(f"{path} holds a file outside of it, {member.filename!r}", "Do not trust this archive.")
    with translate_disk_full(out):
        archive.extractall(out, files)
    nested = len({parts[0] for parts in names}) == 1 and all(len(parts) > 2 for parts in names)
    return out / names[0][0] if nested else out


def _choose(path: Path, files: list[zipfile.ZipInfo], part: str) -> zipfile.ZipInfo:
    names = {member.filename: member for member in files}
    if part:
        if part not in names:
            raise DataError(f"{path} holds no file {part!r}", near_matches(part, names))
        return names[part]
    if len(files) != 1:
        raise DataError(
            f"{path} holds {len(files):,} files{': ' * bool(files)}{listed(names)}",
            f"Name one, such as {path}::{files[0].filename}, or unpack it." if files else "Give another file.",
        )
    return files[0]
