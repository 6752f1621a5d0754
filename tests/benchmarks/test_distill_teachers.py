"""The development set is never trained on."""

from __future__ import annotations

import gzip
import struct

import numpy as np
import pytest
import torch
from benchmarks.distill_teachers import SUITES, Suite, noisy


def test_the_digits_for_development_are_none_of_those_trained_on():
    trained, tests = noisy(SUITES["digits-development"], None, 0)
    whole, _ = noisy(SUITES["digits"], None, 0)
    images, truth = tests["development"]
    assert len(trained) + len(images) == len(whole)
    assert torch.equal(torch.cat([trained.inputs, images]), whole.inputs)
    assert torch.equal(truth, whole.truth[len(trained) :])
    assert trained.fingerprint != whole.fingerprint


@pytest.mark.parametrize("pair", [True, False])
def test_images_for_development_are_the_last_that_are_not_drawn(tmp_path, pair):
    """30,000 images whose pixels are their number."""
    for name, count in (("train", 30_000), ("t10k", 100)):
        number = np.arange(count)
        images = np.stack([number // 256, number % 256], 1).astype(np.uint8).reshape(count, 1, 2)
        for what, values in (("images-idx3", images), ("labels-idx1", (number % 10).astype(np.uint8))):
            head = struct.pack(f">HBB{values.ndim}I", 0, 8, values.ndim, *values.shape)
            (tmp_path / f"{name}-{what}-ubyte.gz").write_bytes(gzip.compress(head + values.tobytes(), 1))
    trained, tests = noisy(Suite("mlp:8", images=6000, pair=pair), tmp_path, 0)
    number = lambda x: set((x[:, 0, 0, 0].long() * 256 + x[:, 0, 0, 1]).tolist())
    kept = number(tests["development"][0])
    assert len(number(trained.inputs)) == 6000
    assert kept == set(range(20_000, 30_000)) - number(trained.inputs)
    wrong = trained.labels != trained.truth
    assert float(wrong.float().mean()) == pytest.approx(0.4, abs=0.02)
    assert bool(((trained.truth + 1) % 10 == trained.labels)[wrong].all()) == pair
