"""Augmentation against a slow twin that moves each image by itself."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from selfdistill._core.errors import SettingError
from selfdistill.data._loader import Augment, augment_for


def slow(image, drawn, augment):
    """Pad by reflection with NumPy, cut out the window, mirror, blot; one image [c, h, w]."""
    down, right, flip, row, column = drawn
    c, h, w = image.shape
    pad = augment.crop
    padded = np.pad(image, ((0, 0), (pad, pad), (pad, pad)), mode="reflect") if pad else image
    out = padded[:, pad + down : pad + down + h, pad + right : pad + right + w].copy()
    if augment.flip and flip:
        out = out[:, :, ::-1].copy()
    for i in range(h):
        for j in range(w):
            top, left = row - augment.cutout // 2, column - augment.cutout // 2
            if top <= i < top + augment.cutout and left <= j < left + augment.cutout:
                for k in range(c):
                    out[k, i, j] = augment.fill[k] if augment.fill else 0
    return out


@given(
    st.integers(0, 3),
    st.booleans(),
    st.integers(0, 5),
    st.sampled_from([1, 3]),
    st.integers(4, 9),
    st.integers(4, 9),
    st.sampled_from([torch.uint8, torch.float32]),
    st.integers(0, 99),
)
@settings(max_examples=80)
def test_equals_the_slow_twin(crop, flip, cutout, c, h, w, dtype, seed):
    augment = Augment(crop, flip, cutout, (7.0,) * c if seed % 2 else ())
    images = torch.randint(0, 256, (6, c, h, w), generator=torch.Generator().manual_seed(seed)).to(dtype)
    drawn = augment.draw(6, (h, w), torch.Generator().manual_seed(seed))
    got = augment(images, torch.Generator().manual_seed(seed))
    want = np.stack([slow(images[i].numpy(), drawn[i].tolist(), augment) for i in range(6)])
    assert got.dtype == dtype
    np.testing.assert_array_equal(got.numpy(), want)


def test_draws_cover_their_range_evenly():
    drawn = Augment(2, True, 4).draw(20_000, (8, 6), torch.Generator().manual_seed(0))
    for column, low, high in [(0, -2, 2), (1, -2, 2), (2, 0, 1), (3, 0, 7), (4, 0, 5)]:
        values, counts = drawn[:, column].unique(return_counts=True)
        assert values.tolist() == list(range(low, high + 1))
        share = counts / counts.sum() * len(values)
        assert (share - 1).abs().max() < 0.1


@pytest.mark.parametrize("world", [2, 3, 4])
@pytest.mark.parametrize("total", [7, 8, 12])
def test_processes_change_images_as_one_would(world, total):
    augment = Augment(1, True, 2)
    images = torch.rand(total, 3, 8, 8)
    whole = augment(images, torch.Generator().manual_seed(5))
    size = -(-total // world)
    for rank in range(world):
        part = images[rank::world]
        real = len(part)
        part = torch.cat([part, images[:1].expand(size - real, -1, -1, -1)])
        got = augment(part, torch.Generator().manual_seed(5), rank=rank, world=world, total=total)
        assert torch.equal(got[:real], whole[rank::world])


def test_input_is_not_changed():
    images = torch.rand(4, 1, 8, 8)
    before = images.clone()
    Augment(2, True, 3)(images, torch.Generator().manual_seed(0))
    assert torch.equal(images, before)


def test_fill_is_rounded_for_bytes():
    images = torch.full((1, 1, 4, 4), 9, dtype=torch.uint8)
    out = Augment(cutout=9, fill=(72.6,)).apply(images, torch.tensor([[0, 0, 0, 2, 2]]))
    assert out.unique().tolist() == [73]


@pytest.mark.parametrize(
    ("spec", "shape", "want"),
    [
        ("auto", (64,), None),
        ("auto", (1, 8, 8), None),
        ("auto", (1, 28, 28), None),
        ("auto", (3, 32, 32), Augment(4, True, 0)),
        ("auto", (3, 15, 32), None),
        ("none", (3, 32, 32), None),
        ("flip,crop:2,cutout:8", (3, 32, 32), Augment(2, True, 8)),
        (" Flip ", (1, 8, 8), Augment(0, True, 0)),
    ],
)
def test_settings(spec, shape, want):
    assert augment_for(spec, shape) == want


@pytest.mark.parametrize(
    ("spec", "shape", "text"),
    [
        ("crop:28", (1, 28, 28), r"augment has 'crop:28'; pixels must be at least 1 and below the side, 28"),
        ("mixup", (1, 28, 28), "augment has 'mixup'"),
        ("crop", (1, 28, 28), "augment has 'crop'"),
        ("flip:1", (1, 28, 28), "augment has 'flip:1'"),
        ("flip", (64,), "the inputs are no images"),
    ],
)
def test_settings_that_do_not_fit(spec, shape, text):
    with pytest.raises(SettingError, match=text):
        augment_for(spec, shape)


def test_sizes_out_of_range():
    with pytest.raises(SettingError, match="crop is -1"):
        Augment(crop=-1)
    with pytest.raises(SettingError, match="crop is 4 pixels, but the images have 4 x 9"):
        Augment(crop=4)(torch.zeros(1, 1, 4, 9), torch.Generator())
