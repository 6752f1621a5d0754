"""Free text as TF-IDF of words and of characters, rebuilt from terms and weights alone: nothing is pickled."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from functools import cache
from typing import Any, final

import numpy as np

from selfdistill.data._sparse import TEXT_WEIGHT

_KINDS: dict[str, dict[str, Any]] = {
    "words": {"ngram_range": (1, 2)},
    "characters": {"ngram_range": (2, 5), "analyzer": "char_wb"},
}
_EMOJI = "\U0001f300-\U0001faff\u2600-\u27bf\u2b50\u2b55"
_SKIN, _FLAGS = "\U0001f3fb-\U0001f3ff", "\U0001f1e6-\U0001f1ff"
_SHARES = (2 / 3, 1 / 3)
"""Of a text's squared length: words, characters."""
_LETTERS = 500
"""Characters of a text that count as characters; a longer one has words enough."""
_SAMPLE = 10_000
"""Texts, evenly spread, that the characters are learned from."""


@cache
def word_pattern() -> str:
    """Give the pattern of a word: letters with their marks (vowel signs, tones, points), a flag, or an emoji."""
    marks = "".join(c for c in map(chr, range(0x300, 0x1F000)) if unicodedata.category(c) in {"Mn", "Mc"})
    emoji = rf"[{_EMOJI}][{marks}{_SKIN}]*"
    return rf"(?u)\w[\w{marks}\u200c\u200d]*|[{_FLAGS}]{{2}}|{emoji}(?:\u200d{emoji})*"


def _composed(text: str) -> str:
    return unicodedata.normalize("NFC", text.lower())


def _vectorizer(kind: str, marks: bool, **settings: Any) -> Any:
    from sklearn.feature_extraction.text import TfidfVectorizer

    words = {"token_pattern": word_pattern() if marks else r"(?u)\b\w+\b"} if kind == "words" else {}
    if marks:
        settings["preprocessor"] = _composed
    return TfidfVectorizer(sublinear_tf=True, norm="l2", dtype=np.float64, **_KINDS[kind], **words, **settings)


@final
class Terms:
    """One TF-IDF: its terms, lower-cased, with weights learned in training."""

    def __init__(self, kind: str, terms: Sequence[str], idf: np.ndarray, *, marks: bool = True) -> None:
        self.kind, self.terms, self.idf = kind, tuple(terms), np.asarray(idf, dtype=np.float64)
        self.marks = marks
        self._made = _vectorizer(kind, marks, vocabulary={term: place for place, term in enumerate(self.terms)} or None)
        if self.terms:
            self._made.idf_ = self.idf

    @classmethod
    def fit(cls, kind: str, cells: Sequence[str], limit: int) -> Terms:
        """Find the terms."""
        if kind == "characters":
            cells = _heads(cells[:: -(-len(cells) // _SAMPLE) or 1])
        made = _vectorizer(kind, True, max_features=limit, min_df=2 if len(cells) >= 50 else 1)
        try:
            made.fit(cells)
        except ValueError:  # no terms, or none in two texts
            return cls(kind, (), np.zeros(0))
        return cls(kind, made.get_feature_names_out().tolist(), made.idf_)

    def rows(self, cells: Sequence[str]) -> np.ndarray:
        """Turn texts into vectors of length 1; one with none of the terms is 0."""
        if not self.terms:
            return np.zeros((len(cells), 0))
        found = self._made.transform(_heads(cells) if self.kind == "characters" else cells)
        return np.asarray(found.toarray())


def _heads(cells: Sequence[str]) -> list[str]:
    return [cell[:_LETTERS] for cell in cells]


@final
class TextColumn:
    r"""The terms of one column: words and pairs of words, and 2 to 5 characters within words."""

    # For each of the two kinds, a text with term counts c_t becomes v / |v| with v_t = (1 + ln c_t)(1 + ln((1 + n) / (1
    # + n_t))) over the terms of training. Both together are brought to length 10, of whose square characters have a
    # third; a text with none of the terms is 0. Accents are composed; vowel signs, tones, points and parts of an emoji
    # stay with what they belong to. Characters tell words of one stem, misspellings, and languages without spaces. Why
    # both: docs/decisions/0018-words-and-characters.md.

    def __init__(self, words: Terms, characters: Terms) -> None:
        self.words, self.characters = words, characters

    @property
    def width(self) -> int:
        """Number of outputs."""
        return len(self.words.terms) + len(self.characters.terms)

    @classmethod
    def fit(cls, cells: Sequence[str], limit: int) -> TextColumn | None:
        """Find the terms."""
        made = cls(Terms.fit("words", cells, limit), Terms.fit("characters", cells, limit))
        return made if made.width else None

    def apply(self, cells: Sequence[str]) -> np.ndarray:
        """Turn texts into vectors of length 10."""
        out = np.empty((len(cells), self.width), np.float32)
        step = max(1, 2**24 // max(1, self.width))
        for start in range(0, len(cells), step):
            part = cells[start : start + step]
            words, characters = self.words.rows(part), self.characters.rows(part)
            shares = np.stack([words.any(1), characters.any(1)], 1) * np.array(_SHARES)
            lengths = TEXT_WEIGHT * np.sqrt(shares / np.maximum(shares.sum(1, keepdims=True), min(_SHARES)))
            out[start : start + step, : words.shape[1]] = words * lengths[:, :1]
            out[start : start + step, words.shape[1] :] = characters * lengths[:, 1:]
        return out
