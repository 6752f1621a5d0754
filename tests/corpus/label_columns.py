"""Labels of several annotators, of several kinds, and what is no label."""

from __future__ import annotations

from typing import Any

import numpy as np
from tests.corpus.case import LABELS, Case, N, X, Z, lines
from tests.corpus.text_tables import text

LABEL, VOTES = "Labels", "Several annotators"
NUMBERS = {"numeric": ("x", "z"), "categorical": (), "text": ()}


def table(**columns: Any) -> str:
    """Two columns of numbers and others, as CSV."""
    cells = {"x": X, "z": Z} | columns
    return lines(table=[list(cells), *(list(map(str, row)) for row in zip(*cells.values(), strict=True))])


def _votes() -> list[Case]:
    rng = np.random.default_rng(0)
    wrong = {"a": "b", "b": "a"}
    first = [wrong[c] if i in {2, 5} else c for i, c in enumerate(LABELS)]
    second = ["" if i % 3 == 0 else c for i, c in enumerate(LABELS)]
    third = ["" if i % 4 == 1 else c for i, c in enumerate(LABELS)]
    third_of_one = [c if i == 2 else "" for i, c in enumerate(LABELS)]
    names = ("ann", "bob", "cem")
    given = dict(zip(names, (first, second, third), strict=True))
    one: dict[str, Any] = {"group": VOTES, "source": "a.csv"}
    gone = {name: ["", *cells[1:]] for name, cells in given.items()}
    ratings = {f"rater_{i}": [str(int(c == "b") + int(rng.random() < 0.1)) for c in LABELS] for i in range(3)}
    return [
        Case(
            name="the majority of three columns with gaps",
            make=text("a.csv", table(**given)),
            shown=True,
            options={"annotator": names},
            says=["most of 3 columns of votes say"],
            labels=_majority(given),
            **one,
        ),
        Case(
            name="two columns",
            make=text("a.csv", table(ann=first, bob=second)),
            options={"annotator": ("ann", "bob")},
            labels=None,
            says=["decided by who agrees"],
            **one,
        ),
        Case(
            name="a tie is decided by who agrees more often",
            make=text("a.csv", table(good=LABELS, bad=first, odd=third_of_one)),
            options={"annotator": ("good", "bad", "odd")},
            labels=LABELS,
            says=["1 tie"],
            **one,
        ),
        Case(
            name="a row without a vote",
            make=text("a.csv", table(**gone)),
            options={"annotator": names},
            error="has no label in 1 of 12 rows: 0",
            **one,
        ),
        Case(
            name="a row without a vote, left out",
            make=text("a.csv", table(**gone)),
            says=["columns of votes say"],
            options={"annotator": names, "drop_unlabelled": True},
            labels=_majority(gone)[1:],
            **one,
        ),
        Case(
            name="one annotator",
            make=text("a.csv", table(**given)),
            options={"annotator": ("ann",)},
            error="--annotator names 1 column",
            **one,
        ),
        Case(
            name="an unknown annotator",
            make=text("a.csv", table(**given)),
            options={"annotator": ("ann", "bop")},
            error="has no column 'bop' (--annotator). Did you mean 'bob'?",
            **one,
        ),
        Case(
            name="annotators and a label",
            make=text("a.csv", table(**given, label=LABELS)),
            options={"annotator": names, "label": "label"},
            error="--label label is given beside --annotator",
            **one,
        ),
        Case(
            name="annotators, none said",
            make=text("a.csv", table(**ratings)),
            error="Did you mean --annotator rater_0 --annotator rater_1 --annotator rater_2?",
            **one,
        ),
        Case(
            name="annotators of arrays",
            source="a.npz",
            make=lambda f: np.savez(f / "a.npz", X=np.eye(N), y=LABELS),
            group=VOTES,
            options={"annotator": names},
            error="--annotator ann does not apply",
        ),
    ]


def _majority(given: dict[str, list[str]]) -> list[str]:
    """By hand: whoever has most votes; the usual labels where nobody has."""
    out = []
    for row, usual in zip(zip(*given.values(), strict=True), LABELS, strict=True):
        votes = [v for v in row if v]
        best = {v for v in votes if votes.count(v) == max(map(votes.count, votes))}
        out.append(best.pop() if len(best) == 1 else usual)
    return out


def _labels() -> list[Case]:
    one: dict[str, Any] = {"group": LABEL, "source": "a.csv"}
    seen = ["1" if c == "a" else "" for c in LABELS]
    tags = ["a|b", "b|c", "a|c", "a|b|c"] * 3
    grades = ["low", "middle", "high"] * 4

    def case(name: str, column: Any, called: str = "label", **more: Any) -> Case:
        return Case(name=name, make=text("a.csv", table(**{called: column})), **more, **one)

    return [
        case("words", LABELS, labels=LABELS),
        case("`target`", LABELS, "target", shown=True),
        case("`class`", LABELS, "class"),
        case("`Label`, in capitals", LABELS, "Label"),
        case("a column of your own", LABELS, "mood", options={"label": "mood"}, shown=True),
        case("a column that says label in other words", LABELS, "species", error="Did you mean --label species?"),
        case("one that does not exist", LABELS, options={"label": "lable"}, error="Did you mean 'label'?"),
        case("ordered classes, taken without their order", grades, labels=grades, shown=True),
        case("numbers from 1 to 3", [1, 2, 3] * 4, labels=["1", "2", "3"] * 4),
        case("one class alone", ["a"] * N, error="hold only the class 'a'"),
        case("positive and unlabelled", seen, error="write a class such as 'unlabelled' into the empty"),
        case(
            "positive and unlabelled, left out",
            seen,
            options={"drop_unlabelled": True},
            error="hold only the class '1'",
        ),
        case("lists of tags", tags, error="are lists of tags"),
        case("measured numbers", [100 + 1.37 * i for i in range(N)], error="are continuous: 12 different numbers"),
        case("a gap", ["", *LABELS[1:]], error="has no label in 1 of 12 rows: 0"),
        case("a gap, left out", ["", *LABELS[1:]], options={"drop_unlabelled": True}, labels=LABELS[1:], shown=True),
        case(
            "a class called null",
            ["null" if c == "a" else c for c in LABELS],
            says=["'null' is taken as a class"],
            labels=["null" if c == "a" else c for c in LABELS],
        ),
    ]


CASES = [*_votes(), *_labels()]
