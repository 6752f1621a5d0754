"""The built-in demonstration: digits with 40 % of the labels flipped, self-distillation beside plain training."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from selfdistill import noise
from selfdistill._core.events import Listener
from selfdistill._core.rng import numpy_generator
from selfdistill._core.settings import ResolvedSettings
from selfdistill.data._labelled import LabelledData
from selfdistill.data._read import read
from selfdistill.data._source import fingerprint
from selfdistill.issues import compare_with_truth, label_table
from selfdistill.train._fit import fit

HELD_OUT = 0.2
FLIPPED = 0.4


def noisy_digits(seed: int) -> tuple[LabelledData, dict[str, tuple[Tensor, Tensor]]]:
    """Make the training set and the clean test set of the demonstration.

    A fifth of each class is held out, clean; of the rest, each label is flipped with probability 0.4 to one of the
    other nine classes.

    Args:
        seed: Seed of both draws.

    Returns:
        Training data whose ``truth`` is known, and the test set by the name ``"test"``.

    Example:
        >>> train, tests = noisy_digits(0)
        >>> len(train), len(tests["test"][1]), round((train.labels != train.truth).float().mean().item(), 1)
        (1438, 359, 0.4)
    """
    digits = read("digits")
    held_out = _stratified(digits.labels.numpy(), HELD_OUT, numpy_generator(seed, "hold-out"))
    kept, test = torch.from_numpy(np.flatnonzero(~held_out)), torch.from_numpy(np.flatnonzero(held_out))
    truth = digits.labels[kept]
    matrix = noise.symmetric(digits.num_classes, FLIPPED, include_clean=False)
    given = noise.draw(truth, matrix, seed).labels
    inputs, ids = digits.inputs[kept], digits.ids[kept.numpy()]
    train = replace(
        digits,
        inputs=inputs,
        labels=given,
        ids=ids,
        truth=truth,
        fingerprint=fingerprint(inputs, given, ids, digits.classes),
    )
    return train, {"test": (digits.inputs[test], digits.labels[test])}


def _stratified(labels: np.ndarray, share: float, rng: np.random.Generator) -> np.ndarray:
    """Mark ``share`` of each class, rounded, in a drawn order."""
    marked = np.zeros(len(labels), bool)
    for name in np.unique(labels):
        members = rng.permutation(np.flatnonzero(labels == name))
        marked[members[: round(share * len(members))]] = True
    return marked


def compare_with_plain(
    train: LabelledData,
    tests: dict[str, tuple[Tensor, Tensor]],
    settings: ResolvedSettings,
    tell: Listener = lambda event: None,
) -> dict[str, Any]:
    """Train plainly on the same labels with the same settings, and measure it against the truth."""
    plain = replace(settings, method="cross-entropy")
    fitted = fit(train, plain, evaluations=tests, tell=tell)
    curve = [epoch["test_accuracy"] for epoch in fitted.curves]
    table = label_table(fitted.refined, fitted.dynamics)
    assert train.truth is not None  # noisy_digits knows it
    return {
        "method": plain.method,
        "test_accuracy": {"last": curve[-1], "best": max(curve), "best_epoch": int(np.argmax(curve))},
        "truth": compare_with_truth(table, train.truth.numpy()),
        "curve": curve,
        "seconds": sum(epoch["seconds"] for epoch in fitted.curves),
    }
