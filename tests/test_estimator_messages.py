"""What the estimator says in Python: arguments, never options of the command line; and what was wrong, in one line."""

from __future__ import annotations

import warnings
from functools import partial

import numpy as np
import pandas as pd
import pytest
from torch import nn

from selfdistill import SelfDistillClassifier
from selfdistill._core.errors import DataError, ReliabilityWarning, SelfdistillError, SettingError

pytestmark = pytest.mark.usefixtures("few_trees")

quick = partial(SelfDistillClassifier, "mlp:4", epochs=1, random_state=0)
X = pd.DataFrame({"x": np.arange(60) / 7, "k": ["a", "b"] * 30})
Y = np.array(["p", "q", "q"] * 20)


@pytest.mark.filterwarnings("ignore:The number of unique classes is greater than 50%")  # scikit-learn's, before ours
@pytest.mark.parametrize(
    ("settings", "frame", "y", "text"),
    [
        ({}, X, np.array(["p", "", "q"] * 20), "has no label in 20 of 60 rows: .* Fill them in.$"),
        ({}, X.assign(x=np.inf), Y, "infinite value in row 0 .*. Replace it by a number or empty the cell.$"),
        (
            {},
            X.assign(x=[[1, 2], [3]] * 30),
            Y,
            "lists of different lengths.* Give every row the same number of values.$",
        ),
        ({}, X, np.arange(60), "no two of the 60 labels .* nothing to learn. Give labels that repeat.$"),
        ({"device": "cuda:99"}, X, Y, "device 'cuda:99' is not available. Choose `device` auto or cpu.$"),
        ({"lr": 1e9, "epochs": 20}, X, Y, r"the loss became .*. Bring `lr` \(1e\+09\) nearer to the usual 0.03.$"),
    ],
)
def test_errors_name_arguments_only(settings, frame, y, text):
    with pytest.raises(SelfdistillError, match=text) as refused:
        quick(**settings).fit(frame, y)
    assert "--" not in str(refused.value)


def test_errors_at_predict_time_and_warnings_name_arguments_only():
    frame = X.assign(copy=Y == "p", name=[f"n{i}" for i in range(60)], constant=1, label=Y)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        clf = quick().fit(frame, Y)
    messages = [str(w.message) for w in caught]
    assert len(messages) >= 3
    assert not any("--" in sentence for sentence in messages), messages
    with pytest.raises(DataError, match=r"column 'x' holds numbers, but row 0 .*imputed\).$"):
        clf.predict(frame.assign(x="many"))


def test_notes_are_no_warnings():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.simplefilter("ignore", ReliabilityWarning)  # of three epochs
        quick().fit(X.assign(id=[f"n{i}" for i in range(60)]), Y)


@pytest.mark.parametrize(
    ("name", "value"), [("epochs", "5"), ("epochs", 2.5), ("batch_size", "16"), ("lr", "0.1"), ("momentum", "0.9")]
)
def test_settings_of_another_type_are_named(name, value):
    with pytest.raises(SettingError, match=f"^{name} is {value!r}, a {type(value).__name__}, but must be a "):
        SelfDistillClassifier(**{name: value}).fit(X, Y)


def test_a_factory_that_raises_is_named():
    def broken(shape, classes):
        return nn.Linear(*shape, "wide", classes, 3, 4)

    class Odd(nn.Module):
        def forward(self, x):
            raise KeyError("odd")

    numbers = X[["x"]].to_numpy()
    with pytest.raises(
        SettingError, match=r"the network factory, called with input_shape \(1,\) and 2 classes, raised "
    ):
        SelfDistillClassifier(broken).fit(numbers, Y)
    with pytest.raises(SettingError, match="called without arguments, raised ZeroDivisionError"):
        SelfDistillClassifier(lambda: 1 / 0).fit(numbers, Y)
    with pytest.raises(SettingError, match=r"the network cannot take inputs of shape \[2, 1\] .*: 'odd'"):
        SelfDistillClassifier(Odd()).fit(numbers, Y)


@pytest.mark.parametrize("holder", [pd.Series, list, np.array])
def test_bare_texts_are_no_table(holder):
    texts = ["one word", "two words", "three words"] * 20
    clf = quick().fit(pd.DataFrame({"text": texts}), ["p", "q"] * 30)
    for attempt in (lambda: quick().fit(holder(texts), ["p", "q"] * 30), lambda: clf.predict(holder(texts))):
        with pytest.raises(DataError, match=r"X is a \w+ of 60 values, but must have rows and columns. Pass a table: "):
            attempt()


def test_what_a_method_may_be_told_of_the_noise(tmp_path):
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, 120)
    X = rng.normal(size=(120, 3)) + 3 * y[:, None]
    matrix = tmp_path / "T.csv"
    matrix.write_text("0.7,0.3\n0.3,0.7\n")
    known = ({"method": "co-teaching", "noise_rate": 0.3}, {"method": "forward", "noise_matrix_file": str(matrix)})
    for options in known:
        clf = SelfDistillClassifier(network="mlp:8", epochs=3, random_state=0, **options).fit(X, y)
        assert clf.predict_proba(X).shape == (120, 2)
    with pytest.raises(
        Exception, match=r"`method` auto, the default, chooses selfdistill.*no `noise_rate`.*co-teaching"
    ):
        SelfDistillClassifier(network="mlp:8", noise_rate=0.3).fit(X, y)
    with pytest.raises(Exception, match="trains two networks, but one was given"):
        SelfDistillClassifier(network=nn.Linear(3, 2), method="co-teaching", noise_rate=0.3).fit(X, y)
