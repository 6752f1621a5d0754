"""Pixels that stay on disk: the same bytes as in memory, decoded once, whatever the photos; and the same training."""

from pathlib import Path

import numpy as np
import pytest
import torch

from selfdistill import fit
from selfdistill._core.errors import DataError, Interrupted, RunError
from selfdistill._core.read_options import ReadOptions
from selfdistill.data import _images, _stored
from selfdistill.data._images import ImagePreprocess, channel_stats
from selfdistill.data._pictures import read_image
from selfdistill.data._read import read, read_new
from selfdistill.encoders import _store

from .test_pictures import KINDS, noise

PICTURES = "selfdistill.data._pictures"


@pytest.fixture
def on_disk(monkeypatch, tmp_path):
    """Have everything lie on disk, from now on."""
    monkeypatch.chdir(tmp_path)

    def switch():
        monkeypatch.setattr(_stored, "MAPPED_BYTES", 0)
        monkeypatch.setattr(_store, "_IN_MEMORY", 0)

    return switch


def photos(folder, count=12, kind="turned by EXIF"):
    for row in range(count):
        (folder / str(row % 2)).mkdir(parents=True, exist_ok=True)
        (folder / str(row % 2) / f"{row:02}").write_bytes(KINDS[kind](row))
    return folder


def is_mapped(inputs):
    """Say whether numbers lie in a file, by the system's list of what lies where."""
    # Only Linux, where CI runs, has such a list; elsewhere a test that asks ends here, and all others run.
    if not Path("/proc/self/maps").exists():
        pytest.skip("the system does not list what is mapped")
    for line in Path("/proc/self/maps").read_text().splitlines():
        span, _, _, _, inode = line.split()[:5]
        start, stop = (int(address, 16) for address in span.split("-"))
        if start <= inputs.data_ptr() < stop:
            return inode != "0"
    raise AssertionError(inputs.data_ptr())


@pytest.mark.parametrize("kind", KINDS)
def test_photos_have_the_same_pixels_on_disk_as_in_memory(tmp_path, on_disk, monkeypatch, kind):
    folder = photos(tmp_path / "photos", 6, kind)
    memory = read(folder)
    on_disk()
    seen = []
    monkeypatch.setattr(
        _images, "channel_stats", lambda images: seen.append(is_mapped(images)) or channel_stats(images)
    )
    for _ in range(2):  # decoded; then read from the store
        disk = read(folder)
        assert seen.pop()  # no copy on the way either
        assert is_mapped(disk.inputs)
        assert not is_mapped(memory.inputs)
        assert disk.fingerprint == memory.fingerprint
        assert disk.inputs.equal(memory.inputs)
        assert disk.inputs.is_contiguous()
        assert disk.preprocess.to_state()[0] == memory.preprocess.to_state()[0]
        assert (disk.notes, disk.warnings, list(disk.ids)) == (memory.notes, memory.warnings, list(memory.ids))
    new = read_new(folder, memory.preprocess, memory.classes)
    assert is_mapped(new.inputs)
    assert new.inputs.equal(memory.inputs)


def counting(monkeypatch):
    decoded = []
    monkeypatch.setattr(
        f"{PICTURES}.read_image", lambda file, *a, **k: decoded.append(file) or read_image(file, *a, **k)
    )
    return decoded


def test_a_photo_is_decoded_once_and_again_where_it_changed(tmp_path, on_disk, monkeypatch):
    folder, decoded = photos(tmp_path / "photos"), counting(monkeypatch)
    on_disk()
    read(folder)
    assert len(decoded) == 12
    (folder / "0" / "00").rename(folder / "1" / "moved")
    (folder / "1" / "01").write_bytes(KINDS["turned by EXIF"](1))
    [store] = Path("runs/features").iterdir()
    read(folder, ReadOptions(features=str(store)))
    assert decoded[12:] == [folder / "1" / "01"]
    read(folder, ReadOptions(image_size=5))  # other pixels of the same photos
    assert len(decoded) == 25


def test_a_stopped_run_goes_on_where_it_was(tmp_path, on_disk, monkeypatch):
    folder, decoded = photos(tmp_path / "photos", 80), counting(monkeypatch)
    memory = read(folder)
    decoded.clear()
    on_disk()
    monkeypatch.setattr(_store, "_SHARD_BYTES", 1)  # each batch of 32 is a file

    def stop(kind, done, total):
        raise KeyboardInterrupt

    token = _store.PROGRESS.set(stop)
    with pytest.raises(Interrupted, match=r"stopped; 32 features are kept in .*pixels-"):
        read(folder)
    _store.PROGRESS.reset(token)
    decoded.clear()
    assert read(folder).fingerprint == memory.fingerprint
    assert len(decoded) == 80 - 32


def test_damaged_photos_are_named_or_left_out_as_in_memory(tmp_path, on_disk):
    folder = photos(tmp_path / "photos", 8, "grey")
    whole = (folder / "0" / "04").read_bytes()
    (folder / "0" / "04").write_bytes(whole[: len(whole) - 40])  # its header is whole, its pixels are not
    (folder / "1" / "05").write_bytes(b"\x89PNG\r\n\x1a\n nothing")
    skip = ReadOptions(skip_bad=True)
    memory = read(folder, skip)
    with pytest.raises(DataError) as before:
        read(folder)
    on_disk()
    with pytest.raises(DataError) as after:
        read(folder)
    assert str(after.value) == str(before.value)
    disk = read(folder, skip)
    assert (disk.fingerprint, disk.counts) == (memory.fingerprint, memory.counts)
    assert sorted(disk.warnings) == sorted(memory.warnings)


def test_a_damaged_store_is_named(tmp_path, on_disk):
    folder = photos(tmp_path / "photos")
    on_disk()
    read(folder)
    [shard] = (tmp_path / "runs" / "features").glob("*/*.parquet")
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pq.read_table(shard)
    short = table.set_column(2, "features", pa.array([b"abc"] * len(table), pa.binary(3)))
    pq.write_table(short, shard)
    with pytest.raises(RunError, match=r"parquet holds vectors of another size than 144\. Remove it"):
        read(folder)
    pq.write_table(table.set_column(2, "features", pa.array([b"abc"] * len(table))), shard)
    with pytest.raises(RunError, match="another size"):
        read(folder)


@pytest.mark.parametrize("shape", [(20, 9, 8), (20, 3, 9, 8), (20, 9, 8, 3)])
@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("name", ["x.npy", "x.npz", "small.npz"])
def test_pixels_of_an_array_are_read_where_they_lie(tmp_path, on_disk, shape, order, name):
    pixels = np.asarray(noise(*shape), order=order)
    np.save(tmp_path / "x.npy", pixels)
    np.savez(tmp_path / "x.npz", X=pixels)
    np.savez_compressed(tmp_path / "small.npz", X=pixels)
    np.save(tmp_path / "y.npy", np.arange(20) % 2)
    options = ReadOptions(labels=str(tmp_path / "y.npy"))
    memory = read(tmp_path / name, options)
    on_disk()
    disk = read(tmp_path / name, options)
    assert is_mapped(disk.inputs) == (name != "small.npz")
    assert not is_mapped(memory.inputs)
    assert disk.inputs.equal(memory.inputs)
    assert disk.fingerprint == memory.fingerprint
    assert disk.preprocess.to_state()[0] == memory.preprocess.to_state()[0]


def test_statistics_do_not_depend_on_the_block(monkeypatch):
    images = torch.from_numpy(noise(50, 3, 8, 8))
    mean, std = images.double().mean((0, 2, 3)), images.double().std((0, 2, 3), correction=0)
    found = ImagePreprocess.fit(images.numpy(), layout="chw").stats
    np.testing.assert_allclose(found, [mean.tolist(), std.tolist()], rtol=1e-12)


def test_training_on_disk_ends_with_the_weights_of_training_in_memory(tmp_path, on_disk):
    folder = photos(tmp_path / "photos", 40, "palette")
    asked = {"network": "cnn:4", "epochs": 2, "held_out": 0.2, "method": "cross-entropy", "augment": "flip,crop:1"}
    fit(folder, out=tmp_path / "memory", say=None, **asked)
    on_disk()
    fit(folder, out=tmp_path / "disk", say=None, **asked)
    weights = [(tmp_path / name / "model.safetensors").read_bytes() for name in ("disk", "memory")]
    assert weights[0] == weights[1]
