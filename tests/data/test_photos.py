"""Photos as features: which pixels of odd files an encoder sees, photos that are damaged or change, the store."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image
from tests.data.one_split import from_split

from selfdistill._core.errors import DataError, RunError, SettingError
from selfdistill._core.read_options import ReadOptions
from selfdistill.data._preprocess import Preprocess
from selfdistill.data._read import read, read_new, read_test

PHOTOS = ReadOptions(encoder="photos")
RNG = np.random.default_rng(0)


def folder(root, count=6, size=(9, 7)):
    for row in range(count):
        place = root / "ab"[row % 2] / f"{row}.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(RNG.integers(0, 256, (*size, 3), np.uint8)).save(place)
    return root


def features(encoder, image):
    return encoder.encode([encoder.prepare(image)])[0]


def one(tmp_path, name, image, **how):
    """What an encoder makes of one file, beside a plain one."""
    root = folder(tmp_path / "p")
    image.save(root / "a" / name, **how)
    data = read(root, PHOTOS)
    return data.preprocess.raw(data.inputs)[list(data.ids).index(f"a/{name}")]


def test_features_are_those_of_each_photo_whatever_its_size(tmp_path, encoders):
    root = folder(tmp_path / "p")
    Image.fromarray(RNG.integers(0, 256, (200, 31, 3), np.uint8)).save(root / "b" / "large.bmp")
    data = read(root, PHOTOS)
    assert data.preprocess.facts() == "photos as 48 features (encoder photos)"
    for row, name in enumerate(data.ids):
        with Image.open(root / name) as image:
            np.testing.assert_allclose(
                data.preprocess.raw(data.inputs)[row], features(encoders["photos"], image.convert("RGB")), atol=1e-6
            )
    np.testing.assert_allclose(data.inputs.mean(0), 0, atol=1e-5)
    np.testing.assert_allclose(data.inputs.std(0, correction=0), 1, atol=1e-5)


COLOURS = Image.fromarray(np.arange(8 * 8 * 3, dtype=np.uint8).reshape(8, 8, 3))
SHADES = np.arange(64, dtype=np.uint8).reshape(8, 8) * 4


def seen_as(kind):
    """Files of odd forms, and the plain RGB image that an encoder is to see in their place."""
    exif = Image.Exif()
    exif[0x0112] = 6
    clear = np.dstack([np.asarray(COLOURS), np.full((8, 8), 255, np.uint8)])
    clear[:4, :, 3] = 0
    laid = np.asarray(COLOURS).copy()
    laid[:4] = 128
    other = Image.fromarray(255 - np.asarray(COLOURS))
    grey = Image.fromarray(SHADES).convert("RGB")
    return {
        "turned by EXIF": ("x.png", COLOURS, {"exif": exif}, COLOURS.rotate(-90, expand=True)),
        "transparent": ("x.png", Image.fromarray(clear), {}, Image.fromarray(laid)),
        "CMYK": ("x.tif", COLOURS.convert("CMYK"), {}, COLOURS.convert("CMYK").convert("RGB")),
        "palette": ("x.gif", COLOURS.quantize(256), {}, COLOURS.quantize(256).convert("RGB")),
        "animated": ("x.png", COLOURS, {"save_all": True, "append_images": [other]}, COLOURS),
        "grey of 8 bits": ("x.png", Image.fromarray(SHADES), {}, grey),
        "grey of 16 bits": ("x.png", Image.fromarray(SHADES.astype(np.uint16) * 257), {}, grey),
        "floats to 1": ("x.tif", Image.fromarray(SHADES.astype(np.float32) / 255), {}, grey),
        "one bit": ("x.png", Image.fromarray(SHADES > 99), {}, Image.fromarray(SHADES > 99).convert("RGB")),
    }[kind]


@pytest.mark.parametrize("kind", ["turned by EXIF", "transparent", "CMYK", "palette", "animated", "grey of 8 bits",
                                  "grey of 16 bits", "floats to 1", "one bit"])  # fmt: skip
def test_odd_files_are_seen_as_plain_ones(tmp_path, encoders, kind):
    name, image, how, plain = seen_as(kind)
    found = one(tmp_path, name, image, **how)
    np.testing.assert_allclose(found, features(encoders["photos"], plain), atol=1.5 / 255)


def test_a_large_jpeg_is_shrunk_while_it_is_decoded(tmp_path, encoders):
    smooth = np.linspace(0, 255, 1600 * 1200 * 3).reshape(1200, 1600, 3).astype(np.uint8)
    found = one(tmp_path, "x.jpg", Image.fromarray(smooth), quality=95)
    np.testing.assert_allclose(found, features(encoders["photos"], Image.fromarray(smooth)), atol=3 / 255)


def test_damaged_photos_are_named_and_left_out_on_demand(tmp_path, encoders):
    root = folder(tmp_path / "p", count=40)
    (root / "a" / "2.png").write_bytes((root / "a" / "2.png").read_bytes()[:60])
    (root / "b" / "3.png").write_bytes(b"no image")
    with pytest.raises(
        DataError, match=r"2 of 40 images cannot be read: .*a/2.png \(.*\); .*b/3.png \(cannot.*skip_bad"
    ):
        read(root, PHOTOS)
    data = read(root, ReadOptions(encoder="photos", skip_bad=True))
    assert len(data) == 38
    assert data.counts == {"skipped_bad": 2}
    assert any("2 images cannot be read and are left out: " in message for message in data.warnings)
    assert not {"a/2.png", "b/3.png"} & set(data.ids)
    for path in root.rglob("*.png"):
        path.write_bytes(b"no image")
    with pytest.raises(DataError, match=r"none of the 40 images in .* can be read"):
        read(root, ReadOptions(encoder="photos", skip_bad=True))


def test_a_photo_that_changes_is_encoded_again_and_no_other(tmp_path, encoders):
    root, encoder = folder(tmp_path / "p"), encoders["photos"]
    before = read(root, PHOTOS)
    assert encoder.seen == 6
    assert read(root, PHOTOS).fingerprint == before.fingerprint
    assert encoder.seen == 6
    Image.fromarray(RNG.integers(0, 256, (5, 5, 3), np.uint8)).save(root / "a" / "0.png")
    (root / "b" / "1.png").rename(root / "b" / "new name.png")
    assert read(root, PHOTOS).fingerprint != before.fingerprint
    assert encoder.seen == 7
    assert [one.name for one in (tmp_path / "runs" / "features").iterdir()] == ["photos-00000000"]


def test_the_store_that_is_named(tmp_path, encoders):
    root = folder(tmp_path / "p")
    read(root, ReadOptions(encoder="photos", features="mine"))
    assert not (tmp_path / "runs").exists()
    encoders["photos"].fingerprint = "2" * 64
    with pytest.raises(
        RunError, match=r"mine holds features of the encoder 'photos' \(00000000, dimension 48\), not of 'photos'"
    ):
        read(root, ReadOptions(encoder="photos", features="mine"))


def test_new_photos_are_encoded_as_those_of_training_and_not_kept(tmp_path, encoders):
    root = folder(tmp_path / "p")
    data = read(root, ReadOptions(encoder="photos", features="mine"))
    again = Preprocess.from_state(*data.preprocess.to_state())
    kept = sorted((tmp_path / "mine").iterdir())
    new = read_new(root, again, data.classes)
    np.testing.assert_array_equal(new.inputs, data.inputs)
    assert new.labels.tolist() == data.labels.tolist()
    assert sorted((tmp_path / "mine").iterdir()) == kept
    single = read_new(root / "a" / "0.png", again, data.classes)
    np.testing.assert_array_equal(single.inputs[0], data.inputs[0])
    found = read_test(root, data, PHOTOS)
    np.testing.assert_array_equal(found[0], data.inputs)


def test_another_encoder_than_that_of_training_is_refused(tmp_path, encoders):
    root = folder(tmp_path / "p")
    data = read(root, PHOTOS)
    encoders["photos"].fingerprint = "9" * 64
    with pytest.raises(
        DataError, match="training had an encoder with the fingerprint 00000000, but 'photos' has 99999999"
    ):
        read_new(root, data.preprocess, data.classes)


def test_a_model_runs_no_code_of_its_own_accord(tmp_path, encoders):
    data = read(folder(tmp_path / "p"), PHOTOS)
    spec, tensors = data.preprocess.to_state()
    stranger = Preprocess.from_state(spec | {"encoder": "torch:os:abort"}, tensors)
    with pytest.raises(SettingError, match=r"'torch:os:abort', which runs code of yours. Name it here too: encoder="):
        read_new(tmp_path / "p", stranger, data.classes)


def test_an_encoder_of_texts_is_refused_for_photos(tmp_path, encoders):
    with pytest.raises(SettingError, match="encoder 'texts' takes texts, but the data are photos"):
        read(folder(tmp_path / "p"), ReadOptions(encoder="texts"))


def test_none_takes_pixels(tmp_path, encoders):
    data = read(folder(tmp_path / "p"), ReadOptions(encoder="none"))
    assert data.inputs.shape == (6, 3, 9, 7)
    assert not encoders["photos"].seen


def test_images_of_a_data_set_in_memory(tmp_path, encoders):
    datasets = pytest.importorskip("datasets")
    files = []
    for row in range(6):
        file = io.BytesIO()
        Image.fromarray(RNG.integers(0, 256, (5 + row, 4, 3), np.uint8)).save(file, "PNG")
        files.append({"bytes": file.getvalue(), "path": None})
    made = datasets.Dataset.from_dict({"image": files, "label": [0, 1] * 3})
    data = from_split(made.cast_column("image", datasets.Image()), PHOTOS)
    assert data.inputs.shape == (6, 48)
