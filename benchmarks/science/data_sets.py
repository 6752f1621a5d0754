"""The data of a cell: training examples with wrong labels, a hold-out with labels as wrong, and a clean test set.

Where they lie under ``--data DIR``: ``fashion-mnist/`` (four IDX files), ``cifar10/`` (binary batches and
``cifar10n.npz``), ``tabular/`` and ``text/`` (CSV files). No test example is ever among the examples to train on.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from benchmarks.science.suite import HUMAN, WEAK, Cell
from selfdistill import noise
from selfdistill._core.errors import SettingError
from selfdistill._core.read_options import ReadOptions
from selfdistill._core.rng import torch_generator
from selfdistill.data._labelled import LabelledData
from selfdistill.data._read import read, read_test
from selfdistill.noise._draw import summary
from selfdistill.noise._transition import cifar10_asymmetric

_STEMS = {"music": "tabular/music_genre", "trec": "text/trec_question", "semeval": "text/semeval_relation"}
_IDX = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")
_DEV = "-development"
_DEVELOPMENT, _CIFAR_POOL, _DIGITS_TEST = 50_000, 40_000, 360


class Prepared(NamedTuple):
    """What a cell trains and is measured on.

    Attributes:
        train: Training examples with given labels and truth.
        holdout: Inputs and given labels, wrong as often as those of training.
        test: Inputs and true labels.
        rate: Share of wrong labels among the training examples.
        matrix: Realised ``T[true, given]`` of the training examples.
    """

    train: LabelledData
    holdout: tuple[Tensor, Tensor]
    test: tuple[Tensor, Tensor]
    rate: float
    matrix: Tensor


class Pool(NamedTuple):
    """Examples to draw from, with their true labels; given ones where people or rules made them; and the test set."""

    full: LabelledData
    truth: Tensor
    given: Tensor | None
    test: tuple[Tensor, Tensor]


def missing(name: str, noise: list[str], folder: Path) -> list[str]:
    """Name the files of a data set that are not there."""
    needed: list[str] = []
    if name.startswith("fashion"):
        plain = [f"fashion-mnist/{file}" for file in _IDX]
        needed = [file if (folder / file).exists() else f"{file}.gz" for file in plain]
    elif name.startswith("cifar10"):
        needed = [f"cifar10/data_batch_{i}.bin" for i in range(1, 6)]
        needed += ["cifar10/cifar10n.npz"] if any(kind in HUMAN for kind in noise) else []
    elif stem := _STEMS.get(name.removesuffix(_DEV)):
        needed = [f"{stem}_{part}.csv" for part in (("train",) if name.endswith(_DEV) else ("train", "test"))]
    return [file for file in needed if not (folder / file).exists()]


def load(cell: Cell, folder: Path) -> Prepared:
    """Read and draw a cell's data; the cell's seed draws the examples, the noise and the hold-out."""
    pool = read_pool(cell["data"], cell["noise"], folder)
    total = len(pool.truth)
    holdout = cell["holdout"] or (cell["examples"] or total * 10 // 11) // 10
    examples = cell["examples"] or total - holdout
    if examples + holdout > total:
        raise SettingError(
            f"data set {cell['data']!r} has {total:,} examples to draw from, but the suite wants {examples:,} and "
            f"{holdout:,} to hold out",
            "Ask for fewer.",
        )
    generator = torch_generator(cell["seed"], "science", "examples")
    order = torch.randperm(total, generator=generator)[: examples + holdout]
    truth = pool.truth[order]
    named = pool.given if cell["noise"] != "clean" else None
    given = named[order] if named is not None else draw(pool, order, cell["noise"], cell["seed"])
    kept, held = order[:examples], order[examples:]
    train = replace(
        pool.full,
        inputs=pool.full.inputs[kept],
        labels=given[:examples],
        ids=pool.full.ids[kept.numpy()],
        truth=truth[:examples],
    )
    found = summary(truth[:examples], given[:examples], pool.full.num_classes)
    return Prepared(train, (pool.full.inputs[held], given[examples:]), pool.test, found.rate, found.matrix)


def read_pool(name: str, kind: str, folder: Path) -> Pool:
    """Read a data set: what to draw from, and the test set."""
    if name in WEAK:
        return _read_weak(name, folder)
    if name == "digits":
        digits = read("digits")
        order = torch.randperm(len(digits), generator=torch_generator(0, "science", "digits' test part"))
        rest, kept = order[_DIGITS_TEST:], order[:_DIGITS_TEST]
        part = replace(digits, inputs=digits.inputs[rest], labels=digits.labels[rest], ids=digits.ids[rest.numpy()])
        return Pool(part, part.labels, None, (digits.inputs[kept], digits.labels[kept]))
    if name.startswith("cifar10"):
        full = read(folder / "cifar10", ReadOptions())
        given = None
        if kind in HUMAN:
            labels = np.load(folder / "cifar10" / "cifar10n.npz")[HUMAN[kind]]
            given = torch.from_numpy(labels.astype(np.int64))[:_CIFAR_POOL]
        end = len(full) if name == "cifar10" else _CIFAR_POOL  # the development set is not the other suites' test set
        start = end - 10_000
        given = None if given is None else given[:start]
        return Pool(full, full.labels[:start], given, (full.inputs[start:end], full.labels[start:end]))
    full = read(folder / "fashion-mnist", ReadOptions())
    if name == "fashion-development":  # nothing of it is an official test image
        tail = (full.inputs[_DEVELOPMENT:], full.labels[_DEVELOPMENT:])
        return Pool(full, full.labels[:_DEVELOPMENT], None, tail)
    found = read_test(None, full, ReadOptions(), source=folder / "fashion-mnist")
    assert found is not None  # `missing` looks for the test files
    return Pool(full, full.labels if name == "fashion-all" else full.labels[:_DEVELOPMENT], None, found[:2])


def _read_weak(name: str, folder: Path) -> Pool:
    ignore = ("majority_label",) if name.startswith("music") else ()
    options = ReadOptions(label="label", id="id", truth="true_label", ignore=ignore)
    stem = _STEMS[name.removesuffix(_DEV)]
    full = read(folder / f"{stem}_train.csv", options)
    assert full.truth is not None  # its column was named
    if name.endswith(_DEV):  # nothing of it is a test row
        order = torch.randperm(len(full), generator=torch_generator(0, "science", name))
        rest, tail = order[len(full) // 5 :], order[: len(full) // 5]
        part = replace(full, inputs=full.inputs[rest], labels=full.labels[rest], ids=full.ids[rest.numpy()])
        return Pool(part, full.truth[rest], full.labels[rest], (full.inputs[tail], full.truth[tail]))
    only_truth = ReadOptions(label="true_label", id="id")
    found = read_test(folder / f"{stem}_test.csv", full, only_truth)
    assert found is not None  # a table is its own test part
    return Pool(full, full.truth, full.labels, found[:2])


def draw(pool: Pool, order: Tensor, kind: str, seed: int) -> Tensor:
    """Draw noisy labels for the examples ``order``, those of the hold-out among them."""
    truth, k = pool.truth[order], pool.full.num_classes
    if kind == "clean":
        return truth
    name, _, percent = kind.rpartition("-")
    rate = int(percent) / 100
    if name == "instance":
        return noise.instance_dependent(_standard(pool.full.inputs[order]), truth, k, rate, seed).labels
    matrices: dict[str, Any] = {
        "symmetric": lambda: noise.symmetric(k, rate, include_clean=False),
        "pair": lambda: noise.pair(k, rate),
        "asymmetric": lambda: cifar10_asymmetric(rate),
    }
    return noise.draw(truth, matrices[name](), seed).labels


def _standard(inputs: Tensor) -> Tensor:
    """Scale all pixels together to mean 0 and deviation 1, as instance-dependent noise wants its inputs."""
    inputs = inputs.float()
    return (inputs - inputs.mean()) / inputs.std()
