"""The Hugging Face hub: asked once whether it answers; in one line, why a model cannot be had."""

from __future__ import annotations

import logging
import ssl
from collections.abc import Generator
from contextlib import contextmanager
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from selfdistill._core.errors import DataError, SelfdistillError, one_line

_PATIENCE = 5.0  # seconds


@contextmanager
def fetching(rest: str, folder: bool, prefix: str) -> Generator[None]:
    """Say in one line why a model cannot be had, and how it is named once it lies in a folder."""
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)  # it tells each attempt
    try:
        yield
    except (OSError, ValueError, KeyError, ImportError) as error:
        if isinstance(error, SelfdistillError):
            raise
        where = f"the folder {rest}" if folder else f"{rest!r}, here or on the Hugging Face hub"
        raise DataError(
            f"no model can be loaded from {where}: {one_line(error, 160)}",
            f"Fetch it where there is a network (hf download NAME --local-dir FOLDER), and name {prefix}FOLDER.",
        ) from error


def only_here(name: str, fetch: bool) -> bool:
    """Say whether a model is looked for on this machine alone; if not, the hub answers."""
    from huggingface_hub import constants, try_to_load_from_cache

    files = ("model.safetensors", "model.safetensors.index.json")
    if not fetch or constants.HF_HUB_OFFLINE or any(isinstance(try_to_load_from_cache(name, f), str) for f in files):
        return True
    _check_answers(constants.ENDPOINT)
    return False


def _check_answers(endpoint: str) -> None:
    """Ask once whether the hub answers: its own client would try for half a minute, without a word."""
    try:
        urlopen(Request(endpoint, method="HEAD"), timeout=_PATIENCE).close()
    except HTTPError:
        return  # it answers
    except OSError as error:
        reason = getattr(error, "reason", error)
        if not isinstance(reason, ssl.SSLError):  # the client may know other certificates
            raise OSError(f"{endpoint} does not answer ({one_line(reason)})") from error
