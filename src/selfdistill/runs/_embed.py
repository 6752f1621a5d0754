"""Features of photos or texts, once, for later runs and for any tool."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from selfdistill._core.advice import Advice
from selfdistill._core.errors import SettingError
from selfdistill._core.events import Listener
from selfdistill._core.read_options import ReadOptions
from selfdistill.data._encoded import is_encoded
from selfdistill.data._labelled import LabelledData
from selfdistill.data._read import find_form, read
from selfdistill.encoders._ray import on_ray
from selfdistill.encoders._store import ENGINE
from selfdistill.runs._encoding import encoding
from selfdistill.train._runtime import process_group


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
        photos = options.image_column is not None or find_form(source) == "folder"
        options = replace(options, encoder="photos" if photos else "texts")
    if not is_encoded(options):
        raise SettingError(
            "encoder none leaves nothing to do", Advice("Leave {--encoder} out", "name one."), param="encoder"
        )
    if on not in {None, "ray"}:
        raise SettingError(f"on is {on!r}", Advice("Leave {--on} out", "take ray."), param="on")
    with process_group("cpu"), encoding(tell), _engine(on):
        return read(source, options if out is None else replace(options, features=str(out)), mapped=True)
