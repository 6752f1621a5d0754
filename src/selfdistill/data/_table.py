"""Tables: numbers are imputed and standardised, lists standardised, categories become indicators, text TF-IDF."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, final

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from selfdistill._core.advice import Advice
from selfdistill._core.errors import DataError, SettingError
from selfdistill._core.read_options import ReadOptions
from selfdistill._core.wording import listed
from selfdistill.data._arrays import check_scales, standardise
from selfdistill.data._arrow_types import Vectors, as_table
from selfdistill.data._columns import as_strings, find_kind, tally
from selfdistill.data._encoded import Embedded, is_encoded
from selfdistill.data._fitted import Categories, Numbers, Terms, TextColumn, unseen_words
from selfdistill.data._labelled import Note
from selfdistill.data._labels import near_matches
from selfdistill.data._numerals import PLAIN, Notation, choose_notations
from selfdistill.data._preprocess import Preprocess, Roles
from selfdistill.data._roles import WRITTEN, refuse_twice

_TEXT_LIMIT = 5000  # of words and pairs, and of characters
_INPUT_BYTES = 2 * 2**30


@final
class TablePreprocess(Preprocess, kind="table"):
    """Columns of a table as one float32 vector: numbers, missing indicators, categories, lists, texts."""

    def __init__(
        self,
        roles: Roles,
        numbers: Numbers,
        categories: list[Categories],
        texts: list[tuple[str, TextColumn]],
        vectors: list[Vectors],
    ) -> None:
        self.roles, self._numbers, self._categories, self._texts = roles, numbers, categories, texts
        self._vectors = vectors

    @property
    def features(self) -> tuple[str, ...]:
        """The columns that must be there."""
        return tuple(name for names in self.kinds.values() for name in names)

    @property
    def kinds(self) -> dict[str, tuple[str, ...]]:
        """The feature columns by kind: "numeric", "categorical", "text", and "vector" where there are some."""
        categorical, text = tuple(c.name for c in self._categories), tuple(name for name, _ in self._texts)
        vector = {"vector": tuple(column.name for column in self._vectors)} if self._vectors else {}
        return {"numeric": tuple(self._numbers.names), "categorical": categorical, "text": text} | vector

    @property
    def scaled(self) -> bool:
        return bool(self._texts)

    @property
    def only_scaled(self) -> bool:
        return self.scaled and len(self.features) == len(self._texts)

    @property
    def input_shape(self) -> tuple[int, ...]:
        d = len(self._numbers.names) + len(self._numbers.flagged)
        d += sum(len(c.values) + c.other for c in self._categories) + sum(column.width for column in self._vectors)
        return (d + sum(column.width for _, column in self._texts),)

    def check_columns(self, names: Sequence[str]) -> None:
        """Refuse a table whose columns are not those of training."""
        missing = [name for name in self.features if name not in names]
        known = {*self.features, *self.roles.others(), *WRITTEN, f"{self.roles.label}_before_noise"}
        extra = [name for name in names if name not in known]
        if not missing and not extra:
            return
        parts = [f"missing {listed(missing)}"] if missing else []
        parts += [f"not known from training: {listed(extra)}"] if extra else []
        candidates = sorted(known.difference(names, WRITTEN))
        near = "".join(near_matches(name, candidates).partition("There are")[0] for name in extra[:1])
        raise DataError(
            f"the feature columns differ from training: {'; '.join(parts)}",
            f"{near}Give the columns of training; the label and columns that were ignored may be there or not.",
        )

    def apply(self, raw: Any) -> Tensor:
        table = as_table(raw)
        self.check_columns(table.column_names)
        n = table.num_rows
        out = np.zeros((n, self.input_shape[0]), np.float32)
        values = self._numbers.filled(self._numbers.read(table), n)
        start = values.shape[1]
        out[:, :start] = standardise(values, *self._numbers.scales)
        for column in self._categories:
            codes = column.codes(table[column.name])
            rows = np.flatnonzero(codes >= 0)
            out[rows, start + codes[rows]] = 1.0
            start += len(column.values) + column.other
        for vector in self._vectors:
            out[:, start : start + vector.width] = vector.apply(table[vector.name])
            start += vector.width
        for name, text in self._texts:
            cells = ["" if cell is None else cell for cell in as_strings(table[name], name)]
            out[:, start : start + text.width] = text.apply(cells)
            start += text.width
        return torch.from_numpy(out)

    def doubts(self, raw: Any) -> list[str]:
        table = as_table(raw)
        messages = self._numbers.doubts(table)
        for column in self._categories:
            messages += column.doubts(table[column.name])
        for name, text in self._texts:
            messages += unseen_words(table[name], name, text)
        return messages

    def facts(self) -> str:
        parts = [
            f"{len(names):,} {kind} column{'s' if len(names) != 1 else ''}"
            for kind, names in self.kinds.items()
            if names
        ]
        return ", ".join(parts) + f" ({self.input_shape[0]:,} inputs)"

    def to_state(self) -> tuple[dict[str, Any], dict[str, Tensor]]:
        spec = {
            "kind": self.kind,
            "roles": self.roles.to_spec(),
            "numeric": self._numbers.names,
            "flagged": self._numbers.flagged,
            "categorical": [column._asdict() for column in self._categories],
            "text": (texts := [{"name": name} | _terms(column) for name, column in self._texts]),
        }
        if self._numbers.notations:
            spec["notation"] = {name: list(notation) for name, notation in self._numbers.notations.items()}
        if self._numbers.codes:
            spec["missing_codes"] = {name: list(codes) for name, codes in self._numbers.codes.items()}
        if self._vectors:
            spec["vector"] = [{"name": column.name, "width": column.width} for column in self._vectors]
        tensors = {"median": torch.from_numpy(self._numbers.median)}
        for name, array in zip(("scale", "mean", "std"), self._numbers.scales, strict=True):
            tensors[name] = torch.from_numpy(array)
        for place, vector in enumerate(self._vectors):
            tensors[f"vector.{place}"] = torch.from_numpy(vector.scales)
        for place, (_, column) in enumerate(self._texts):
            tensors[f"idf.{place}"] = torch.from_numpy(column.words.idf)
            if column.characters.terms:
                tensors[f"characters.{place}"] = torch.from_numpy(column.characters.idf)
            if column.embedded is not None:
                texts[place]["embedded"], tensors[f"embedded.{place}"] = column.embedded.to_state()
        return spec, tensors

    @classmethod
    def _rebuild(cls, spec: dict[str, Any], tensors: dict[str, Tensor]) -> TablePreprocess:
        def array(name: str) -> np.ndarray:
            return np.asarray(tensors[name].double().numpy())

        scales = (array("scale"), array("mean"), array("std"))
        flagged = [int(i) for i in spec["flagged"]]
        notations = {name: Notation(*one) for name, one in spec.get("notation", {}).items()}
        codes = {str(name): [float(code) for code in some] for name, some in spec.get("missing_codes", {}).items()}
        numbers = Numbers(list(spec["numeric"]), array("median"), flagged, scales, notations, codes)
        check_scales(scales, len(numbers.names) + len(flagged))
        if numbers.median.shape != (len(numbers.names),) or not set(flagged) <= set(range(len(numbers.names))):
            raise ValueError("medians or indicators of other columns")
        categories = [Categories(c["name"], list(c["values"]), bool(c["other"])) for c in spec["categorical"]]

        def text(place: int, state: dict[str, Any]) -> TextColumn:
            terms = state.get("characters", ())
            idf = array(f"characters.{place}") if terms else np.zeros(0)
            marks = bool(state.get("marks"))
            words = Terms("words", state["terms"], array(f"idf.{place}"), marks=marks)
            beside = Embedded.of_state(state["embedded"], array(f"embedded.{place}")) if "embedded" in state else None
            return TextColumn(words, Terms("characters", terms, idf, marks=marks), beside)

        texts = [(c["name"], text(i, c)) for i, c in enumerate(spec["text"])]
        vectors = [Vectors(c["name"], array(f"vector.{i}")) for i, c in enumerate(spec.get("vector", ()))]
        for column in vectors:
            check_scales(column.scales, column.width)
        roles = Roles.from_spec(spec["roles"])
        made = cls(roles, numbers, categories, texts, vectors)
        names = [*made.features, *roles.ignored, *(n for n in (roles.label, roles.id, roles.truth) if n is not None)]
        words = [word for column in categories for word in column.values]
        words += [word for notation in notations.values() for word in notation]
        words += [t for _, column in texts for t in (*column.words.terms, *column.characters.terms)]
        if not all(isinstance(one, str) for one in (*names, *words)):
            raise TypeError("a column or a word that is no text")
        return made


def _terms(column: TextColumn) -> dict[str, Any]:
    characters = {"characters": list(column.characters.terms)} if column.characters.terms else {}
    return {"terms": list(column.words.terms)} | characters | ({"marks": True} if column.words.marks else {})


def column_notations(table: pa.Table, roles: Roles, options: ReadOptions) -> tuple[dict[str, Notation], list[str]]:
    """How the texts of each column write numbers."""
    skipped = {*roles.others(), *options.text, *options.categorical}
    tallies = ((name, tally(table[name], name)) for name in table.column_names if name not in skipped)
    separator = ((table.schema.metadata or {}).get(b"separator") or b"").decode()
    return choose_notations({name: found for name, found in tallies if found is not None}, separator, options)


def column_kinds(
    table: pa.Table, roles: Roles, options: ReadOptions, notations: dict[str, Notation]
) -> tuple[dict[str, list[str]], list[str]]:
    """Sort the feature columns by kind; ``kinds["none"]`` are not used."""
    kinds: dict[str, list[str]] = {"numeric": [], "categorical": [], "text": [], "vector": [], "none": []}
    notes = []
    for name in table.column_names:
        if name in roles.others():
            continue
        chosen = [kind for kind in ("numeric", "categorical", "text") if name in getattr(options, kind)]
        if len(chosen) > 1:
            refuse_twice(name, chosen[0], chosen[1], "kind")
        guess = find_kind(table[name], name, notations.get(name, PLAIN)) if not chosen else None
        kinds[chosen[0] if guess is None else guess.kind].append(name)
        if guess is not None and guess.note:
            notes.append(guess.note)
    return kinds, notes


def fit_table(
    table: pa.Table, roles: Roles, options: ReadOptions, where: str
) -> tuple[TablePreprocess, list[str], dict[str, int]]:
    """Learn the preprocess from the training rows."""
    notations, decided = column_notations(table, roles, options)
    kinds, notes = column_kinds(table, roles, options, notations)
    numbers, gaps, messages = Numbers.fit(table, kinds["numeric"], notations, options)
    notes += messages
    stds = numbers.scales[2][: len(gaps)]
    missing = sum(gaps)
    constant = [name for name, std, gap in zip(numbers.names, stds, gaps, strict=True) if not std and not gap]
    categories = []
    for name in kinds["categorical"]:
        cells = as_strings(table[name], name)
        column, note = Categories.fit(cells, name)
        categories.append(column)
        notes += [Note(note)] if note else []
        gap = sum(cell is None for cell in cells)
        missing += gap
        constant += [name] if len(column.values) < 2 and not gap else []
    texts, roles, gap, more = _fit_texts(table, kinds["text"], roles, options)
    made = TablePreprocess(
        replace(roles, ignored=(*roles.ignored, *kinds["none"])),
        numbers,
        categories,
        texts,
        [Vectors.fit(table[name], name) for name in kinds["vector"]],
    )
    if not made.features:
        why = f": {notes[0].rstrip('.')}" if notes else ""
        kinds_way = "choose their kind with {--numeric}, {--categorical} or {--text}"
        photos_way = "name a column of paths of photos with {--image-column}."
        hint = Advice("Give it columns to learn from", kinds_way, photos_way)
        raise DataError(f"{where} has no feature column left{why}", hint)
    if constant:
        word, verb = ("columns", "carry") if len(constant) > 1 else ("column", "carries")
        notes.append(f"{len(constant):,} constant {word} ({listed(constant)}) {verb} no information.")
    counts = {"missing_values": missing + gap, "constant_columns": len(constant)}
    return made, [*map(Note, decided), *notes, *more], {name: count for name, count in counts.items() if count}


def _fit_texts(
    table: pa.Table, names: list[str], roles: Roles, options: ReadOptions
) -> tuple[list[tuple[str, TextColumn]], Roles, int, list[str]]:
    """Fit the text columns within the budget of 2 GiB of inputs; a column without terms joins the ignored ones."""
    fitted, notes, gaps, wordless = [], [], 0, []
    limit = min(_TEXT_LIMIT, max(32, _INPUT_BYTES // (8 * table.num_rows * max(1, len(names)))))
    for name in names:
        cells = as_strings(table[name], name)
        gaps += sum(cell is None for cell in cells)
        column = TextColumn.fit(["" if cell is None else cell for cell in cells], limit)
        if column is None:
            wordless.append(name)
            notes.append(f"column {name!r} holds no text that repeats and is not used.")
            continue
        if is_encoded(options):
            embedded, more = Embedded.fit(["" if cell is None else cell for cell in cells], name, options)
            column, notes = column.beside(embedded), [*notes, *more]
        fitted.append((name, column))
    if is_encoded(options) and not names:
        raise SettingError(
            f"encoder {options.encoder} has nothing to read: no column is text",
            Advice("Name one with {--text} COLUMN", "photos with {--image-column} COLUMN."),
            param="encoder",
        )
    return fitted, replace(roles, ignored=(*roles.ignored, *wordless)), gaps, notes
