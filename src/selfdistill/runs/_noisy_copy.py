"""A copy of a data set whose labels were made wrong on purpose, for experiments."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from selfdistill import noise
from selfdistill._core.advice import Advice
from selfdistill._core.errors import SettingError
from selfdistill._core.read_options import ReadOptions
from selfdistill.data._copy import write_with_labels
from selfdistill.data._read import read as data_read
from selfdistill.noise._files import read_matrix

_KINDS = Advice(
    "Choose one: {--symmetric} RATE (any other class), {--pair} RATE (the next class), {--matrix} FILE (a rate for "
    "each pair of classes) or {--instance} RATE (depends on the example)."
)


@dataclass(frozen=True)
class NoisyCopy:
    """What the noise did."""

    classes: list[tuple[str, int, int]]  # name, number of labels and number of changed labels of each true class
    out: Path  # the copy

    @property
    def total(self) -> int:
        """Number of labels."""
        return sum(count for _, count, _ in self.classes)

    @property
    def changed(self) -> int:
        """Number of changed labels."""
        return sum(changed for _, _, changed in self.classes)


def noisy_copy(
    source: str,
    out: Path,
    *,
    symmetric: float | None = None,
    pair: float | None = None,
    matrix: Path | None = None,
    instance: float | None = None,
    include_clean: bool | None = None,
    read: ReadOptions | None = None,
    seed: int = 0,
) -> NoisyCopy:
    """Read a data set, draw wrong labels of exactly one kind, write a copy, which must not exist."""
    # Rates are probabilities; symmetric noise needs ``include_clean``: whether a redrawn label may be the true one.
    given = [value for value in (symmetric, pair, matrix, instance) if value is not None]
    if len(given) != 1:
        raise SettingError(f"{len(given)} kinds of noise are given" if given else "no kind of noise is given", _KINDS)
    if (symmetric is None) != (include_clean is None):
        raise SettingError(
            Advice("{--symmetric} and {--include-clean} or {--exclude-clean} belong together"),
            Advice(
                "Papers differ in whether a redrawn label may be the true one: at 0.4 and 10 classes, 36 % of "
                "the labels change if it may ({--include-clean}), 40 % if not ({--exclude-clean}); say which."
            ),
        )
    if seed < 0:
        raise SettingError(f"seed is {seed}, but must be at least 0", "Choose another, or leave it out for 0.")
    options = read or ReadOptions()
    examples = data_read(source, options)
    labels, k = examples.labels, examples.num_classes
    if instance is not None:
        drawn = noise.instance_dependent(examples.inputs, labels, k, instance, seed)
    else:
        if symmetric is not None:
            T = noise.symmetric(k, symmetric, include_clean=bool(include_clean))
        elif pair is not None:
            T = noise.pair(k, pair)
        else:
            assert matrix is not None  # exactly one was given
            T = read_matrix(matrix, classes=examples.classes)
        drawn = noise.draw(labels, T, seed)
    write_with_labels(source, options, [examples.classes[i] for i in drawn.labels.tolist()], out)
    rows = [
        (name, int((labels == i).sum()), int(drawn.changed[labels == i].sum()))
        for i, name in enumerate(examples.classes)
    ]
    return NoisyCopy(rows, out)
