"""Who can teach these data: runs, their weights, networks and files; and who is refused, in which words."""

from __future__ import annotations

import shutil
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from selfdistill import train
from selfdistill._core.errors import DataError, RunError, SettingError
from selfdistill._core.read_options import ReadOptions
from selfdistill._core.record import read_json_record, write_json_record
from selfdistill.data._read import read
from selfdistill.distill import find_teacher, soft_labels
from selfdistill.distill._soft_labels import Store, load_store, save_store
from selfdistill.runs._directory import run
from selfdistill.runs._model_file import epoch_snapshots, load_model, load_snapshot
from selfdistill.runs._predict import predict
from selfdistill.train._loop import predict_probabilities
from selfdistill.train._runtime import TorchRuntime

RUNTIME = TorchRuntime()


def flat(k=10):
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(64, k))


class FloatFirst(nn.Module):
    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, x):
        return self.inner(x.float())


def test_a_run_teaches_with_the_epoch_that_was_chosen(teacher_run, digits):
    found = find_teacher(teacher_run, digits, way="label-wave")
    epoch = found.described["epoch"]
    assert found.choice.way == "label-wave"
    model = load_model(teacher_run / "model.safetensors").network
    own = load_snapshot(epoch_snapshots(teacher_run)[epoch], model)
    expected = predict_probabilities(own, digits.inputs, RUNTIME)
    store = soft_labels(found, digits, RUNTIME)
    there = torch.arange(len(digits))
    torch.testing.assert_close(store.soft.probabilities(there), expected, rtol=0, atol=1.5e-3)
    assert store.about.teacher["epoch"] == epoch


@pytest.mark.parametrize("file", ["epochs/epoch-0003.safetensors", "model.safetensors"])
def test_a_file_of_its_weights_teaches_too(teacher_run, digits, file):
    found = find_teacher(teacher_run / file, digits)
    assert found.described["kind"] == "checkpoint"
    epoch = 3 if "0003" in file else 8
    again = find_teacher(teacher_run, digits, way="last") if epoch == 8 else None
    store = soft_labels(found, digits, RUNTIME)
    if again is not None:
        assert torch.equal(store.soft.value, soft_labels(again, digits, RUNTIME).soft.value)
    with pytest.raises(
        SettingError, match=r"choose air needs several epochs to choose from, but the checkpoint .* is one candidate"
    ):
        find_teacher(teacher_run / file, digits, way="air")


def test_a_checkpoint_of_training_teaches_too(teacher_run, digits):
    file = sorted((teacher_run / "checkpoint").glob("step-*.pt"))[-1]
    last = soft_labels(find_teacher(teacher_run, digits, way="last"), digits, RUNTIME)
    assert torch.equal(soft_labels(find_teacher(file, digits), digits, RUNTIME).soft.value, last.soft.value)


def test_any_network_teaches_and_few_entries_are_a_loop(digits):
    network = FloatFirst(flat())
    store = soft_labels(find_teacher(network, digits), digits, RUNTIME, entries=2)
    assert store.about.teacher == {"name": "FloatFirst", "kind": "network"}
    assert store.soft.k == 2
    for i in (0, 1030, 1437):
        with torch.no_grad():
            q = network(digits.inputs[i : i + 1].float()).softmax(-1)[0]
        found = store.soft.probabilities(torch.tensor([i]))[0]
        top = q.topk(2).indices
        torch.testing.assert_close(found[top], q[top], rtol=0, atol=2e-3)


def test_a_network_of_other_classes_inputs_or_numbers_is_refused(digits):
    with pytest.raises(DataError, match=r"gives outputs of shape \[2, 7\] for 2 examples of 10 classes"):
        find_teacher(FloatFirst(flat(7)), digits)
    with pytest.raises(DataError, match=r"cannot take inputs of shape \[1, 8, 8\], torch.uint8: mat1 and mat2"):
        find_teacher(FloatFirst(nn.Linear(5, 10)), digits)
    broken = flat()
    nn.init.constant_(broken[1].bias, float("nan"))
    with pytest.raises(DataError, match="logits that are not finite"):
        find_teacher(FloatFirst(broken), digits)
    with pytest.raises(SettingError, match="but a network is one candidate"):
        find_teacher(FloatFirst(flat()), digits, way="held-out")


def test_files_of_soft_labels_and_what_is_none(tmp_path, teacher_run, digits, other):
    path = tmp_path / "soft.safetensors"
    save_store(path, soft_labels(find_teacher(teacher_run, digits, way="last"), digits, RUNTIME))
    assert isinstance(find_teacher(path, digits), Store)
    with pytest.raises(DataError, match="or the teacher itself, which can label others"):
        find_teacher(path, other)
    with pytest.raises(SettingError, match="is one candidate"):
        find_teacher(path, digits, way="air")
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(DataError, match="damaged, cut short or holds no soft labels"):
        find_teacher(path, digits)
    with pytest.raises(RunError, match=r"is not a run directory: it has no run.json"):
        find_teacher(tmp_path, digits)


def test_a_run_that_is_not_finished_cannot_teach(tmp_path, teacher_run, digits):
    shutil.copytree(teacher_run, tmp_path / "run")
    write_json_record(tmp_path / "run", read_json_record(tmp_path / "run") | {"status": "interrupted"})
    with pytest.raises(RunError, match=r"is not finished. Finish it with: selfdistill fit --resume"):
        find_teacher(tmp_path / "run", digits)


def test_images_of_the_same_shape_can_be_labelled_by_a_run_that_never_saw_them(teacher_run, digits, other):
    found = find_teacher(teacher_run, other, way="held-out")
    assert torch.equal(found.inputs, other.inputs)
    with pytest.raises(RunError, match="was trained on other data, so its kernel cannot be computed"):
        find_teacher(teacher_run, other, way="air")
    few = replace(digits, classes=digits.classes[:9], fingerprint="another")
    with pytest.raises(DataError, match=r"has 10 classes, but the data 9; only one of them has '9'"):
        find_teacher(teacher_run, few)
    large = replace(digits, inputs=torch.zeros(len(digits), 1, 9, 9), fingerprint="another" * 9)
    with pytest.raises(
        DataError, match=r"shape \[1, 8, 8\] \(fingerprint .*\), but the data are 1,438 of shape \[1, 9, 9\]"
    ):
        find_teacher(teacher_run, large)


def songs(path, seed, n):
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(rng.normal(5, 3, size=(n, 2)), columns=["a", "b"])
    frame["kind"] = np.where(frame["a"] > 5, "x", "y")
    frame.to_csv(path, index=False)


def test_other_rows_of_a_table_are_read_in_the_teachers_way(tmp_path):
    songs(tmp_path / "old.csv", 0, 60)
    songs(tmp_path / "new.csv", 1, 50)
    options = ReadOptions(label="kind")
    old, new = (read(tmp_path / name, options) for name in ("old.csv", "new.csv"))
    settings = train.Settings(method="cross-entropy", network="mlp:4", epochs=2).resolve(60, "cpu")
    run(old, settings, tmp_path / "run", source={"source": "old.csv", "read": {"label": "kind"}, "test": None})
    found = find_teacher(tmp_path / "run", new, source=str(tmp_path / "new.csv"), read={"label": "kind"})
    assert not torch.equal(found.inputs, new.inputs)
    predicted = predict(tmp_path / "run", tmp_path / "new.csv").probabilities
    store = soft_labels(found, new, RUNTIME)
    torch.testing.assert_close(store.soft.probabilities(torch.arange(50)), predicted, rtol=0, atol=1e-3)
    with pytest.raises(DataError, match="or those of its kind by their file"):
        find_teacher(tmp_path / "run", new)


@pytest.mark.parametrize("encoding", ["utf-8", "cp852"])
def test_a_teacher_reads_words_in_the_encoding_that_the_file_has(tmp_path, encoding):
    rows = pd.DataFrame({"town": ["Köln", "Łódź"] * 20, "size": np.tile(np.arange(5.0), 8), "kind": ["a", "b"] * 20})
    rows.to_csv(tmp_path / "old.csv", index=False)
    rows[:30].to_csv(tmp_path / "new.csv", index=False, encoding=encoding)
    old = read(tmp_path / "old.csv", ReadOptions(label="kind"))
    settings = train.Settings(method="cross-entropy", network="mlp:4", epochs=1).resolve(40, "cpu")
    run(old, settings, tmp_path / "run", source={"source": "old.csv", "read": {"label": "kind"}, "test": None})
    typed = {"label": "kind", "encoding": "cp852"}  # wrong for a file in UTF-8, whose bytes tell
    new = read(tmp_path / "new.csv", ReadOptions(**typed))
    found = find_teacher(tmp_path / "run", new, source=str(tmp_path / "new.csv"), read=typed)
    assert torch.equal(found.inputs, old.inputs[:30])


def test_a_stored_file_keeps_where_the_data_came_from(tmp_path, teacher_run, digits):
    source = {"source": None, "read": {}, "test": None, "seed": 0}
    found = soft_labels(find_teacher(teacher_run, digits), digits, RUNTIME, source=source)
    save_store(tmp_path / "soft", found)
    assert load_store(tmp_path / "soft").about.source == source
