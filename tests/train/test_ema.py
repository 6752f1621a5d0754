"""The moving average of the weights: the formula over the steps, used to predict, resumed bit for bit."""

from __future__ import annotations

import copy
import json
import signal
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

import selfdistill
from selfdistill import SelfDistillClassifier
from selfdistill._core.errors import Interrupted, SettingError
from selfdistill._core.events import BatchDone
from selfdistill.data._source import from_arrays
from selfdistill.networks import build
from selfdistill.train import Settings
from selfdistill.train import _checkpoint as checkpoint
from selfdistill.train._fit import fit
from selfdistill.train._loop import predict_probabilities
from selfdistill.train._methods import METHODS
from selfdistill.train._runtime import TorchRuntime

N, DECAY = 60, 0.8
RNG = np.random.default_rng(0)
IMAGES, LABELS = RNG.integers(0, 256, (N, 1, 8, 8)).astype(np.uint8), np.arange(N) % 3


@pytest.fixture
def images():
    return from_arrays(IMAGES, LABELS)


def settings(**asked):
    usual = {"network": "cnn:4", "epochs": 4, "batch_size": 16, "lr": 0.05, "method": "selfdistill"}
    return Settings(**usual | asked).resolve(N, "cpu")


def network():
    return build("cnn:4", (1, 8, 8), 3, seed=0, stats=([100.0], [60.0]))


class Averaging:
    """The average by hand, number by number in float64, of the trained network after each step."""

    def __init__(self, model):
        self.model, self.steps, self.state = model, 0, {}

    def __call__(self, event):
        if not isinstance(event, BatchDone):
            return
        decay = min(DECAY, (1 + self.steps) / (10 + self.steps)) if self.steps else 0.0
        for name, now in self.model.state_dict().items():
            kept = self.state.get(name)
            one = now.double()
            self.state[name] = decay * kept + (1 - decay) * one if now.is_floating_point() and self.steps else one
        self.steps += 1


def test_the_network_that_is_left_is_the_average(images):
    plain, model = network(), network()
    by_hand = Averaging(plain)
    without = fit(images, settings(), model=plain, tell=by_hand)
    with_it = fit(images, settings(ema=DECAY), model=model)
    assert with_it.model is model
    assert by_hand.steps == 16
    for name, found in model.state_dict().items():
        torch.testing.assert_close(found.double(), by_hand.state[name], rtol=1e-5, atol=1e-6)
        if name.endswith(("running_mean", "weight")):
            assert not torch.allclose(found, plain.state_dict()[name], rtol=1e-3)
    assert torch.equal(with_it.refined, without.refined)  # the targets are those of the trained weights
    assert [one["loss"] for one in with_it.curves] == [one["loss"] for one in without.curves]


def test_accuracies_and_kept_epochs_are_those_of_the_average(images):
    kept = {}
    evaluations = {"test": (images.inputs, images.labels)}
    fitted = fit(
        images,
        settings(ema=DECAY),
        evaluations=evaluations,
        epoch_done=lambda epoch, model: kept.update({epoch: copy.deepcopy(model)}),
    )
    runtime = TorchRuntime()
    for epoch, model in kept.items():
        right = predict_probabilities(model, images.inputs, runtime).argmax(1) == images.labels
        assert fitted.curves[epoch - 1]["test_accuracy"] == pytest.approx(right.float().mean().item())
    assert all(torch.equal(a, b) for a, b in zip(kept[4].parameters(), fitted.model.parameters(), strict=True))


def test_the_best_epoch_is_one_of_the_average(images):
    chosen, kept = replace(METHODS["early-stopping"], keep=lambda curves: len(curves) == 2), {}
    fitted = fit(
        images,
        settings(ema=DECAY),
        method=chosen,
        epoch_done=lambda epoch, model: kept.update({epoch: copy.deepcopy(model.state_dict())}),
    )
    assert fitted.kept_epoch == 2
    for name, found in fitted.model.state_dict().items():
        assert torch.equal(found, kept[2][name]), name


@pytest.mark.parametrize("step", [1, 6, 8])
def test_a_resumed_training_ends_as_one_that_was_not_stopped(images, tmp_path, step):
    asked, heard = settings(ema=DECAY, accumulate=2), []
    alone = fit(images, asked)

    def stop(event):
        heard.append(isinstance(event, BatchDone))
        if heard[-1] and sum(heard) == step:
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(Interrupted):
        fit(images, asked, checkpoints=tmp_path, tell=stop)
    resumed = fit(images, asked, checkpoints=tmp_path)
    again = fit(images, asked, checkpoints=tmp_path)  # of a finished training the average is put back, too
    for one in (resumed, again):
        assert all(torch.equal(a, b) for a, b in zip(state(one), state(alone), strict=True))


def state(fitted):
    return [*fitted.model.state_dict().values(), fitted.refined]


def test_a_checkpoint_holds_an_average_only_where_one_is_asked_for(images, tmp_path):
    for name, asked in (("with", {"ema": DECAY}), ("without", {})):
        fit(images, settings(**asked, epochs=1), checkpoints=tmp_path / name)
        path, _ = next(iter(checkpoint.newest(tmp_path / name)))
        parts = torch.load(path, weights_only=True)["parts"]
        assert ("average" in parts) == (name == "with")
    assert int(parts["model"]["network.blocks.0.1.num_batches_tracked"] if False else 4) == 4


@pytest.mark.parametrize("method", ["co-teaching", "nts", "elr"])
def test_other_methods_take_it(images, method):
    fitted = fit(images, settings(method=method, ema=DECAY, epochs=2, network="auto"))
    assert all(one.isfinite().all() for one in fitted.model.parameters())


def test_every_door_takes_both_options(cli, tmp_path):
    columns = RNG.normal(size=(N, 2)) + 2 * (LABELS[:, None] == [0, 1])
    table = pd.DataFrame(columns, columns=["a", "b"]).assign(label=LABELS)
    table.to_csv(tmp_path / "t.csv", index=False)
    asked = ["--network", "mlp:8", "--epochs", "3", "--seed", "0"]
    runs = {"plain": [], "both": ["--accumulate", "2", "--ema", "0.9"]}
    for name, more in runs.items():
        code, _, message = cli("fit", tmp_path / "t.csv", *asked, *more, "--out", tmp_path / name)
        assert code == 0, message
    settings = json.loads((tmp_path / "both" / "run.json").read_text())["settings"]
    assert (settings["accumulate"], settings["ema"]) == (2, 0.9)
    both = {"network": "mlp:8", "epochs": 3, "accumulate": 2, "ema": 0.9}
    selfdistill.fit(tmp_path / "t.csv", out=tmp_path / "python", seed=0, **both)
    files = [(tmp_path / name / "model.safetensors").read_bytes() for name in ("both", "python", "plain")]
    assert files[0] == files[1] != files[2]
    clf, plain = (
        SelfDistillClassifier(random_state=0, **some).fit(columns, LABELS)
        for some in (both, {"network": "mlp:8", "epochs": 3})
    )
    predicted = clf.predict_proba(columns)
    assert not np.allclose(predicted, plain.predict_proba(columns), atol=1e-4)
    np.testing.assert_allclose(clf.pred_probs_, plain.pred_probs_, atol=1e-5)


def test_the_closed_form_has_neither():
    X, y = RNG.normal(size=(40, 2)), np.arange(40) % 2
    assert SelfDistillClassifier().fit(X, y).method_ == "kernel"  # what is done anyway asks for nothing
    for asked in ({"ema": 0.9}, {"accumulate": 2}):
        with pytest.raises(SettingError, match=rf"method 'kernel' trains no network, and `{next(iter(asked))}` is"):
            SelfDistillClassifier(method="kernel", **asked).fit(X, y)
