"""Hugging Face data sets, by a stand-in with the same attributes, and by the library where it is installed."""

import io

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image as Pictures
from tests.data.one_split import from_split

from selfdistill._core.errors import DataError
from selfdistill._core.read_options import ReadOptions
from selfdistill.data._read import read


class ClassLabel:
    names = ["no", "yes"]


class Value: ...


class Image: ...


class Dataset:
    """The part of `datasets.Dataset` that is used."""

    def __init__(self, columns, features):
        self.columns, self.features, self.column_names = columns, features, list(columns)

    def with_format(self, kind):
        assert kind == "arrow"
        return Arrow(self.columns)

    def __getitem__(self, name):
        return self.columns[name]


def stored(cell):
    if not isinstance(cell, Pictures.Image):
        return cell
    file = io.BytesIO()
    cell.save(file, "PNG")
    return {"bytes": file.getvalue(), "path": None}


class Arrow:
    def __init__(self, columns):
        self.columns = columns

    def __getitem__(self, rows):
        assert rows == slice(None)
        return pa.table({name: [stored(cell) for cell in cells] for name, cells in self.columns.items()})


def test_columns_and_class_names():
    dataset = Dataset({"x": [1.0, 2.0, 3.0], "label": [1, 0, -1]}, {"x": Value(), "label": ClassLabel()})
    data = from_split(dataset, ReadOptions(drop_unlabelled=True))
    assert data.classes == ("no", "yes")
    assert data.labels.tolist() == [1, 0]
    assert data.counts == {"dropped_unlabelled": 1}


def test_images():
    arrays = np.random.default_rng(0).integers(0, 256, (4, 6, 5, 3)).astype(np.uint8)
    pictures = [Pictures.fromarray(array) for array in arrays]
    dataset = Dataset({"img": pictures, "label": [1, 0, 1, 0]}, {"img": Image(), "label": ClassLabel()})
    data = from_split(dataset)
    np.testing.assert_array_equal(data.inputs.permute(0, 2, 3, 1).numpy(), arrays)
    assert [data.classes[label] for label in data.labels] == ["yes", "no", "yes", "no"]
    dataset.columns["img"] = [*pictures[:3], Pictures.new("RGB", (9, 9))]
    mixed = from_split(dataset)
    assert mixed.inputs.shape == (4, 3, 5, 5)
    assert any("2 different sizes" in note for note in mixed.notes)
    assert from_split(dataset, ReadOptions(image_size=4)).inputs.shape == (4, 3, 4, 4)
    with pytest.raises(DataError, match="has no column 'lable'"):
        from_split(dataset, ReadOptions(label="lable"))


@pytest.mark.filterwarnings("default")  # the library warns about its own dependencies
def test_the_library_itself():
    datasets = pytest.importorskip("datasets", reason="the extra 'hf' is not installed")

    def made(columns, **features):
        features = datasets.Features(features | {"label": datasets.ClassLabel(names=["no", "yes"])})
        table = pa.table({name: pa.array(cells) for name, cells in columns.items()})
        info = datasets.DatasetInfo(features=features)
        # a fingerprint of our own: the library's way to make one breaks with some versions of Arrow
        return datasets.Dataset(
            datasets.table.InMemoryTable(table.cast(features.arrow_schema)), info=info, fingerprint="here"
        )

    columns = {"t": ["a b", "c d", "e f"], "label": [1, 0, -1]}
    data = from_split(made(columns, t=datasets.Value("string")), ReadOptions(drop_unlabelled=True))
    assert data.classes == ("no", "yes")
    assert data.labels.tolist() == [1, 0]
    files = []
    for level in range(2):
        file = io.BytesIO()
        Pictures.new("RGB", (5, 6), (level, 0, 0)).save(file, "png")
        files.append({"bytes": file.getvalue(), "path": None})
    images = from_split(made({"img": files, "label": [1, 0]}, img=datasets.Image()))
    assert images.inputs.shape == (2, 3, 6, 5)
    assert images.inputs[1, 0].unique().tolist() == [1]


def test_offsets_that_lead_out_of_the_file_are_not_followed(tmp_path):
    """Reading such a cell ended the process with a segmentation fault."""
    datasets = pytest.importorskip("datasets")
    datasets.disable_progress_bars()
    cells = pa.array(["some", "words", "more", "words"] * 5)
    there = np.frombuffer(cells.buffers()[1], np.int32)
    table = pa.table({"label": [0, 1] * 10, "text": cells})
    datasets.Dataset(table).save_to_disk(str(tmp_path / "saved"))
    path = next((tmp_path / "saved").glob("*.arrow"))
    whole = path.read_bytes()
    assert whole.count(there.tobytes()) == 1
    path.write_bytes(whole.replace(there.tobytes(), there[:10].tobytes() + (there[10:] + 2**30).tobytes()))
    with pytest.raises(DataError, match="is damaged or not a saved data set"):
        read(tmp_path / "saved")
