"""A noisy data set in small, and a run that kept its epochs, made once."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from selfdistill import runs, train
from selfdistill.data._labelled import LabelledData
from selfdistill.data._source import fingerprint as data_fingerprint
from selfdistill.runs._directory import run

TEACHER = train.Settings(method="cross-entropy", network="mlp:32", epochs=8, held_out=0.1, keep_epochs="all")


@pytest.fixture(scope="session")
def digits() -> LabelledData:
    return runs.noisy_digits(0)[0]


@pytest.fixture(scope="session")
def tests_of_digits() -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
    return runs.noisy_digits(0)[1]


@pytest.fixture(scope="session")
def teacher_run(digits: LabelledData, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("teacher") / "run"
    source = {"source": None, "read": {}, "test": None}
    tests = runs.noisy_digits(0)[1]
    run(digits, TEACHER.resolve(len(digits), "cpu"), out, source=source, evaluations=tests)
    return out


@pytest.fixture(scope="session")
def last_run(digits: LabelledData, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that kept nothing but its last weights."""
    out = tmp_path_factory.mktemp("last") / "run"
    plain = replace(TEACHER, epochs=2, held_out=None, keep_epochs=None)
    run(digits, plain.resolve(len(digits), "cpu"), out, source={"source": None, "read": {}, "test": None})
    return out


@pytest.fixture(scope="session")
def other(digits: LabelledData) -> LabelledData:
    """The same images with another label."""
    labels = digits.labels.clone()
    labels[0] = (labels[0] + 1) % 10
    fingerprint = data_fingerprint(digits.inputs, labels, digits.ids, digits.classes)
    return replace(digits, labels=labels, fingerprint=fingerprint)


@pytest.fixture(scope="session")
def small(digits: LabelledData) -> LabelledData:
    """300 of the digits, whose fingerprint is their own."""
    return replace(
        digits,
        inputs=digits.inputs[:300],
        labels=digits.labels[:300],
        ids=digits.ids[:300],
        truth=digits.truth[:300],
        fingerprint="small" * 12,
    )
