"""Images from a folder and from a data set in memory: one reader, the same pixels."""

import io
import sys
import types

import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngImageFile
from tests.data.one_split import from_split

from selfdistill._core.errors import DataError
from selfdistill.data import _pixels as module
from selfdistill.data._read import read

datasets = pytest.importorskip("datasets")
RNG = np.random.default_rng(0)


def stored(image, kind, **settings):
    file = io.BytesIO()
    image.save(file, kind, **settings)
    return file.getvalue()


def noise(*shape, kind=np.uint8):
    return RNG.integers(0, 250, shape).astype(kind)


def turned(row):
    exif = Image.Exif()
    exif[0x0112] = 6
    return stored(Image.fromarray(noise(6, 8, 3)), "JPEG", exif=exif)


def clear(row):
    shape = np.zeros((8, 8, 4), np.uint8)
    shape[2:5, row, 3] = 255
    return stored(Image.fromarray(shape), "PNG")


KINDS = {
    "turned by EXIF": turned,
    "shapes in alpha": clear,
    "16 bits": lambda row: stored(Image.fromarray(noise(8, 8, kind=np.uint16)), "PNG"),
    "grey": lambda row: stored(Image.fromarray(noise(8, 8)), "PNG"),
    "sizes that differ": lambda row: stored(Image.fromarray(noise(8 + row, 9, 3)), "PNG"),
    "palette": lambda row: stored(Image.fromarray(noise(8, 8, 3)).quantize(16), "GIF"),
}


def as_dataset(files):
    cells = {
        "image": [{"bytes": data, "path": None} for data in files],
        "label": [row % 2 for row in range(len(files))],
    }
    return datasets.Dataset.from_dict(cells).cast_column("image", datasets.Image())


@pytest.mark.parametrize("kind", KINDS)
def test_a_data_set_and_a_folder_give_the_same_pixels(tmp_path, kind):
    files = [KINDS[kind](row) for row in range(6)]
    for row, data in enumerate(files):
        (tmp_path / str(row % 2)).mkdir(exist_ok=True)
        (tmp_path / str(row % 2) / f"{row}").write_bytes(data)  # without an ending, by their first bytes
    folder, found = read(tmp_path), from_split(as_dataset(files))
    order = np.argsort([int(name.split("/")[1]) for name in folder.ids])
    assert found.inputs.equal(folder.inputs[order])
    assert found.preprocess.to_state()[0] == folder.preprocess.to_state()[0]
    assert [n for n in found.notes if "label" not in n] == list(folder.notes)
    assert len(found.inputs.unique(dim=0)) == 6


def test_a_data_set_of_files_on_disk_and_of_rows_without_an_image(tmp_path):
    paths = [str(tmp_path / f"{row}.png") for row in range(4)]
    for path in paths:
        Image.fromarray(noise(8, 8, 3)).save(path)
    columns = {"image": paths, "label": [0, 1] * 2}
    found = from_split(datasets.Dataset.from_dict(columns).cast_column("image", datasets.Image()))
    assert found.inputs[3].permute(1, 2, 0).tolist() == np.asarray(Image.open(paths[3])).tolist()
    columns["image"][2] = None
    with pytest.raises(DataError, match=r"the dataset has no image in row 2"):
        from_split(datasets.Dataset.from_dict(columns).cast_column("image", datasets.Image()))
    broken = as_dataset([clear(0), clear(1), b"no image", clear(3)])
    with pytest.raises(DataError, match=r"1 of 4 images cannot be read: row 2 \("):
        from_split(broken)


@pytest.mark.parametrize("ending", [".avif", ".jp2", ".j2k", ".jfif", ".AVIF", ""])
def test_rarer_formats(tmp_path, ending):
    kind = {".avif": "AVIF", ".jp2": "JPEG2000", ".j2k": "JPEG2000"}.get(ending.lower(), "JPEG")
    if kind not in module._formats():
        pytest.skip(f"this Pillow has no {kind}")
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / f"1{ending}").write_bytes(stored(Image.fromarray(noise(16, 16, 3)), kind))
    assert read(tmp_path).inputs.shape == (2, 3, 16, 16)


@pytest.fixture
def heic(tmp_path, monkeypatch):
    """A folder of what says that it is HEIC; formats are asked for anew."""
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    module._formats.cache_clear()
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "1.heic").write_bytes(b"\0\0\0\x18ftypheic" + bytes(100))
    yield tmp_path
    module._formats.cache_clear()


def test_heic_without_the_plugin_names_it(heic):
    with pytest.raises(DataError, match=r"2 of 2 images cannot be read: .*HEIC, which pip install pillow-heif lets"):
        read(heic)


def test_heic_with_the_plugin(heic, monkeypatch):
    def opened(file, name):
        return PngImageFile(io.BytesIO(stored(Image.fromarray(noise(8, 8, 3)), "PNG")))

    def register():
        Image.register_open("HEIF", opened, lambda head: head[4:12] == b"ftypheic")

    monkeypatch.setattr(Image, "OPEN", dict(Image.OPEN))
    monkeypatch.setattr(Image, "ID", [*Image.ID])
    monkeypatch.setitem(sys.modules, "pillow_heif", types.SimpleNamespace(register_heif_opener=register))
    module._formats.cache_clear()
    assert read(heic).inputs.shape == (2, 3, 8, 8)


def test_heic_with_pillow_s_own_plugin(tmp_path):
    pytest.importorskip("pillow_heif")
    module._formats()
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        Image.fromarray(noise(16, 16, 3)).save(tmp_path / name / "1.heic")
    assert read(tmp_path).inputs.shape == (2, 3, 16, 16)
