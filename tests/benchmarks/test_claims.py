"""The paper's claims: how numbers become verdicts, records, resuming, the page."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from benchmarks.claims import drive, figure, records, report
from benchmarks.claims.__main__ import main
from benchmarks.claims.claim import Check, Claim, Condition, Measured, Part, flips, judge, verdicts

from selfdistill._core.errors import RunError, SettingError

AT_LEAST = Check("gain", ">=", 0.1, "gains a tenth")
AT_MOST = Check("loss", "<=", 0.5, "loses at most a half")


def verdict(made, form, found):
    """The only verdict of a claim with one question."""
    (only,) = verdicts(made, form, found)
    return only


def rows(**parts):
    """Records of made-up numbers: part=[(gain, loss), ...]."""
    return {
        name: [
            {"numbers": {"gain": g, "loss": q}, "cost": {"cpu_seconds": 1.0}, "hardware": {}, "seed": i, "curves": {}}
            for i, (g, q) in enumerate(values)
        ]
        for name, values in parts.items()
    }


@pytest.fixture
def claim():
    """A claim of two parts; it counts what it measures."""
    seen = []

    def measure(settings, seed, folder):
        seen.append((settings["a"], seed))
        return Measured({"gain": settings["a"] + 0.01 * seed, "loss": 0.1}, {"path": [0.0, 1.0]})

    def draw(found):
        drawn, axes = figure.panels(1)
        figure.band(axes[0][0], [0, 1], [[0, 1], [1, 1]], color=figure.BLUE)
        return drawn

    def conditions(parts):
        checks = (AT_LEAST, AT_MOST)
        return tuple(Condition(f"case {p.name}", p.name, checks, (("the loss", "loss"),)) for p in parts)

    parts = (Part("one", {"a": 1.0}), Part("two", {"a": 0.0}))
    made = Claim(
        "made_up", "A title", "S.", "Abstract.", "M.", parts, parts, conditions, measure, draw, "A caption.", "A note."
    )
    return made, seen


# Verdicts


@pytest.mark.parametrize(
    ("values", "passed"),
    [
        ([0.2, 0.2, 0.2], True),
        ([0.1, 0.1, 0.1], True),  # on the bound, without spread
        ([0.099, 0.099, 0.099], False),
        ([0.05, 0.15, 0.25], False),  # mean 0.15, standard error 0.0577: the lead is within it
        ([0.06, 0.18, 0.30], True),  # mean 0.18, standard error 0.0693
        ([0.3, 0.3], None),  # two seeds decide nothing
    ],
)
def test_a_check_wants_the_mean_a_standard_error_on_the_right_side(values, passed):
    assert judge(AT_LEAST, values).passed is passed
    assert judge(Check("gain", "<=", -0.1, ""), [-v for v in values]).passed is passed


def test_the_verdict_says_when_a_claim_holds(claim):
    made, _ = claim
    good, bad, dear = [(0.2, 0.1)] * 3, [(0.0, 0.1)] * 3, [(0.2, 0.9)] * 3
    for one, two, sentence in (
        (good, good, "holds"),
        (bad, dear, "does not hold"),
        (good, bad, "holds only when: case one (1 of 2 conditions)"),
        (dear, good, "holds only when: case two (1 of 2 conditions)"),
        (good, good[:2], "holds (not run yet: case two)"),
        (good[:1], [], "not run yet"),
    ):
        assert verdict(made, "full", rows(one=one, two=two)).sentence == sentence


def test_a_condition_without_checks_is_shown_and_not_judged(claim):
    made, _ = claim
    control = replace(made, conditions=lambda parts: (Condition("control", "one", ()), made.conditions(parts)[1]))
    assert verdict(control, "full", rows(one=[], two=[(0.2, 0.1)] * 3)).sentence == "holds"


APART = "1 of 1 stress tests fail; the authors' code passes 0 of 1"


def test_controls_and_the_authors_code_are_counted_apart(claim):
    made, _ = claim
    good, bad = [(0.2, 0.1)] * 3, [(0.0, 0.1)] * 3

    def kinds(one, two):
        return replace(
            made,
            conditions=lambda parts: tuple(
                replace(c, kind=kind) for c, kind in zip(made.conditions(parts), (one, two), strict=True)
            ),
        )

    for one, two, found, sentence in (
        ("inside", "outside", (good, bad), "holds (1 of 1 stress tests fail)"),
        ("inside", "outside", (good, good), "holds (0 of 1 stress tests fail)"),
        ("inside", "authors", (bad, good), "does not hold (the authors' code passes 1 of 1)"),
        ("authors", "outside", (bad, bad), f"not run yet ({APART})"),
    ):
        assert verdict(kinds(one, two), "full", rows(one=found[0], two=found[1])).sentence == sentence


def test_a_claim_of_two_questions_has_two_verdicts(claim):
    made, _ = claim

    def conditions(parts):
        return tuple(replace(c, question=q) for c, q in zip(made.conditions(parts), ("ahead", "long"), strict=True))

    twofold = replace(made, conditions=conditions, questions=("ahead", "long"))
    found = verdicts(twofold, "full", rows(one=[(0.2, 0.1)] * 3, two=[(0.0, 0.1)] * 3))
    assert [one.sentence for one in found] == ["ahead: holds", "long: does not hold"]


def test_a_flip_counts_where_the_committed_number_was_clear(claim):
    made, _ = claim
    clear, bad = rows(one=[(0.5, 0.1)] * 3, two=[(0.5, 0.1)] * 3), rows(one=[(0.0, 0.1)] * 3, two=[(0.5, 0.1)] * 3)
    assert flips(made, "small", clear, clear) == []
    assert flips(made, "small", clear, bad) == ["made_up: case one: passed, now failed"]
    assert flips(made, "small", bad, clear) == ["made_up: case one: failed, now passed"]
    near = rows(one=[(0.1, 0.1), (0.2, 0.1), (0.3, 0.1)], two=[(0.5, 0.1)] * 3)  # 0.2 ± 0.058: could be within chance
    assert verdict(made, "small", near).judged[0].passed
    assert flips(made, "small", near, bad) == []
    # a condition fails by a clear check, whatever the others do
    mixed = rows(one=[(0.1, 0.9), (0.2, 0.9), (0.3, 0.9)], two=[(0.5, 0.1)] * 3)
    assert flips(made, "small", mixed, clear) == ["made_up: case one: failed, now passed"]


# Records and resuming


def run(made, store, **more):
    return drive.run([made], "small", Path("nowhere"), store=store, **more)


def test_what_has_a_record_is_not_measured_again(claim, tmp_path):
    made, seen = claim
    assert run(made, tmp_path, seeds=(0,), only="t*")
    assert seen == [(0.0, 0)]
    assert run(made, tmp_path, seeds=(0,))
    assert seen == [(0.0, 0), (1.0, 0)]
    assert run(made, tmp_path)  # seeds 1 and 2 are left; whole rounds come first
    assert seen[2:] == [(1.0, 1), (0.0, 1), (1.0, 2), (0.0, 2)]
    assert run(made, tmp_path)
    assert len(seen) == 6
    found = records.rows(tmp_path, "small", made)
    assert [r["numbers"]["gain"] for r in found["one"]] == [1.0, 1.01, 1.02]
    assert not list(tmp_path.rglob("*.part"))
    assert verdict(made, "small", found).sentence == "holds only when: case one (1 of 2 conditions)"


def test_a_spent_budget_and_absent_data_leave_the_rest_for_later(claim, tmp_path, capsys):
    made, seen = claim
    assert not run(made, tmp_path, budget=0)
    wanting = replace(made, small=(Part("one", {"a": 1.0}, ("fashion",)),))
    assert not run(wanting, tmp_path, seeds=(0,))
    assert seen == []
    captured = capsys.readouterr().err
    assert "the budget is spent; 6 cells are left for a later run" in captured
    assert "nowhere has no fashion-mnist/train-images-idx3-ubyte" in captured


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schema": 2}, "has schema 2, but this version reads schema 1"),
        ({"schema": None}, "has schema None"),
        ({"settings": {"a": 3}}, "was measured with other settings than claim 'made_up' has now"),
        ({"seed": 7}, "was measured with other seed"),
        (None, "is no table of records"),
    ],
)
def test_a_foreign_record_is_refused_by_name(claim, tmp_path, change, message):
    made, _ = claim
    run(made, tmp_path, seeds=(0,))
    table, key = records.table_of(tmp_path, "small"), "made_up/one-seed0"
    table.add({key: table.read()[key] | (change or {})})
    if change is None:
        table.path.write_bytes(table.path.read_bytes()[:50])
    with pytest.raises(RunError) as error:
        run(made, tmp_path)
    assert message in str(error.value)
    assert str(table.path) in str(error.value)
    assert ("delete it" if change is None else f"benchmarks drop {table.path} {key!r}") in str(error.value)


def test_an_unknown_claim_is_refused_with_the_nearest(capsys):
    with pytest.raises(SettingError, match=r"claim 'margni' does not exist. Did you mean 'margin'\?"):
        drive.select(["margni"])
    assert main(["run", "margni"]) == 2
    assert "Error: claim 'margni'" in capsys.readouterr().err


# The page


def test_the_page_tells_every_part_of_a_claim(claim, tmp_path, monkeypatch):
    made, _ = claim
    run(made, tmp_path)
    monkeypatch.setattr(drive, "claims", lambda: {"made_up": made})
    page, pictures = tmp_path / "docs" / "claims.md", tmp_path / "pictures"
    short = report.write(tmp_path, page, pictures)
    text = page.read_text()
    for words in (
        "## 1. A title",
        "**Statement.** S.",
        "**Standing.** Abstract.",
        "**Method.** M.",
        "- gains a tenth: `gain` >= 0.1",
        "**Verdict, full form: not run yet.**",
        "**Verdict, small form: holds in 1 of 2 conditions.**\n\nIt holds only when:\n\n- case one\n",
        "| case one | 3 | passed | 1.010 ± 0.010 | 0.100 ± 0 | 0.100 ± 0 |",
        "| case two | 3 | **failed** | **0.010 ± 0.010** | 0.100 ± 0 | 0.100 ± 0 |",
        "A caption. Small form.",
        "A note.",
        "python -m benchmarks.claims run made_up",
    ):
        assert words in text
    assert {p.name for p in pictures.iterdir()} == {"claims-made-up.svg", "claims-made-up.png"}
    assert short.splitlines()[0] == "1. **A title**: holds in 1 of 2 conditions."


def test_figures_come_out_the_same_twice(tmp_path):
    def once(name):
        with figure.styled():
            drawn, axes = figure.panels(1)
            axes[0][0].plot([0, 1], [1, 0], label="a")
            axes[0][0].legend()
            return figure.save(drawn, tmp_path / name)[0].read_text()

    assert once("a") == once("b")


def test_all_claims_say_what_they_must():
    found = drive.claims()
    assert list(found) == ["early_stopping", "air", "self_distillation", "margin", "no_early_stopping", "rounds"]
    for made in found.values():
        assert "Abstract" in made.standing
        for form in ("full", "small"):
            parts = made.parts(form)
            assert len({p.name for p in parts}) == len(parts)
            assert all(not p.needs for p in made.small)
            judged = made.conditions(parts)
            assert {c.part for c in judged} == {p.name for p in parts}
            assert len({(c.words, c.question) for c in judged}) == len(judged)
            assert {c.question for c in judged} == set(made.questions)
            for question in made.questions:
                assert any(c.checks and c.kind == "inside" and c.question == question for c in judged)
        assert made.assumptions


def test_the_committed_records_decide_the_small_form_and_the_page_says_so():
    text = (report.PAGE).read_text()
    for made in drive.claims().values():
        for form in ("small", "full"):
            for found in verdicts(made, form, records.rows(records.RECORDS, form, made)):
                assert "\n".join(report.verdict_lines(found, form)) in text
                assert form == "full" or not found.words(None)
    assert len(report.summary().splitlines()) == 2 * len(drive.claims())
