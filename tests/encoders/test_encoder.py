"""The packaged encoders against features made apart from this package, and what is said where they are missing."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from selfdistill._core.errors import DataError, SettingError
from selfdistill.encoders import _encoder as encoders
from selfdistill.encoders import load_encoder
from selfdistill.encoders._encoder import Encoder

Image = pytest.importorskip("PIL.Image")


def needs(kind):
    """Skip without the packaged weights, which are an extra of users; ``dev`` brings them, so CI runs these tests."""
    return pytest.mark.skipif(not encoders.is_packaged(kind), reason=f"the extra {kind} is not installed")


@pytest.fixture(scope="module")
def cifar(shared_data, tmp_path_factory):
    """The first photos of CIFAR-10, if they can be unpacked, as uint8 arrays."""
    import subprocess

    folder = tmp_path_factory.mktemp("cifar")
    subprocess.run([shared_data / "unpack", folder, "cifar10"], check=True, capture_output=True)
    raw = np.fromfile(next(folder.rglob("data_batch_1.bin")), np.uint8, count=24 * 3073)
    return raw.reshape(-1, 3073)[:, 1:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)


@pytest.mark.slow  # unpacking takes 20 seconds
@needs("photos")
def test_photos_give_the_features_that_are_known(shared_data, cifar):
    known = np.load(shared_data / "features" / "cifar10_efficientnet_lite0_96px.npz")["f0"][: len(cifar)]
    encoder = load_encoder("photos")
    found = encoder.encode([encoder.prepare(Image.fromarray(photo)) for photo in cifar])
    np.testing.assert_allclose(found, known.astype(np.float32), rtol=2e-3, atol=2e-3)  # they are of 16 bits


@needs("photos")
def test_photos_of_any_size_become_one_form():
    encoder = load_encoder("photos")
    assert isinstance(encoder, Encoder)
    rng = np.random.default_rng(0)
    sizes = [(96, 96), (31, 7), (300, 200), (1, 1), (97, 96)]
    photos = [Image.fromarray(rng.integers(0, 256, (h, w, 3), np.uint8)) for w, h in sizes]
    prepared = [encoder.prepare(photo) for photo in photos]
    assert {tuple(one.shape) for one in prepared} == {(3, 96, 96)}
    exact = (np.asarray(photos[0]).transpose(2, 0, 1).astype(np.float32) - 127) / 128
    np.testing.assert_array_equal(prepared[0].numpy(), exact)
    together = encoder.encode(prepared)
    assert together.shape == (5, encoder.dimension)
    assert together.dtype == np.float32
    alone = np.concatenate([encoder.encode([one]) for one in prepared])
    np.testing.assert_allclose(together, alone, rtol=1e-3, atol=1e-4)


@needs("texts")
def test_texts_give_the_features_that_are_known(shared_data):
    import pandas as pd

    texts = pd.read_csv(shared_data / "text" / "trec_question_train.csv")["text"].tolist()[:16]
    known = np.load(shared_data / "features" / "text_minilm.npz")["trec_question_train"][:16]
    np.testing.assert_allclose(load_encoder("texts").encode(texts), known, atol=1e-5)


@needs("photos")
@needs("texts")
def test_packaged_encoders_need_no_network_and_say_nothing(monkeypatch, capfd):
    def refuse(*anything):
        raise AssertionError("a connection was asked for")

    for name in ("connect", "connect_ex", "sendto"):
        monkeypatch.setattr(f"socket.socket.{name}", refuse)
    monkeypatch.setattr("socket.getaddrinfo", refuse)
    for name, dimension in (("photos", 1280), ("texts", 384)):
        assert load_encoder.__wrapped__(name).dimension == dimension
    assert "all_minilm_l6_v2" not in sys.modules  # it prints when it is imported
    assert not "".join(capfd.readouterr())


@needs("texts")
def test_texts_of_any_length(monkeypatch):
    encoder = load_encoder("texts")
    cells = ["", "short", "word " * 300]
    found = encoder.encode(cells)
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, rtol=1e-5)
    assert encoder.cut(cells) == 1
    np.testing.assert_allclose(found[2], encoder.encode(["word " * 400])[0], atol=1e-5)


@needs("photos")
def test_other_weights_are_refused(monkeypatch):
    monkeypatch.setattr("selfdistill.encoders._efficientnet._SHA256", "0" * 64)
    with pytest.raises(DataError, match=r"weights of EfficientNet-Lite0 are not the known ones: their SHA-256 is "
                       r"579344248a93..., not 000000000000. Install them again"):  # fmt: skip
        load_encoder.__wrapped__("photos")


def test_what_is_not_installed_is_named(monkeypatch):
    monkeypatch.setattr(encoders, "PACKAGED", {"photos": "no_such_package", "texts": "no_such_package"})
    for kind in ("photos", "texts"):
        with pytest.raises(SettingError, match=rf"'{kind}' is not installed. pip install 'selfdistill\[{kind}\]'"):
            load_encoder.__wrapped__(kind)


@pytest.mark.parametrize("name", ["resnet", "hf:", "onnx:", "timm:", ""])
def test_unknown_names_are_refused(name):
    with pytest.raises(SettingError, match=r"is not known. Choose photos, texts, hf:NAME"):
        load_encoder(name)
