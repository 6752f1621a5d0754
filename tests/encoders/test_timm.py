"""Networks of timm: its own preprocessing, weights from a folder or the hub's copy, and what is said without them."""

from __future__ import annotations

import importlib.util
import math
import subprocess
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from urllib.error import URLError

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from selfdistill._core.errors import DataError, SettingError
from selfdistill.encoders import load_encoder

load = load_encoder.__wrapped__
RNG = np.random.default_rng(0)
SIZES = [(32, 32), (40, 27), (25, 71), (29, 29), (9, 1), (28, 33)]
LOOK = {"input_size": (3, 24, 24), "interpolation": "bicubic", "mean": [0.5, 0.4, 0.3], "std": [0.2, 0.3, 0.4],
        "crop_pct": 0.875, "crop_mode": "center"}  # fmt: skip
REPOSITORY = "timm/tiny.a1"


def photo(size):
    return Image.fromarray(RNG.integers(0, 256, (size[1], size[0], 3), np.uint8))


class Tiny(torch.nn.Module):
    """The mean of each channel, weighed."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(3))

    def forward(self, pixels):
        return pixels.mean((2, 3)) * self.weight


@pytest.fixture
def fake(monkeypatch):
    """A timm of one network; notes what it was asked."""
    asked = []

    def create_model(model_name, *, pretrained, num_classes, pretrained_cfg_overlay=None):
        assert (pretrained, num_classes) == (True, 0)
        asked.append(model_name)
        folder = Path(model_name.removeprefix("local-dir:"))
        network = Tiny()
        network.load_state_dict(load_file((pretrained_cfg_overlay or {}).get("file", folder / "model.safetensors")))
        return network

    made = ModuleType("timm")
    made.create_model, made.asked, made.look = create_model, asked, dict(LOOK)
    known = {"tiny": SimpleNamespace(hf_hub_id=REPOSITORY), "old": SimpleNamespace(hf_hub_id=None)}
    made.models = SimpleNamespace(get_pretrained_cfg=lambda name, allow_unregistered: known.get(name))
    made.data = SimpleNamespace(resolve_model_data_config=lambda network: made.look)
    monkeypatch.setitem(sys.modules, "timm", made)
    return made


@pytest.fixture
def saved(tmp_path):
    """A folder with weights, as timm saves it."""
    folder = tmp_path / "saved"
    folder.mkdir()
    save_file({"weight": torch.tensor([1.0, 2.0, -3.0])}, folder / "model.safetensors")
    (folder / "config.json").write_text("{}")
    return folder


def slow(image, look):
    """What evaluation shows of a photo, by cutting and filling arrays; float64 ``[3, h, w]``."""
    height, width = look["input_size"][1:]
    scaled = [math.floor(side / look["crop_pct"]) for side in (height, width)]
    border = look["crop_mode"] == "border"
    if look["crop_mode"] == "squash":
        size = scaled[::-1]
    elif border:
        ratio = max(image.height / scaled[0], image.width / scaled[1])
        size = [round(image.width / ratio), round(image.height / ratio)]
    else:
        short, long = sorted(image.size)
        size = [scaled[0] if side == short else int(scaled[0] * long / short) for side in image.size]
    pixels = np.asarray(image.resize(size, {"bicubic": 3, "bilinear": 2}[look["interpolation"]]))
    for axis, length in enumerate((height, width)):
        missing = max(length - pixels.shape[axis], 0)
        filled = [(0, 0), (0, 0), (0, 0)]
        filled[axis] = (missing // 2, missing - missing // 2)
        values = [round(255 * one) for one in look["mean"]] if border else [0, 0, 0]
        parts = [np.pad(pixels[..., [c]], filled, constant_values=values[c]) for c in range(3)]
        pixels = np.concatenate(parts, 2)
        start = round((pixels.shape[axis] - length) / 2)
        pixels = pixels.take(range(start, start + length), axis)
    return ((pixels / 255 - look["mean"]) / look["std"]).transpose(2, 0, 1)


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"crop_pct": 1.0},
        {"interpolation": "bilinear"},
        {"crop_mode": "squash"},
        {"crop_mode": "squash", "input_size": (3, 30, 20)},
        {"crop_mode": "border"},
        {"crop_mode": "border", "crop_pct": 1.1},
    ],
    ids=str,
)
def test_photos_are_seen_as_in_evaluation(fake, saved, change):
    fake.look |= change
    encoder = load(f"timm:local-dir:{saved}")
    assert (encoder.kind, encoder.dimension) == ("photos", 3)
    assert encoder.side == max(math.floor(side / fake.look["crop_pct"]) for side in fake.look["input_size"][1:])
    images = [photo(size) for size in SIZES]
    shown = [encoder.prepare(image) for image in images]
    for one, image in zip(shown, images, strict=True):
        np.testing.assert_allclose(one, slow(image, fake.look), atol=1e-5)
    wanted = np.stack([slow(image, fake.look).mean((1, 2)) for image in images]) * [1, 2, -3]
    np.testing.assert_allclose(encoder.encode(shown), wanted, atol=1e-5)


def test_the_fingerprint_is_of_weights_and_preprocessing(fake, saved):
    first = load(f"timm:local-dir:{saved}").fingerprint
    fake.look |= {"mean": tuple(LOOK["mean"]), "std": tuple(LOOK["std"])}
    assert load(f"timm:local-dir:{saved}").fingerprint == first
    changes = {"crop_pct": 0.9, "crop_mode": "squash", "interpolation": "bilinear", "mean": [0.5, 0.4, 0.2]}
    for change in changes.items():
        before, fake.look = fake.look, fake.look | dict([change])
        assert load(f"timm:local-dir:{saved}").fingerprint != first
        fake.look = before
    save_file({"weight": torch.tensor([1.0, 2.0, -3.5])}, saved / "model.safetensors")
    assert load(f"timm:local-dir:{saved}").fingerprint != first


@pytest.fixture
def cache(monkeypatch, tmp_path):
    """An empty cache of the hub, and no network."""
    from huggingface_hub import constants

    def refuse(request, timeout):
        assert timeout <= 5
        raise URLError("no network here")

    monkeypatch.setattr("selfdistill.encoders._hub.urlopen", refuse)
    for name in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"):
        if hasattr(constants, name):
            monkeypatch.setattr(constants, name, str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    return tmp_path / "cache"


def cached(cache, saved):
    """Put a folder into the cache as if it had been fetched."""
    place = cache / f"models--{REPOSITORY.replace('/', '--')}"
    (place / "refs").mkdir(parents=True)
    (place / "refs" / "main").write_text("0" * 40)
    (place / "snapshots").mkdir()
    saved.rename(place / "snapshots" / ("0" * 40))


def test_a_copy_of_the_hub_needs_no_network(fake, saved, cache):
    cached(cache, saved)
    image = photo((24, 24))
    found = [load(name) for name in ("timm:tiny", f"timm:hf-hub:{REPOSITORY}")]
    assert [one.name for one in found] == ["timm:tiny", f"timm:hf-hub:{REPOSITORY}"]
    assert found[0].fingerprint == found[1].fingerprint
    features = [one.encode([one.prepare(image)]) for one in found]
    np.testing.assert_allclose(features[0][0], slow(image, LOOK).mean((1, 2)) * [1, 2, -3], atol=1e-5)
    np.testing.assert_array_equal(*features)
    assert fake.asked[0] == "tiny"
    assert fake.asked[1].startswith(f"local-dir:{cache}")


@pytest.mark.parametrize(
    ("name", "fetch", "says"),
    [
        ("tiny", True, rf"from '{REPOSITORY}', here or on the Hugging Face hub: https://\S+ does not answer "
                       r"\(no network here\)\. Fetch it .* and name timm:local-dir:FOLDER\."),
        ("tiny", False, rf"from '{REPOSITORY}', here or on the Hugging Face hub: .*name timm:local-dir:FOLDER\."),
        ("hf-hub:a/b", True, r"from 'a/b', here or on .* does not answer"),
        ("old", True, r"timm has no weights of 'old' on the .*Choose one of timm\.list_models\(pretrained=True\)\."),
        ("resnet99", True, "timm has no weights of 'resnet99' on the"),
        ("local-dir:nowhere", True, r"there is no nowhere/config\.json\. Give timm:local-dir: a folder"),
    ],
)  # fmt: skip
def test_weights_that_cannot_be_had_are_said_in_one_line(fake, cache, name, fetch, says):
    with pytest.raises((DataError, SettingError), match=says) as caught:
        load(f"timm:{name}", fetch=fetch)
    assert "\n" not in str(caught.value)
    assert not fake.asked


def test_a_folder_without_weights_is_said_in_one_line(fake, saved):
    (saved / "model.safetensors").write_bytes(b"no weights")
    with pytest.raises(DataError, match=r"encoder 'timm:local-dir:.*' cannot be loaded|no model can be loaded from"):
        load(f"timm:local-dir:{saved}")


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (None, r"networks of timm need timm\. pip install timm\."),
        ("import torchvision_of_no_torch", r"timm cannot be imported: No module named 'torchvision_of_no_torch'\. "
         rf"Install the torchvision that was built for torch {torch.__version__.replace('+', '.')}, or choose"),
        ("raise RuntimeError('operator torchvision::nms does not exist')",
         r"timm cannot be imported: operator torchvision::nms does not exist\. Install the torchvision"),
    ],
)  # fmt: skip
def test_a_timm_that_cannot_be_imported(monkeypatch, tmp_path, body, says):
    for name in [name for name in sys.modules if name.partition(".")[0] == "timm"]:
        monkeypatch.delitem(sys.modules, name)
    if body is None:
        monkeypatch.setitem(sys.modules, "timm", None)
    else:
        (tmp_path / "timm.py").write_text(body)
        monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(SettingError, match=says):
        load("timm:tiny")
    sys.modules.pop("timm", None)


# timm is in no extra: it requires torchvision, which would replace a CPU build of torch. The other tests of this file
# always run, on a small stand-in for timm.
@pytest.mark.skipif(importlib.util.find_spec("timm") is None, reason="timm is not installed, it needs torchvision")
def test_features_are_those_of_timm(tmp_path):
    command = [sys.executable, "-W", "ignore", Path(__file__).with_name("timm_itself.py"), tmp_path]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    compared = [line.split()[-1] for line in done.stdout.splitlines()]
    assert len(compared) == 3
    assert max(map(float, compared)) < 1e-5, done.stdout
