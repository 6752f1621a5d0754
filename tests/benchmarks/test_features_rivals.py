"""Rivals on small data: what they return, and closed forms against slow twins."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from benchmarks.features import linear, neighbours
from benchmarks.features.data_sets import DataSet
from benchmarks.features.rivals import OURS, RIVALS, answer, rival
from sklearn.linear_model import Ridge

from selfdistill._core.errors import SettingError

RNG = np.random.default_rng(0)
TRUTH = np.arange(120) % 3
INPUTS = (RNG.normal(size=(120, 4)) + 4 * np.eye(3, 4)[TRUTH]).astype(np.float32)
GIVEN = np.where(RNG.random(120) < 0.2, (TRUTH + 1) % 3, TRUTH)
DATA = DataSet("small", "development", INPUTS[:90], TRUTH[:90], INPUTS[90:], TRUTH[90:], "made here")


@pytest.mark.parametrize("name", [name for name in RIVALS if name not in {"kernel", "auto", "naive Bayes"}])
def test_every_rival_learns_and_finds_errors(name):
    if name == "LightGBM":
        pytest.importorskip("lightgbm", reason="LightGBM is not installed")
    given = GIVEN[:90].copy()
    given[given == 2], given[given == 1] = 5, 2  # classes 1, 3 and 4 have no label
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = answer(rival(name), DATA, given, seed=0)
    assert set(found["predicted"]) <= {0, 2, 5}
    truth = np.array([0, 2, 5])[TRUTH]
    assert (found["predicted"] == truth[90:]).mean() > (0.5 if "boosting" in name else 0.7)  # leaves of 20 rows
    wrong = given != truth[:90]
    assert found["quality"][wrong].mean() < found["quality"][~wrong].mean()
    assert found["flagged"].dtype == bool
    assert len(found["flagged"]) == len(found["refined"]) == 90


def test_naive_bayes_reads_words():
    texts = [["apple pear", "bus train", "rain snow"][c] for c in TRUTH]
    words = DataSet("texts", "development", texts[:90], TRUTH[:90], texts[90:], TRUTH[90:], "made here")
    found = answer(rival("naive Bayes"), words, GIVEN[:90], seed=0)
    assert (found["predicted"] == TRUTH[90:]).all()
    assert found["flagged"].tolist() == (GIVEN[:90] != TRUTH[:90]).tolist()
    assert not rival("naive Bayes").fits(DATA)
    assert not rival("boosting").fits(words)


def test_a_large_data_set_is_not_for_slow_rivals():
    large = DataSet("large", "final", np.empty((20_000, 1_000), np.float32), TRUTH, INPUTS, TRUTH, "made here")
    assert not rival("cleanlab, boosting").fits(large)
    assert rival("ridge, GCV").fits(large)


def test_an_unknown_rival_is_named_with_all_others():
    with pytest.raises(SettingError, match="no rival 'svm'"):
        rival("svm")
    assert set(OURS) < set(RIVALS)


@pytest.mark.parametrize("columns", [4, 200])
def test_ridge_leaves_out_one_row_as_a_refit_does(columns):
    inputs = np.random.default_rng(1).normal(size=(60, columns)).astype(np.float32)
    inputs[:, :3] += 3 * np.eye(3)[TRUTH[:60]]
    found = linear.ridge(inputs, GIVEN[:60], 3, inputs, seed=0)
    scaled = (inputs - inputs.mean(0)) / inputs.std(0)
    targets = np.eye(3)[GIVEN[:60]]
    rows = np.delete(np.arange(60), 7)
    for strength in linear._STRENGTHS * np.linalg.svd(scaled, compute_uv=False)[: min(59, columns)].__pow__(2).mean():
        whole = Ridge(strength).fit(scaled, targets).predict(scaled)
        if np.allclose(whole, found["test_scores"], atol=1e-4):
            break
    else:
        pytest.fail("no ridge parameter of the grid gives the same predictions")
    alone = Ridge(strength).fit(scaled[rows] - scaled.mean(0), targets[rows]).predict(scaled[[7]])[0]
    others = np.delete(alone, GIVEN[7])
    assert found["quality"][7] == pytest.approx(alone[GIVEN[7]] - others.max(), abs=1e-3)


def test_adaptive_neighbours_follow_their_definition():
    train, test = INPUTS[:90], INPUTS[90:]
    given = GIVEN[:90]
    found = neighbours.adaptive(train, given, 3, test, 0, least=3, most=9)
    near, near_test = neighbours._search(train, given, 3, test, 9)
    needed = []
    for i in range(90):
        agree = [m for m in (3, 5, 7) if np.bincount(given[near[i, :m]], minlength=3).argmax() == given[i]]
        needed.append(agree[0] if agree else 9)
    assert np.allclose(found["quality"], 1 / np.array(needed), atol=1e-3)
    assert found["flagged"].tolist() == [m == 9 for m in needed]
    for j in range(len(test)):
        votes = np.zeros(3)
        for i in near_test[j, : needed[near_test[j, 0]]]:
            votes[given[i]] += 1 / needed[i]
        assert np.allclose(found["test_scores"][j], votes)
