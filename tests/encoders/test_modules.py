"""Encoders from a module of one's own and from an ONNX file, which is written here byte by byte."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from selfdistill._core.errors import DataError, SettingError
from selfdistill.encoders import load_encoder
from selfdistill.encoders._encoder import Encoder

MEAN, STD = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
RNG = np.random.default_rng(0)
load = load_encoder.__wrapped__


def photos(count, side=24):
    return [Image.fromarray(RNG.integers(0, 256, (side, side, 3), np.uint8)) for _ in range(count)]


def encoded(encoder, images):
    return encoder.encode([encoder.prepare(image) for image in images])


def means(images):
    """Mean colours, scaled as for ImageNet: what the networks below give."""
    return np.stack([((np.asarray(image) / 255 - MEAN) / STD).mean((0, 1)) for image in images])


def test_a_module_of_ones_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine_a.py").write_text(
        "import torch\n"
        "def make():\n"
        "    torch.manual_seed(0)\n"
        "    made = torch.nn.Conv2d(3, 3, 1, bias=False)\n"
        "    made.weight.data = torch.eye(3)[:, :, None, None]\n"
        "    made.side = 24\n"
        "    return made\n"
        "number = lambda: 3\n"
    )
    encoder, images = load("torch:mine_a:make"), photos(5)
    assert isinstance(encoder, Encoder)
    assert (encoder.kind, encoder.dimension, encoder.side, encoder.cut(images)) == ("photos", 3, 24, 0)
    np.testing.assert_allclose(encoded(encoder, images), means(images), atol=1e-5)
    assert load("torch:mine_a:make").fingerprint == encoder.fingerprint
    for name, message in (("mine_a:no", "has no attribute"), ("no_such_module:x", "No module named")):
        with pytest.raises(SettingError, match=message):
            load(f"torch:{name}")
    with pytest.raises(SettingError, match=r"returned a int. Return a torch.nn.Module"):
        load("torch:mine_a:number")


def field(number, value):
    """One field of a protocol buffer: a number, or bytes."""

    def varint(x):
        return bytes([x]) if x < 128 else bytes([x % 128 + 128]) + varint(x // 128)

    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    value = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(value)) + value


def tensor_of(name, shape):
    sides = b"".join(field(1, field(1, side) if isinstance(side, int) else field(2, side)) for side in shape)
    return field(1, name) + field(2, field(1, field(1, 1) + field(2, sides)))


def onnx(path, shape, operator="GlobalAveragePool", out=("b", 3, 1, 1)):
    node = field(1, "x") + field(2, "y") + field(4, operator)
    graph = field(1, node) + field(2, "g") + field(11, tensor_of("x", shape)) + field(12, tensor_of("y", out))
    path.write_bytes(field(1, 8) + field(7, graph) + field(8, field(1, "") + field(2, 13)))
    return f"onnx:{path}"


@pytest.mark.parametrize("count", ["b", 1])
def test_an_onnx_file(tmp_path, count):
    pytest.importorskip("onnxruntime")
    encoder, images = load(onnx(tmp_path / "m.onnx", (count, 3, 24, 24), out=(count, 3, 1, 1))), photos(5)
    assert (encoder.dimension, encoder.side) == (3, 24)
    np.testing.assert_allclose(encoded(encoder, images), means(images), atol=1e-5)
    assert load(onnx(tmp_path / "n.onnx", ("b", 3, "h", "w"))).side == 224


def test_onnx_files_that_do_not_fit(tmp_path):
    pytest.importorskip("onnxruntime")
    with pytest.raises(DataError, match=r"takes x \['b', 1, 24, 24\]. Give a model of photos"):
        load(onnx(tmp_path / "m.onnx", ("b", 1, 24, 24), out=("b", 1, 1, 1)))
    with pytest.raises(DataError, match=r"no.onnx does not exist"):
        load(f"onnx:{tmp_path / 'no.onnx'}")
    (tmp_path / "bad.onnx").write_bytes(b"nothing")
    with pytest.raises(DataError, match=r"cannot be loaded: .*Choose another `encoder`"):
        load(f"onnx:{tmp_path / 'bad.onnx'}")
