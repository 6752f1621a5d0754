"""What a notebook shows of an estimator: scikit-learn's own diagram, and after fit the report on the labels."""

from __future__ import annotations

import html
import re

import numpy as np
import pytest
import sklearn

from selfdistill import SelfDistillClassifier

pytestmark = pytest.mark.usefixtures("few_trees")


def data() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 2, 120)
    X = rng.normal(size=(120, 2)) + 5 * truth[:, None]
    return X, np.array(["<cat>", "dog"])[np.where(rng.random(120) < 0.2, 1 - truth, truth)]


def page(shown: str) -> str:
    return html.unescape(re.search(r'<iframe sandbox srcdoc="([^"]*)"', shown)[1])


@pytest.mark.parametrize("method", ["kernel", "memory"])
def test_after_fit_the_report_stands_below_the_diagram(method):
    X, y = data()
    clf = SelfDistillClassifier(method=method, random_state=0, **({"epochs": 8} if method == "memory" else {}))
    before = clf._repr_mimebundle_()["text/html"]
    assert "iframe" not in before
    clf.fit(X, y)
    shown = clf._repr_mimebundle_()
    assert set(shown) == {"text/plain", "text/html"}
    assert "SelfDistillClassifier" in shown["text/html"].partition("<iframe")[0]
    assert clf._repr_html_().count("<iframe") == 1
    text, table = page(shown["text/html"]), clf.label_table_
    assert f"of 120 labels look wrong ({100 * table.is_issue.mean():.1f} %)" in text
    assert "&lt;cat&gt;" in text
    assert "<cat>" not in text
    worst = int(np.argmin(table.quality))
    assert f"row {worst}<" in text
    clf.save_space()
    assert "iframe" not in clf._repr_mimebundle_()["text/html"]


def test_where_scikit_learn_shows_text_so_do_we():
    with sklearn.config_context(display="text"):
        assert set(SelfDistillClassifier()._repr_mimebundle_()) == {"text/plain"}
