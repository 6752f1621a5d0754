"""The queue, decisions and what is learned from them, without a page."""

import time

import numpy as np
import pytest

from selfdistill._core.errors import DataError, RunError
from selfdistill._core.record import read_finished
from selfdistill.review import _label_scores, _session
from selfdistill.review._groups import View
from selfdistill.review._label_scores import Learner
from selfdistill.review._session import Behind, Session
from selfdistill.runs import _label_table as label_tables
from selfdistill.runs._decision_files import read_decisions
from selfdistill.runs._label_table import label_table, read_findings
from selfdistill.runs._run import fit


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
    assert [session.card(row)["state"] for row in order[:4]] == ["decided", "unsure", "skipped", "open"]
    assert [session.undo(version) for version in (3, 4, 5, 6)] == [[order[2]], [order[1]], [order[0]], []]
    assert rows(session) == order
    assert session.next(View(), 2, order[:3])[0]["row"] == order[3]


def test_the_table_is_read_once_before_the_first_card(texts, opened, monkeypatch):
    read, table = [], label_tables._table
    monkeypatch.setattr(label_tables, "_table", lambda *some: read.append(1) or table(*some))
    session = opened(texts)
    session.start()
    assert session.ready.wait(60)
    assert session.content(rows(session)[0])["text"]
    assert len(read) == 1


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
    found, flagged = session.groups(), session.saved.flagged
    assert found["clusters"] == []  # there are none before the kernel is there
    pairs = found["pairs"]
    assert sum(pair["count"] for pair in pairs) == int(flagged.sum())  # each has a label to suggest
    one = pairs[0]
    some = rows(session, given=one["given"], suggested=one["suggested"])
    cards = [session.card(r) for r in some]
    assert {(card["given"], card["suggested"]) for card in cards} == {(one["given"], one["suggested"])}
    assert rows(session, search=session.saved.ids[5]) == [
        r for r in rows(session) if session.saved.ids[5] in session.saved.ids[r] + session.examples.text(r)
    ]


@pytest.mark.parametrize("words", ["bark", "BARK", "<b>7", "DOG", "& 'c", "no such words"])
def test_search_finds_what_a_loop_over_names_labels_and_texts_finds(texts, opened, words):
    session = opened(texts)
    names = session.saved.classes

    def holds(row):
        card, text = session.card(row), session.content(row)["text"]
        held = (card["name"], names[card["given"]], names[card["suggested"]], text)
        return any(words.lower() in one.lower() for one in held)

    assert rows(session, search=words) == [row for row in rows(session) if holds(row)]


def test_clusters_come_with_the_kernel_and_follow_decisions(texts, opened):
    session = opened(texts)
    session.start()
    learned(session)
    until = time.monotonic() + 60
    while not session.state()["clusters"]:
        assert time.monotonic() < until
        time.sleep(0.02)
    found = session.groups()["clusters"]
    assert sum(one["count"] for one in found) == session.saved.flagged.sum()
    one = found[0]
    some = rows(session, cluster=one["cluster"])
    assert len(some) == one["count"]
    assert all(session.saved.flagged[some])
    session.decide(0, "label", some, [session.suggested(row) for row in some])
    assert one["cluster"] not in [left["cluster"] for left in session.groups()["clusters"]]


def test_clusters_of_a_network_s_run_come_once_the_page_is_there(network, opened):
    session = opened(network, learn=False)
    session.start().join(60)
    found = session.groups()["clusters"]
    assert len(found) > 1
    assert sum(one["count"] for one in found) == session.saved.flagged.sum()
    some = rows(session, cluster=found[0]["cluster"])
    assert len(some) == found[0]["count"]
    (network.parent / "data.npz").rename(network.parent / "away.npz")
    gone = opened(network, decisions=network.parent / "gone.jsonl")
    gone.start().join(60)
    assert gone.groups()["clusters"] == []
    assert "does not exist" in gone.state()["fixed"]
    (network.parent / "away.npz").rename(network.parent / "data.npz")


def test_a_network_s_run_learns_and_has_clusters_beside(network, opened, few_trees):
    truth, session = np.load(network.parent / "truth.npy"), opened(network)
    session.start()
    learned(session)
    before = session._now.quality
    for row in rows(session)[:3]:
        session.decide(session.journal.version, "label", [row], [int(truth[row])])
    learned(session)
    assert not np.array_equal(session._now.quality, before)
    until = time.monotonic() + 60
    while not session.state()["clusters"]:
        assert time.monotonic() < until
        time.sleep(0.02)


def test_suggested_is_what_the_run_suggests_in_name_and_value(texts, opened):
    table, session = label_table(texts), opened(texts)
    shown = read_findings(texts)
    session.start()
    for learning in (False, True):  # as the run left it, and after a pass over nothing that is decided
        if learning:
            learned(session)
        cards = [session.card(row) for row in range(len(table))]
        names = [session.saved.classes[card["suggested"]] for card in cards]
        assert names == table["suggested_label"].tolist()
        shares = [card["shares"][card["likely"].index(card["suggested"])] for card in cards]
        expected = np.where(shown.suggested == shown.refined, shown.confidence, shown.p_other)
        np.testing.assert_allclose(shares, expected, atol=1e-5)


def test_bulk_takes_those_above_a_share(texts, opened):
    session = opened(texts)
    for share in (0.0, 0.9):
        cards = [session.card(r) for r in range(len(session.saved.ids))]
        expected = {c["row"] for c in cards if c["likely"][0] != c["given"] and c["shares"][0] >= share}
        assert set(session.above(View(), share)) == expected != set()
    found = session.above(View(), 0.9)
    session.decide(0, "label", found, [session.suggested(r) for r in found])
    assert session.above(View(), 0.9) == []
    assert session.state()["wrong"] == len(found)
    assert session.undo(1) == found


def test_it_learns_from_each_decision_and_back_and_in_a_pause_all_is_computed_anew(texts, opened, monkeypatch):
    monkeypatch.setattr(_session, "_PAUSE", 0.2)
    monkeypatch.setattr(_label_scores, "_FEW", 0)
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
    codes = session._decided_codes()
    assert (after.likely[codes >= 0, 0] == codes[codes >= 0]).all()
    assert not np.array_equal(after.wrong, before.wrong)
    while session.undo(session.journal.version):
        pass
    learned(session)
    until = time.monotonic() + 60
    while not np.array_equal(session._now.quality, before.quality):
        assert time.monotonic() < until
        time.sleep(0.05)
    row = rows(session)[0]
    session.decide(session.journal.version, "label", [row], [int(truth[row])])
    expected = Learner(texts, read_finished(texts), before).learn(session._decided_codes(), 0, anew=True)
    until = time.monotonic() + 60
    while not np.array_equal(session._now.quality, expected.quality):
        assert time.monotonic() < until
        time.sleep(0.05)


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
    assert state["errors_left"]["value"] < first["errors_left"]["value"]  # whole numbers: 17 of 18


def test_data_that_changed_are_not_learned_from(texts, tmp_path, opened, monkeypatch):
    csv = tmp_path / "texts.csv"
    csv.write_bytes((texts.parent / "texts.csv").read_bytes())
    run = fit(csv, out=tmp_path / "run", label="label", method="kernel", rounds=1, encoder="none", say=None)
    csv.write_text(csv.read_text().replace("meow", "moo"))
    session = opened(run.folder)
    messages = []
    session.start(messages.append).join(20)
    assert "holds other data" in session.state()["fixed"]
    assert len(messages) == 1
    assert "holds other data" in messages[0]
    csv.unlink()
    gone = opened(run.folder, decisions=tmp_path / "e.jsonl")
    assert "does not exist" in gone.content(0)["missing"]
    assert gone.words(0) == []
    gone.start(messages.append).join(20)
    assert len(messages) == 2
    assert "texts.csv does not exist. Start this in the folder" in messages[1]


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
