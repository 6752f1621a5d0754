"""Batches in parts: the step is that of the whole batch, up to rounding; methods that compare examples refuse it."""

from __future__ import annotations

import itertools
import signal
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from selfdistill._core.advice import COMMAND_LINE
from selfdistill._core.errors import Interrupted, SettingError
from selfdistill._core.events import BatchDone
from selfdistill.data._source import from_arrays
from selfdistill.targets import Posterior
from selfdistill.train import Settings
from selfdistill.train._fit import fit
from selfdistill.train._methods import METHODS, method_of

N = 90  # batches of 16: the last of an epoch has 10
RNG = np.random.default_rng(0)
TRUTH = RNG.integers(0, 3, N)
WHOLE = {"co-teaching", "dividemix", "dong-3", "dong-5", "joint-optimization", "joint-optimization-labels", "sat"}


@pytest.fixture
def blobs():
    return from_arrays(2 * np.eye(3)[TRUTH] + np.random.default_rng(1).normal(size=(N, 3)), TRUTH.astype(str))


def settings(n=N, **asked):
    usual = {"network": "mlp:16", "epochs": 4, "batch_size": 16, "lr": 0.05, "method": "selfdistill"}
    return Settings(**usual | asked).resolve(n, "cpu")


def weights(fitted):
    return torch.cat([one.detach().flatten() for one in fitted.model.state_dict().values()])


@pytest.mark.parametrize("name", METHODS)
def test_every_method_takes_the_step_of_the_whole_batch_or_refuses(blobs, name):
    if name in WHOLE:
        with pytest.raises(SettingError) as caught:
            method_of(settings(method=name, accumulate=3))
        whole = "joint-optimization-labels" if name == "joint-optimization" else name
        assert caught.value.at(COMMAND_LINE) == (
            f"method {whole!r} looks at each batch as a whole, but --accumulate is 3. Leave --accumulate out, or "
            "choose another --method."
        )
        assert method_of(settings(method=name, accumulate=1)) is METHODS[name]
        return
    whole, parts = (fit(blobs, settings(method=name, accumulate=count)) for count in (1, 3))
    torch.testing.assert_close(weights(parts), weights(whole), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(parts.refined, whole.refined, rtol=1e-5, atol=1e-6)
    for one, other in zip(parts.curves, whole.curves, strict=True):
        assert one["loss"] == pytest.approx(other["loss"], rel=1e-5)
        assert one["agreement"] == other["agreement"]


@pytest.mark.parametrize("count", [2, 7, 8])
def test_parts_of_one_size_count_by_the_batch_that_they_are_of(blobs, count):
    """Eight parts of 16 examples, and five of 10, have two each."""
    whole, parts = (fit(blobs, settings(accumulate=n)) for n in (1, count))
    torch.testing.assert_close(weights(parts), weights(whole), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("count", [2, 5, 8])
@pytest.mark.parametrize("n", [90, 83, 81])  # the last batch has 10 or 3 examples, or joins the one before
def test_each_example_goes_through_the_network_once_an_epoch_in_parts_of_two_or_more(n, count):
    class Noting(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer, self.seen = nn.Linear(1, 2), []

        def forward(self, x):
            if self.training:
                self.seen.append(x[:, 0].long().tolist())
            return self.layer(x / n)

    written = []
    data, network = from_arrays(np.arange(n, dtype=float)[:, None], np.arange(n) % 2), Noting()
    raw = torch.from_numpy(np.arange(n, dtype=np.float32)[:, None])
    data = replace(data, inputs=raw)

    class Counting(Posterior):
        def write(self, index, probabilities):
            written.append(index.tolist())
            super().write(index, probabilities)

    targets = Counting(data.labels, 2)
    fit(data, settings(n, epochs=1, accumulate=count), model=network, targets=targets)
    assert sorted(itertools.chain(*network.seen)) == list(range(n))
    assert all(len(part) >= 2 for part in network.seen)
    batches = [len(batch) for batch in written]
    assert batches[:5] == [16] * 5 if n != 81 else batches == [16] * 4 + [17]
    wanted = sum(min(count, size // 2) for size in batches)
    assert len(network.seen) == wanted
    assert list(itertools.chain(*network.seen)) == list(itertools.chain(*written))  # one write a batch, in its order


def test_augmented_images_are_those_of_the_whole_batch():
    images = RNG.integers(0, 256, (40, 3, 16, 16)).astype(np.uint8)
    data = from_arrays(images, np.arange(40) % 2)
    asked = {"network": "mlp:8", "augment": "flip,crop:3,cutout:4", "epochs": 2, "batch_size": 13}
    whole, parts = (fit(data, settings(40, **asked, accumulate=count)) for count in (1, 4))
    torch.testing.assert_close(weights(parts), weights(whole), rtol=1e-5, atol=1e-6)


def test_weights_of_examples_count_in_the_parts(blobs):
    data = replace(blobs, weights=torch.from_numpy(RNG.random(N)))
    whole, parts, even = (fit(one, settings(accumulate=count)) for one, count in ((data, 1), (data, 3), (blobs, 3)))
    torch.testing.assert_close(weights(parts), weights(whole), rtol=1e-5, atol=1e-6)
    assert not torch.allclose(weights(parts), weights(even), atol=1e-4)


def test_batch_norm_sees_a_part_at_a_time():
    data = from_arrays(RNG.integers(0, 256, (40, 1, 8, 8)).astype(np.uint8), np.arange(40) % 2)
    asked = {"network": "cnn:4", "epochs": 1, "batch_size": 20, "augment": "none"}
    whole, parts = (fit(data, settings(40, **asked, accumulate=count)).model.state_dict() for count in (1, 4))
    counts = [[int(state[name]) for name in state if name.endswith("num_batches_tracked")] for state in (whole, parts)]
    assert set(counts[0]) == {2}
    assert set(counts[1]) == {8}


def test_a_resumed_training_ends_as_one_that_was_not_stopped(blobs, tmp_path):
    asked = settings(accumulate=3)
    alone = fit(blobs, asked)
    steps = []

    def stop(event):
        steps.append(event)
        if sum(isinstance(one, BatchDone) for one in steps) == 9:  # in the middle of the second epoch
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(Interrupted):
        fit(blobs, asked, checkpoints=tmp_path, tell=stop)
    resumed = fit(blobs, asked, checkpoints=tmp_path)
    assert torch.equal(weights(resumed), weights(alone))
    assert torch.equal(resumed.refined, alone.refined)


@pytest.mark.parametrize(("count", "batch", "most"), [(9, 16, 8), (2, 3, 1), (65, None, 64)])
def test_more_parts_than_pairs_of_examples_are_refused(count, batch, most):
    with pytest.raises(SettingError) as caught:
        Settings(accumulate=count, batch_size=batch).resolve(5000, "cpu")
    assert caught.value.at(COMMAND_LINE) == (
        f"--accumulate is {count}, but a batch of {batch or 128} has at most {most} parts of two or more examples. "
        "Take a smaller --accumulate, or a larger --batch-size."
    )


def test_parts_are_checked_before_the_data_are_known():
    """A batch of small data is smaller: it then has as many parts of two as it can."""
    assert Settings(accumulate=64).resolve(1000, "cpu").batch_size == 64
    data = from_arrays(np.arange(40.0)[:, None], np.arange(40) % 2)
    resolved = Settings(network="linear", epochs=1, accumulate=64).resolve(40, "cpu")
    assert len(fit(data, resolved).curves) == 1


def test_one_part_is_what_is_done_anyway():
    assert not Settings(accumulate=1).asks("accumulate")
    assert Settings(accumulate=2).asks("accumulate")
