"""What the estimator tells: the time left, a summary, and findings with the rows' own names."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from selfdistill import SelfDistillClassifier
from selfdistill._core.events import EpochDone, RunStarted, Stage
from selfdistill.estimator._progress import Progress

pytestmark = pytest.mark.usefixtures("few_trees")

RNG = np.random.default_rng(0)
TRUTH = RNG.integers(3, size=120)
X = RNG.normal(size=(120, 4)) + 4 * np.eye(3, 4)[TRUTH]
Y = np.where(RNG.random(120) < 0.2, (TRUTH + 1) % 3, TRUTH)


def test_the_time_left_is_that_of_the_epochs_to_come(capsys):
    tell = Progress()
    tell(Stage("Reading"))
    tell(RunStarted(5, 2, 100, 10))
    metrics = {"loss": 1.0, "agreement": 0.5, "refined_share": 0.25}
    tell(EpochDone(2, metrics | {"seconds": 3.0}))
    tell(EpochDone(3, metrics | {"seconds": 5.0}))
    tell(EpochDone(4, metrics | {"seconds": 5.0}))
    assert capsys.readouterr().err.splitlines() == [
        "Reading",
        "epoch 3 of 5: loss 1.0000, agreement 50.0%, refined 25.0%, about 6 s left",
        "epoch 4 of 5: loss 1.0000, agreement 50.0%, refined 25.0%, about 4 s left",
        "epoch 5 of 5: loss 1.0000, agreement 50.0%, refined 25.0%",
    ]


def test_findings_keep_the_rows_names():
    names = [f"song {i}" for i in range(120)]
    quick = {"network": "mlp:4", "epochs": 2, "random_state": 0}
    clf = SelfDistillClassifier(**quick).fit(pd.DataFrame(X, index=names), Y)
    found = clf.get_label_issues()
    assert found.index.tolist() == names
    assert clf.sample_weight.index.tolist() == names
    again = SelfDistillClassifier(**quick).fit(pd.DataFrame(X), Y, label_issues=found)  # taken by position
    assert isinstance(again.get_label_issues().index, pd.RangeIndex)
    clf.fit(X, Y)
    assert isinstance(clf.get_label_issues().index, pd.RangeIndex)
    clf.fit(pd.DataFrame(X, index=names), Y).find_label_issues(labels=Y, pred_probs=clf.pred_probs_)
    assert isinstance(clf.get_label_issues().index, pd.RangeIndex)


def test_a_summary_says_what_is_mistaken_and_whether_to_trust_it():
    clf = SelfDistillClassifier("mlp:8", epochs=20, random_state=0).fit(X, np.array(["rock", "folk", "jazz"])[Y])
    first, second, third, *trust = clf.summary().splitlines()
    assert first == "120 examples of 3 classes, method selfdistill."
    assert second.startswith(f"{clf.label_issues_mask.sum()} labels look wrong (")
    assert third.startswith("Most often given: ")
    issues = clf.get_label_issues().query("is_label_issue and given_label != predicted_label")
    pair = issues.groupby(["given_class", "refined_class"]).size()
    (given, refined), count = pair.idxmax(), pair.max()
    assert f"{given} for {refined} ({count})" in third
    assert trust == list(clf.trust_.sentences)
