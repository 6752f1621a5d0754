"""The issue type in a real Datalab, and what is said where cleanlab is missing."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from cleanlab import Datalab
from numpy.testing import assert_allclose, assert_array_equal

from selfdistill import SelfDistillClassifier, integrations
from selfdistill._core.errors import DataError, SettingError
from selfdistill.integrations._datalab import DistillIssueManager
from selfdistill.issues import find_issues

# cleanlab 2.9 calls pandas 3.1 in ways that it will drop; Datalab swallows the error that the warning becomes
pytestmark = pytest.mark.filterwarnings("ignore:The inplace keyword")
N, K = 240, 3


@pytest.fixture(scope="module")
def fitted():
    rng = np.random.default_rng(0)
    truth = rng.integers(K, size=N)
    given = np.where(rng.random(N) < 0.3, (truth + 1) % K, truth)
    X = 5 * np.eye(K)[truth] + rng.normal(size=(N, K))
    names = np.array(["b", "c", "a"])
    clf = SelfDistillClassifier("mlp:16", epochs=20, random_state=0).fit(X, names[given])
    return clf, X, names[given], given != truth


@pytest.fixture
def lab(fitted):
    integrations.register_distill()
    return Datalab({"x": list(range(N)), "y": fitted[2].tolist()}, label_name="y", verbosity=0)


def test_findings_become_the_table_the_summary_and_the_report(fitted, lab, capsys):
    clf, _, _, wrong = fitted
    lab.find_issues(issue_types={"distill": {"findings": clf.label_table_}})
    issues = lab.get_issues("distill")
    assert list(issues.columns[:2]) == ["is_distill_issue", "distill_score"]
    assert issues.dtypes.iloc[:2].tolist() == [np.dtype(bool), np.dtype("float64")]
    assert_array_equal(issues["is_distill_issue"], clf.label_issues_mask)
    assert_array_equal(issues["distill_score"], clf.label_quality_)
    assert (issues["is_distill_issue"] == wrong).mean() > 0.95
    summary = lab.get_issue_summary("distill").iloc[0]
    assert summary["num_issues"] == clf.label_issues_mask.sum()
    assert summary["score"] == pytest.approx(clf.label_table_.noise.health)
    info = lab.get_info("distill")
    assert_allclose(info["noise_matrix"], clf.noise_matrix)
    assert_array_equal(info["confident_joint"].sum(1), np.bincount(lab.labels))
    lab.report(num_examples=3)
    assert "distill" in capsys.readouterr().out


def test_soft_targets_alone_give_what_the_room_finds(fitted, lab):
    clf, _, _, _ = fitted
    lab.find_issues(issue_types={"distill": {"soft_targets": clf.pred_probs_}})
    expected = find_issues(clf.label_table_.given, clf.pred_probs_)
    assert_array_equal(lab.get_issues("distill")["is_distill_issue"], expected.is_issue)


def test_it_stands_beside_cleanlab_s_own_label_type_and_leaks_into_none(fitted, lab):
    clf, X, _, wrong = fitted
    lab.find_issues(pred_probs=clf.pred_probs_, features=X, issue_types={"label": {}, "outlier": {}})
    own = lab.get_issues("label")
    lab.find_issues(issue_types={"distill": {"findings": clf.label_table_}})
    assert list(lab.get_issues("label").columns) == list(own.columns)
    assert (own["is_label_issue"] == wrong).mean() > 0.95
    assert {"is_label_issue", "is_distill_issue", "is_outlier_issue"} <= set(lab.get_issues().columns)


def test_datalab_s_default_issue_types_take_our_soft_labels_untouched(fitted, lab):
    clf, X, _, wrong = fitted
    lab.find_issues(pred_probs=clf.pred_probs_, features=X)
    assert (lab.get_issues("label")["is_label_issue"] == wrong).mean() > 0.95
    assert "is_distill_issue" not in lab.get_issues().columns  # never by itself


@pytest.mark.parametrize(
    ("kwargs", "error", "words"),
    [
        (lambda t: {}, SettingError, "neither of soft_targets and findings are given, but it takes one"),
        (lambda t: {"findings": t, "soft_targets": t.distribution}, SettingError, "both of soft_targets"),
        (lambda t: {"findings": find_issues([0, 1], np.eye(2))}, DataError, "on 2 examples, but the Datalab has 240"),
        (
            lambda t: {"findings": find_issues((t.given + 1) % K, t.distribution)},
            DataError,
            r"label \d in row 0, but the Datalab has \d \(240 rows differ\)",
        ),
        (lambda t: {"soft_targets": t.distribution[:5]}, DataError, "soft labels have 5 rows"),
    ],
)
def test_what_does_not_fit_is_refused(fitted, lab, kwargs, error, words):
    with pytest.raises(error, match=words):
        DistillIssueManager(lab).find_issues(**kwargs(fitted[0].label_table_))


def test_without_labels_it_is_refused():
    with pytest.raises(SettingError, match=r"no labels\. Make it with label_name"):
        DistillIssueManager(Datalab({"x": [1, 2]}, verbosity=0)).find_issues(soft_targets=np.eye(2))


def test_a_second_registration_changes_nothing():
    integrations.register_distill()
    integrations.register_distill()


def test_without_the_extra_the_error_names_it_and_the_rest_works():
    code = (
        "import sys; sys.modules['cleanlab'] = None\n"
        "import selfdistill.integrations as i\n"
        "try:\n    i.register_distill()\n"
        "except ImportError as e:\n    print(e)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "register_distill needs cleanlab" in done.stdout
    assert "pip install 'selfdistill[cleanlab]'" in done.stdout
    with pytest.raises(AttributeError, match="no attribute 'magic'"):
        integrations.magic  # noqa: B018
