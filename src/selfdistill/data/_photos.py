"""Photos from disk, one batch at a time: as features of an encoder, as pixels, or by their names alone."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from selfdistill._core.read_options import ReadOptions
from selfdistill.data._arrays import ArrayPreprocess
from selfdistill.data._encoded import EncodedPreprocess, encoder_for, is_encoded, store_for
from selfdistill.data._images import ImagePreprocess
from selfdistill.data._pictures import Pictures, read_pictures, through_store, why_bad
from selfdistill.data._pixels import Picture, open_photo
from selfdistill.data._roles import Roles

Made = ImagePreprocess | EncodedPreprocess | None


def read_photos(
    files: Sequence[Picture],
    where: Path | str,
    root: Path | str,
    options: ReadOptions,
    made: Made,
    *,
    names: bool = False,
    roles: Roles | None = None,
) -> Pictures:
    """Read photos: as features where an encoder is asked for or training had one, else as pixels; or their files."""
    if names:
        return _names(files, options)
    if not isinstance(made, EncodedPreprocess) and not is_encoded(options):
        return read_pictures(files, where, root, options, made)
    encoder = encoder_for("photos", options, made.encoder if isinstance(made, EncodedPreprocess) else None)
    store = store_for(encoder, options)

    def prepare(file: Picture) -> Any:
        return encoder.prepare(open_photo(file, 2 * encoder.side))

    found, good, lines = through_store(files, root, store, prepare, options.skip_bad)
    mark = (encoder.name, encoder.fingerprint)

    def fit(raw: Any) -> tuple[EncodedPreprocess, Sequence[str], dict[str, int]]:
        return EncodedPreprocess(mark, ArrayPreprocess.fit(raw), options.image_column, roles), (), {}

    return Pictures(found, good, lines, [], fit)


def _names(files: Sequence[Picture], options: ReadOptions) -> Pictures:
    """Of each photo its file; those that cannot be read are told from the others only where they may be left out."""
    bad: list[int] = []
    lines: list[str] = []

    def failure(file: Picture) -> Exception | None:
        try:
            open_photo(file, 1)
        except Exception as error:  # decoders fail on hostile files in any way
            return error
        return None

    if options.skip_bad:
        with ThreadPoolExecutor() as pool:
            found = list(pool.map(failure, files))
        bad = [place for place, error in enumerate(found) if error is not None]
        lines = [why_bad(files[place], error) for place, error in enumerate(found) if error is not None]
    out = set(bad)
    good = [place for place in range(len(files)) if place not in out]
    array = np.empty(len(good), dtype=object)
    array[:] = [files[place] for place in good]
    return Pictures(array, good, lines, [], _no_fit)


def _no_fit(raw: Any) -> Any:
    raise AssertionError("names alone teach nothing")


def said_of_bad(bad: Sequence[str]) -> list[str]:
    """Say which photos were left out."""
    if not bad:
        return []
    shown = "; ".join(bad[:20]) + (f"; ... ({len(bad):,} in all)" if len(bad) > 20 else "")
    what = "image cannot be read and is" if len(bad) == 1 else "images cannot be read and are"
    return [f"{len(bad):,} {what} left out: {shown}."]
