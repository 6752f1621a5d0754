"""TF-IDF against its definition, and rebuilt without pickles."""

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from selfdistill.data._text import TEXT_WEIGHT, TextColumn


def by_definition(cells, terms, corpus):
    def grams(cell):
        words = cell.lower().split()
        return words + [" ".join(pair) for pair in pairwise(words)]

    out = np.zeros((len(cells), len(terms)))
    n = len(corpus)
    for i, cell in enumerate(cells):
        for j, term in enumerate(terms):
            count = grams(cell).count(term)
            within = sum(term in grams(other) for other in corpus)
            out[i, j] = (1 + math.log(count)) * (1 + math.log((1 + n) / (1 + within))) if count else 0.0
        norm = np.linalg.norm(out[i])
        out[i] *= TEXT_WEIGHT / norm if norm else 0.0
    return out


WORDS = st.lists(st.sampled_from(["Ab", "cd", "é", "x", "日本", "CD"]), max_size=6).map(" ".join)


@given(st.lists(WORDS, min_size=1, max_size=6).filter(lambda cells: any(cells)), st.lists(WORDS, max_size=4))
@settings(max_examples=40)
def test_equals_the_definition(cells, new):
    column = TextColumn.fit(cells, 1000)
    np.testing.assert_allclose(column.apply(cells), by_definition(cells, column.terms, cells), rtol=1e-5, atol=1e-6)
    if new:
        np.testing.assert_allclose(column.apply(new), by_definition(new, column.terms, cells), rtol=1e-5, atol=1e-6)


def test_rebuilt_column_gives_equal_bits():
    cells = [f"word{i % 7} and {i % 3} more" for i in range(60)]
    column = TextColumn.fit(cells, 1000)
    again = TextColumn(list(column.terms), column.idf.copy())
    np.testing.assert_array_equal(again.apply(cells), column.apply(cells))


def test_limit_rare_terms_and_no_words():
    cells = [f"word{i % 7} unique{i}" for i in range(60)]
    assert set(TextColumn.fit(cells, 1000).terms) == {f"word{i}" for i in range(7)}
    assert len(TextColumn.fit(cells, 3).terms) == 3
    assert TextColumn.fit(["...", "!"], 10) is None


@pytest.mark.parametrize("cell", ["", "unknown", "?!"])
def test_text_without_known_words_is_zero(cell):
    assert not TextColumn.fit(["some words"], 10).apply([cell]).any()
