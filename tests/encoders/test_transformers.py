"""Encoders of transformers: tiny ones from a folder, and names that cannot be had without a network."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from PIL import Image

from selfdistill._core.errors import DataError
from selfdistill.encoders import load_encoder

transformers = pytest.importorskip("transformers")
RNG = np.random.default_rng(0)
load = load_encoder.__wrapped__
SMALL = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}


@pytest.fixture(scope="module")
def vision(tmp_path_factory):
    folder = tmp_path_factory.mktemp("vit")
    torch.manual_seed(0)
    transformers.ViTModel(transformers.ViTConfig(image_size=32, patch_size=8, **SMALL)).save_pretrained(folder)
    about = {"image_processor_type": "ViTImageProcessor", "size": {"height": 32, "width": 32}, "do_normalize": True,
             "image_mean": [0.5] * 3, "image_std": [0.5] * 3, "do_resize": True, "do_rescale": True}  # fmt: skip
    (folder / "preprocessor_config.json").write_text(json.dumps(about))
    return folder


def test_photos_by_the_models_own_processor(vision):
    encoder = load(f"hf:{vision}")
    assert (encoder.kind, encoder.dimension, encoder.side) == ("photos", 16, 32)
    pixels = RNG.integers(0, 256, (3, 32, 32, 3), np.uint8)
    found = encoder.encode([encoder.prepare(Image.fromarray(one)) for one in pixels])
    model = transformers.ViTModel.from_pretrained(vision).eval()
    with torch.no_grad():
        raw = (torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255 - 0.5) / 0.5
        want = model(pixel_values=raw).last_hidden_state[:, 0]
    np.testing.assert_allclose(found, want, atol=1e-4)
    assert load(f"hf:{vision}", fetch=False).fingerprint == encoder.fingerprint


def test_texts_are_averaged_over_their_tokens(tmp_path):
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "bird", "dog"]
    (tmp_path / "vocab.txt").write_text("\n".join(words))
    torch.manual_seed(0)
    config = transformers.BertConfig(vocab_size=len(words), max_position_embeddings=8, **SMALL)
    model = transformers.BertModel(config).eval()
    model.save_pretrained(tmp_path)
    transformers.BertTokenizer(str(tmp_path / "vocab.txt")).save_pretrained(tmp_path)
    encoder = load(f"hf:{tmp_path}")
    assert (encoder.kind, encoder.dimension) == ("texts", 16)
    cells = ["a bird", "dog", "a dog a dog a dog a dog"]
    found = encoder.encode(cells)
    assert encoder.cut(cells) == 1
    with torch.no_grad():
        hidden = model(input_ids=torch.tensor([[2, 5, 6, 3]])).last_hidden_state[0].mean(0)
    np.testing.assert_allclose(found[0], hidden / hidden.norm(), atol=1e-5)
    np.testing.assert_allclose(found[2], encoder.encode(["a dog a dog a dog a"])[0], atol=1e-5)


def test_what_cannot_be_had_is_said_in_one_line(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    for name, fetch in (("hf:no-such/model", False), (f"hf:{tmp_path}", True)):
        with pytest.raises(
            DataError, match=r"no model can be loaded from .*Fetch it where there is a network"
        ) as caught:
            load(name, fetch=fetch)
        assert "\n" not in str(caught.value)
    for path in ("./nothing", str(tmp_path / "nothing"), "a/b/c"):
        with pytest.raises(DataError, match=rf"there is no folder {path}\. Give hf: a folder"):
            load(f"hf:{path}", fetch=True)
