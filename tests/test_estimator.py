"""The scikit-learn door: scikit-learn's own checks, and that it shows what a run by hand gives."""

from __future__ import annotations

import io
import pickle
from functools import partial

import joblib
import numpy as np
import pandas as pd
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone, is_classifier
from sklearn.model_selection import GridSearchCV, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from selfdistill import SelfDistillClassifier
from selfdistill._core.errors import DataError, ResourceError, SettingError
from selfdistill.data._source import from_arrays
from selfdistill.train import Settings
from selfdistill.train._fit import fit
from selfdistill.train._loop import predict_probabilities
from selfdistill.train._runtime import TorchRuntime

pytestmark = pytest.mark.usefixtures("few_trees")

NOT_REPEATED = dict.fromkeys(
    ("check_sample_weight_equivalence_on_dense_data", "check_sample_weight_equivalence_on_sparse_data"),
    "a weight of 2 is a row that is left out as a whole; of a repeated row, the twin stays and tells its label",
)
quick = partial(SelfDistillClassifier, "mlp:16", epochs=3, random_state=0)


def blobs(n: int = 240, k: int = 3, rate: float = 0.4, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Inputs, given labels (each wrong with probability ``rate``), true labels."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(k, size=n)
    centres = 5 * np.stack([np.cos(2 * np.pi * np.arange(k) / k), np.sin(2 * np.pi * np.arange(k) / k)], 1)
    given = np.where(rng.random(n) < rate, (truth + rng.integers(1, k, size=n)) % k, truth)
    return centres[truth] + rng.normal(size=(n, 2)), given, truth


@pytest.mark.filterwarnings("ignore:.* equal to an earlier one:UserWarning")  # rows of zeros in its sparse matrices
@parametrize_with_checks([SelfDistillClassifier()], expected_failed_checks=lambda estimator: NOT_REPEATED)
def test_scikit_learn_s_checks(estimator, check):
    check(estimator)


def test_it_shows_what_a_run_by_hand_gives():
    X, y, _ = blobs()
    door = SelfDistillClassifier("mlp:16", epochs=5, lr=0.05, random_state=7, device="cpu").fit(X, y)
    data = from_arrays(X, y)
    hand = fit(data, Settings(network="mlp:16", epochs=5, lr=0.05, seed=7).resolve(len(X), "cpu"))
    assert_array_equal(door.pred_probs_.argmax(1), hand.targets.refined().argmax(1).numpy())
    assert_allclose(door.pred_probs_, hand.targets.refined().numpy(), rtol=1e-5, atol=1e-7)
    assert_allclose(door.predict_proba(X), predict_probabilities(hand.model, data.inputs, TorchRuntime()).numpy())
    assert [row["loss"] for row in hand.curves] == door.curves_["loss"].tolist()
    assert_array_equal(door.get_label_issues()["times_forgotten"], hand.dynamics.forgotten.numpy())
    assert_array_equal(door.get_label_issues()["first_learned_epoch"], hand.dynamics.first_learned.numpy())
    assert door.n_iter_ == 5


def test_shares_of_rows_sum_to_one_and_agree_with_the_refined_labels():
    X, y, _ = blobs()
    clf = quick().fit(X, y)
    assert clf.pred_probs_.dtype == np.float32
    assert clf.pred_probs_.shape == (240, 3)
    assert_allclose(clf.pred_probs_.sum(1), 1, rtol=1e-6)
    assert clf.pred_probs_.min() >= 0
    assert_array_equal(clf.refined_labels_, clf.classes_[clf.pred_probs_.argmax(1)])
    assert clf.label_quality_.dtype == np.float64
    assert clf.label_quality_.min() >= 0
    assert clf.label_quality_.max() <= 1
    assert_allclose(clf.predict_proba(X).sum(1), 1, rtol=1e-6)


def test_it_wins_over_the_given_labels():
    X, y, truth = blobs()
    clf = SelfDistillClassifier("mlp:32", epochs=40, random_state=0).fit(X, y)
    given = (y == truth).mean()
    assert given < 0.65
    assert (clf.refined_labels_ == truth).mean() > 0.95
    assert clf.score(X, truth) > 0.95
    issues = clf.get_label_issues()
    assert issues["is_label_issue"][y != truth].mean() > 0.9
    assert issues["label_quality"][y != truth].mean() < issues["label_quality"][y == truth].mean()


def test_the_table_of_issues_has_cleanlab_s_columns():
    X, y, _ = blobs()
    clf = quick().fit(X, np.array(["c", "a", "b"])[y])
    table = clf.get_label_issues()
    assert isinstance(table.index, pd.RangeIndex)
    assert table.index.start == 0
    assert list(table.columns) == [
        "is_label_issue", "label_quality", "given_label", "predicted_label", "sample_weight", "refined_label",
        "refined_confidence", "refined_entropy", "first_learned_epoch", "times_forgotten", "given_class",
        "refined_class",
    ]  # fmt: skip
    assert [str(dtype) for dtype in table.dtypes.iloc[:6]] == ["bool", "float64", "int16", "int16", "float64", "int16"]
    assert_array_equal(table["given_label"], np.array([2, 0, 1])[y])  # positions in ["a", "b", "c"]
    assert_array_equal(table["given_class"], np.array(["c", "a", "b"])[y])
    assert_array_equal(table["refined_class"], clf.classes_[table["predicted_label"]])
    relabelled = np.where(table["is_label_issue"], table["predicted_label"], table["given_label"])
    assert_array_equal(table["refined_label"], relabelled)
    kept = table[~table["is_label_issue"]]
    assert_allclose(kept["sample_weight"], 1 / np.diag(clf.noise_matrix)[kept["given_label"]])
    assert (table["sample_weight"][table["is_label_issue"]] == 0).all()
    assert_allclose(table["refined_confidence"], clf.pred_probs_.max(1))


@pytest.mark.parametrize(
    "names",
    [
        np.array(["10", "9", "2"]),
        np.array(["zwei Wörter", " eins", "Ärger"]),
        np.array(["b", "a", "c"], dtype=object),
        np.array([30, -1, 7]),
        np.array([2.0, 0.0, 11.0]),
        np.array([True, False, True]),
    ],
    ids=["digits", "unicode", "object", "int", "float", "bool"],
)
def test_columns_follow_the_sorted_classes_of_any_type(names):
    X, y, _ = blobs(rate=0)
    clf = SelfDistillClassifier("mlp:32", epochs=20, random_state=0).fit(X, names[y])
    assert_array_equal(clf.classes_, np.unique(names))
    assert clf.predict(X).dtype == names.dtype
    assert clf.score(X, names[y]) > 0.95
    assert (clf.refined_labels_ == names[y]).mean() > 0.95


@pytest.mark.parametrize(
    "wrap",
    [
        list,
        lambda y: pd.Series(y, index=np.arange(len(y))[::-1]),
        lambda y: pd.Series(y).astype("category"),
        pd.Categorical,
        lambda y: pd.Series(y, dtype="string"),
    ],
    ids=["list", "series", "category series", "categorical", "string"],
)
def test_every_holder_of_labels_is_taken_by_position(wrap):
    X, y, _ = blobs()
    names = np.array(["x", "y", "z"])[y]
    assert_array_equal(quick().fit(X, wrap(names)).pred_probs_, quick().fit(X, names).pred_probs_)


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
@pytest.mark.parametrize(("shape", "inside"), [((8, 8), (1, 8, 8)), ((8, 8, 3), (3, 8, 8)), ((3, 8, 8), (3, 8, 8))])
def test_images_in_three_layouts(shape, inside, dtype):
    rng = np.random.default_rng(0)
    y = rng.integers(2, size=60)
    X = (rng.random((60, *shape)) * 100 + 100 * y.reshape(-1, *[1] * len(shape))).astype(dtype)
    for network in ("mlp:16", "cnn:4,4"):
        clf = SelfDistillClassifier(network, epochs=10, augment="none", random_state=0).fit(X, y)
        assert clf.preprocess_.input_shape == inside
        assert clf.n_features_in_ == np.prod(shape)
        assert clf.score(X, y) > 0.9
        assert_allclose(clf.predict_proba(X[:5]), clf.predict_proba(X)[:5], rtol=1e-4, atol=1e-6)
        with pytest.raises(DataError, match="training had"):
            clf.predict(X[..., :2])


def table(n: int = 120) -> tuple[pd.DataFrame, np.ndarray]:
    rng = np.random.default_rng(0)
    y = rng.integers(2, size=n)
    columns = {
        "size": rng.normal(size=n) + 3 * y,
        "colour": np.array(["red", "green", "blue"], dtype=object)[rng.integers(3, size=n)],
        "shape": pd.Categorical(np.where(rng.random(n) < 0.1, "round", np.where(y == 1, "long", "flat"))),
        "count": rng.integers(100, size=n),
    }
    frame = pd.DataFrame(columns, index=np.arange(n) + 1000)
    frame.iloc[3:9, 0] = np.nan
    frame.iloc[5, 1] = None
    return frame, y


def test_a_table_with_mixed_columns_and_gaps():
    frame, y = table()
    clf = SelfDistillClassifier("mlp:16", epochs=20, random_state=0).fit(frame, y)
    assert clf.feature_names_in_.tolist() == ["size", "colour", "shape", "count"]
    assert clf.n_features_in_ == 4
    assert clf.score(frame, y) > 0.9
    assert_array_equal(clf.predict(frame.iloc[10:20]), clf.predict(frame)[10:20])
    new = frame.iloc[:4].assign(colour="violet")
    assert clf.predict(new).shape == (4,)
    with pytest.raises(ValueError, match="feature names should match"):
        clf.predict(frame.drop(columns="size"))


def test_a_frame_without_names_and_an_array_after_a_frame():
    X, y, _ = blobs(rate=0)
    clf = quick(epochs=20).fit(pd.DataFrame(X), y)
    assert not hasattr(clf, "feature_names_in_")
    assert_array_equal(clf.predict(pd.DataFrame(X)), clf.predict(X))
    named = quick().fit(pd.DataFrame(X, columns=["a", "b"]), y)
    with pytest.warns(UserWarning, match="valid feature names"):
        named.predict(X)


def test_a_seed_repeats_and_none_does_not():
    X, y, _ = blobs()
    same = [quick(random_state=3).fit(X, y).pred_probs_ for _ in range(2)]
    assert_array_equal(*same)
    drawn = [quick(random_state=np.random.RandomState(5)).fit(X, y).pred_probs_ for _ in range(2)]
    assert_array_equal(*drawn)
    free = [quick(random_state=None).fit(X, y).pred_probs_ for _ in range(2)]
    assert np.abs(free[0] - free[1]).max() > 0
    with pytest.raises(ValueError, match="seed"):
        quick(random_state="a").fit(X, y)


def test_pickle_joblib_and_clone():
    X, y, _ = blobs()
    clf = quick().fit(X, y)
    file = io.BytesIO()
    joblib.dump(clf, file)
    file.seek(0)
    for twin in (pickle.loads(pickle.dumps(clf)), joblib.load(file)):
        assert_array_equal(twin.predict_proba(X), clf.predict_proba(X))
        pd.testing.assert_frame_equal(twin.get_label_issues(), clf.get_label_issues())
    fresh = clone(clf)
    assert fresh.get_params() == clf.get_params()
    assert not hasattr(fresh, "classes_")


def test_pipeline_grid_search_and_cross_val_predict():
    X, y, truth = blobs()
    pipe = make_pipeline(StandardScaler(), quick(epochs=10))
    grid = {"selfdistillclassifier__lr": [0.01, 0.1], "selfdistillclassifier__method": ["cross-entropy", "selfdistill"]}
    found = GridSearchCV(pipe, grid, cv=2, error_score="raise").fit(X, y)
    assert found.best_params_.keys() == grid.keys()
    assert found.score(X, truth) > 0.8
    out_of_sample = cross_val_predict(quick(epochs=10), X, y, cv=3, method="predict_proba")
    assert out_of_sample.shape == (240, 3)
    assert (out_of_sample.argmax(1) == truth).mean() > 0.8
    assert is_classifier(pipe)


def test_predictions_do_not_depend_on_what_else_is_predicted():
    X, y, _ = blobs(n=1500)
    clf = quick(epochs=1).fit(X, y)
    whole = clf.predict_proba(X)
    parts = np.concatenate([clf.predict_proba(part) for part in np.array_split(X, 7)])
    assert_allclose(whole, parts, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize(
    ("y", "text"),
    [
        (["a"] * 4, "the labels hold only the class .*'a'.*, but training needs at least 2 classes"),
        (pd.Series(["a", None, "b", "a"]), "1 of 4 labels are missing, the first in row 1"),
        (np.array(["a", None, "b", "a"], dtype=object), "1 of 4 labels are missing, the first in row 1"),
        (pd.Series([0, 1, None, 1], dtype="Int64"), "1 of 4 labels are missing, the first in row 2"),
        (np.array([0.0, 1.0, np.nan, 1.0]), "Input y contains NaN"),
        (np.array(["a", "b", "nan", "a"]), "no label in 1 of 4 rows"),
        (np.array([0.5, 1.5, 2.5, 3.7]), "Unknown label type"),
        ([0, 1, 0], "inconsistent numbers of samples"),
        (np.array([0, "a", 1, "b"], dtype=object), "label"),
    ],
)
@pytest.mark.parametrize("holder", [np.asarray, pd.DataFrame])
def test_labels_that_cannot_be_used(y, text, holder):
    with pytest.raises(ValueError, match=text):
        quick().fit(holder(np.arange(8.0).reshape(4, 2)), y)


def test_odd_but_legal_data():
    rng = np.random.default_rng(0)
    with pytest.warns(UserWarning, match="class 'rare' has one example"):
        clf = quick().fit(rng.normal(size=(17, 1)), ["a", "b"] * 8 + ["rare"])
    assert clf.classes_.tolist() == ["a", "b", "rare"]
    two = quick().fit([[0.0, 1.0], [0.0, 2.0], [0.0, 3.0], [0.0, 4.0]], [0, 0, 1, 1])  # a constant column
    assert two.predict([[0.0, 1.0]]).shape == (1,)
    many = quick(batch_size=64).fit(rng.normal(size=(2000, 3)), np.arange(2000) % 1000)
    assert many.pred_probs_.shape == (2000, 1000)


@pytest.mark.parametrize(
    ("settings", "error", "text"),
    [
        ({"epochs": 0}, SettingError, "epochs is 0, but must be at least 1"),
        ({"lr": -1.0}, SettingError, "lr is -1.0"),
        ({"method": "selfdistil"}, SettingError, "Did you mean selfdistill"),
        ({"device": "abacus"}, SettingError, "abacus"),
        ({"device": "cuda:99"}, ResourceError, "not available"),
        ({"precision": "fp8"}, SettingError, "fp8"),
    ],
)
def test_settings_out_of_range(settings, error, text):
    X, y, _ = blobs()
    with pytest.raises(error, match=text):
        SelfDistillClassifier("mlp:4", **{"epochs": 1} | settings).fit(X, y)


def test_verbose_writes_one_line_per_epoch_to_stderr(capsys):
    quick(verbose=1).fit(*blobs()[:2])
    captured = capsys.readouterr()
    assert captured.out == ""
    assert [line.split(":")[0] for line in captured.err.splitlines()] == [
        "epoch 1 of 3",
        "epoch 2 of 3",
        "epoch 3 of 3",
    ]
    quick().fit(*blobs()[:2])
    assert capsys.readouterr().err == ""


def test_tensors_are_taken():
    X, y, _ = blobs()
    found = quick().fit(torch.from_numpy(X).requires_grad_(), torch.from_numpy(y)).pred_probs_
    assert_array_equal(found, quick().fit(X, y).pred_probs_)
