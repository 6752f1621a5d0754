"""From raw examples to the one form."""

import hashlib

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st

from selfdistill._core.errors import DataError
from selfdistill._core.read_options import ReadOptions
from selfdistill.closed._given import check_given
from selfdistill.data._source import Source, assemble, fingerprint, from_arrays, from_frame


def test_unlabelled_rows_are_left_out_before_anything_is_learned():
    X = np.array([[1.0], [100.0], [3.0], [2.0]])
    data = from_arrays(X, ["a", None, "b", "a"], truth=["a", "a", "a", ""], options=ReadOptions(drop_unlabelled=True))
    kept = X[[0, 2, 3]]
    np.testing.assert_allclose(data.inputs.numpy(), (kept - kept.mean()) / kept.std(), rtol=1e-6)
    assert data.counts == {"dropped_unlabelled": 1}
    assert data.ids.tolist() == ["0", "2", "3"]
    assert data.truth.tolist() == [0, 0, -1]


def test_all_rows_without_label():
    with pytest.raises(DataError, match="hold no class, but training needs at least 2"):
        from_arrays([[1.0], [2.0]], [None, None], options=ReadOptions(drop_unlabelled=True))


def test_truth_of_a_class_that_is_never_given():
    data = from_arrays([[1.0], [2.0], [3.0]], ["a", "b", "a"], truth=["a", "c", None])
    assert data.truth.tolist() == [0, -1, -1]
    assert "1 true labels name a class that is never given; they count as unknown." in data.warnings


def test_no_labels_at_all():
    with pytest.raises(DataError, match="here has no labels"):
        assemble(Source("here", "array", np.eye(2)), ReadOptions())


def test_labels_that_measure_are_refused():
    X = np.zeros((100, 1)) + np.arange(100)[:, None]
    for labels in (np.arange(100) / 7, np.arange(100) % 60 / 7, [f"{i / 8:.3f}" for i in range(100)]):
        count = len(set(np.asarray(labels).tolist()))
        with pytest.raises(DataError, match=f"are continuous: {count} different numbers in 100 rows, such as 0"):
            from_arrays(X, labels)
    with pytest.raises(DataError, match="11 different numbers in 20 rows"):
        from_arrays(X[:20], np.arange(20) % 11 / 4)
    for labels in (
        np.arange(100) % 10 / 2,
        np.arange(100) % 49,
        [f"v{i % 99}.5" for i in range(100)],
        np.arange(100) % 40 / 4,
    ):
        assert len(from_arrays(X, labels)) == 100


@pytest.mark.parametrize("labels", [np.arange(51), [f"row {i}" for i in range(51)]])
def test_labels_that_are_ids_are_refused(labels):
    X = np.ones((51, 1))
    with pytest.raises(DataError, match=r"no two of the 51 labels of .* are alike \('.*0.*', '.*'.*look like ids"):
        from_arrays(X, labels)
    assert from_arrays(X[:50], [f"row {i}" for i in range(50)]).num_classes == 50  # few enough to be classes
    assert from_arrays(X, ["row 50", *(f"row {i}" for i in range(1, 51))]).num_classes == 50


def test_a_thousand_classes_and_two_examples_each():
    data = from_arrays(np.random.default_rng(0).normal(size=(2000, 1)), [f"c {i % 1000} é" for i in range(2000)])
    assert data.num_classes == 1000
    assert data.labels.bincount().tolist() == [2] * 1000
    assert data.warnings == ()


def test_class_with_one_example_is_kept():
    data = from_arrays([[1.0], [2.0], [3.0]], ["a", "b", "a"])
    assert len(data) == 3
    assert "class 'b' has one example" in data.warnings[0]


def base():
    return torch.arange(6.0).view(3, 2), torch.tensor([0, 1, 0]), np.array(["0", "1", "2"], object), ("a", "b")


def test_fingerprint_against_hashlib():
    inputs, labels, ids, classes = base()
    want = hashlib.sha256(b"<f4(3, 2)" + inputs.numpy().tobytes() + b"<i8(3,)" + labels.numpy().tobytes())
    want.update(b"3;1:01:11:22;1:a1:b")
    assert fingerprint(inputs, labels, ids, classes) == want.hexdigest()


@pytest.mark.parametrize("change", range(6))
def test_fingerprint_sees_every_part(change):
    inputs, labels, ids, classes = base()
    before = fingerprint(inputs, labels, ids, classes)
    changes = [
        (inputs + 1e-6, labels, ids, classes),
        (inputs.view(2, 3), labels, ids, classes),
        (inputs.double(), labels, ids, classes),
        (inputs, torch.tensor([0, 1, 1]), ids, classes),
        (inputs, labels, np.array(["01", "1", "2"], object), classes),
        (inputs, labels, ids, ("a", "c")),
    ]
    assert fingerprint(*changes[change]) != before
    assert fingerprint(*base()) == before


@given(
    votes=st.lists(st.lists(st.sampled_from([*"abc", "d", None]), min_size=3, max_size=3), min_size=6, max_size=20),
)
def test_shares_of_votes_are_counted_row_by_row(votes):
    votes = [*votes, ["a", "a", None], ["b", None, None]]
    assume(len({c for row in votes for c in row} - {None}) > 1)
    frame = pd.DataFrame(votes, columns=["ann", "bob", "cem"]).assign(x=[i % 5 for i in range(len(votes))])
    data = from_frame(frame, options=ReadOptions(annotator=("ann", "bob", "cem"), drop_unlabelled=True))
    rows = [row for row in votes if any(row)]
    assert len(data) == len(rows)
    assert torch.equal(data.shares.argmax(1), data.labels)
    assert check_given(data.shares, len(data.classes), votes=data.votes).codes.tolist() == data.labels.tolist()
    for row, shares, label, votes in zip(
        rows, data.shares.tolist(), data.labels.tolist(), data.votes.tolist(), strict=True
    ):
        counts = [row.count(name) for name in data.classes]  # "d" is none where it is nowhere the label
        assert sum(counts) == votes
        assert shares == pytest.approx([count / sum(counts) for count in counts], abs=1e-3)
        assert counts[label] == max(counts)
    assert data.preprocess.roles.ignored == ("ann", "bob", "cem")
