"""Pixels of image files against those that were written."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, features

from selfdistill._core.errors import DataError
from selfdistill._core.read_options import ReadOptions
from selfdistill.data._pixels import ENDINGS, is_image, read_image
from selfdistill.data._preprocess import Preprocess
from selfdistill.data._read import read, read_new, read_test

RAMP = np.arange(256).reshape(16, 16)


def two(root, array, name="a.png", **how):
    """Two classes with the same image."""
    for folder in ("cat", "dog"):
        (root / folder).mkdir(parents=True, exist_ok=True)
        image = array if isinstance(array, Image.Image) else Image.fromarray(array)
        image.save(root / folder / name, **how)
    return root


def again(preprocess):
    spec, tensors = preprocess.to_state()
    return Preprocess.from_state(json.loads(json.dumps(spec)), tensors)


@pytest.mark.parametrize(
    ("array", "name", "want", "white"),
    [
        (RAMP.astype(np.uint16), "a.png", RAMP, 255),
        ((RAMP * 16).astype(np.uint16), "a.png", RAMP, 4095),
        ((RAMP * 257).astype(np.uint16), "a.tif", RAMP, 65535),
        ((RAMP * 257).astype(np.int32), "a.tif", RAMP, 65535),
        ((RAMP / 255).astype(np.float32), "a.tif", RAMP, 1),
        (RAMP.astype(np.float32), "a.tif", RAMP, 255),
    ],
)
def test_values_of_more_than_8_bits(tmp_path, array, name, want, white):
    data = read(two(tmp_path, array, name))
    np.testing.assert_array_equal(data.inputs[0, 0].numpy(), want)
    assert f"values from 0 to {white:,} are taken as black to white" in data.notes[0]
    (tmp_path / "new").mkdir()
    dark = (array // 2) if array.dtype.kind in "iu" else array / 2  # on its own it might look like fewer bits
    Image.fromarray(dark).save(tmp_path / "new" / name)
    got = read_new(tmp_path / "new", again(data.preprocess), data.classes).inputs[0, 0].numpy()
    assert abs(got.astype(int) - want // 2).max() <= 1


def test_new_values_beyond_white_are_cut_and_said(tmp_path):
    data = read(two(tmp_path / "old", RAMP.astype(np.uint16)))
    Image.fromarray((RAMP * 257).astype(np.uint16)).save(tmp_path / "b.png")
    new = read_new(tmp_path / "b.png", data.preprocess, data.classes)
    assert new.inputs.flatten()[1:].unique().tolist() == [255]
    assert "16-bit grey images hold values above 255, white in training" in new.warnings[0]


@pytest.mark.parametrize(("low", "high"), [(-1, 1), (0, 70000), (0, np.nan)])
def test_values_that_are_no_grey(tmp_path, low, high):
    array = np.full((4, 4), low, np.float32)
    array[0, 0] = high
    with pytest.raises(DataError, match=r"a.tif holds grey values from .*, but they must be 0 to 65,535"):
        read(two(tmp_path, array, "a.tif"))


def test_colours_of_16_bits_that_hold_8(tmp_path):
    import struct
    import zlib

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = b"".join(b"\0" + struct.pack(">6H", 1, 2, 3, 200, 255, 0) for _ in range(2))
    head = struct.pack(">IIBBBBB", 2, 2, 16, 2, 0, 0, 0)
    file = two(tmp_path, np.zeros((2, 2), np.uint8)) / "cat" / "a.png"
    parts = (chunk(b"IHDR", head), chunk(b"IDAT", zlib.compress(rows)), chunk(b"IEND", b""))
    file.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(parts))
    with pytest.raises(DataError, match="16 bits for a colour, but none above 255: save it with 8 bits"):
        read(tmp_path)


@pytest.mark.parametrize("name", ["a.png", "a.webp"])
@pytest.mark.parametrize("ink", [0, 255])
def test_shapes_in_alpha_stand_out(tmp_path, name, ink):
    array = np.full((4, 4, 4), ink, np.uint8)
    array[..., 3] = np.eye(4) * 255
    data = read(two(tmp_path, array, name, **({"lossless": True} if name == "a.webp" else {})))
    want = np.where(np.eye(4) > 0, ink, 128)
    np.testing.assert_array_equal(data.inputs[0].numpy(), np.stack([want] * 3))
    assert data.notes == ("2 images have transparency: they get a grey background (128).",)


def test_a_transparent_colour_of_a_palette(tmp_path):
    image = Image.fromarray(np.eye(4, dtype=np.uint8)).convert("P")
    image.putpalette([0, 0, 0, 10, 20, 30])
    data = read(two(tmp_path, image, "a.gif", transparency=0))
    np.testing.assert_array_equal(data.inputs[0, 2].numpy(), np.where(np.eye(4) > 0, 30, 128))


def test_opaque_alpha_changes_nothing(tmp_path):
    array = np.random.default_rng(0).integers(0, 256, (9, 9, 4)).astype(np.uint8)
    array[..., 3] = 255
    np.testing.assert_array_equal(read(two(tmp_path, array)).inputs[0].permute(1, 2, 0).numpy(), array[..., :3])


@pytest.mark.parametrize("name", ["a.png", "a.tif", "a.webp"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation(tmp_path, name, orientation):
    upright = np.random.default_rng(0).integers(0, 256, (5, 8, 3)).astype(np.uint8)
    stored = {  # EXIF 2.3, tag 274: where row 0 and column 0 of what is stored lie
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.transpose(1, 0, 2),
        6: np.rot90(upright, 1),
        7: upright[::-1, ::-1].transpose(1, 0, 2),
        8: np.rot90(upright, -1),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    how = {"exif": exif, **({"lossless": True} if name == "a.webp" else {})}
    two(tmp_path, np.ascontiguousarray(stored), name, **how)
    plain = tmp_path / "cat" / "plain.png"
    Image.fromarray(upright).save(plain)
    data = read(tmp_path)  # of one size
    assert not data.notes
    for image in data.inputs:
        np.testing.assert_array_equal(image.permute(1, 2, 0).numpy(), upright)


def test_older_runs_ignore_orientation_and_alpha(tmp_path):
    """Runs whose preprocess says nothing of files get the bytes that they were trained on."""
    array = np.random.default_rng(0).integers(0, 256, (5, 8, 4)).astype(np.uint8)
    exif = Image.Exif()
    exif[0x0112] = 6
    data = read(two(tmp_path, array[..., :3]))
    spec, tensors = data.preprocess.to_state()
    assert spec.pop("whites") == {}
    Image.fromarray(array).save(tmp_path / "new.png", exif=exif)
    new = read_new(tmp_path / "new.png", Preprocess.from_state(spec, tensors), data.classes)
    np.testing.assert_array_equal(new.inputs[0].permute(1, 2, 0).numpy(), array[..., :3])


@pytest.mark.parametrize("whites", [{"whole": 7}, {"x": 255}, [1]])
def test_a_white_that_is_none_is_refused(tmp_path, whites):
    spec, tensors = read(two(tmp_path, RAMP.astype(np.uint8))).preprocess.to_state()
    with pytest.raises(DataError, match="is damaged"):
        Preprocess.from_state(spec | {"whites": whites}, tensors)


def test_files_without_an_ending(tmp_path):
    two(tmp_path, RAMP.astype(np.uint8), "a", format="PNG")
    two(tmp_path, RAMP.astype(np.uint8), "b", format="BMP")
    for name, content in (("README", b"BM is a bitmap"), ("empty", b"")):
        (tmp_path / "cat" / name).write_bytes(content)
        assert not is_image(tmp_path / "cat" / name)
    data = read(tmp_path)
    assert data.ids.tolist() == ["cat/a", "cat/b", "dog/a", "dog/b"]
    np.testing.assert_array_equal(data.inputs[1, 0].numpy(), RAMP)
    assert len(read_new(tmp_path / "cat" / "a", data.preprocess, data.classes).inputs) == 1
    assert not is_image(Path("nowhere"))


@pytest.mark.parametrize(("ending", "feature"), [("jp2", "jpg_2000"), ("avif", "avif")])
def test_formats_of_newer_pillows(tmp_path, ending, feature):
    if not features.check(feature):
        pytest.skip(f"this Pillow reads no {ending}")
    smooth = np.repeat(np.repeat(RAMP[::4, ::4], 4, 0), 4, 1).astype(np.uint8)
    array = np.stack([smooth] * 3, -1)
    how = {"quality": 100} if ending == "avif" else {}
    data = read(two(tmp_path, array, f"a.{ending}", **how))
    assert abs(data.inputs[0].permute(1, 2, 0).int().numpy() - array).max() <= (8 if ending == "avif" else 0)


def test_the_test_part_is_read_as_the_training_part(tmp_path):
    two(tmp_path / "train", RAMP.astype(np.uint16))
    two(tmp_path / "train", RAMP[:8].astype(np.uint16), "b.png")
    two(tmp_path / "test", np.full((40, 40), 300, np.uint16))
    data = read(tmp_path)
    inputs = read_test(None, data, source=tmp_path)[0]
    assert inputs.shape == (2, 1, 8, 8)
    assert inputs.unique().tolist() == [255]
    large = read(tmp_path, ReadOptions(image_size=24))
    assert read_test(None, large, source=tmp_path)[0].shape == (2, 1, 24, 24)


def test_tiny_images_of_files_are_never_taken_for_channels(tmp_path):
    array = np.random.default_rng(0).integers(0, 256, (2, 3, 3)).astype(np.uint8)
    np.testing.assert_array_equal(read(two(tmp_path, array)).inputs[0].permute(1, 2, 0).numpy(), array)


def test_known_endings_are_lower_case():
    assert all(ending == ending.lower() for ending in ENDINGS)


def test_old_bytes_of_8_bits(tmp_path):
    """Every mode of 8 bits without transparency: as Pillow converts it."""
    for mode in ("1", "L", "P", "RGB", "CMYK"):
        image = Image.fromarray(RAMP.astype(np.uint8)).convert("RGB").convert(mode)
        file = tmp_path / f"{mode}.tif"
        image.save(file)
        for into in ("L", "RGB"):
            want = np.asarray((image.convert("RGBA") if mode == "P" else image).convert(into))
            np.testing.assert_array_equal(read_image(file, into, None, {}), want)
