"""Data of the claims: examples to train on with wrong labels, a noisy hold-out, a clean set to choose by, a test set.

The oracle chooses by the clean *choice* set and is measured on the test set: a maximum over the test set itself would
flatter every choice.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from selfdistill import noise
from selfdistill._core.errors import SettingError
from selfdistill._core.rng import torch_generator
from selfdistill.data._labelled import LabelledData
from selfdistill.data._read import read, read_test

CHOICE = {"digits": 300, "fashion": 1000}
MOST_TEST = 4000  # test examples, of Fashion-MNIST's 10,000: they are looked at after every epoch
HOLDOUT_SHARE = 0.1
_IDX = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")


class Problem(NamedTuple):
    """One draw of a data set and its noise.

    Attributes:
        train: Examples with given labels and truth.
        holdout: A tenth as many, with labels as wrong as theirs.
        choice: Inputs and true labels for an oracle to choose by.
        test: Inputs and true labels.
        matrix: ``T[true, given]`` that the noise was drawn from.
    """

    train: LabelledData
    holdout: tuple[Tensor, Tensor]
    choice: tuple[Tensor, Tensor]
    test: tuple[Tensor, Tensor]
    matrix: Tensor

    @property
    def truth(self) -> Tensor:
        """True labels of the training examples."""
        assert self.train.truth is not None  # `draw` sets it
        return self.train.truth

    @property
    def wrong(self) -> Tensor:
        """Which given labels are wrong."""
        return self.train.labels != self.truth

    @property
    def sets(self) -> dict[str, tuple[Tensor, Tensor]]:
        """All that accuracies are measured on."""
        return {"holdout": self.holdout, "choice": self.choice, "test": self.test}


def missing(needs: Sequence[str], folder: Path) -> list[str]:
    """Name the files that are not there."""
    wanted = [f"fashion-mnist/{file}" for name in needs if name == "fashion" for file in _IDX]
    wanted += [name for name in needs if name != "fashion"]
    return [file for file in wanted if not ((folder / file).exists() or (folder / f"{file}.gz").exists())]


def transition(kind: str, classes: int = 10) -> Tensor:
    """Make the transition matrix of ``clean``, ``symmetric-40`` (to other classes) or ``pair-30``."""
    name, _, percent = kind.partition("-")
    if name == "clean":
        return torch.eye(classes, dtype=torch.float64)
    rate = int(percent) / 100
    return noise.pair(classes, rate) if name == "pair" else noise.symmetric(classes, rate, include_clean=False)


@cache
def _read(name: str, folder: Path) -> tuple[LabelledData, tuple[Tensor, Tensor] | None]:
    if name == "digits":
        return read("digits"), None
    full = read(folder / "fashion-mnist")
    found = read_test(None, full, source=folder / "fashion-mnist")
    assert found is not None  # `missing` looks for its files
    return full, (found[0], found[1])


def draw(settings: Mapping[str, Any], seed: int, folder: Path) -> Problem:
    """Draw a problem."""
    name, examples = settings["data"], settings["examples"]
    full, test = _read(name, folder)
    held, choice = round(HOLDOUT_SHARE * examples), CHOICE[name]
    if examples + held + choice >= len(full) + (test is not None):
        raise SettingError(f"{examples:,} examples of {len(full):,} leave none to test on", "Ask for fewer.")
    order = torch.randperm(len(full), generator=torch_generator(seed, "claims", name))
    kept, held_out, chosen, rest = torch.split(order, [examples, held, choice, len(order) - examples - held - choice])
    matrix = transition(settings["noise"], full.num_classes)
    noisy = torch.cat([kept, held_out])
    given = full.labels[noisy]
    if settings["noise"] != "clean":
        given = noise.draw(given, matrix, seed).labels
    train = replace(
        full,
        inputs=full.inputs[kept],
        labels=given[:examples],
        ids=full.ids[kept.numpy()],
        truth=full.labels[kept],
    )
    return Problem(
        train,
        (full.inputs[held_out], given[examples:]),
        (full.inputs[chosen], full.labels[chosen]),
        (test[0][:MOST_TEST], test[1][:MOST_TEST]) if test else (full.inputs[rest], full.labels[rest]),
        matrix,
    )
