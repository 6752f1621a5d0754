"""Arrays in npz files."""

import io
import pickle
import zipfile

import numpy as np
import pytest

from selfdistill._core.errors import DataError
from selfdistill._core.read_options import ReadOptions
from selfdistill.data._read import read, read_new, read_test


@pytest.fixture
def path(tmp_path):
    return tmp_path / "a.npz"


X = np.random.default_rng(0).normal(size=(6, 3))
Y = np.array([0, 1, 2, 0, 1, 2])


def test_usual_names(path):
    np.savez(
        path,
        images=np.zeros((6, 4, 4), np.uint8),
        labels=np.array(list("abcabc")),
        truth=list("aacaac"),
        ids=list("uvwxyz"),
    )
    data = read(path)
    assert data.inputs.shape == (6, 1, 4, 4)
    assert data.classes == ("a", "b", "c")
    assert data.truth.tolist() == [0, 0, 2] * 2
    assert data.ids.tolist() == list("uvwxyz")


def test_told_names_and_what_is_not_there(path):
    np.savez(path, X=X, given=Y, true=Y)
    assert read(path, ReadOptions(label="given", truth="true")).truth.tolist() == Y.tolist()
    with pytest.raises(DataError, match=r"has no labels; it holds 'X', 'given', 'true'"):
        read(path)
    with pytest.raises(DataError, match=r"has no array 'gven' \(`label`\). Did you mean 'given'"):
        read(path, ReadOptions(label="gven"))
    np.savez(path, z=X)
    with pytest.raises(DataError, match="has no inputs; it holds 'z'"):
        read(path)


def test_two_parts(path):
    np.savez(path, x_train=X, y_train=Y, x_test=X[:2], y_test=Y[:2])
    data = read(path)
    assert len(data) == 6
    inputs, labels, _ = read_test(None, data, source=path)
    assert labels.tolist() == [0, 1]
    assert (inputs == data.inputs[:2]).all()
    assert len(read_new(path, data.preprocess, data.classes).inputs) == 2


def test_new_arrays_without_labels(path, tmp_path):
    np.savez(path, X=X, y=Y)
    data = read(path)
    np.savez(tmp_path / "new.npz", X=X[:4])
    new = read_new(tmp_path / "new.npz", data.preprocess, data.classes)
    assert new.labels is None
    assert (new.inputs == data.inputs[:4]).all()
    assert read_test(None, data, source=path) is None
    np.savez(tmp_path / "new.npz", X=X[:, :2])
    with pytest.raises(DataError, match=r"the array has shape \(6, 2\), but training had 3 columns"):
        read_new(tmp_path / "new.npz", data.preprocess, data.classes)


def test_lengths_that_differ(path):
    np.savez(path, X=X, y=Y[:5])
    with pytest.raises(DataError, match=r"'X' has shape \(6, 3\), but 'y' has \(5,\)"):
        read(path)


class Trap:
    def __reduce__(self):
        return (pytest.fail, ("code was run",))


def test_objects_are_refused_and_not_run(path):
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in (("X", X), ("y", np.array([Trap()] * 6, dtype=object))):
            file = io.BytesIO()
            if data.dtype == object:
                np.lib.format.write_array_header_1_0(file, {"descr": "|O", "fortran_order": False, "shape": (6,)})
                file.write(pickle.dumps(data))
            else:
                np.save(file, data)
            archive.writestr(f"{name}.npy", file.getvalue())
    with pytest.raises(DataError, match=r"y\.npy holds Python objects, which are not read: they could run code"):
        read(path)


def test_header_that_promises_more_than_there_is(path):
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(file, {"descr": "<f8", "fortran_order": False, "shape": (2**40,)})
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("X.npy", file.getvalue())
    with pytest.raises(DataError, match=r"X\.npy is truncated: 8,796,093,022,208 bytes by its header"):
        read(path)


def test_bomb(path, monkeypatch):
    np.savez_compressed(path, X=np.zeros((1000, 1000)), y=np.zeros(1000))
    monkeypatch.setattr("selfdistill.data._limits._EXPAND_LIMIT", 2**20)
    with pytest.raises(DataError, match="unpacks to"):
        read(path)


def test_damaged_files(path):
    np.savez_compressed(path, X=X, y=Y)
    whole = path.read_bytes()
    for damaged in (whole[:-30], whole[:100], b"", whole[:60] + bytes([whole[60] ^ 255]) + whole[61:]):
        path.write_bytes(damaged)
        with pytest.raises(DataError, match="is truncated or not an npz file") as caught:
            read(path)
        assert "\n" not in str(caught.value)
