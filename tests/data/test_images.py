"""Images as arrays."""

import json
import re

import numpy as np
import pytest
import torch

from selfdistill._core.errors import DataError
from selfdistill.data._images import ImagePreprocess, channel_stats, find_layout
from selfdistill.data._preprocess import Preprocess
from selfdistill.data._read import read, read_new
from selfdistill.data._source import from_arrays


def reload(made):
    spec, tensors = made.to_state()
    return Preprocess.from_state(json.loads(json.dumps(spec)), tensors)


@pytest.mark.parametrize(
    ("shape", "layout"),
    [((5, 9, 9), "hw"), ((5, 3, 9, 9), "chw"), ((5, 9, 9, 3), "hwc"), ((5, 9, 9, 1), "hwc"), ((5, 4, 4, 4), "chw")],
)
def test_layout(shape, layout):
    assert find_layout(shape) == layout


@pytest.mark.parametrize(
    ("shape", "layout", "other"),
    [
        ((5, 2, 2, 3), "hwc", ""),
        ((5, 3, 2, 2), "chw", ""),
        ((5, 28, 28, 2), "hwc", ""),
        ((5, 4, 4, 100), "chw", ""),
        ((5, 28, 30), "hw", ""),
        ((5, 8, 8, 13), "hwc", "read as 8 x 8 pixels with 13 channels last, but may be 8 x 13 pixels with 8 channels"),
        ((5, 16, 5, 5), "chw", "read as 5 x 5 pixels with 16 channels first, but may be 16 x 5 pixels with 5"),
        ((5, 4, 4, 4), "chw", "read as 4 x 4 pixels with 4 channels first, but may be 4 x 4 pixels with 4"),
        (
            (5, 3, 9, 3),
            "chw",
            "read as 9 x 3 pixels with 3 channels first, but may be 3 x 9 pixels with 3 channels last",
        ),
        ((5, 7, 9, 6), "hwc", "read as 7 x 9 pixels with 6 channels last, but may be 9 x 6 pixels with 7"),
        ((5, 100, 3), "hw", r"grey images of 100 x 3 pixels, but may be 100 steps of 3 numbers: .*\[n, 300\]"),
    ],
)
def test_layouts_that_may_be_two(shape, layout, other):
    data = from_arrays(np.random.default_rng(0).random(shape), [0, 1, 0, 1, 0])
    assert ImagePreprocess.fit(np.zeros(shape)).to_state()[0]["layout"] == layout
    found = [warning for warning in data.warnings if "may be" in warning]
    assert len(found) == bool(other)
    assert not other or re.search(other, found[0])


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_statistics_against_numpy(dtype):
    images = torch.randint(0, 256, (50, 3, 5, 7), generator=torch.Generator().manual_seed(0)).to(dtype)
    mean, std = channel_stats(images)
    array = images.double().numpy()
    np.testing.assert_allclose(mean, array.mean(axis=(0, 2, 3)), rtol=1e-12)
    np.testing.assert_allclose(std, array.std(axis=(0, 2, 3)), rtol=1e-12)
    assert channel_stats(torch.full((2, 1, 2, 2), 7, dtype=dtype)) == ([7.0], [1.0])


@pytest.mark.parametrize(
    ("array", "dtype"),
    [
        (np.full((2, 4, 4), 255, np.uint8), torch.uint8),
        (np.full((2, 4, 4), 255, np.int64), torch.uint8),
        (np.full((2, 4, 4), 256, np.int64), torch.float32),
        (np.full((2, 4, 4), -1, np.int8), torch.float32),
        (np.ones((2, 4, 4), bool), torch.uint8),
        (np.ones((2, 4, 4), np.float64), torch.float32),
    ],
)
def test_types(array, dtype):
    made = ImagePreprocess.fit(array)
    assert made.apply(array).dtype == dtype
    assert torch.equal(reload(made).apply(array), made.apply(array))
    assert reload(made).stats == made.stats


def test_axes_are_moved_not_reshaped():
    array = np.arange(2 * 4 * 5 * 3, dtype=np.uint8).reshape(2, 4, 5, 3)
    out = ImagePreprocess.fit(array).apply(array)
    assert out[1, 2, 3, 4] == array[1, 3, 4, 2]
    assert out.shape == (2, 3, 4, 5)


def test_new_images_in_another_layout():
    made = ImagePreprocess.fit(np.zeros((2, 3, 8, 8), np.uint8))
    new = np.random.default_rng(0).integers(0, 9, (2, 8, 8, 3)).astype(np.uint8)
    np.testing.assert_array_equal(made.apply(new).numpy(), new.transpose(0, 3, 1, 2))


@pytest.mark.parametrize(
    ("new", "text"),
    [
        (np.zeros((1, 9, 8), np.uint8), "images have shape 9 x 8, but training had 8 x 8, 1 channel"),
        (np.zeros((1, 8, 8, 3), np.uint8), "images have shape 8 x 8 x 3, but training had 8 x 8"),
        (np.full((1, 8, 8), 0.5), r"images hold values from 0.5 to 0.5 \(float64\), but training had whole numbers"),
        (np.full((1, 8, 8), -1), "images hold values from -1"),
        (np.full((1, 8, 8), np.nan), "hold NaN in row 0"),
    ],
)
def test_new_images_that_do_not_fit(new, text):
    with pytest.raises(DataError, match=text):
        ImagePreprocess.fit(np.zeros((2, 8, 8), np.uint8)).apply(new)


def test_images_without_pixels_or_beyond_float32():
    with pytest.raises(DataError, match="there are no pixels"):
        ImagePreprocess.fit(np.zeros((2, 0, 8)))
    with pytest.raises(DataError, match="beyond the range of float32"), np.errstate(over="ignore"):
        ImagePreprocess.fit(np.full((2, 2, 8), 1e300))
    with pytest.raises(DataError, match=r"images have shape \(2, 3\)"):
        find_layout((2, 3))


def test_facts():
    assert ImagePreprocess.fit(np.zeros((1, 8, 9), np.uint8)).facts() == "grey images of 8 x 9 pixels"
    assert ImagePreprocess.fit(np.zeros((1, 8, 9, 3), np.uint8)).facts() == "RGB images of 8 x 9 pixels"
    made = ImagePreprocess.fit(np.zeros((1, 4, 8, 9), np.uint8))
    assert (made.facts(), made.mode) == ("images with 4 channels of 8 x 9 pixels", "4")


def test_new_images_of_0_and_1_are_warned_of_where_training_had_more(tmp_path):
    rng = np.random.default_rng(0)
    whole = rng.integers(0, 256, (20, 6, 6)).astype(np.uint8)
    for name, images in {"whole": whole, "ones": whole // 128, "black": whole * 0}.items():
        np.savez(tmp_path / f"{name}.npz", X=images, y=np.arange(20) % 2)
    of_whole, of_ones = read(tmp_path / "whole.npz"), read(tmp_path / "ones.npz")

    def warnings_of(trained, name):
        return read_new(tmp_path / f"{name}.npz", trained.preprocess, trained.classes).warnings

    assert [line[:38] for line in warnings_of(of_whole, "ones")] == ["the new images hold 0 and 1 alone, but"]
    assert not warnings_of(of_whole, "whole")
    assert not warnings_of(of_whole, "black")
    assert not warnings_of(of_ones, "ones")
