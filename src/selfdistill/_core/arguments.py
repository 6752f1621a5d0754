"""Options as keyword arguments, for type checkers; made by ``python -m tests._core.test_arguments``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TypedDict


class FitArguments(TypedDict, total=False):
    """See `ReadOptions` and `Settings`."""

    label: str | None
    id: str | None
    ignore: str | Sequence[str]
    truth: str | None
    text: str | Sequence[str]
    categorical: str | Sequence[str]
    numeric: str | Sequence[str]
    decimal: str | None
    thousands: str | None
    encoding: str | None
    annotator: str | Sequence[str]
    drop_unlabelled: bool
    skip_bad: bool
    image_size: int | None
    inputs: str | None
    labels: str | Path | None
    image_column: str | None
    encoder: str | None
    features: str | Path | None
    method: str | None
    network: str | None
    epochs: int | None
    batch_size: int | None
    lr: float | None
    lr_warmup: float | None
    weight_decay: float | None
    momentum: float | None
    device: str | None
    precision: str | None
    augment: str | None
    seed: int | None
    compile: bool | None
    accumulate: int | None
    ema: float | None
    noise_rate: float | None
    noise_matrix: str | Path | None
    held_out: float | None
    keep_epochs: int | str | None
    kernel: str | None
    landmarks: int | None
    rounds: int | None


class AirArguments(TypedDict, total=False):
    """See `AirOptions`."""

    examples: int
    output: str
    rank: int | None
    time: float | None
    seed: int
    memory: str
