"""Which data a pretrained network reads, where the user does not say; and features that are computed for later."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np

from selfdistill._core.advice import Advice
from selfdistill._core.errors import DataError, RunError, SettingError
from selfdistill._core.events import Listener, Stage
from selfdistill._core.read_options import ReadOptions
from selfdistill.data._encoded import NO_ENCODER, is_encoded
from selfdistill.data._labelled import LabelledData
from selfdistill.data._pixels import read_header
from selfdistill.data._place import STANDARD_INPUT, find_place, is_there
from selfdistill.data._read import find_form, read
from selfdistill.data._table import TablePreprocess
from selfdistill.data.formats._folder import training_files
from selfdistill.encoders._encoder import PACKAGED, is_packaged
from selfdistill.encoders._fine_tuning import sight_of
from selfdistill.encoders._ray import on_ray
from selfdistill.encoders._store import ENGINE, PROGRESS
from selfdistill.networks._pretrained import HF
from selfdistill.train._runtime import process_group

_MOST_TEXTS = 20_000  # some five minutes of one core
_TINY, _LOOKED_AT = 32, 50


def _open(read: ReadOptions) -> bool:
    """Say whether the choice is ours: neither --encoder nor ``SELFDISTILL_ENCODER=none`` made it."""
    return read.encoder is None and os.environ.get("SELFDISTILL_ENCODER") != NO_ENCODER


def encoder_of_photos(source: str, read: ReadOptions) -> ReadOptions:
    """Let the packaged encoder read photos, where it is installed and nothing else is asked for."""
    wanted = _open(read) and is_packaged("photos") and _holds_photos(source, read)
    return replace(read, encoder="photos") if wanted else read


def _holds_photos(source: str, read: ReadOptions) -> bool:
    """Say whether data are photos: not arrays, and not tiny grey pictures such as digits."""
    if read.image_size is not None:
        return False
    if read.image_column is not None:
        return True
    if not is_there(source) or find_form(source) != "folder":
        return False
    files = training_files(find_place(source).path)
    looked = [files[place] for place in np.linspace(0, len(files) - 1, min(len(files), _LOOKED_AT)).astype(int)]
    for file in looked:
        try:
            header = read_header(file)
        except Exception:  # decoders fail on hostile files in any way; reading says so
            continue
        if not header.grey or max(header.size) > _TINY:
            return True
    return False


def encoder_of_texts(source: str, read: ReadOptions, data: LabelledData) -> ReadOptions:
    """Name the packaged encoder for text columns, where it is installed and nothing else is asked for."""
    few = len(data) <= _MOST_TEXTS and source != STANDARD_INPUT
    wanted = _open(read) and few and _has_texts(data) and is_packaged("texts")
    return replace(read, encoder="texts") if wanted else read


def _has_texts(data: LabelledData) -> bool:
    return isinstance(data.preprocess, TablePreprocess) and bool(data.preprocess.kinds["text"])


def side_of_network(source: str | None, read: ReadOptions, network: str | None) -> ReadOptions:
    """Let photos be resized to what a pretrained network takes, and fetch the network where it is not here yet."""
    spec = (network or "").strip()
    if not spec.startswith(HF):
        return read
    side = sight_of(spec.removeprefix(HF), fetch=True).side
    folder = source is not None and is_there(source) and find_form(source) == "folder"
    photos = folder or read.image_column is not None
    return replace(read, image_size=side) if photos and read.image_size is None else read


def missing_extra(source: str, read: ReadOptions, data: LabelledData) -> str | None:
    """Name the extra that would help, "photos" or "texts", where it is not installed."""
    if not _open(read):
        return None
    kind = "texts" if _has_texts(data) else "photos" if _holds_photos(source, read) else None
    return None if kind is None or is_packaged(kind) else kind


def check_named(folder: Path, read: ReadOptions | None, asked: ReadOptions | None = None) -> None:
    """Refuse an encoder that a run's record alone names and that could run code or fetch a model."""
    if read is None or not is_encoded(read) or read.encoder in PACKAGED or (asked and asked.encoder):
        return
    raise RunError(
        f"{folder} was started with the encoder {read.encoder!r}, which is not in an extra",
        Advice("Name it, if you trust it: {--encoder} {name}.", name=read.encoder),
    )


@contextmanager
def encoding(tell: Listener) -> Generator[None]:
    """Tell how many photos or texts are encoded, how fast, and how long it will still take."""
    token = PROGRESS.set(_telling(tell))
    try:
        yield
    finally:
        PROGRESS.reset(token)


def _telling(tell: Listener, now: Callable[[], float] = time.monotonic) -> Callable[[str, int, int], None]:
    first: list[tuple[float, int]] = []  # when the first batch was done, and its size
    last = [0]

    def progress(kind: str, done: int, total: int) -> None:
        if done < last[0] or not first:
            first[:] = [(now(), done)]
        last[0] = done
        seconds, counted = now() - first[0][0], done - first[0][1]
        shown = f"{kind}: {done:,} of {total:,}"
        if counted and seconds > 0:
            left = round((total - done) * seconds / counted)
            shown += f", {counted / seconds:,.0f} a second, {left // 60}:{left % 60:02d} left"
        tell(Stage(shown))

    return progress


@contextmanager
def _engine(on: str | None) -> Generator[None]:
    token = ENGINE.set(ENGINE.get() if on is None else on_ray)
    try:
        yield
    finally:
        ENGINE.reset(token)


def embed(
    source: str,
    options: ReadOptions,
    out: Path | None,
    tell: Listener = lambda event: None,
    *,
    on: str | None = None,
) -> LabelledData:
    """Encode photos or texts by the encoder named, else the packaged one, and keep their features in ``out``."""
    if options.encoder is None:
        form = find_form(source)
        if form in {"npz", "npy", "safetensors", "npy-folder"}:
            raise DataError(f"{source} holds arrays, not photos or texts", "Train on them as they are, with `fit`.")
        photos = options.image_column is not None or form == "folder"
        options = replace(options, encoder="photos" if photos else "texts")
    if not is_encoded(options):
        raise SettingError(
            "encoder none leaves nothing to do", Advice("Leave {--encoder} out", "name one."), param="encoder"
        )
    if on not in {None, "ray"}:
        raise SettingError(f"on is {on!r}", Advice("Leave {--on} out", "take ray."), param="on")
    with process_group("cpu"), encoding(tell), _engine(on):
        return read(source, options if out is None else replace(options, features=str(out)), mapped=True)
