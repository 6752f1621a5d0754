"""Which method the data choose, what the closed form refuses, and what a run of it leaves."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from selfdistill import train
from selfdistill._core.errors import SettingError
from selfdistill._core.events import EpochDone, RunStarted, Stage
from selfdistill._core.read_options import ReadOptions
from selfdistill.closed import refine_labels
from selfdistill.data._source import from_arrays
from selfdistill.runs._directory import run
from selfdistill.runs._model_file import load_model
from selfdistill.runs._predict import predict
from selfdistill.runs._request import FitRequest, start
from selfdistill.train import Settings
from selfdistill.train._choice import choose_method
from selfdistill.train._closed import check_closed
from selfdistill.train._fit import fit
from selfdistill.train._loop import predict_probabilities
from selfdistill.train._runtime import TorchRuntime

pytestmark = pytest.mark.usefixtures("few_trees")


@pytest.fixture(scope="module")
def clouds():
    rng = np.random.default_rng(0)
    truth = rng.integers(3, size=240)
    given = np.where(rng.random(240) < 0.25, (truth + 1) % 3, truth)
    return from_arrays(4 * np.eye(3)[truth] + rng.normal(size=(240, 3)), given.astype(str))


def images(n=20):
    return from_arrays(np.zeros((n, 8, 8), np.uint8), np.arange(n) % 2)


@pytest.mark.parametrize(
    ("asked", "vectors", "pictures"),
    [
        ({}, "kernel", "selfdistill"),
        ({"epochs": 5}, "selfdistill", "selfdistill"),
        ({"network": "mlp:8"}, "selfdistill", "selfdistill"),
        ({"noise_rate": 0.1}, "selfdistill", "selfdistill"),
        ({"rounds": 2}, "kernel", "kernel"),
        ({"kernel": "rbf"}, "kernel", "kernel"),
        ({"seed": 5, "device": "cpu"}, "kernel", "selfdistill"),
    ],
)
def test_auto_goes_by_inputs_and_by_what_is_asked(clouds, asked, vectors, pictures):
    settings = Settings(method="auto", **asked)
    assert choose_method(settings, clouds)[0] == vectors
    assert choose_method(settings, images())[0] == pictures
    assert choose_method(Settings(method="elr"), clouds) == ("elr", None)


@pytest.mark.parametrize("name", ["epochs", "batch_size", "lr", "held_out", "noise_rate"])
def test_settings_of_training_are_refused_by_the_closed_form(name):
    value = {"epochs": 3, "batch_size": 8, "lr": 0.1, "held_out": 0.2, "noise_rate": 0.1}[name]
    with pytest.raises(SettingError, match=f"method 'kernel' trains no network, and `{name}` is {value}"):
        check_closed(Settings(method="kernel", **{name: value}))
    check_closed(Settings(method="auto", **{name: value}))


def test_a_fit_is_the_room_s_own_result(clouds):
    events = []
    fitted = fit(clouds, Settings(method="kernel").resolve(len(clouds), "cpu"), tell=events.append)
    alone = refine_labels(clouds.inputs, clouds.labels, 3)
    torch.testing.assert_close(fitted.refined, alone.posterior, rtol=0, atol=0)
    np.testing.assert_array_equal(fitted.table().quality, alone.quality.astype(np.float32))
    probabilities = predict_probabilities(fitted.model, clouds.inputs, TorchRuntime())
    torch.testing.assert_close(probabilities, alone.machine(clouds.inputs).softmax(1))
    kinds = [type(event) for event in events]
    assert kinds[0] is RunStarted
    assert kinds[-1] is EpochDone
    assert kinds.count(Stage) > 3
    assert events[-1].metrics["loss"] == pytest.approx(alone.nats)


def test_the_saved_classifier_predicts_the_same(clouds, tmp_path):
    settings = Settings(method="kernel").resolve(len(clouds), "cpu")
    record = run(clouds, settings, tmp_path / "run", source={"source": None, "read": {}, "test": None})
    model = load_model(tmp_path / "run" / "model.safetensors")
    again = fit(clouds, settings)
    with torch.no_grad():
        torch.testing.assert_close(model.network(clouds.inputs), again.model(clouds.inputs), rtol=0, atol=0)
    assert model.spec == record.settings.network == again.closed.machine.spec
    assert record.closed.round == again.closed.choice.best.round
    assert sum(part.weight for part in record.closed.mixture) == pytest.approx(1)


def test_images_can_be_asked_for(clouds):
    rng = np.random.default_rng(0)
    truth = np.arange(120) % 2
    pixels = (rng.random((120, 8, 8)) * 100 + 100 * truth[:, None, None]).astype(np.uint8)
    data = from_arrays(pixels, truth.astype(str))
    fitted = fit(data, Settings(method="kernel").resolve(120, "cpu"))
    probabilities = predict_probabilities(fitted.model, data.inputs, TorchRuntime())
    assert (probabilities.argmax(1).numpy() == truth).mean() > 0.95


def test_equal_rows_with_other_labels_are_named():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(60, 2))
    x[7] = x[3]
    y = np.where(x[:, 0] > 0, "hot", "cold").astype(object)
    y[3], y[7] = "hot", "cold"
    fitted = fit(from_arrays(x, y), Settings(method="kernel").resolve(60, "cpu"))
    assert fitted.warnings == [
        "1 example is equal to an earlier one but with another label, such as '7' ('cold') to '3' ('hot'): "
        "not both can be right."
    ]


def test_constant_columns_are_saved_and_say_nothing_of_new_rows(tmp_path):
    rng = np.random.default_rng(0)
    truth = rng.integers(2, size=80)
    x = np.column_stack([truth + 0.1 * rng.normal(size=80), np.full(80, 7.0)])
    data = from_arrays(x, truth.astype(str))
    run(data, Settings(method="kernel").resolve(80, "cpu"), tmp_path / "run",
              source={"source": None, "read": {}, "test": None})  # fmt: skip
    model = load_model(tmp_path / "run" / "model.safetensors")
    assert all(bool(torch.isfinite(t).all()) for t in model.network.state_dict().values())
    with torch.no_grad():
        one, two = (model.network(model.preprocess.apply(np.array([[1.0, c]]))) for c in (7.0, 99.0))
    torch.testing.assert_close(one, two)


def test_images_with_empty_borders_are_predicted_from_a_saved_run(tmp_path):
    truth = np.arange(60) % 2
    pixels = np.zeros((60, 8, 8), np.uint8)
    pixels[:, 3:5, 3:5] = (100 + 100 * truth + np.random.default_rng(0).integers(20, size=60))[:, None, None]
    data = from_arrays(pixels, truth.astype(str))
    run(data, Settings(method="kernel").resolve(60, "cpu"), tmp_path / "run",
              source={"source": None, "read": {}, "test": None})  # fmt: skip
    model = load_model(tmp_path / "run" / "model.safetensors")
    with torch.no_grad():
        assert (model.network(data.inputs).argmax(1).numpy() == truth).all()


@pytest.mark.parametrize("form", ["npy", "npz", "parquet"])
def test_a_fit_of_vectors_on_disk_is_that_of_vectors_in_memory(tmp_path, monkeypatch, form):
    rng = np.random.default_rng(0)
    truth = rng.integers(3, size=240)
    x = (rng.normal(size=(3, 5))[truth] + 0.7 * rng.normal(size=(240, 5))).astype(np.float16)
    y = np.where(rng.random(240) < 0.25, rng.integers(3, size=240), truth)
    x[9], y[9], y[4] = x[4], 1, 2
    read = {"labels": str(tmp_path / "y.npy")} if form == "npy" else {}
    path = str(tmp_path / f"x.{form}")
    if form == "npy":
        np.save(path, x)
        np.save(tmp_path / "y.npy", y)
    elif form == "npz":
        np.savez(path, X=x, y=y)
    else:
        lists = pa.FixedSizeListArray.from_arrays(pa.array(x.ravel()), 5)
        pq.write_table(pa.table({"label": y.astype(str), "x": lists}), path)
    found = []
    for limit in (2**28, 0):
        monkeypatch.setattr("selfdistill.data._stored.MAPPED_BYTES", limit)
        out = tmp_path / f"run-{limit}"
        asked = FitRequest(path, read=ReadOptions(**read), settings=Settings(**{"landmarks": 40}), out=out)
        seen = []
        fit_closed = train._fit.fit_closed
        with monkeypatch.context() as patch:
            patch.setattr(
                train._fit, "fit_closed", lambda data, *a, **k: (seen.append(data), fit_closed(data, *a, **k))[1]
            )
            record, _ = start(asked)
        assert (seen[0].mapped is None) == bool(limit)
        (out / "labels.parquet").rename(out / "kept.parquet")
        again, _ = start(FitRequest(resume=out))  # what is lost is computed anew, from the same data
        assert again.data.fingerprint == record.data.fingerprint
        assert pq.read_table(out / "labels.parquet").equals(pq.read_table(out / "kept.parquet"))
        found.append((record, pq.read_table(out / "labels.parquet"), predict(out, path).probabilities))
    assert found[0][0].data.fingerprint == found[1][0].data.fingerprint
    assert found[0][0].warnings == found[1][0].warnings
    assert "1 example is equal to an earlier one" in found[0][0].warnings[-1]
    assert found[0][1].equals(found[1][1])
    assert torch.equal(found[0][2], found[1][2])


def test_a_network_reads_vectors_into_memory(tmp_path, monkeypatch):
    monkeypatch.setattr("selfdistill.data._stored.MAPPED_BYTES", 0)
    rng = np.random.default_rng(0)
    np.savez(tmp_path / "x.npz", X=rng.normal(size=(60, 3)), y=np.arange(60) % 2)
    settings = {"network": "mlp:4", "epochs": 1}
    record, _ = start(FitRequest(str(tmp_path / "x.npz"), settings=Settings(**settings), out=tmp_path / "run"))
    assert record.status == "finished"


def test_equal_rows_are_those_of_a_search_one_by_one():
    rng = np.random.default_rng(0)
    rows = rng.integers(3, size=(300, 3)).astype(np.float32)
    data = from_arrays(rows, rng.integers(2, size=300).astype(str))
    first: dict[bytes, int] = {}
    twins = []
    for i, row in enumerate(data.inputs.numpy()):
        j = first.setdefault(row.tobytes(), i)
        twins += [i] if data.labels[i] != data.labels[j] else []
    (warning,) = train._closed._conflicts(data)
    assert warning.startswith(f"{len(twins)} examples are equal")
    assert f"such as '{twins[0]}'" in warning
    assert train._closed._conflicts(from_arrays(rng.normal(size=(50, 3)), np.arange(50) % 2)) == []
