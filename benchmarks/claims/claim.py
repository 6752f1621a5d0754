"""What a claim is: its words, its experiment, its criterion as data; and how numbers become a verdict.

A criterion is a list of `Check`s, fixed in code before anything ran. A check is passed where the mean over the seeds
lies on the right side of its bound by at least one standard error, so that no claim holds by a lucky seed. A condition
passes where all its checks do. Conditions are of three kinds: inside the theory's assumptions; outside them, stress
tests of our own that are expected to fail; and the authors' code, which the theory does not describe. The claim *holds*
where all conditions inside pass, *holds only when ...* where some do, and *does not hold* where none does; the other
two kinds are counted apart. A claim that asks two questions has a verdict for each.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from math import sqrt
from pathlib import Path
from statistics import mean, stdev
from typing import Any, Literal

FORMS = ("full", "small")
SEEDS = (0, 1, 2)
LEAST_SEEDS = 3
KINDS = {
    "inside": "the claim as the paper makes it",
    "outside": "our stress tests: outside its assumptions, expected to fail",
    "authors": "the authors' code, which the theory does not describe",
}
CLOSE = 2.0  # standard errors from its bound, within which another machine's rounding may turn a check over

Record = dict[str, Any]
Rows = Mapping[str, Sequence[Record]]
"""Records of a claim by part, in the order of their seeds."""


@dataclass(frozen=True)
class Part:
    """One measurement of a claim, repeated over seeds; a record is one part and one seed.

    Attributes:
        name: Part of a file name.
        settings: All that the measurement needs to know besides its seed; JSON.
        needs: Data sets that must lie under ``--data``.
    """

    name: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    needs: tuple[str, ...] = ()


@dataclass(frozen=True)
class Check:
    """One line of a pass criterion.

    Attributes:
        number: Key of the number in a record.
        relation: Which side is right.
        bound: The threshold.
        words: What it says.
    """

    number: str
    relation: Literal[">=", "<="]
    bound: float
    words: str


@dataclass(frozen=True)
class Condition:
    """Under what the claim is tested; passes where all its checks do. Without checks it is shown and not judged.

    Attributes:
        words: As they stand after "holds only when".
        part: Part whose numbers are judged.
        checks: The criterion.
        shown: Further numbers for the table: heading and key.
        kind: One of `KINDS`.
        question: Which verdict it belongs to, where a claim has several.
    """

    words: str
    part: str
    checks: tuple[Check, ...]
    shown: tuple[tuple[str, str], ...] = ()
    kind: Literal["inside", "outside", "authors"] = "inside"
    question: str = ""


@dataclass(frozen=True)
class Measured:
    """What one measurement gives.

    Attributes:
        numbers: What checks and tables look at.
        curves: What only the figure looks at; JSON.
    """

    numbers: dict[str, float]
    curves: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Claim:
    """A claim of the paper.

    Attributes:
        name: On the command line.
        title: Heading.
        statement: What is claimed, in our words.
        standing: Where it is from, as the reference marks it.
        method: What is done, in words.
        full: Parts of the full form.
        small: Parts of the small form.
        conditions: From the parts of a form to what is judged.
        measure: From a part's settings, a seed and the folder of data to the numbers.
        draw: Draws records on a new figure, which it returns.
        caption: Of the figure.
        notes: What to know when reading the verdict.
        assumptions: What makes a condition one inside or outside.
        questions: Of its verdicts, in order.
    """

    name: str
    title: str
    statement: str
    standing: str
    method: str
    full: tuple[Part, ...]
    small: tuple[Part, ...]
    conditions: Callable[[Sequence[Part]], tuple[Condition, ...]]
    measure: Callable[[Mapping[str, Any], int, Path], Measured]
    draw: Callable[[Rows], Any]
    caption: str
    notes: str = ""
    assumptions: str = ""
    questions: tuple[str, ...] = ("",)

    def parts(self, form: str) -> tuple[Part, ...]:
        """Parts of a form."""
        return self.small if form == "small" else self.full


@dataclass(frozen=True)
class Spread:
    """Mean, standard deviation and number of seeds."""

    mean: float
    std: float
    seeds: int

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """Measure the spread of at least one value."""
        return cls(mean(values), stdev(values) if len(values) > 1 else 0.0, len(values))

    @property
    def error(self) -> float:
        """Standard error of the mean."""
        return self.std / sqrt(self.seeds)


@dataclass(frozen=True)
class Outcome:
    """A check with its number.

    Attributes:
        check: The check.
        spread: Its number over the seeds; ``None``: fewer than three.
        passed: Whether it holds; ``None``: not decided.
        close: Whether the mean lies within `CLOSE` standard errors of where the decision turns.
    """

    check: Check
    spread: Spread | None
    passed: bool | None
    close: bool = False


def judge(check: Check, values: Sequence[float]) -> Outcome:
    """Decide a check."""
    if len(values) < LEAST_SEEDS:
        return Outcome(check, None, None)
    spread = Spread.of(values)
    room = (spread.mean - check.bound) * (1 if check.relation == ">=" else -1)
    slack = 1e-9 * max(1.0, abs(check.bound))
    return Outcome(
        check, spread, room + slack >= spread.error, abs(room - spread.error) <= CLOSE * spread.error + slack
    )


@dataclass(frozen=True)
class Judged:
    """A condition with its outcomes.

    Attributes:
        condition: The condition.
        outcomes: Of its checks.
        passed: Whether all are passed; ``None``: not decided.
        close: Whether it could turn over elsewhere: no failed check is clear, or some passed one is not.
    """

    condition: Condition
    outcomes: tuple[Outcome, ...]
    passed: bool | None
    close: bool


def judge_condition(condition: Condition, rows: Rows) -> Judged:
    """Decide a condition from the records of its part; not where they were made before its numbers were measured."""
    records = rows.get(condition.part, ())
    outcomes = tuple(
        judge(c, [r["numbers"][c.number] for r in records if c.number in r["numbers"]]) for c in condition.checks
    )
    if not outcomes or any(o.passed is None for o in outcomes):
        return Judged(condition, outcomes, None, close=False)
    failed = [o for o in outcomes if not o.passed]
    close = all(o.close for o in failed) if failed else any(o.close for o in outcomes)
    return Judged(condition, outcomes, not failed, close)


@dataclass(frozen=True)
class Verdict:
    """The verdict on a claim, or on one of its questions.

    Attributes:
        word: "holds", "holds only when", "does not hold" or "not run yet", of the conditions inside the assumptions.
        judged: Every condition.
        question: See `Condition`.
    """

    word: str
    judged: tuple[Judged, ...]
    question: str = ""

    def words(self, passed: bool | None, kind: str = "inside") -> list[str]:
        """Conditions of a kind that passed, failed (False) or are not decided (None)."""
        mine = [j for j in self.judged if j.condition.kind == kind and j.condition.checks]
        return [j.condition.words for j in mine if j.passed is passed]

    def count(self, kind: str) -> tuple[int, int]:
        """How many conditions of a kind passed, of how many that are decided."""
        met = len(self.words(True, kind))
        return met, met + len(self.words(False, kind))

    @property
    def near(self) -> list[str]:
        """Conditions inside that failed by so little that other seeds could have passed them."""
        return [j.condition.words for j in self.judged if _near(j)]

    @property
    def apart(self) -> str:
        """What became of our stress tests and of the authors' code, in a few words; empty where there are none."""
        passed, stressed = self.count("outside")
        met, tried = self.count("authors")
        texts = [f"{stressed - passed} of {stressed} stress tests fail"] if stressed else []
        return "; ".join([*texts, *([f"the authors' code passes {met} of {tried}"] if tried else [])])

    @property
    def sentence(self) -> str:
        """The verdict in one line."""
        met, undecided = self.words(True), self.words(None)
        text = f"{self.question}: {self.word}" if self.question else self.word
        if self.word == "holds only when":
            text += f": {'; '.join(met)} ({len(met)} of {self.count('inside')[1]} conditions)"
        if self.near:
            text += f" (failed by less than {CLOSE:g} standard errors: {'; '.join(self.near)})"
        if undecided and self.word != "not run yet":
            text += f" (not run yet: {'; '.join(undecided)})"
        return f"{text} ({self.apart})" if self.apart else text


def _near(judged: Judged) -> bool:
    return judged.condition.kind == "inside" and judged.passed is False and judged.close


def verdicts(claim: Claim, form: str, rows: Rows) -> tuple[Verdict, ...]:
    """Compute the verdict on each question of a claim from the criterion."""
    judged = [judge_condition(c, rows) for c in claim.conditions(claim.parts(form))]
    return tuple(
        _verdict(question, tuple(j for j in judged if j.condition.question == question)) for question in claim.questions
    )


def _verdict(question: str, judged: tuple[Judged, ...]) -> Verdict:
    decided = [j.passed for j in judged if j.condition.kind == "inside" and j.passed is not None]
    if not decided:
        word = "not run yet"
    elif all(decided):
        word = "holds"
    else:
        word = "holds only when" if any(decided) else "does not hold"
    return Verdict(word, judged, question)


def flips(claim: Claim, form: str, committed: Rows, found: Rows) -> list[str]:
    """List the conditions that are decided otherwise than in the committed records, clear ones only."""
    judged = claim.conditions(claim.parts(form))
    before, now = ([judge_condition(c, rows) for c in judged] for rows in (committed, found))
    verdicts = {True: "passed", False: "failed", None: "was not decided"}
    return [
        f"{claim.name}: {b.condition.words}: {verdicts[b.passed]}, now {verdicts[n.passed]}"
        for b, n in zip(before, now, strict=True)
        if b.passed is not n.passed and not b.close
    ]
