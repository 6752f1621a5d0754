"""Encoding on a cluster: the files of features as tasks of Ray, whose workers see the same files as this process."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Generator, Sequence
from typing import Any

from selfdistill._core.advice import Advice
from selfdistill._core.errors import RunError, SettingError, one_line
from selfdistill.encoders._encoder import Encoder
from selfdistill.encoders._store import BATCH, SHARD, Part, encoded, prepared


def on_ray(encoder: Encoder, prepare: Callable[[int], Any], todo: Sequence[int]) -> Generator[Part]:
    """Encode examples by number in tasks of 512, on the cluster at ``RAY_ADDRESS`` or, without one, on this machine.

    Raises:
        SettingError: Ray is not installed, or the encoder cannot be sent.
        RunError: A task failed.
    """  # noqa: DOC402 (said in the first line)
    try:
        import ray
    except ImportError:
        raise SettingError(
            "Ray is not installed", Advice("Install it with pip install 'selfdistill[ray]'", "leave {--on} out.")
        ) from None
    if not ray.is_initialized():
        ray.init(log_to_driver=False, include_dashboard=False, logging_level="error")
    try:
        job = ray.put((encoder, prepare))  # once, not with each task
    except (TypeError, AttributeError) as error:
        raise SettingError(
            f"encoder {encoder.name!r} cannot be sent to other processes: {one_line(error)}",
            Advice("Leave {--on} out", "choose another {--encoder}."),
        ) from error
    task = ray.remote(_part)
    try:
        for part in [task.remote(job, todo[start : start + SHARD]) for start in range(0, len(todo), SHARD)]:
            yield from ray.get(part)
    except ray.exceptions.RayError as error:
        raise RunError(f"a task of Ray failed: {one_line(error)}", "Start again: it goes on from there.") from error


def _part(job: tuple[Encoder, Callable[[int], Any]], places: Sequence[int]) -> list[Part]:
    encoder, prepare = job
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return [
            encoded(encoder, [(place, prepared(prepare, place)) for place in places[start : start + BATCH]])
            for start in range(0, len(places), BATCH)
        ]
