"""IDX files, written here by the format's description."""

import bz2
import gzip
import lzma
import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from selfdistill._core.errors import DataError
from selfdistill.data._read import read, read_new, read_test
from selfdistill.data.formats import _idx

CODES = {"u1": 0x08, "i1": 0x09, "i2": 0x0B, "i4": 0x0C, "f4": 0x0D, "f8": 0x0E}


def idx_bytes(array):
    head = bytes([0, 0, CODES[array.dtype.str[1:]], array.ndim]) + b"".join(struct.pack(">I", n) for n in array.shape)
    return head + array.astype(array.dtype.newbyteorder(">")).tobytes()


def folder(path, n=12, part="train", pack=False, side=5):
    path.mkdir(exist_ok=True)
    rng = np.random.default_rng(len(part))
    images = rng.integers(0, 256, (n, side, side)).astype(np.uint8)
    labels = (np.arange(n) % 3).astype(np.uint8)
    for name, array in (("images-idx3", images), ("labels-idx1", labels)):
        data = idx_bytes(array)
        file = path / f"{part}-{name}-ubyte{'.gz' if pack else ''}"
        file.write_bytes(gzip.compress(data) if pack else data)
    return images, labels


@given(
    st.sampled_from(sorted(CODES)).flatmap(lambda code: hnp.arrays(np.dtype(code), hnp.array_shapes(max_dims=4))),
    st.booleans(),
)
@settings(max_examples=100)
def test_any_array_comes_back(tmp_path_factory, array, pack):
    path = tmp_path_factory.mktemp("idx") / ("a.gz" if pack else "a")
    path.write_bytes(gzip.compress(idx_bytes(array)) if pack else idx_bytes(array))
    got = _idx.parse_idx(path)
    assert got.dtype == array.dtype
    np.testing.assert_array_equal(got, array)


@given(st.binary(max_size=60))
@settings(max_examples=200)
def test_any_bytes_are_read_or_refused_in_one_line(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("idx") / "a"
    path.write_bytes(data)
    try:
        back, refused = idx_bytes(_idx.parse_idx(path)), ""
    except DataError as error:
        back, refused = data, str(error)
    assert back == data
    assert not refused or (str(path) in refused and "\n" not in refused)


@given(st.integers(0, 100))
@settings(max_examples=50)
def test_any_cut_is_noticed(tmp_path_factory, cut):
    path = tmp_path_factory.mktemp("idx") / "a"
    data = idx_bytes(np.arange(100, dtype=np.uint8))
    path.write_bytes(data[:cut])
    with pytest.raises(DataError, match="truncated"):
        _idx.parse_idx(path)


@pytest.mark.parametrize("pack", [False, True])
def test_folder_with_two_parts(tmp_path, pack):
    images, labels = folder(tmp_path, pack=pack)
    test_images, test_labels = folder(tmp_path, 6, "t10k", pack)
    data = read(tmp_path)
    np.testing.assert_array_equal(data.inputs[:, 0].numpy(), images)
    assert data.labels.tolist() == labels.tolist()
    assert data.classes == ("0", "1", "2")
    inputs, given_labels, ids = read_test(None, data, source=tmp_path)
    np.testing.assert_array_equal(inputs[:, 0].numpy(), test_images)
    assert given_labels.tolist() == test_labels.tolist()
    assert ids.tolist() == [str(i) for i in range(6)]
    new = read_new(tmp_path, data.preprocess, data.classes)
    np.testing.assert_array_equal(new.inputs[:, 0].numpy(), test_images)


def test_folder_without_test_part(tmp_path):
    folder(tmp_path)
    data = read(tmp_path)
    assert read_test(None, data, source=tmp_path) is None
    assert len(read_test(tmp_path, data)[0]) == 12


def test_new_images_without_labels(tmp_path):
    folder(tmp_path)
    data = read(tmp_path)
    (tmp_path / "train-labels-idx1-ubyte").unlink()
    assert read_new(tmp_path, data.preprocess, data.classes).labels is None
    with pytest.raises(DataError, match=r"has no labels file beside it. Add train-labels-idx1-ubyte"):
        read(tmp_path)


def test_counts_that_differ(tmp_path):
    folder(tmp_path)
    (tmp_path / "train-labels-idx1-ubyte").write_bytes(idx_bytes(np.zeros(11, np.uint8)))
    with pytest.raises(DataError, match="holds 12 images, but train-labels-idx1-ubyte holds 11 labels"):
        read(tmp_path)


def test_class_never_seen(tmp_path):
    folder(tmp_path)
    folder(tmp_path, 6, "t10k")
    (tmp_path / "t10k-labels-idx1-ubyte").write_bytes(idx_bytes(np.array([0, 1, 2, 9, 0, 1], np.uint8)))
    with pytest.raises(DataError, match=r"holds the class '9' \(row 3, counted from 0\), which was not in training"):
        read_test(None, read(tmp_path), source=tmp_path)


def test_other_size_at_predict(tmp_path):
    folder(tmp_path / "a")
    folder(tmp_path / "b", side=6)
    data = read(tmp_path / "a")
    with pytest.raises(DataError, match="images have shape 6 x 6, but training had 5 x 5"):
        read_new(tmp_path / "b", data.preprocess, data.classes)


def test_more_than_one_set(tmp_path):
    folder(tmp_path, part="digits-train")
    folder(tmp_path, part="letters-train")
    with pytest.raises(DataError, match="holds 2 sets of images"):
        read(tmp_path)
    assert len(read(tmp_path / "letters-train-images-idx3-ubyte")) == 12


def test_header_that_promises_too_much(tmp_path):
    folder(tmp_path)
    (tmp_path / "train-images-idx3-ubyte").write_bytes(b"\0\0\x08\x03" + b"\xff" * 12)
    with pytest.raises(DataError, match="unpacks to"):
        read(tmp_path)


def test_truth_file_must_fit(tmp_path):
    folder(tmp_path)
    (tmp_path / "train-truth-idx1-ubyte").write_bytes(idx_bytes(np.zeros(3, np.uint8)))
    with pytest.raises(DataError, match=r"train-truth-idx1-ubyte holds labels of shape \(3,\)"):
        read(tmp_path)


def test_images_and_labels_may_be_packed_in_different_ways(tmp_path):
    images, labels = folder(tmp_path)
    for name, pack, ending in (("images-idx3", lzma.compress, ".xz"), ("labels-idx1", bz2.compress, ".bz2")):
        file = tmp_path / f"train-{name}-ubyte"
        (tmp_path / f"{file.name}{ending}").write_bytes(pack(file.read_bytes()))
        file.unlink()
    data = read(tmp_path)
    np.testing.assert_array_equal(data.inputs[:, 0], images)
    assert [data.classes[code] for code in data.labels] == [str(label) for label in labels]
