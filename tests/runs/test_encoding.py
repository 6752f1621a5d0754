"""Which data an encoder reads by itself, what is said where it is missing, and how a run keeps to it."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from sklearn.datasets import load_sample_images

import selfdistill
from selfdistill._core.errors import RunError, SettingError
from selfdistill._core.read_options import ReadOptions
from selfdistill._core.record import write_json_record
from selfdistill.encoders._encoder import is_packaged
from selfdistill.runs import _encoding as module
from selfdistill.runs._encoding import embed


@pytest.fixture
def choosing(encoders, monkeypatch):
    monkeypatch.delenv("SELFDISTILL_ENCODER")
    return encoders


def photos(root, count=44, side=40, grey=False):
    """Two classes, dark and bright; every tenth photo lies in the wrong folder."""
    rng = np.random.default_rng(0)
    for row in range(count):
        bright = row % 2
        place = root / "ab"[bright if row % 10 else 1 - bright] / f"{row:03}.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        shade = rng.integers(130 * bright, 120 + 130 * bright, (side, side + row % 3, 3), np.uint8)
        Image.fromarray(shade[..., 0] if grey else shade).save(place)
    return root


def texts(path, count=44):
    rows = [("a bird sings in tree" if row % 2 else "the dog eats some bones") + f" {row}" for row in range(count)]
    pd.DataFrame({"text": rows, "label": ["uv"[row % 2] for row in range(count)]}).to_csv(path, index=False)
    return path


def fitted(source, **options):
    messages = []
    run = selfdistill.fit(source, say=messages.append, **options)
    return run, messages


def test_photos_and_texts_are_encoded_by_themselves(choosing, tmp_path):
    run, _ = fitted(photos(tmp_path / "p"))
    assert run.record.settings.method == "kernel"
    assert run.record.data.read.encoder == "photos"
    wrong = {f"{'ab'[1 - row % 2]}/{row:03}.png" for row in range(0, 44, 10)}
    labels = run.labels
    assert set(labels.loc[labels["is_label_issue"], "id"]) == wrong
    run, _ = fitted(texts(tmp_path / "t.csv"))
    assert run.record.data.read.encoder == "texts"
    predicted = run.predict(tmp_path / "t.csv")
    assert (predicted["predicted_label"] == pd.read_csv(tmp_path / "t.csv")["label"]).all()


@pytest.mark.parametrize("options", [{"encoder": "none"}, {"method": "selfdistill", "epochs": 1}, {"image_size": 8}])
def test_nothing_is_encoded_where_something_else_is_asked_for(choosing, tmp_path, options):
    run, _ = fitted(photos(tmp_path / "p", 20, 16), **{"epochs": 1, "network": "mlp:4", **options})
    assert len(run.record.data.input_shape) == 3
    assert not choosing["photos"].seen
    assert not [line for line in str(run.report()).splitlines() if "pip install" in line]


def test_tiny_grey_pictures_and_the_variable_leave_pixels(choosing, tmp_path, monkeypatch):
    read = ReadOptions()
    assert module.encoder_of_photos(str(photos(tmp_path / "g", 6, 28, grey=True)), read).encoder is None
    assert module.encoder_of_photos(str(photos(tmp_path / "G", 6, 60, grey=True)), read).encoder == "photos"
    assert module.encoder_of_photos(str(photos(tmp_path / "c", 6, 28)), read).encoder == "photos"
    assert module.encoder_of_photos("digits", read).encoder is None
    monkeypatch.setenv("SELFDISTILL_ENCODER", "none")
    assert module.encoder_of_photos(str(tmp_path / "c"), read).encoder is None


def test_a_large_table_of_texts_keeps_to_words(choosing, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_MOST_TEXTS", 43)
    run, _ = fitted(texts(tmp_path / "t.csv"))
    assert run.record.data.read.encoder is None
    assert not choosing["texts"].seen


def test_the_verdict_says_what_a_missing_extra_would_bring(choosing, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "is_packaged", lambda kind: False)
    run, _ = fitted(texts(tmp_path / "t.csv"))
    assert [line for line in str(run.report()).splitlines() if "pip install 'selfdistill[texts]' has a pre" in line]
    files = sorted(photos(tmp_path / "p", 20, 40).rglob("*.png"))
    pd.DataFrame({"path": files, "y": [file.parent.name for file in files]}).to_csv(tmp_path / "q.csv", index=False)
    for source, options in ((tmp_path / "p", {}), (tmp_path / "q.csv", {"image_column": "path", "label": "y"})):
        run, _ = fitted(source, method="kernel", **options)
        assert run.record.data.input_shape == [3, 40, 40]
        lines = str(run.report()).splitlines()
        assert [line for line in lines if "pip install 'selfdistill[photos]' has a pre" in line]


def test_a_run_is_refined_without_the_encoder(choosing, tmp_path):
    run, _ = fitted(photos(tmp_path / "p"))
    seen = choosing["photos"].seen
    before = {path.relative_to(tmp_path): path.read_bytes() for path in (tmp_path / "p").rglob("*.png")}
    done = run.refine(tmp_path / "clean")
    assert choosing["photos"].seen == seen
    assert done.changed == 5
    assert {path.relative_to(tmp_path): path.read_bytes() for path in (tmp_path / "p").rglob("*.png")} == before
    moved = {path.name for path in (tmp_path / "clean").rglob("*__*")}
    assert moved == {f"{'ab'[1 - row % 2]}__{row:03}.png" for row in range(0, 44, 10)}
    assert len([*(tmp_path / "clean").rglob("*.png")]) == 44


def test_a_damaged_photo_is_left_out_of_the_run_and_of_its_copy(choosing, tmp_path):
    (photos(tmp_path / "p") / "b" / "001.png").write_bytes(b"no")
    run, _ = fitted(tmp_path / "p", skip_bad=True)
    assert run.record.data.counts["skipped_bad"] == 1
    assert run.refine(tmp_path / "clean").rows == 43
    assert len([*(tmp_path / "clean").rglob("*.png")]) == 43


def test_a_record_alone_fetches_nothing_and_runs_nothing(choosing, tmp_path, cli):
    photos(tmp_path / "p")
    run, _ = fitted(tmp_path / "p")
    read = ReadOptions(encoder="torch:os:abort")
    with pytest.raises(
        RunError, match=r"was started with the encoder 'torch:os:abort', which is not in an extra. Name it"
    ):
        module.check_named(run.folder, read)
    module.check_named(run.folder, read, read)
    module.check_named(run.folder, ReadOptions(encoder="photos"))
    record = json.loads((run.folder / "run.json").read_text())
    record["data"]["read"]["encoder"] = "torch:os:abort"
    write_json_record(run.folder, record | {"status": "interrupted"})
    for command in (("fit", "--resume", run.folder), ("distill", run.folder)):
        code, _, err = cli(*command)
        assert code == 2, err
        assert "was started with the encoder 'torch:os:abort', which is not in an extra. Name it" in err


def test_progress_tells_the_speed_and_the_time_left():
    messages, times = [], iter([0.0, 0.0, 2.0, 4.0])
    progress = module._telling(messages.append, lambda: next(times))
    progress("photos", 32, 3232)
    progress("photos", 64, 3232)
    progress("photos", 96, 3232)
    assert [event.text for event in messages][1:] == [
        "photos: 64 of 3,232, 16 a second, 3:18 left",
        "photos: 96 of 3,232, 16 a second, 3:16 left",
    ]


def test_embed_is_read_by_later_runs(choosing, tmp_path):
    photos(tmp_path / "p")
    data = embed(str(tmp_path / "p"), ReadOptions(), tmp_path / "mine")
    assert data.inputs.shape == (44, 48)
    assert choosing["photos"].seen == 44
    fitted(tmp_path / "p", features="mine")
    assert choosing["photos"].seen == 44
    assert json.loads((tmp_path / "mine" / "_encoder.json").read_text())["encoder"] == "photos"
    embed(str(texts(tmp_path / "t.csv")), ReadOptions(), None)
    fitted(tmp_path / "t.csv")
    assert choosing["texts"].seen == 44
    with pytest.raises(SettingError, match="encoder none leaves nothing to do"):
        embed(str(tmp_path / "p"), ReadOptions(encoder="none"), None)


def test_images_of_a_saved_data_set_are_refined_and_shown(choosing, tmp_path):
    datasets = pytest.importorskip("datasets")
    from selfdistill.runs._examples import open_examples

    files = [{"bytes": path.read_bytes(), "path": None} for path in sorted(photos(tmp_path / "p").rglob("*.png"))]
    made = datasets.Dataset.from_dict({"image": files, "label": [row // 22 for row in range(44)]})
    made.cast_column("image", datasets.Image()).save_to_disk(str(tmp_path / "saved"))
    run, _ = fitted(tmp_path / "saved", encoder="photos")
    assert run.record.data.input_shape == [48]
    seen = choosing["photos"].seen
    run.refine(tmp_path / "clean.npz")
    with np.load(tmp_path / "clean.npz") as clean:
        assert clean["X"].shape[0] == 44
        assert clean["X"].ndim == 4
    examples = open_examples(run.folder)
    assert (examples.kind, examples.missing) == ("image", "")
    assert examples.thumbnail(0, 20)
    assert choosing["photos"].seen == seen


# The weights come with the extra, which `dev` and so CI bring; where a user has none there is nothing to encode with.
@pytest.mark.slow
@pytest.mark.skipif(not is_packaged("photos"), reason="the extra photos is not installed")
def test_photos_as_people_have_them_end_as_a_clean_folder(tmp_path, monkeypatch):
    """Parts of two real photos, of all sizes and formats, every eighth in the wrong folder; the packaged network."""
    monkeypatch.delenv("SELFDISTILL_ENCODER")
    monkeypatch.chdir(tmp_path)
    rng, wrong = np.random.default_rng(0), set()
    scenes = [Image.fromarray(scene) for scene in load_sample_images().images]
    for number in range(96):
        scene, width, height = scenes[number % 2], *rng.integers(60, 320, 2)
        left, top = rng.integers(0, scene.width - width), rng.integers(0, scene.height - height)
        name = f"{number:02}.{('jpg', 'png', 'webp', 'bmp')[number // 2 % 4]}"
        moved = number % 8 == number // 8 % 8
        place = tmp_path / "photos" / ("temple", "flower")[(number + moved) % 2] / name
        wrong |= {name} if moved else set()
        place.parent.mkdir(parents=True, exist_ok=True)
        scene.crop((left, top, left + width, top + height)).save(place)
    before = {path: path.read_bytes() for path in (tmp_path / "photos").rglob("*.*")}
    run = selfdistill.fit("photos", say=None)
    assert run.record.data.read.encoder == "photos"
    done = run.refine("clean")
    found = {path.name.partition("__")[2] for path in (tmp_path / "clean").rglob("*__*")}
    assert done.changed == len(found)
    assert len(found & wrong) >= 0.9 * len(wrong)
    assert len(found - wrong) <= 2
    clean = {path.name.rpartition("__")[2]: path.parent.name for path in (tmp_path / "clean").rglob("*.*")}
    assert len(clean) == 96
    right = sum(folder == ("temple", "flower")[int(name[:2]) % 2] for name, folder in clean.items())
    assert right >= 94
    assert {path: path.read_bytes() for path in (tmp_path / "photos").rglob("*.*")} == before
