"""What a finished run must hold: noted with digests when it ends, looked after when it is resumed."""

from __future__ import annotations

from pathlib import Path

from selfdistill._core.errors import RunError
from selfdistill._core.files import digest
from selfdistill._core.folder import inside
from selfdistill._core.lock import LOCK
from selfdistill._core.record import RunRecord
from selfdistill.train import _checkpoint

__all__ = ["lost", "products"]

_PRODUCTS = ("labels.parquet", "model.safetensors", "metrics.jsonl")


def products(out: Path) -> dict[str, str]:
    """Take the digests of the files that lie in a run directory itself.

    Args:
        out: The run directory.

    Returns:
        SHA-256 by name, without the record and the lock.
    """
    there = (p for p in sorted(out.iterdir()) if p.is_file() and p.name not in {"run.json", LOCK})
    return {path.name: digest(path) for path in there}


def lost(out: Path, record: RunRecord) -> list[str]:
    """Name the files that a finished run no longer holds as it wrote them.

    Args:
        out: The run directory.
        record: Its record.

    Returns:
        Names; those of a run without digests are only looked for.

    Raises:
        RunError: Some are lost, and there is no whole checkpoint to write them from.
    """
    wanted = record.files
    missing = [
        name
        for name in _PRODUCTS
        if not inside(out, name).is_file() or (name in wanted and digest(out / name) != wanted[name])
    ]
    if record.settings.method == "kernel":  # it is computed anew
        return missing
    if missing and all(problem for _, problem in _checkpoint.newest(inside(out, "checkpoint"))):
        raise RunError(
            f"{out} lost {' and '.join(missing)}, and has no whole checkpoint to write them from",
            "Start a new run with another --out.",
        )
    return missing
