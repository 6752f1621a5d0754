"""The queue, decisions and what is learned from them, without a page."""

import time

import numpy as np
import pytest

from selfdistill._core.errors import DataError, RunError
from selfdistill.review._session import Behind, Session, View
from selfdistill.runs import fit
from selfdistill.runs._decision_files import read_decisions


def rows(session, **more):
    return [card["row"] for card in session.next(View(**more), 200)]


def learned(session, seconds=60):
    until = time.monotonic() + seconds
    while session.state()["learned"] != session.journal.version:
        assert time.monotonic() < until, session.state()
        time.sleep(0.02)


def test_the_most_doubtful_come_first_and_decided_ones_leave(texts, opened):
    session = opened(texts)
    order = rows(session)
    assert order == list(np.argsort(session._now.quality, kind="stable"))
    session.decide(0, "label", [order[0]], [1])
    session.decide(1, "unsure", [order[1]], [])
    session.decide(2, "skip", [order[2]], [])
    assert rows(session) == [*order[3:], order[2]]
    assert [session.card(row)["state"] for row in order[:4]] == ["settled", "unsure", "skipped", "open"]
    assert [session.undo(version) for version in (3, 4, 5, 6)] == [[order[2]], [order[1]], [order[0]], []]
    assert rows(session) == order
    assert session.next(View(), 2, order[:3])[0]["row"] == order[3]


def test_who_is_behind_changes_nothing(texts, opened):
    session = opened(texts)
    session.decide(0, "label", [3], [0])
    for act in (lambda: session.decide(0, "label", [3], [1]), lambda: session.undo(0), lambda: session.undo(2)):
        with pytest.raises(Behind):
            act()
    assert session.journal.version == 1
    for bad, message in [(([500], [0]), "no example 500"), (([3], [9]), "no class 9"), (([], []), "no example is")]:
        with pytest.raises(DataError, match=message):
            session.decide(1, "label", *bad)


def test_it_goes_on_where_it_was_and_the_run_stays_as_it_is(texts, opened, tmp_path):
    before = {path.name: path.read_bytes() for path in texts.iterdir()}
    session = opened(texts)
    session.decide(0, "label", [7, 8], [2, 2])
    with pytest.raises(RunError, match="in use by another"):
        opened(texts)
    session.close()
    again = opened(texts)
    assert again.journal.decided.labels == {7: again.saved.classes[2], 8: again.saved.classes[2]}
    assert {path.name: path.read_bytes() for path in texts.iterdir()} == before
    out = tmp_path / "out.csv"
    assert again.write(out) == 2
    taken = opened(texts, decisions=tmp_path / "other.jsonl", take=out)
    assert taken.journal.decided.labels == again.journal.decided.labels
    assert read_decisions(out, taken.saved.ids, taken.saved.classes).labels == taken.journal.decided.labels


def test_views_and_pairs(texts, opened):
    session = opened(texts)
    pairs = session.pairs()
    flagged = session.saved.flagged
    assert sum(pair["count"] for pair in pairs) == int(
        (flagged & (session._now.likely[:, 0] != session.saved.given)).sum()
    )
    one = pairs[0]
    some = rows(session, given=one["given"], likely=one["likely"])
    assert {(session.card(r)["given"], session.card(r)["likely"][0]) for r in some} == {(one["given"], one["likely"])}
    word = session.saved.classes[0].upper()
    found = rows(session, search=word)
    expected = [r for r in rows(session) if 0 in (session.card(r)["given"], session.card(r)["likely"][0])]
    assert found == expected != []
    assert rows(session, search=session.saved.ids[5]) == [
        r for r in rows(session) if session.saved.ids[5] in session.saved.ids[r]
    ]


def test_bulk_takes_those_above_a_share(texts, opened):
    session = opened(texts)
    for share in (0.0, 0.9):
        cards = [session.card(r) for r in range(len(session.saved.ids))]
        expected = {c["row"] for c in cards if c["likely"][0] != c["given"] and c["shares"][0] >= share}
        assert set(session.above(View(), share)) == expected != set()
    found = session.above(View(), 0.9)
    session.decide(0, "label", found, [session.likeliest(r) for r in found])
    assert session.above(View(), 0.9) == []
    assert session.state()["wrong"] == len(found)
    assert session.undo(1) == found


def test_it_learns_from_each_decision_and_back(texts, opened):
    truth = np.load(texts.parent / "truth.npy")
    session = opened(texts)
    session.start()
    learned(session)
    before = session._now
    np.testing.assert_allclose(before.quality, session._now.quality)
    for row in rows(session)[:20]:
        session.decide(session.journal.version, "label", [row], [int(truth[row])])
    learned(session)
    after = session._now
    assert (after.likely[list(map(session.saved.ids.index, session.saved.ids)), 0] == after.likely[:, 0]).all()
    settled = session._settled()
    assert (after.likely[settled >= 0, 0] == settled[settled >= 0]).all()
    assert not np.array_equal(after.wrong, before.wrong)
    while session.undo(session.journal.version):
        pass
    learned(session)
    np.testing.assert_array_equal(session._now.quality, before.quality)


def test_learning_begins_where_the_run_ended(texts, opened):
    session = opened(texts)
    saved = session._now
    session.start()
    learned(session)
    np.testing.assert_allclose(session._now.quality, saved.quality, atol=1e-5)
    np.testing.assert_allclose(session._now.shares, saved.shares, atol=1e-5)
    np.testing.assert_allclose(session._now.wrong, saved.wrong, atol=1e-5)


def test_counts_follow_decisions(texts, opened):
    session = opened(texts)
    first = session.state()
    assert first["errors_left"]["low"] <= first["errors_left"]["value"] <= first["errors_left"]["high"]
    flagged = [r for r in rows(session) if session.saved.flagged[r]]
    for row in flagged[:6]:  # all kept: the run was wrong about these
        session.decide(session.journal.version, "label", [row], [int(session.saved.given[row])])
    state = session.state()
    assert (state["flagged_seen"], state["flagged_wrong"], state["wrong"]) == (6, 0, 0)
    assert state["precision"]["high"] < 0.4
    assert state["flagged_in_all"]["value"] < 0.7 * first["flagged_in_all"]["value"]
    assert state["errors_left"]["value"] < 0.8 * first["errors_left"]["value"]


def test_data_that_changed_are_not_learned_from(texts, tmp_path, opened, monkeypatch):
    csv = tmp_path / "texts.csv"
    csv.write_bytes((texts.parent / "texts.csv").read_bytes())
    run = fit(csv, out=tmp_path / "run", label="label", method="kernel", rounds=1, encoder="none", say=None)
    csv.write_text(csv.read_text().replace("meow", "moo"))
    session = opened(run.folder)
    session.start().join(20)
    assert "holds other data" in session.state()["fixed"]
    csv.unlink()
    assert "is not here" in opened(run.folder, decisions=tmp_path / "e.jsonl").content(0)["missing"]


def test_photos_are_drawn_anew_and_missing_ones_said(photos, opened):
    session = opened(photos)
    names = session.saved.ids
    assert session.photo(names.index("red/02.png"), 64)[:4] in {b"\x89PNG", b"\xff\xd8\xff\xe0"}
    for name in ("red/00.png", "blue/01.png"):
        with pytest.raises(DataError):
            session.photo(names.index(name), 64)
    with pytest.raises(DataError, match="no example -1"):
        session.photo(-1, 64)


def test_the_default_place_is_beside_the_run(texts):
    session = Session(texts)
    try:
        assert session.journal.path == texts.parent / "run.decisions.jsonl"
    finally:
        session.close()
        session.journal.path.unlink()
