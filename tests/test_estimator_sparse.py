"""Sparse matrices in the estimator: TF-IDF in a pipeline, and what is too large."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.pipeline import make_pipeline
from torch import nn

from selfdistill import SelfDistillClassifier
from selfdistill._core.errors import DataError
from selfdistill.estimator import _checks

pytestmark = pytest.mark.usefixtures("few_trees")

RNG = np.random.default_rng(0)
TRUTH = RNG.integers(0, 2, 200)
GIVEN = np.where(RNG.random(200) < 0.2, 1 - TRUTH, TRUTH)
WORDS = [["goal team match ball player", "vote law party senate poll"][t].split() for t in TRUTH]
TEXTS = [" ".join(RNG.choice(words, 4)) + f" the of {RNG.integers(9)} row{i}" for i, words in enumerate(WORDS)]


def test_tfidf_in_a_pipeline():
    clf = make_pipeline(TfidfVectorizer(), SelfDistillClassifier(random_state=0)).fit(TEXTS, GIVEN)
    assert (clf.predict(TEXTS) == TRUTH).mean() > 0.97
    assert clf[-1].method_ == "kernel"
    assert clf[-1].preprocess_.scaled
    assert not clf[-1].module_.factor.ne(1).any()  # columns were not standardised
    assert (clf[-1].refined_labels_ == TRUTH).mean() > 0.97


def test_a_network_and_left_out_rows():
    X = TfidfVectorizer().fit_transform(TEXTS)
    clf = SelfDistillClassifier(method="selfdistill", network="mlp:8", epochs=20, random_state=0)
    clf.fit(X, GIVEN, label_issues=GIVEN != TRUTH)
    assert (clf.predict(X) == TRUTH).mean() > 0.97
    own = SelfDistillClassifier(lambda shape, k: nn.Linear(*shape, k), epochs=2, random_state=0).fit(X, GIVEN)
    np.testing.assert_allclose(own.predict_proba(X), own.predict_proba(X.toarray()), atol=1e-6)


def test_dense_and_sparse_rows_are_the_same_to_it(monkeypatch):
    X = TfidfVectorizer().fit_transform(TEXTS)
    clf = SelfDistillClassifier(random_state=0).fit(X, GIVEN)
    whole = clf.predict_proba(X)
    np.testing.assert_allclose(whole, clf.predict_proba(X.toarray()), atol=1e-6)
    monkeypatch.setattr(_checks, "_BLOCK_BYTES", 4 * X.shape[1] * 7)  # seven rows at a time
    np.testing.assert_allclose(clf.predict_proba(sp.coo_array(X)), whole, atol=1e-6)
    dense = SelfDistillClassifier(random_state=0).fit(X.toarray(), GIVEN)
    np.testing.assert_allclose(dense.predict_proba(X), dense.predict_proba(X.toarray()), atol=1e-6)


def test_what_is_too_large_and_what_does_not_fit():
    wide = sp.csr_array((200, 3_000_000), dtype=np.float32)
    with pytest.raises(DataError, match=r"200 x 3,000,000 takes 2.2 GiB .* at most 2 GiB are.*TruncatedSVD"):
        SelfDistillClassifier().fit(wide, GIVEN)
    frame = SelfDistillClassifier(random_state=0).fit(pd.DataFrame({0: TEXTS}), GIVEN)
    with pytest.raises(TypeError, match=r"(?i)sparse"):
        frame.predict(sp.csr_array((3, 1)))
