"""What training learned of a table's numbers, categories and texts, and what it says of new ones."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any, NamedTuple, final

import numpy as np
import pyarrow as pa

from selfdistill._core.read_options import ReadOptions
from selfdistill.data._arrays import TEXT_WEIGHT, column_scales
from selfdistill.data._columns import as_numbers, as_strings, odd_cells
from selfdistill.data._encoded import Embedded
from selfdistill.data._labels import Places
from selfdistill.data._numerals import NINES, PLAIN, Notation, choose_codes

_KINDS: dict[str, dict[str, Any]] = {
    "words": {"ngram_range": (1, 2)},
    "characters": {"ngram_range": (2, 5), "analyzer": "char_wb"},
}
_EMOJI = "\U0001f300-\U0001faff\u2600-\u27bf\u2b50\u2b55"
_SKIN, _FLAGS = "\U0001f3fb-\U0001f3ff", "\U0001f1e6-\U0001f1ff"
_SHARES = (2 / 3, 1 / 3)  # of a text's squared length: words, characters
_LETTERS = 500  # characters of a text that count as characters; a longer one has words enough
_SAMPLE = 10_000  # texts, evenly spread, that the characters are learned from


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
        weights = self._made.transform(_heads(cells) if self.kind == "characters" else cells)
        return np.asarray(weights.toarray())


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

    def __init__(self, words: Terms, characters: Terms, embedded: Embedded | None = None) -> None:
        self.words, self.characters, self.embedded = words, characters, embedded

    @property
    def width(self) -> int:
        """Number of outputs."""
        return self._terms + (self.embedded.width if self.embedded else 0)

    @property
    def _terms(self) -> int:
        return len(self.words.terms) + len(self.characters.terms)

    @classmethod
    def fit(cls, cells: Sequence[str], limit: int) -> TextColumn | None:
        """Find the terms."""
        made = cls(Terms.fit("words", cells, limit), Terms.fit("characters", cells, limit))
        return made if made.width else None

    def beside(self, embedded: Embedded) -> TextColumn:
        """Add the features of a pretrained network."""
        return TextColumn(self.words, self.characters, embedded)

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
            out[start : start + step, words.shape[1] : self._terms] = characters * lengths[:, 1:]
            if self.embedded is not None:
                out[start : start + step, self._terms :] = self.embedded.apply(part)
        return out


CATEGORY_LIMIT = 256  # categories of one column that get an indicator; rarer ones share the indicator "other"
_FAR = 100.0  # standard deviations
_ALONE = 20.0  # the same, for a number that often stands for a missing value
_ENOUGH = 20  # numbers whose median and spread are compared


class Categories(NamedTuple):
    """A categorical column: its categories in order, and whether the rest share an indicator."""

    name: str
    values: list[str]
    other: bool

    @classmethod
    def fit(cls, cells: np.ndarray, name: str) -> tuple[Categories, str]:
        """Find the categories, and what to say of them."""
        counts = Counter(cell for cell in cells if cell is not None)
        frequent = [value for value, _ in sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:CATEGORY_LIMIT]]
        other = len(counts) - len(frequent)
        note = f"column {name!r} has {len(counts):,} categories; the rarer {other:,} count as one." if other else ""
        return cls(name, sorted(frequent), bool(other)), note

    def codes(self, column: pa.ChunkedArray) -> np.ndarray:
        """Place each cell among the categories."""
        places, rest = Places(self.values), len(self.values) if self.other else -1

        def place(cell: str | None) -> int:
            found = -1 if cell is None else places[cell]
            return rest if found < 0 and cell is not None else found

        return np.array([place(cell) for cell in as_strings(column, self.name)], dtype=np.int64)

    def doubts(self, column: pa.ChunkedArray) -> list[str]:
        """Count the categories that training never saw; where rarer ones share an indicator, new ones join them."""
        places = Places(self.values)
        new = [c for c in as_strings(column, self.name) if c is not None and places[c] < 0]
        if not new or self.other:
            return []
        rows = "row" if len(column) == 1 else "rows"
        return [
            f"column {self.name!r} holds categories that were not in training in {len(new):,} of "
            f"{len(column):,} {rows}, such as {new[0][:40]!r}; they count as missing."
        ]


@dataclass(frozen=True, eq=False)
class Numbers:
    """The numeric columns."""

    names: list[str]  # the columns
    median: np.ndarray  # of each
    flagged: list[int]  # places of those that have a missing indicator
    scales: tuple[np.ndarray, np.ndarray, np.ndarray]  # what standardises columns and indicators, see `column_scales`
    # how texts write the numbers, where not as Python does
    notations: Mapping[str, Notation] = field(default_factory=dict)
    # numbers of a column that stand for missing values, see `find_codes`
    codes: Mapping[str, list[float]] = field(default_factory=dict)

    @classmethod
    def fit(
        cls, table: pa.Table, names: list[str], notations: Mapping[str, Notation], options: ReadOptions
    ) -> tuple[Numbers, list[int], list[str]]:
        """Learn from the training rows; give also the missing cells of each column, and what to say."""
        columns = {name: as_numbers(table[name], name, notations.get(name, PLAIN)) for name in names}
        codes, messages = choose_codes(columns, options)
        known = [without_codes(column, codes.get(name, [])) for name, column in columns.items()]
        gaps = [int(np.isnan(column).sum()) for column in known]
        made = cls(
            names,
            np.array([_median(column) for column in known], dtype=np.float64),
            [place for place, gap in enumerate(gaps) if gap],
            (np.zeros(0), np.zeros(0), np.zeros(0)),
            {name: notation for name, notation in notations.items() if name in names},
            codes,
        )
        return replace(made, scales=column_scales(made.filled(known, table.num_rows))), gaps, messages

    def read(self, table: pa.Table) -> list[np.ndarray]:
        """Read the columns of a table."""
        columns = {name: as_numbers(table[name], name, self.notations.get(name, PLAIN)) for name in self.names}
        return [without_codes(column, self.codes.get(name, [])) for name, column in columns.items()]

    def filled(self, columns: Sequence[np.ndarray], n: int) -> np.ndarray:
        """Put the median where a number is missing, and add the indicators."""
        out = np.empty((n, len(columns) + len(self.flagged)))
        for place, column in enumerate(columns):
            out[:, place] = np.where(np.isnan(column), self.median[place], column)
        for place, source in enumerate(self.flagged):
            out[:, len(columns) + place] = np.isnan(columns[source])
        return out

    def doubts(self, table: pa.Table) -> list[str]:
        """Say where new columns are empty, hold cells that are no numbers, or numbers far from those of training."""
        messages = []
        for place, (name, column) in enumerate(zip(self.names, self.read(table), strict=True)):
            if odd := odd_cells(table[name], name, as_numbers(table[name], name, self.notations.get(name, PLAIN))):
                many = "cell that is" if len(odd) == 1 else "cells that are"
                messages.append(f"column {name!r} has {len(odd):,} {many} no number, such as {odd[0][:40]!r}; missing.")
            known = column[~np.isnan(column)]
            scale, mean, std = (float(values[place]) for values in self.scales)
            if codes := [code for code in np.intersect1d(known, NINES) if abs(code / scale - mean) > _ALONE * std > 0]:
                messages.append(
                    f"column {name!r} holds {codes[0]:.15g} in {int((known == codes[0]).sum()):,} rows, far from all "
                    "numbers of training: if it stands for a missing value, empty these cells."
                )
            if not len(known):
                if len(column) > 1:
                    messages.append(f"column {name!r} is empty; its training median is used for every row.")
                continue
            far = np.abs(known / scale - mean) > _FAR * std if std else np.zeros(1)
            if 2 * far.sum() > len(known):
                messages.append(
                    f"column {name!r} holds other numbers than in training: the median is {np.median(known):.4g}, in "
                    f"training it was {self.median[place]:.4g}; check the unit and the decimal mark."
                )
            elif _hundredfold(known, float(self.median[place]), float(std * scale)):
                messages.append(
                    f"column {name!r} differs a hundredfold from training: the median is {np.median(known):.4g}, in "
                    f"training it was {self.median[place]:.4g}; are these per cent, and those shares, or the reverse?"
                )
        return messages


def without_codes(column: np.ndarray, codes: Sequence[float]) -> np.ndarray:
    """Make NaN of the numbers that stand for missing values."""
    return np.where(np.isin(column, codes), np.nan, column) if codes else column


def _hundredfold(known: np.ndarray, median: float, std: float) -> bool:
    """Say whether numbers are 100 times as large as in training, or as small: their median and their spread."""
    if len(known) < _ENOUGH or not median or not std:
        return False
    ratios = np.array([np.median(known) / median, np.std(known) / std])
    return bool(((ratios > 50) & (ratios < 200)).all() or ((ratios > 1 / 200) & (ratios < 1 / 50)).all())


def _median(column: np.ndarray) -> float:
    """Median of the known values; the mean of the middle two is taken without overflow."""
    known = np.sort(column[~np.isnan(column)])
    if not len(known):
        return 0.0
    low, high = known[(len(known) - 1) // 2], known[len(known) // 2]
    return float(low / 2 + high / 2) if low != high else float(low)


def unseen_words(column: pa.ChunkedArray, name: str, text: TextColumn) -> list[str]:
    """Say where no text of new data has a word that training knew."""
    cells = [cell for cell in as_strings(column, name) if cell is not None]
    step = max(1, 2**24 // max(1, len(text.words.terms)))
    if len(cells) < 2 or not text.words.terms:
        return []
    if any(text.words.rows(cells[start : start + step]).any() for start in range(0, len(cells), step)):
        return []
    return [f"column {name!r} holds no word that training knew, such as {cells[0][:40]!r}: is it of another kind?"]
