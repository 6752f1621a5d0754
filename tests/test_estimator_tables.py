"""Tables and labels of every library and type through the estimator: the same data give the same findings."""

import pickle

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import scipy.sparse as sp
from numpy.testing import assert_array_equal
from sklearn.model_selection import GridSearchCV
from torch import nn

from selfdistill import SelfDistillClassifier
from selfdistill._core.errors import DataError, SelfdistillError, SettingError

pytestmark = pytest.mark.usefixtures("few_trees")

N = 90
RNG = np.random.default_rng(0)
CODES = RNG.integers(0, 3, N)
X = RNG.normal(size=(N, 2)) + 4 * CODES[:, None]
WORDS = np.array(["red", "blue", "green"])[RNG.integers(0, 3, N)]
WHOLE = RNG.integers(0, 5, N)
BIG = 2**53 + CODES
BIGS = [2**53, 2**53 + 1, 2**53 + 2]


def fitted(X, y, **settings):
    return SelfDistillClassifier("mlp:4", epochs=1, lr=0.01, random_state=0, **settings).fit(X, y)


class Stream:
    """A table of a library that is not known here: it gives Arrow's stream and the names of its columns."""

    def __init__(self, table):
        self._table, self.columns = table, table.column_names

    def __arrow_c_stream__(self, schema=None):
        return self._table.__arrow_c_stream__(schema)


class LazyFrame:
    def __init__(self, table):
        self._table = table

    def collect(self):
        return Stream(self._table)


FRAME = pd.DataFrame({"x": X[:, 0], "whole": WHOLE, "word": WORDS, "yes": WHOLE > 2})
ARROW = pa.table({"x": X[:, 0], "whole": WHOLE, "word": WORDS, "yes": WHOLE > 2})
TABLES = {
    "objects": FRAME.assign(word=FRAME["word"].astype(object), yes=FRAME["yes"].astype(object)),
    "str": FRAME.astype({"word": "str"}),
    "string": FRAME.astype({"word": "string"}),
    "string[pyarrow]": FRAME.astype({"word": "string[pyarrow]"}),
    "category": FRAME.astype({"word": "category"}),
    "nullable": FRAME.astype({"x": "Float64", "whole": "Int64", "yes": "boolean"}),
    "arrow types": FRAME.astype({"x": "float64[pyarrow]", "whole": "int32[pyarrow]", "yes": "bool[pyarrow]"}),
    "convert_dtypes": FRAME.convert_dtypes(),
    "sparse column": FRAME.astype({"whole": pd.SparseDtype(int, 0)}),
    "texts of truth values": FRAME.assign(yes=FRAME["yes"].map({True: "TRUE", False: "FALSE"})),
    "bytes": FRAME.assign(word=[word.encode() for word in WORDS]),
    "shuffled index": FRAME.set_axis(RNG.permutation(N)),
    "arrow": ARROW,
    "arrow string_view": ARROW.set_column(2, "word", pa.array(WORDS, pa.string_view())),
    "arrow categories of string_view": ARROW.set_column(
        2, "word", pa.array(WORDS.tolist(), pa.string_view()).dictionary_encode()
    ),
    "any stream": Stream(ARROW),
    "lazy": LazyFrame(ARROW),
}


@pytest.fixture(scope="module")
def plain():
    return fitted(FRAME, CODES)


@pytest.mark.parametrize("name", TABLES)
def test_the_same_table_of_another_type_gives_the_same_findings(plain, name):
    found = fitted(TABLES[name], CODES)
    assert found.preprocess_.kinds == plain.preprocess_.kinds
    assert_array_equal(found.pred_probs_, plain.pred_probs_)
    assert_array_equal(plain.predict_proba(TABLES[name]), plain.predict_proba(FRAME))
    assert list(found.feature_names_in_) == list(FRAME)


def test_polars_and_narwhals(plain):
    polars, narwhals = pytest.importorskip("polars"), pytest.importorskip("narwhals")
    table = polars.from_arrow(ARROW)
    categories = table.with_columns(polars.col("word").cast(polars.Categorical))
    for other in (table, table.lazy(), categories, narwhals.from_native(table)):
        assert_array_equal(fitted(other, polars.Series(CODES)).pred_probs_, plain.pred_probs_)
        assert_array_equal(plain.predict(other), plain.predict(FRAME))
    assert fitted(table, polars.Series(BIG)).classes_.tolist() == BIGS


@pytest.mark.parametrize("form", [sp.csr_array, sp.csc_matrix, sp.coo_array, sp.lil_matrix, sp.bsr_array, sp.dok_array])
def test_every_sparse_form(form):
    found, csr = fitted(form(X), CODES), fitted(sp.csr_matrix(X), CODES)
    assert_array_equal(found.pred_probs_, csr.pred_probs_)
    assert_array_equal(found.predict(form(X)), found.predict(X))
    assert found.predict(form((0, 2))).shape == (0,)


NAMES = np.array(["ant", "bee", "cat"])
LABELS = {  # labels, and the classes that they must have
    "Int64": (pd.Series(BIG, dtype="Int64"), BIGS),
    "UInt64": (
        pd.Series(BIG.astype(np.uint64) + np.uint64(2**63), dtype="UInt64"),
        [2**63 + 2**53 + k for k in range(3)],
    ),
    "int64[pyarrow]": (pd.Series(BIG, dtype="int64[pyarrow]"), BIGS),
    "IntegerArray": (pd.array(BIG, dtype="Int64"), BIGS),
    "DataFrame": (pd.DataFrame({"y": pd.Series(BIG, dtype="Int64")}), BIGS),
    "list": (BIG.tolist(), BIGS),
    "category": (pd.Series(BIG, dtype="Int64").astype("category"), BIGS),
    "arrow": (pa.chunked_array([BIG]), BIGS),
    "boolean": (pd.Series(CODES > 0, dtype="boolean"), [False, True]),
    "Float64": (pd.Series(CODES, dtype="Float64"), [0.0, 1.0, 2.0]),
    "string": (pd.Series(NAMES[CODES], dtype="string"), ["ant", "bee", "cat"]),
    "arrow string_view": (pa.array(NAMES[CODES], pa.string_view()), ["ant", "bee", "cat"]),
    "StringDType": (np.array(NAMES[CODES], dtype=np.dtypes.StringDType()), ["ant", "bee", "cat"]),
    "bytes": (NAMES[CODES].astype("S"), ["ant", "bee", "cat"]),
    "list of bytes": ([NAMES[k].encode() for k in CODES], ["ant", "bee", "cat"]),
    "cut": (pd.Series(pd.cut(CODES, [-1, 0, 1, 2])), ["(-1, 0]", "(0, 1]", "(1, 2]"]),
    "period": (pd.Series(pd.period_range("2020", periods=3, freq="M"))[CODES], ["2020-01", "2020-02", "2020-03"]),
}


@pytest.mark.parametrize("name", LABELS)
def test_labels_keep_their_identity_and_type(name):
    labels, classes = LABELS[name]
    found = fitted(X, labels)
    assert found.classes_.tolist() == classes
    assert {type(one) for one in found.classes_.tolist()} == {type(one) for one in classes}
    assert set(found.predict(X).tolist()) <= set(classes)
    assert len(found.find_label_issues(labels=labels, pred_probs=found.pred_probs_)) == N


def test_a_missing_nullable_label_is_told():
    with pytest.raises(DataError, match=r"Input y contains NaN: 1 of 3 labels are missing, the first in row 2"):
        fitted(X[:3], pd.array([1, 2, None], dtype="Int64"))


PROBS = np.full((N, 3), 0.05)
PROBS[np.arange(N), CODES] = 0.9
WRONG = np.arange(N) < 9
GIVEN = np.where(WRONG, (CODES + 1) % 3, CODES)


@pytest.mark.parametrize(
    ("columns", "labels"),
    [
        (["ant", "bee", "cat"], NAMES[GIVEN]),
        (["cat", "ant", "bee"], NAMES[GIVEN]),
        (["cat ", "ant", "bee"], pd.Series(NAMES[GIVEN], dtype="string")),
        ([0, 1, 2], NAMES[GIVEN]),
        ([2, 0, 1], GIVEN),
        (["2", "0", "1"], GIVEN),
        ([12.0, 11.0, 10.0], GIVEN + 10),
        (["p_ant", "p_bee", "p_cat"], GIVEN),
    ],
)
def test_columns_of_pred_probs_are_aligned_by_their_names(columns, labels):
    order = {"a": 0, "b": 1, "c": 2, "0": 0, "1": 1, "2": 2}
    at = [order[str(name).removeprefix("p_").removeprefix("1")[:1] or "1"] for name in columns]
    frame = pd.DataFrame(PROBS[:, at], columns=columns)
    found = SelfDistillClassifier().find_label_issues(labels=labels, pred_probs=frame)
    want = SelfDistillClassifier().find_label_issues(labels=GIVEN, pred_probs=PROBS)
    assert want["is_label_issue"][:9].all()
    assert_array_equal(found["is_label_issue"], want["is_label_issue"])
    assert_array_equal(found["label_quality"], want["label_quality"])


@pytest.mark.parametrize(
    ("columns", "labels"),
    [
        (["p_ant", "p_bee", "p_cat"], NAMES[GIVEN]),
        (["p_cat", "p_bee", "p_ant"], GIVEN),
        (["ant", "ant", "cat"], NAMES[GIVEN]),
        (["ant", "bee", "cow"], NAMES[GIVEN]),
    ],
)
def test_columns_of_pred_probs_that_say_nothing_are_refused(columns, labels):
    with pytest.raises(
        DataError, match=r"columns of pred_probs are named '.*', but the classes are (0|'ant'), .*to_numpy"
    ):
        SelfDistillClassifier().find_label_issues(labels=labels, pred_probs=pd.DataFrame(PROBS, columns=columns))


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (np.array([["a", "1"], ["b", "2"]] * 9), "X is an array of <U1, but must hold numbers"),
        (np.array([["a", "1"]] * 18, dtype=np.dtypes.StringDType()), "X is an array of StringDType"),
        (np.array([[b"a"]] * 18), "X is an array of |S1"),
        (np.array([["a", 1]] * 18, dtype=object), "X is an array of objects that are no numbers: could not convert"),
        (np.ones((18, 2)) + 1j, "Complex data not supported: X is an array of complex128"),
        (pd.DataFrame(X[:18], columns=["a", "a"]), "the table has more than one column named 'a'"),
        (pd.DataFrame(X[:18], columns=["a", 1]), "the column names are of the types int and str"),
        (pd.DataFrame(X[:18], columns=["a", None]), "the column names are of the types .* and str"),
    ],
    ids=str,
)
def test_what_cannot_be_taken_is_told_in_one_line(other, message):
    with pytest.raises(DataError) as error:
        fitted(other, [0, 1] * 9)
    assert message.replace(".*", "") in str(error.value) or ".*" in message
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("columns", [[0, 1], pd.MultiIndex.from_tuples([("a", 1), ("a", 2)]), ["label", "y"]], ids=str)
def test_other_names_of_columns(columns):
    frame = pd.DataFrame(X, columns=columns)
    assert_array_equal(fitted(frame, CODES).predict(frame), fitted(pd.DataFrame(X), CODES).predict(pd.DataFrame(X)))


@pytest.mark.parametrize("given", [X, FRAME, sp.csr_array(X)], ids=["array", "frame", "sparse"])
def test_no_rows_give_no_predictions(given):
    found = fitted(given, NAMES[CODES])
    assert found.predict(given[:0]).shape == (0,)
    assert found.predict_proba(given[:0]).shape == (0, 3)


def test_no_images_give_no_predictions():
    images = RNG.integers(0, 255, (12, 8, 8)).astype(np.uint8)
    found = SelfDistillClassifier("cnn", epochs=1, random_state=0).fit(images, np.arange(12) % 2)
    assert found.predict(images[:0]).shape == (0,)


def lines(shape, classes):
    return nn.Linear(*shape, classes)


def test_an_estimator_with_a_lambda_predicts_after_pickling():
    found = SelfDistillClassifier(lambda shape, classes: nn.Linear(*shape, classes), epochs=1, random_state=0)
    found.fit(X, CODES)
    copied = pickle.loads(pickle.dumps(found))
    assert_array_equal(copied.predict_proba(X), found.predict_proba(X))
    with pytest.raises(SettingError, match=r"the network was .*<lambda>, which does not pickle.*set_params"):
        copied.fit(X, CODES)
    assert_array_equal(copied.set_params(network=lines).fit(X, CODES).predict(X).shape, (N,))
    named = SelfDistillClassifier(nn.Linear(2, 3), epochs=1, random_state=0).fit(X, CODES)
    assert isinstance(pickle.loads(pickle.dumps(named)).network, nn.Linear)


@pytest.mark.slow
def test_a_search_in_processes_takes_a_lambda():
    network = SelfDistillClassifier(lambda shape, classes: nn.Linear(*shape, classes), random_state=0)
    search = GridSearchCV(network, {"epochs": [1]}, cv=2, n_jobs=2).fit(X, CODES)
    assert search.predict(X).shape == (N,)


def test_marks_of_numbers_can_be_told():
    prices = pd.DataFrame({"price": [f"{k},{200 + k}" for k in range(1, 91)]})
    with pytest.raises(SelfdistillError, match="can be read in two ways") as error:
        fitted(prices, CODES)
    assert "decimal" in error.value.hint
    for settings, median in (({"decimal": ","}, 45.745), ({"thousands": ","}, 45745.0)):
        found = fitted(prices, CODES, **settings)
        assert found.preprocess_._numbers.median.round(3).tolist() == pytest.approx([median], abs=1)
        assert found.predict(prices).shape == (N,)
