"""Fine-tuning a model of transformers: what it computes, and a run of it from start to end."""

from __future__ import annotations

import json
import shutil
import socket
import sys
import urllib.request

import numpy as np
import pytest
import safetensors.torch
import torch
from PIL import Image

import selfdistill
from selfdistill._core.errors import DataError, Interrupted, RunError, SettingError
from selfdistill.data._read import read
from selfdistill.encoders import _hub
from selfdistill.networks import _pretrained
from selfdistill.networks._build import build
from selfdistill.networks._pretrained import Pretrained
from selfdistill.runs._model_file import load_model
from selfdistill.runs._predict import predict
from selfdistill.runs._request import FitRequest, start
from selfdistill.train import _checkpoint_manager as module

transformers = pytest.importorskip("transformers")
MEAN, STD = (0.5, 0.4, 0.3), (0.25, 0.5, 0.2)
SMALL = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 16}


def save(folder, model, side):
    model.save_pretrained(folder)
    about = {"image_processor_type": "ViTImageProcessor", "size": {"height": side, "width": side}}
    about |= {"do_normalize": True, "image_mean": MEAN, "image_std": STD, "do_resize": True, "do_rescale": True}
    (folder / "preprocessor_config.json").write_text(json.dumps(about))
    return folder


@pytest.fixture(scope="module")
def vit(tmp_path_factory):
    torch.manual_seed(0)
    config = transformers.ViTConfig(image_size=24, patch_size=8, num_labels=7, **SMALL)
    return save(tmp_path_factory.mktemp("vit"), transformers.ViTForImageClassification(config), 24)


@pytest.fixture(scope="module")
def convnext(tmp_path_factory):
    torch.manual_seed(1)
    config = transformers.ConvNextConfig(hidden_sizes=[8, 8, 12, 12], depths=[1, 1, 1, 1])
    return save(tmp_path_factory.mktemp("convnext"), transformers.ConvNextForImageClassification(config), 32)


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    folder, rng = tmp_path_factory.mktemp("data") / "photos", np.random.default_rng(0)
    for row in range(40):
        label = row % 2
        place = folder / ("dark", "light")[label if row >= 4 else 1 - label]  # four of them wrong
        place.mkdir(parents=True, exist_ok=True)
        pixels = rng.integers(0, 100, (20 + row % 3, 26, 3)) + 150 * label
        Image.fromarray(pixels.astype(np.uint8)).save(place / f"{row}.png")
    return folder


@pytest.mark.parametrize("kind", ["vit", "convnext"])
def test_logits_are_those_of_the_model_on_the_processors_pixels(kind, request):
    folder = request.getfixturevalue(kind)
    side = 24 if kind == "vit" else 32
    network = build(f"hf:{folder}", (3, side, side), 3, seed=5).eval()
    pixels = torch.from_numpy(np.random.default_rng(1).integers(0, 256, (4, 3, side, side), np.uint8))
    raw = (pixels.float() / 255 - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(3, 1, 1)
    model = transformers.AutoModelForImageClassification.from_pretrained(
        folder, num_labels=3, ignore_mismatched_sizes=True
    ).eval()
    model.classifier.load_state_dict(network.model.classifier.state_dict())  # the new head; all else is the folder's
    with torch.no_grad():
        torch.testing.assert_close(network(pixels), model(pixel_values=raw).logits)
        grey = network(pixels[:, :1])
        torch.testing.assert_close(grey, network(pixels[:, :1].expand(-1, 3, -1, -1)))
    again = build(f"hf:{folder}", (3, side, side), 3, seed=5)
    other = build(f"hf:{folder}", (3, side, side), 3, seed=6)
    assert torch.equal(again.model.classifier.weight, network.model.classifier.weight)
    assert not torch.equal(other.model.classifier.weight, network.model.classifier.weight)


def test_a_head_of_as_many_classes_is_new_all_the_same(vit):
    old = transformers.ViTForImageClassification.from_pretrained(vit)
    new = build(f"hf:{vit}", (3, 24, 24), 7, seed=0)
    assert not torch.equal(old.classifier.weight, new.model.classifier.weight)


def test_a_run_from_photos_to_predictions(vit, photos, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    model = shutil.copytree(vit, tmp_path / "vit")
    run = selfdistill.fit(photos, network=f"hf:{model}", epochs=3, out=tmp_path / "run", say=None)
    assert run.record.data.input_shape == [3, 24, 24]
    shutil.rmtree(model)  # a run holds all that it takes to predict
    found = predict(tmp_path / "run", photos)
    network = load_model(tmp_path / "run" / "model.safetensors").network
    assert isinstance(network, Pretrained)
    with torch.no_grad():
        inputs = read(photos, run.record.data.read).inputs
        torch.testing.assert_close(found.probabilities, network(inputs).softmax(1))
    assert found.probabilities.shape == (40, 2)


def test_a_killed_run_ends_as_if_it_had_not_been(convnext, photos, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    asked = {"network": f"hf:{convnext}", "epochs": 2, "say": None, "augment": "none"}
    selfdistill.fit(photos, out=tmp_path / "whole", **asked)
    monkeypatch.setattr(module, "_CHECKPOINT_SECONDS", 0.0)
    after = module.CheckpointManager.after_step

    def killed(self, position, epoch_ended):
        after(self, position, epoch_ended)
        if position.epoch == 1:
            raise Interrupted("killed", "")

    with monkeypatch.context() as here:
        here.setattr(module.CheckpointManager, "after_step", killed)
        with pytest.raises(Interrupted):
            selfdistill.fit(photos, out=tmp_path / "killed", **asked)
    start(FitRequest(resume=tmp_path / "killed"))
    weights = [(tmp_path / name / "model.safetensors").read_bytes() for name in ("whole", "killed")]
    assert weights[0] == weights[1]


def test_a_strangers_weights_must_be_those_of_its_configuration(vit, photos, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    selfdistill.fit(photos, network=f"hf:{vit}", epochs=1, out=tmp_path / "run", say=None)
    model = load_model(tmp_path / "run" / "model.safetensors")
    huge = model.network.config | {"hidden_size": 1 << 20}
    with pytest.raises(ValueError, match="its weights are not those of its configuration"):
        _pretrained.rebuilt(huge, 2, model.network.state_dict())
    code = {
        "auto_map": {"AutoConfig": "evil--x.Y"},
        "_attn_implementation": "evil/kernel",
        "attn_implementation": "a/b",
    }
    kept = _pretrained.rebuilt(model.network.config | code, 2, model.network.state_dict()).config
    assert kept == model.network.config
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(RunError, match=r"holds a model of transformers, which is not installed\. pip install"):
        load_model(tmp_path / "run" / "model.safetensors")


def test_what_cannot_be_fine_tuned_is_said_in_one_line(vit, convnext, tmp_path, monkeypatch):
    with pytest.raises(SettingError, match=r"needs images, but each example is a vector of 5 numbers"):
        build(f"hf:{vit}", (5,), 2, seed=0)
    with pytest.raises(SettingError, match=r"takes no images of 30 x 30 pixels.*image_size`? 24|image_size=24"):
        build(f"hf:{vit}", (3, 30, 30), 2, seed=0)
    assert build(f"hf:{convnext}", (3, 64, 64), 2, seed=0).training
    with pytest.raises(SettingError, match="cannot be trained as a pair"):
        build(f"2*hf:{vit}", (3, 24, 24), 2, seed=0)
    config = transformers.BertConfig(vocab_size=9, **SMALL)
    transformers.BertModel(config).save_pretrained(tmp_path)
    with pytest.raises(SettingError, match=r"is not a model that classifies images \(bert\)\. Give its features"):
        build(f"hf:{tmp_path}", (3, 24, 24), 2, seed=0)
    (tmp_path / "none").mkdir()
    with pytest.raises(DataError, match=r"no model can be loaded from the folder .*none") as caught:
        build(f"hf:{tmp_path / 'none'}", (3, 24, 24), 2, seed=0)
    assert "\n" not in str(caught.value)
    damaged = shutil.copytree(vit, tmp_path / "damaged")
    state = safetensors.torch.load_file(damaged / "model.safetensors")
    lost = next(name for name in state if name.endswith("layernorm.weight"))
    safetensors.torch.save_file(
        {name: one for name, one in state.items() if name != lost}, damaged / "model.safetensors", {"format": "pt"}
    )
    with pytest.raises(DataError, match=r"damaged: it holds no weights for layernorm\.weight, and 0 others"):
        build(f"hf:{damaged}", (3, 24, 24), 2, seed=0)


def test_a_hub_that_does_not_answer_is_asked_once(monkeypatch):
    asked = []

    def silent(request, timeout):
        asked.append((request.full_url, timeout))
        raise urllib.request.URLError(socket.gaierror(-3, "no name"))

    monkeypatch.setattr(_hub, "urlopen", silent)
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    with pytest.raises(
        DataError, match=r"'no-such/model', here or on the Hugging Face hub: \S+ does not answer .*no name"
    ):
        selfdistill.encoders.load_encoder.__wrapped__("hf:no-such/model")
    assert len(asked) == 1
    assert asked[0][1] <= 5
