"""Free text as TF-IDF, rebuilt from its words and weights alone: nothing is pickled."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, final

import numpy as np

from selfdistill.data._sparse import TEXT_WEIGHT

__all__ = ["TEXT_WEIGHT", "TextColumn"]

_PATTERN = r"(?u)\b\w+\b"


def _vectorizer(**settings: Any) -> Any:
    from sklearn.feature_extraction.text import TfidfVectorizer

    return TfidfVectorizer(
        ngram_range=(1, 2), sublinear_tf=True, norm="l2", token_pattern=_PATTERN, dtype=np.float64, **settings
    )


@final
class TextColumn:
    r"""Words and pairs of words of one column, lower-cased, with weights learned in training.

    A text with term counts :math:`c_t` becomes :math:`10\,v / \lVert v \rVert_2` with
    :math:`v_t = (1 + \ln c_t)(1 + \ln\frac{1 + n}{1 + n_t})`, over the terms of training;
    a text with none of them is 0.

    Args:
        terms: Words and pairs, in the order of the outputs.
        idf: Weight of each, float64.

    Example:
        >>> column = TextColumn.fit(["Good song", "bad song"], 100)
        >>> column.terms
        ('bad', 'bad song', 'good', 'good song', 'song')
        >>> float(np.linalg.norm(column.apply(["good"])).round(4))
        10.0
    """

    def __init__(self, terms: Sequence[str], idf: np.ndarray) -> None:
        self.terms, self.idf = tuple(terms), np.asarray(idf, dtype=np.float64)
        self._made = _vectorizer(vocabulary={term: place for place, term in enumerate(self.terms)})
        self._made.idf_ = self.idf

    @classmethod
    def fit(cls, cells: Sequence[str], limit: int) -> TextColumn | None:
        """Find the terms.

        Args:
            cells: The texts.
            limit: Most terms kept, the most frequent ones.

        Returns:
            The column; ``None`` where there is not one word. From 50 texts on a term must be in two of them.
        """
        made = _vectorizer(max_features=limit, min_df=2 if len(cells) >= 50 else 1)
        try:
            made.fit(cells)
        except ValueError:  # no words, or none in two texts
            return None
        return cls(made.get_feature_names_out().tolist(), made.idf_)

    def apply(self, cells: Sequence[str]) -> np.ndarray:
        """Turn texts into vectors of length 10.

        Args:
            cells: The texts; "" where missing.

        Returns:
            float32 ``[n, terms]``.
        """
        out = np.empty((len(cells), len(self.terms)), np.float32)
        block = max(1, 2**24 // max(1, len(self.terms)))
        for start in range(0, len(cells), block):
            out[start : start + block] = self._made.transform(cells[start : start + block]).toarray() * TEXT_WEIGHT
        return out
