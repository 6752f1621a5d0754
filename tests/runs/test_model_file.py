from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from selfdistill._core.errors import RunError
from selfdistill.data._source import from_arrays
from selfdistill.networks._build import build
from selfdistill.runs._model_file import Model, load_model, save_model


@pytest.fixture
def saved(tmp_path):
    made = from_arrays(np.random.default_rng(0).normal(size=(20, 3)), np.arange(20) % 2)
    net = build("mlp:4", (3,), 2, seed=0, stats=None).eval()
    path = tmp_path / "model.safetensors"
    save_model(path, Model(net, made.preprocess, made.classes, "mlp:4", (3,)))
    return path, net, made


def test_round_trip(saved):
    path, net, made = saved
    model = load_model(path)
    x = np.random.default_rng(1).normal(size=(5, 3))
    assert torch.equal(model.preprocess.apply(x), made.preprocess.apply(x))
    assert torch.equal(model.network(made.inputs), net(made.inputs))


def rewrite(path, **changes):
    from safetensors import safe_open

    with safe_open(path, framework="pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no mapping)
        metadata = file.metadata()
    description = json.loads(metadata["description"]) | changes
    save_file(tensors, path, {"description": json.dumps(description)})


@pytest.mark.parametrize(
    "harm",
    [
        lambda p: p.write_bytes(p.read_bytes()[:-10]),
        lambda p: p.write_bytes(b"not a model"),
        lambda p: rewrite(p, network="mlp:9"),
        lambda p: rewrite(p, network="os.system"),
        lambda p: rewrite(p, preprocess={}),
        lambda p: save_file({"x": torch.zeros(1)}, p),
        lambda p: save_file({"x": torch.zeros(1)}, p, {"format": "selfdistill-model-1"}),
    ],
)
def test_what_is_damaged_or_foreign_is_refused_in_one_line(saved, harm):
    path = saved[0]
    harm(path)
    with pytest.raises(RunError, match=r"is damaged or was not written by selfdistill.*Run `fit` again"):
        load_model(path)


def test_a_claimed_giant_network_allocates_nothing(saved):
    rewrite(saved[0], network="mlp:4000000000,4000000000")
    with pytest.raises(RunError, match="is damaged or was not written"):
        load_model(saved[0])


def test_missing(tmp_path):
    with pytest.raises(RunError, match=r"does not exist.*fit --resume"):
        load_model(tmp_path / "model.safetensors")


SPECS = ["mlp:16000,16000", "mlp:" + ",".join(["1"] * 50_000), "mlp:" + ",".join(["1"] * 1000), "mlp:" + "9" * 5000]


@pytest.mark.parametrize("spec", SPECS)
def test_memory_and_time_follow_the_file_whatever_it_claims(saved, spec):
    import resource
    import time

    rewrite(saved[0], network=spec)
    before, started = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    with pytest.raises(RunError, match="is damaged or was not written"):
        load_model(saved[0])
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100 * 2**10  # KiB
    assert time.process_time() - started < 10


def described(saved):
    from safetensors import safe_open

    with safe_open(saved[0], framework="pt") as file:
        return json.loads(file.metadata()["description"])["preprocess"]


def test_a_model_of_other_inputs_than_its_preprocessing_gives_is_refused(saved):
    rewrite(saved[0], input_shape=[3, 1, 1])
    with pytest.raises(RunError, match=r"inputs of shape \(3,\), but a network for \(3, 1, 1\)"):
        load_model(saved[0])


def test_images_are_not_blown_up_to_a_size_that_a_file_claims(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 255, (20, 8, 8), dtype=np.uint8)
    made = from_arrays(pixels, np.arange(20) % 2)
    net = build("cnn:2", (1, 8, 8), 2, seed=0, stats=made.preprocess.stats)
    save_model(tmp_path / "m.safetensors", Model(net, made.preprocess, made.classes, "cnn:2", (1, 8, 8)))
    was = described([tmp_path / "m.safetensors"])
    for side in (8, 50_000):
        rewrite(tmp_path / "m.safetensors", preprocess=was | {"resized": True, "shape": [1, side, side]})
        if side == 8:
            assert load_model(tmp_path / "m.safetensors").preprocess.input_shape == (1, 8, 8)
            continue
        with pytest.raises(RunError, match="images resized to 50000 x 50000 pixels"):
            load_model(tmp_path / "m.safetensors")
