"""CIFAR binary batches, written here by the format's description."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from selfdistill._core.errors import DataError
from selfdistill.data._read import read, read_test
from selfdistill.data.formats import _cifar

NAMES = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]


def batch(path, n, seed=0, heads=1, limit=10):
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 256, (n, 3, 32, 32)).astype(np.uint8)
    labels = rng.integers(0, limit, n).astype(np.uint8)
    with path.open("wb") as file:
        for image, label in zip(images, labels, strict=True):
            file.write(bytes([99] * (heads - 1) + [label]) + image.tobytes())
    return images, labels


@given(st.integers(1, 4), st.sampled_from([1, 2]), st.integers(0, 9))
@settings(max_examples=20)
def test_records_come_back(tmp_path_factory, n, heads, seed):
    path = tmp_path_factory.mktemp("cifar") / "x.bin"
    images, labels = batch(path, n, seed, heads)
    got_images, got_labels = _cifar.parse_batch(path, heads)
    np.testing.assert_array_equal(got_images, images)
    np.testing.assert_array_equal(got_labels, labels)


@given(st.integers(0, 6145))
@settings(max_examples=50)
def test_any_cut_is_noticed(tmp_path_factory, cut):
    path = tmp_path_factory.mktemp("cifar") / "data_batch_1.bin"
    path.write_bytes(bytes(2 * 3073)[:cut])
    if cut == 3073:
        assert len(_cifar.parse_batch(path, 1)[0]) == 1
    else:
        with pytest.raises(DataError, match=r"is truncated or no CIFAR-10 batch: [\d,]+ bytes are"):
            _cifar.parse_batch(path, 1)


def test_folder_in_the_order_of_numbers_with_test_part(tmp_path):
    parts = {i: batch(tmp_path / f"data_batch_{i}.bin", 20, i) for i in (1, 2, 10)}
    test_images, _ = batch(tmp_path / "test_batch.bin", 5, 99)
    data = read(tmp_path)
    np.testing.assert_array_equal(data.inputs.numpy(), np.concatenate([parts[i][0] for i in (1, 2, 10)]))
    want = np.concatenate([parts[i][1] for i in (1, 2, 10)])
    assert [int(data.classes[label]) for label in data.labels] == want.tolist()
    assert torch_equal(read_test(None, data, source=tmp_path)[0], test_images)


def torch_equal(tensor, array):
    return np.array_equal(tensor.numpy(), array)


def test_names_of_classes(tmp_path):
    _, labels = batch(tmp_path / "data_batch_1.bin", 60)
    (tmp_path / "batches.meta.txt").write_text("\n".join(NAMES) + "\n\n")
    data = read(tmp_path)
    assert data.classes == tuple(sorted(NAMES))
    assert [data.classes[label] for label in data.labels] == [NAMES[label] for label in labels]
    (tmp_path / "batches.meta.txt").write_text("one\ntwo\n")
    with pytest.raises(DataError, match=r"holds 2 names \(2 different\). It needs 10"):
        read(tmp_path)


def test_hundred_classes_take_the_fine_label(tmp_path):
    images, labels = batch(tmp_path / "train.bin", 8, heads=2, limit=100)
    data = read(tmp_path)
    assert torch_equal(data.inputs, images)
    assert [int(data.classes[label]) for label in data.labels] == labels.tolist()


def test_label_out_of_range(tmp_path):
    batch(tmp_path / "data_batch_1.bin", 3)
    data = bytearray((tmp_path / "data_batch_1.bin").read_bytes())
    data[3073] = 10
    (tmp_path / "data_batch_1.bin").write_bytes(data)
    with pytest.raises(DataError, match="record 1 has the label 10, but CIFAR-10 has 0 to 9"):
        read(tmp_path)


def test_only_a_test_batch_is_read_whole(tmp_path):
    batch(tmp_path / "test_batch_first1000.bin", 12)
    assert len(read(tmp_path)) == 12
    assert len(read(tmp_path / "test_batch_first1000.bin")) == 12
