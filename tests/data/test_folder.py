"""Folders of images."""

import io
import struct
import subprocess
import zipfile
import zlib

import numpy as np
import pytest
from PIL import Image

from selfdistill._core.errors import DataError
from selfdistill._core.read_options import ReadOptions
from selfdistill.data._copy import write_refined
from selfdistill.data._read import read, read_new, read_test
from selfdistill.data.formats._folder import training_root

RNG = np.random.default_rng(0)


def save(path, shape=(6, 5, 3), seed=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    array = np.random.default_rng(seed).integers(0, 256, shape).astype(np.uint8)
    Image.fromarray(array).save(path)
    return array


def photos(root, ending="png", shape=(6, 5, 3)):
    return {
        f"{c}/{i}.{ending}": save(root / c / f"{i}.{ending}", shape, i) for c in ("cat", "ein hünd") for i in range(3)
    }


@pytest.mark.parametrize("ending", ["png", "bmp", "webp", "tiff", "PNG"])
@pytest.mark.parametrize("shape", [(6, 5, 3), (6, 5)])
def test_images_come_back(tmp_path, ending, shape):
    want = photos(tmp_path, ending, shape)
    (tmp_path / "cat" / "notes.txt").write_text("x")
    (tmp_path / ".cache").mkdir()
    save(tmp_path / ".cache" / "x.png")
    data = read(tmp_path)
    assert data.ids.tolist() == sorted(want)
    assert data.classes == ("cat", "ein hünd")
    assert data.labels.tolist() == [0, 0, 0, 1, 1, 1]
    channels = 1 if len(shape) == 2 and ending != "webp" else 3
    assert data.inputs.shape == (6, channels, 6, 5)
    if ending != "webp":  # lossy
        got = data.inputs.permute(0, 2, 3, 1).numpy().reshape(6, *shape)
        np.testing.assert_array_equal(got, np.stack([want[name] for name in data.ids]))


def test_modes(tmp_path):
    save(tmp_path / "a" / "grey.png", (4, 4))
    save(tmp_path / "a" / "clear.png", (4, 4, 4))
    Image.fromarray(np.full((4, 4), 40000, np.uint16)).save(tmp_path / "a" / "deep.png")
    Image.new("P", (4, 4), 0).save(tmp_path / "b.gif")
    (tmp_path / "b").mkdir()
    (tmp_path / "b.gif").rename(tmp_path / "b" / "b.gif")
    data = read(tmp_path)
    assert data.inputs.shape == (4, 3, 4, 4)
    assert data.inputs[list(data.ids).index("a/deep.png")].unique().tolist() == [40000 >> 8]


def test_sizes_that_differ(tmp_path):
    photos(tmp_path)
    save(tmp_path / "cat" / "9.png", (6, 7, 3))
    save(tmp_path / "cat" / "10.png", (90, 100, 3))
    data = read(tmp_path)
    assert data.inputs.shape == (8, 3, 5, 5)  # the median of 5, 5, 5, 5, 5, 5, 6 and 90
    assert len(data.notes) == 1
    assert "3 different sizes, from 5 to 100 pixels wide and 6 to 90 high: all are resized to 5 x 5" in data.notes[0]
    data = read(tmp_path, ReadOptions(image_size=8))
    assert not data.notes
    assert data.inputs.shape == (8, 3, 8, 8)
    again = type(data.preprocess).from_state(*data.preprocess.to_state())
    assert (read_new(tmp_path, again, data.classes).inputs == data.inputs).all()


@pytest.mark.parametrize("damage", [b"", b"not an image", None])
def test_unreadable_images(tmp_path, damage):
    photos(tmp_path)
    bad = tmp_path / "cat" / "1.png"
    bad.write_bytes(bad.read_bytes()[:-40] if damage is None else damage)
    with pytest.raises(DataError, match=r"1 of 6 images cannot be read: .*cat/1.png \(.*`skip_bad`") as caught:
        read(tmp_path)
    assert "\n" not in str(caught.value)
    data = read(tmp_path, ReadOptions(skip_bad=True))
    assert data.counts == {"skipped_bad": 1}
    assert len(data) == 5
    assert "cat/1.png" in data.warnings[0]


def test_nothing_readable(tmp_path):
    for name in ("a/1.png", "b/1.png"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_bytes(b"x")
    with pytest.raises(DataError, match="none of the 2 images"):
        read(tmp_path, ReadOptions(skip_bad=True))


def test_images_too_large_to_train_on_are_refused_with_their_size(tmp_path):
    for name in ("a/1.png", "b/2.png"):
        (tmp_path / name).parent.mkdir()
        Image.new("1", (1024, 1025)).save(tmp_path / name)
    with pytest.raises(
        DataError, match=r"have 1,024 x 1,025 pixels, but training takes at most 1,048,576. .*such as 64"
    ):
        read(tmp_path)
    assert read(tmp_path, ReadOptions(image_size=8)).inputs.shape == (2, 1, 8, 8)


def bomb(width, height):
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"\0")) + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    ("side", "text"),
    [(8001, "8,001 x 8,001 pixels"), (12_000, "12,000 x 12,000 pixels"), (50_000, "2,500,000,000 pixels")],
)
def test_huge_image_is_refused_by_its_header(tmp_path, side, text):
    photos(tmp_path)
    (tmp_path / "cat" / "1.png").write_bytes(bomb(side, side))
    for options in (ReadOptions(), ReadOptions(skip_bad=True)):
        with pytest.raises(DataError, match=rf"cat/1.png has {text}, but at most 64,000,000 are read"):
            read(tmp_path, options)


@pytest.mark.parametrize("form", ["EPS", "PCX", "SGI"])
def test_only_the_listed_formats_are_decoded(tmp_path, form):
    photos(tmp_path)
    Image.new("RGB", (5, 6)).save(tmp_path / "cat" / "1.png", form)
    with pytest.raises(DataError, match="cannot be read"):
        read(tmp_path)


def test_loose_images_and_one_class(tmp_path):
    save(tmp_path / "cat" / "1.png")
    with pytest.raises(DataError, match="only the class 'cat'"):
        read(tmp_path)
    save(tmp_path / "2.png")
    with pytest.raises(DataError, match=r"2\.png lies outside of a class folder"):
        read(tmp_path)


def test_linked_class_folders_are_classes_and_circles_end(tmp_path):
    photos(tmp_path / "there")
    root = tmp_path / "here"
    root.mkdir()
    for name in ("cat", "ein hünd"):
        (root / name).symlink_to(tmp_path / "there" / name)
    (tmp_path / "there" / "cat" / "up").symlink_to(tmp_path)
    (tmp_path / "there" / "cat" / "self").symlink_to(tmp_path / "there" / "cat")
    (tmp_path / "there" / "cat" / "other").symlink_to(tmp_path / "there" / "ein hünd")
    (tmp_path / "there" / "ein hünd" / "other").symlink_to(tmp_path / "there" / "cat")
    data = read(root)
    assert data.classes == ("cat", "ein hünd")
    assert data.ids.tolist()[:3] == ["cat/0.png", "cat/1.png", "cat/2.png"]
    assert "cat/other/0.png" in data.ids.tolist()
    assert len(data) == 12
    with pytest.raises(DataError, match=r"lies outside|only the class"):
        read(root / "cat")


@pytest.mark.parametrize("gap", [".", "_", "", " ("])
def test_classes_in_the_names_of_files(tmp_path, gap):
    end = ")" if "(" in gap else ""
    for name in ("cat", "big dog"):
        for i in range(2):
            save(tmp_path / "a b" / f"{name}{gap}{i}{end}.png", seed=i)
    with pytest.raises(DataError, match="lies outside of a class folder") as caught:
        read(tmp_path / "a b")
    if end:
        assert str(caught.value).endswith("Put every image into the folder of its class.")
        return
    commands = str(caught.value).partition("('big dog', 'cat'): ")[2].rstrip(".")
    subprocess.run(["/bin/sh", "-c", commands], check=True)
    assert read(tmp_path / "a b").classes == ("big dog", "cat")


def test_names_that_tell_no_class(tmp_path):
    for i in range(4):
        save(tmp_path / f"IMG_{i}.png")
    with pytest.raises(DataError, match=r"such images\)\. Put every image into the folder of its class\.$"):
        read(tmp_path)


def test_folders_that_are_no_class_are_predicted(tmp_path):
    photos(tmp_path / "old")
    data = read(tmp_path / "old")
    save(tmp_path / "new" / "cat" / "1.png")
    save(tmp_path / "new" / "dog" / "2.png")
    new = read_new(tmp_path / "new", data.preprocess, data.classes)
    assert new.ids.tolist() == ["cat/1.png", "dog/2.png"]
    assert new.labels.tolist() == [0, -1]
    assert (
        "1 of 2 images lie in folders that are not classes of training ('dog'): they are predicted" in new.warnings[0]
    )
    (tmp_path / "new" / "cat").rename(tmp_path / "new" / "bird")
    assert read_new(tmp_path / "new", data.preprocess, data.classes).labels is None


def test_empty_class_folder_is_said(tmp_path):
    photos(tmp_path)
    (tmp_path / "dog").mkdir()
    assert read(tmp_path).warnings == ("folders without images are not classes: 'dog'.",)


def test_train_and_test_folders(tmp_path):
    photos(tmp_path / "train")
    save(tmp_path / "test" / "cat" / "x.png")
    data = read(tmp_path)
    assert len(data) == 6
    assert data.classes == ("cat", "ein hünd")
    inputs, labels, ids = read_test(None, data, source=tmp_path)
    assert (len(inputs), labels.tolist(), ids.tolist()) == (1, [0], ["cat/x.png"])
    save(tmp_path / "test" / "dog" / "x.png")
    with pytest.raises(DataError, match="holds the class 'dog'"):
        read_test(None, data, source=tmp_path)


def test_new_images(tmp_path):
    photos(tmp_path / "train")
    data = read(tmp_path / "train")
    array = save(tmp_path / "new" / "b.png")
    save(tmp_path / "new" / "a.png", (6, 5))  # grey: brought to the mode of training
    new = read_new(tmp_path / "new", data.preprocess, data.classes)
    assert new.labels is None
    assert new.ids.tolist() == ["a.png", "b.png"]
    np.testing.assert_array_equal(new.inputs[1].permute(1, 2, 0).numpy(), array)
    one = read_new(tmp_path / "new" / "b.png", data.preprocess, data.classes)
    assert one.ids.tolist() == ["b.png"]
    save(tmp_path / "new" / "b.png", (7, 7, 3))
    with pytest.raises(DataError, match=r"b\.png has 7 x 7 pixels, but training had 5 x 6"):
        read_new(tmp_path / "new" / "b.png", data.preprocess, data.classes)


@pytest.mark.parametrize(
    ("parts", "tested"),
    [
        (("Training", "Testing"), True),
        (("train", "dev"), False),
        (("train", "valid", "test"), True),
        (("TRAIN", "test", "annotations"), True),
        (("train",), False),
    ],
)
def test_parts_of_a_data_set_are_no_classes(tmp_path, parts, tested):
    for part in parts:
        if part == "annotations":
            (tmp_path / part).mkdir()
            (tmp_path / part / "boxes.json").write_text("{}")
        else:
            photos(tmp_path / part)
    data = read(tmp_path)
    assert data.classes == ("cat", "ein hünd")
    assert len(data) == 6
    assert (read_test(None, data, source=tmp_path) is not None) == tested


def test_parts_that_hold_classes_are_parts_whatever_lies_beside_them(tmp_path):
    for part in ("train", "val"):
        photos(tmp_path / part)
    save(tmp_path / "annotations" / "drawn.png", (6, 5))
    assert read(tmp_path).classes == ("cat", "ein hünd")


def test_one_folder_of_images_beside_a_table_is_told(tmp_path):
    for name in "abc":
        save(tmp_path / "k" / "images" / f"{name}.png")
    (tmp_path / "k" / "labels.csv").write_text("id,label\na,x\nb,y\nc,x\n")
    with pytest.raises(
        DataError, match=r"all images in one folder, 'images', and the table labels.csv beside it. Read"
    ):
        read(tmp_path / "k")


def test_what_is_left_out_beside_the_training_part_is_told(tmp_path):
    for part in ("train", "val"):
        photos(tmp_path / part)
    (tmp_path / "masks").mkdir()
    message = (
        f"only train/ is read for training; 'masks', 'val' are left out; --test {tmp_path / 'val'} to measure with"
    )
    assert any(note.startswith(message) for note in read(tmp_path).warnings)
    (tmp_path / "val").rename(tmp_path / "test")
    assert "only train/ is read for training; 'masks' is left out" in read(tmp_path).warnings
    (tmp_path / "masks").rmdir()
    assert not any("left out" in note for note in read(tmp_path).warnings)  # the test part is read by itself


def test_classes_that_are_named_like_parts_stay_classes(tmp_path):
    for name in ("train", "bus"):
        save(tmp_path / name / "1.png")
        save(tmp_path / name / "2.png")
    assert read(tmp_path).classes == ("bus", "train")


def test_an_archive_of_images_is_read_copied_and_kept_within_its_folder(tmp_path):
    with zipfile.ZipFile(tmp_path / "p.zip", "w") as archive:
        for i, kind in enumerate(["cat", "dog", "cat"]):
            raw = io.BytesIO()
            Image.new("L", (4, 4), 40 * i).save(raw, "png")
            archive.writestr(f"{kind}/{i}.png", raw.getvalue())
    data = read(tmp_path / "p.zip")
    assert data.ids.tolist() == ["cat/0.png", "cat/2.png", "dog/1.png"]
    assert data.inputs[:, 0, 0, 0].tolist() == [0, 80, 40]
    write_refined(tmp_path / "p.zip", ReadOptions(), tmp_path / "new", column=("refined_label", ["dog", "cat", "dog"]))
    assert read(tmp_path / "new").ids.tolist() == ["cat/2.png", "dog/1.png", "dog/cat__0.png"]
    with pytest.raises(DataError, match=r"p.zip is an archive: its images have no place on disk. Unpack it"):
        training_root(tmp_path / "p.zip")
    with zipfile.ZipFile(tmp_path / "p.zip", "a") as archive:
        archive.writestr("../../out.png", b"")
    with pytest.raises(DataError, match=r"p.zip holds a file outside of it, '../../out.png'"):
        read(tmp_path / "p.zip")
