"""What the pages of one review share: the queue, the decisions, what was learned from them, and how much is left."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from selfdistill._core.advice import Advice
from selfdistill._core.errors import DataError, SelfdistillError, one_line
from selfdistill._core.record import read_finished
from selfdistill.issues._reliability import Interval, precision
from selfdistill.review._estimate import Remaining
from selfdistill.review._groups import Clusters, View, grouped, pairs
from selfdistill.review._label_scores import LastLayer, Learner, of_network, read_saved, why_fixed
from selfdistill.review._words import Piece, weighed
from selfdistill.runs._decision_files import (
    Decisions,
    decided_array,
    decided_before,
    numbered,
    read_taken,
    write_decisions,
)
from selfdistill.runs._decisions import Journal, journal_path, labels_digest
from selfdistill.runs._examples import Examples, open_examples
from selfdistill.runs._model_file import Model, load_model

_MOST = 200  # cards of one answer
_FIRST = 10.0  # seconds that learning waits for the first card
_PAUSE = 10.0  # seconds without a decision after which all is computed anew


class Behind(Exception):  # noqa: N818 (no failure: the page only has to look again)
    """A page decided on what another page has changed meanwhile."""


class Session:
    """One review of one run, by any number of pages of one process."""

    def __init__(self, run: Path, *, decisions: Path | None = None, take: Path | None = None, learn: bool = True):
        self.run, self._record = run, read_finished(run)
        self.saved, self._now = read_saved(run, self._record)
        self._classes = {name: k for k, name in enumerate(self.saved.classes)}
        self.fixed = why_fixed(self._record) if learn else Advice("Learning from decisions is off ({--no-learn}).")
        taken = None if take is None else read_taken(take, run, self._record)
        path = decisions or journal_path(run)
        given = labels_digest(self.saved.classes[code] for code in self.saved.given)
        about = {"name": run.resolve().name, "data": self._record.data.fingerprint, "labels": given}
        by_number = numbered(self._record.data.read, self.saved.ids)
        self.journal = Journal(path, self._record.id, self.saved.ids, self.saved.classes, about, by_number)
        self._lock, self._changed, self._closed = threading.RLock(), threading.Event(), False
        self.ready = threading.Event()
        self.shown = threading.Event()  # the first card has the machine for itself
        self._examples: Examples | None = None
        self._model: Model | None = None
        self._weighing = threading.Lock()
        self._opening = threading.Lock()
        self._clusters: Clusters | None = None
        self._masks: tuple[tuple[Any, ...], np.ndarray] | None = None
        self._estimate: tuple[tuple[Any, ...], dict[str, Any]] | None = None
        if taken is None and not self.journal.version:
            taken = decided_before(run, self._record)
        self._take(taken or Decisions({}))

    def _take(self, found: Decisions) -> None:
        """Bring decisions of another file in; what is decided already stays."""
        decided = {*self.journal.decided.labels, *self.journal.decided.unsure}
        self.not_taken = len(found.unknown), len(decided & {*found.labels, *found.unsure})
        if labels := {row: label for row, label in found.labels.items() if row not in decided}:
            self.journal.add("label", labels, labels.values())
        if unsure := sorted(found.unsure - decided):
            self.journal.add("unsure", unsure)

    # Learning

    def start(self, tell: Callable[[str], None] = lambda text: None) -> threading.Thread:
        """Open the data and learn from what is decided, on and on, in a thread of its own."""
        thread = threading.Thread(target=self._work, args=(tell,), name="learning", daemon=True)
        thread.start()
        return thread

    def _work(self, tell: Callable[[str], None]) -> None:
        try:
            if missing := self.examples.missing:
                tell(f"note: only the names of the examples are shown: {missing}")
            elif first := self.next(View(), 1):
                self.content(first[0]["row"])
        finally:
            self.ready.set()
        learner = None
        self.shown.wait(_FIRST)
        try:
            learner = None if self.fixed else Learner(self.run, self._record, self._now)
            if learner is None and of_network(self._record):
                self._clusters = self._clustered(LastLayer(self.run, self._record))
        except SelfdistillError as error:
            self.fixed = f"The order is that of the run: {one_line(error)}"
            if not missing:  # else it was said
                tell(f"note: {self.fixed}")
        while learner is not None and not self._closed:
            self._changed.clear()
            with self._lock:
                version, decided = self.journal.version, self._decided_codes()
            anew = version == self._now.learned
            if anew and self._clusters is None:
                by = LastLayer(self.run, self._record) if of_network(self._record) else learner
                self._clusters = self._clustered(by)
            elif not anew or not self._changed.wait(_PAUSE if learner.quick else None):
                found = learner.learn(decided, version, anew=anew)
                with self._lock:
                    self._now = found

    def _clustered(self, by: Learner | LastLayer) -> Clusters:
        rows = np.flatnonzero(self.saved.flagged)
        rows = rows[np.argsort(self._now.quality[rows], kind="stable")]
        texts = self.examples.texts_of if self.examples.kind == "text" else None
        return grouped(by.clusters, rows, len(self.saved.ids), texts)

    def close(self) -> None:
        """Let go of the journal, once nothing is being written."""
        with self._lock:
            self._closed = True
            self._changed.set()
            self.journal.close()

    @property
    def examples(self) -> Examples:
        """The data, opened when first asked for."""
        with self._opening:
            if self._examples is None:
                names = np.asarray(self.saved.classes, object)[self.saved.given]
                self._examples = open_examples(self.run, (np.array(self.saved.ids, object), names))
            return self._examples

    # What a page asks for

    def state(self, view: View | None = None) -> dict[str, Any]:
        """Say how far the review is."""
        with self._lock:
            decided = self.journal.decided
            return {
                "version": self.journal.version,
                "learned": self._now.learned,
                "fixed": self.fixed,
                "examples": len(self.saved.ids),
                "decided": len(decided.labels),
                "unsure": len(decided.unsure),
                "skipped": len(decided.skipped),
                "left": int(self._open(view or View()).sum()),
                "clusters": 0 if self._clusters is None else len(self._clusters.words),
                **self._estimates(),
            }

    def _estimates(self) -> dict[str, Any]:
        key = (self.journal.version, self._now)
        if self._estimate is None or self._estimate[0] != key:
            decided, flagged = self._decided_codes(), self.saved.flagged
            held = decided >= 0
            wrong = held & (decided != self.saved.given)
            left = Remaining(self._now.wrong, held, wrong)
            hits, seen = int((wrong & flagged).sum()), int((held & flagged).sum())
            rest = left.count(~held & flagged)
            counts = {
                "wrong": int(wrong.sum()),
                "flagged": int(flagged.sum()),
                "flagged_seen": seen,
                "flagged_wrong": hits,
                "precision": asdict(precision(hits, seen)),
                "flagged_in_all": asdict(Interval(hits + rest.value, hits + rest.low, hits + rest.high)),
                "errors_left": asdict(left.count(~held)),
            }
            self._estimate = key, counts
        return self._estimate[1]

    def next(self, view: View, count: int, after: Sequence[int] = ()) -> list[dict[str, Any]]:
        """Give the most doubtful open examples; those that were skipped come last."""
        for row in after:
            self._check(row)
        with self._lock:
            mask = self._open(view)
            mask[list(after)] = False
            skipped = [row for row in self.journal.decided.skipped if mask[row]]
            mask[skipped] = False
            rows = np.flatnonzero(mask)
            count = min(count, _MOST)
            quality = self._now.quality[rows]
            if len(rows) > count:
                near = np.argpartition(quality, count)[:count]
                rows, quality = rows[near], quality[near]
            rows = rows[np.argsort(quality, kind="stable")]
            return [self.card(int(row)) for row in [*rows, *skipped][:count]]

    def card(self, row: int) -> dict[str, Any]:
        """Say what is known of an example, without its content."""
        self._check(row)
        with self._lock:
            now, decided = self._now, self.journal.decided
            label, undecided = decided.labels.get(row), "skipped" if row in decided.skipped else "open"
            return {
                "row": row,
                "name": self.saved.ids[row],
                "given": int(self.saved.given[row]),
                "suggested": self.suggested(row),
                "likely": [int(one) for one in now.likely[row]],
                "shares": [float(one) for one in now.shares[row]],
                "decided": None if label is None else self._classes[label],
                "state": "decided" if label is not None else "unsure" if row in decided.unsure else undecided,
            }

    def content(self, row: int) -> dict[str, Any]:
        """Give what there is to see of an example; photos apart."""
        self._check(row)
        examples = self.examples
        try:
            text, cells = examples.text(row), examples.cells(row)
        except (SelfdistillError, OSError) as error:
            return {"kind": examples.kind, "text": "", "cells": [], "missing": one_line(error)}
        return {"kind": examples.kind, "text": text, "cells": cells, "missing": examples.missing}

    def photo(self, row: int, side: int) -> bytes:
        """Give a photo, drawn anew."""
        self._check(row)
        return self.examples.thumbnail(row, side)

    def words(self, row: int) -> list[Piece]:
        """Give the text of an example in pieces, with what they say for its suggested label, see `weighed`."""
        card = self.card(row)
        likely, given = card["likely"], card["given"]
        other = card["suggested"] if card["suggested"] != given else likely[likely[0] == given]
        table, texts = self.examples.row(row), self.examples.texts(row)
        if table is None or not texts:
            return []
        with self._weighing:  # one after the other: they take all cores
            self._model = self._model or load_model(self.run / "model.safetensors")
            return weighed(self._model, table, texts, given, other)

    def groups(self) -> dict[str, list[dict[str, Any]]]:
        """List open flagged examples by given and suggested label, and by cluster, the largest groups first."""
        with self._lock:
            rows = np.flatnonzero(self._open(View()) & self.saved.flagged)
            given, suggested, clusters = self.saved.given[rows], self._now.suggested[rows], self._clusters
        differ = given != suggested
        return {
            "pairs": pairs(given[differ], suggested[differ]),
            "clusters": [] if clusters is None else clusters.listed(rows, given, suggested),
        }

    def above(self, view: View, share: float) -> list[int]:
        """Find open examples whose likeliest label is not the given one and at least so likely, the surest first."""
        with self._lock:
            mask = self._open(view) & (self._now.likely[:, 0] != self.saved.given) & (self._now.shares[:, 0] >= share)
            rows = np.flatnonzero(mask)
            return [int(row) for row in rows[np.argsort(-self._now.shares[rows, 0], kind="stable")]]

    def suggested(self, row: int) -> int:
        """Give the code of the suggested label."""
        return int(self._now.suggested[row])

    def write(self, out: Path) -> int:
        """Write the decisions as `write_decisions` does; give their number."""
        names = np.asarray(self.saved.classes, object)
        with self._lock:
            given, likely = names[self.saved.given], names[self._now.likely[:, 0]]
            return write_decisions(out, self.journal.decided, self.saved.ids, list(given), list(likely))

    # What a page does

    def decide(self, version: int, kind: str, rows: Sequence[int], labels: Sequence[int]) -> None:
        """Write a decision down; it is on disk when this returns."""
        names = self.saved.classes
        for code in labels:
            if not 0 <= code < len(names):
                raise DataError(f"there is no class {code}", f"Give 0 to {len(names) - 1}.")
        if not rows:
            raise DataError("no example is decided on", "Name at least one.")
        chosen = [names[code] for code in labels]
        self._change(version, lambda: self.journal.add(kind, rows, chosen))

    def undo(self, version: int) -> list[int]:
        """Take the last decision back, and give the examples that it was about; none if nothing is left."""
        step = self._change(version, self.journal.undo)
        return [] if step is None else list(step.rows)

    def _change(self, version: int, change: Callable[[], Any]) -> Any:
        with self._lock:
            if version != self.journal.version:
                raise Behind
            step = change()
            self._changed.set()
            return step

    def _decided_codes(self) -> np.ndarray:
        return decided_array(Decisions(self.journal.decided.labels), self.saved.classes, len(self.saved.ids))

    def _open(self, view: View) -> np.ndarray:
        """Which examples of a view are neither decided nor unsure: bool ``[n]``, a copy."""
        mask = self._mask(view).copy()
        decided = self.journal.decided
        mask[list(decided.labels)] = False
        mask[list(decided.unsure)] = False
        return mask

    def _mask(self, view: View) -> np.ndarray:
        key = (view, self._now, self._clusters is None)
        if self._masks is None or self._masks[0] != key:
            mask = np.ones(len(self.saved.ids), bool)
            if view.given is not None:
                mask &= self.saved.given == view.given
            if view.suggested is not None:
                mask &= self._now.suggested == view.suggested
            if view.cluster is not None:
                mask &= self._clusters is not None and self._clusters.of == view.cluster
            if words := view.search.casefold():
                in_class = np.array([words in name.casefold() for name in self.saved.classes])
                in_name = np.fromiter((words in name.casefold() for name in self.saved.ids), bool, len(mask))
                in_class = in_class[self.saved.given] | in_class[self._now.suggested]
                mask &= in_name | in_class | self.examples.search(words)
            self._masks = key, mask
        return self._masks[1]

    def _check(self, row: int) -> None:
        if not 0 <= row < len(self.saved.ids):
            raise DataError(f"there is no example {row}", f"Give 0 to {len(self.saved.ids) - 1}.")
