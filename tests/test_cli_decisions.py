"""Decisions of a person in ``refine`` and ``fit``: taken as they are, matched by name, or refused."""

import json

import numpy as np
import pandas as pd
import pytest

from selfdistill.cli import main
from selfdistill.runs._decisions import Journal

pytestmark = pytest.mark.usefixtures("few_trees")


@pytest.fixture(scope="module")
def songs(tmp_path_factory):
    folder, rng = tmp_path_factory.mktemp("songs"), np.random.default_rng(0)
    truth = rng.integers(0, 2, 60)
    given = np.where(np.arange(60) < 8, 1 - truth, truth)
    table = pd.DataFrame({"track": [f"t{i}" for i in range(60)], "x": truth * 6 + rng.normal(size=60)})
    table.assign(genre=np.array(["jazz", "pop"])[given]).to_csv(folder / "songs.csv", index=False)
    with pytest.raises(SystemExit) as left:
        main(["fit", str(folder / "songs.csv"), "--label", "genre", "--id", "track", "--out", str(folder / "run")])
    assert not left.value.code
    return folder


@pytest.fixture
def cli(capsys, songs, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)

    def call(*arguments):
        with pytest.raises(SystemExit) as left:
            main([str(a) for a in arguments])
        return int(left.value.code or 0), capsys.readouterr().err

    return call


def journal(songs, path):
    """Settle: t0's wrong label stays, t20's right one becomes wrong, t30 is unsure, t1 is set right."""
    given = pd.read_csv(songs / "songs.csv")["genre"]
    other = {"jazz": "pop", "pop": "jazz"}
    run = json.loads((songs / "run" / "run.json").read_text())["id"]
    made = Journal(path, run, [f"t{i}" for i in range(60)], ["jazz", "pop"])
    made.add("label", [0], [given[0]])
    made.add("label", [20, 1], [other[given[20]], other[given[1]]])
    made.add("unsure", [30])
    made.close()
    return given, other


def test_refine_takes_decisions_before_what_was_found(cli, songs, tmp_path):
    given, other = journal(songs, tmp_path / "d.jsonl")
    for how in ("relabel", "drop", "weight"):
        code, err = cli("refine", songs / "run", f"--{how}", "--out", f"{how}.csv", "--decisions", "d.jsonl")
        assert code == 0, err
    relabelled = pd.read_csv("relabel.csv")["refined_label"]
    assert (relabelled[0], relabelled[20], relabelled[1]) == (given[0], other[given[20]], other[given[1]])
    assert relabelled[30] == given[30]
    left = set(pd.read_csv("drop.csv")["track"])
    assert "t0" in left
    assert not left & {"t20", "t1", "t30"}
    weights = pd.read_csv("weight.csv")["label_weight"]
    assert (weights[0], weights[20], weights[1]) == (1, 0, 0)
    assert cli("refine", songs / "run", "--relabel", "--out", "plain.csv")[0] == 0
    plain, rest = pd.read_csv("plain.csv")["refined_label"], np.setdiff1d(np.arange(60), [0, 1, 20, 30])
    assert (plain[rest] == relabelled[rest]).all()


def test_fit_holds_them(cli, songs, tmp_path):
    given, other = journal(songs, tmp_path / "d.jsonl")
    code, err = cli(
        "fit", songs / "songs.csv", "--label", "genre", "--id", "track", "--out", "again", "--decisions", "d.jsonl"
    )
    assert code == 0, err
    assert "3 decided labels, from d.jsonl" in err
    table = pd.read_parquet("again/labels.parquet")
    assert table["refined_label"][[0, 1, 20]].tolist() == [given[0], other[given[1]], other[given[20]]]
    assert table["label_quality"][[0, 1, 20]].tolist() == [1, 0, 0]
    assert table["is_label_issue"][[0, 1, 20]].tolist() == [False, True, True]
    record = json.loads((tmp_path / "again" / "run.json").read_text())
    assert (record["data"]["decisions"], record["data"]["counts"]["settled"]) == ("d.jsonl", 3)
    (tmp_path / "again" / "labels.parquet").unlink()
    assert cli("fit", "--resume", "again")[0] == 0  # it knows its decisions
    pd.testing.assert_frame_equal(pd.read_parquet("again/labels.parquet"), table)


def test_names_decide_and_strangers_are_told(cli, songs, tmp_path):
    (tmp_path / "d.csv").write_text("id,label\nt59,jazz\nt99,pop\n")
    moved = pd.read_csv(songs / "songs.csv")[::-1]
    moved.to_csv("moved.csv", index=False)
    code, err = cli("fit", "moved.csv", "--label", "genre", "--id", "track", "--out", "m", "--decisions", "d.csv")
    assert code == 0
    assert "1 names in d.csv are of no example, such as 't99'" in " ".join(err.split())
    assert pd.read_parquet("m/labels.parquet").set_index("id")["refined_label"]["t59"] == "jazz"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--method", "selfdistill", "--decisions", "d.csv"], "--decisions d.csv cannot be held: method 'selfdistill'"),
        (["--decisions", "none.csv"], "none.csv is no file"),
        (["--decisions", "bad.csv"], "'rock', which is not a class"),
    ],
)
def test_what_cannot_be_held_is_refused_in_one_line(cli, songs, tmp_path, arguments, message):
    (tmp_path / "d.csv").write_text("id,label\nt59,jazz\n")
    (tmp_path / "bad.csv").write_text("id,label\nt59,rock\n")
    code, err = cli("fit", songs / "songs.csv", "--label", "genre", "--id", "track", "--out", "x", *arguments)
    assert code == 2
    assert message in " ".join(err.split())
    assert not (tmp_path / "x").exists()


def test_review_exports_without_a_page(cli, songs, tmp_path):
    journal(songs, tmp_path / "d.jsonl")
    code, err = cli("review", songs / "run", "--decisions", "d.jsonl", "--export", "out.csv")
    assert (code, err.strip()) == (0, "4 decisions in out.csv")
    assert pd.read_csv("out.csv")["decision"].tolist() == ["kept", "changed", "changed", "unsure"]
    code, err = cli("review", songs / "run", "--decisions", "e.jsonl", "--take", "out.csv", "--export", "again.json")
    assert (code, err.strip()) == (0, "4 decisions in again.json")
    code, err = cli("review", "nothing")
    assert code == 2
    assert "nothing" in err


def test_decisions_about_another_run_are_refused_with_both_names(cli, songs, tmp_path):
    ids = [f"t{i}" for i in range(60)]
    record = json.loads((songs / "run" / "run.json").read_text())
    for about, ok in (({"name": "old", "data": "0" * 64}, False), ({"data": record["data"]["fingerprint"]}, True)):
        path = tmp_path / f"{ok}.jsonl"
        made = Journal(path, "another", ids, ["jazz", "pop"], about)
        made.add("label", [0], ["jazz"])
        made.close()
        code, err = cli("refine", songs / "run", "--relabel", "--out", f"{ok}.csv", "--decisions", path)
        assert (code == 0) == ok, err  # the same data may have been learned twice
        if not ok:
            assert f"holds decisions about the run 'old', not about {songs / 'run'}" in err
            assert "--take" in err
    arguments = ("fit", songs / "songs.csv", "--label", "genre", "--id", "track", "--out")
    code, err = cli(*arguments, "again", "--decisions", "False.jsonl")
    assert code == 0, err
    assert "note: False.jsonl holds decisions about the run 'old', whose data were others" in err
    code, err = cli(*arguments, "third", "--decisions", "True.jsonl")
    assert code == 0, err
    assert "whose data" not in err


def test_decisions_about_rows_by_number_need_as_many_rows(cli, songs, tmp_path):
    table = pd.read_csv(songs / "songs.csv").drop(columns="track")
    table.iloc[5:].to_csv("fewer.csv", index=False)
    made = Journal(tmp_path / "d.jsonl", "another", list(map(str, range(60))), ["jazz", "pop"], {"name": "old"})
    made.add("label", [7], ["jazz"])
    made.close()
    code, err = cli("fit", "fewer.csv", "--label", "genre", "--out", "run", "--decisions", "d.jsonl")
    assert code != 0
    assert "the run 'old' with 60 examples, but the data have 55, and rows are named by numbers" in err
    assert not (tmp_path / "run").exists()


def test_decisions_on_other_data_by_row_numbers_are_not_taken(cli, songs, tmp_path):
    table = pd.read_csv(songs / "songs.csv").drop(columns="track")
    table.to_csv("a.csv", index=False)
    table[::-1].to_csv("b.csv", index=False)
    for name in "ab":
        assert cli("fit", f"{name}.csv", "--label", "genre", "--out", name)[0] == 0
    record = json.loads((tmp_path / "a" / "run.json").read_text())
    about = {"name": "a", "data": record["data"]["fingerprint"]}
    for path, run in (("j.jsonl", record["id"]), ("same.jsonl", "another run on the same data")):
        made = Journal(tmp_path / path, run, list(map(str, range(60))), ["jazz", "pop"], about)
        made.add("label", [7], ["jazz"])
        made.close()
        taken = cli("review", "a", "--decisions", f"of-{path}", "--take", path, "--export", f"{path}.csv")
        assert taken == (0, f"1 decision in {path}.csv\n")
    refused = "holds decisions about the run 'a'"
    for command in (
        ("review", "b", "--take", "j.jsonl", "--export", "b-taken.csv"),
        ("refine", "b", "--relabel", "--decisions", "j.jsonl", "--out", "b-refined.csv"),
    ):
        code, err = cli(*command)
        message = " ".join(err.split())
        assert code == 2
        assert refused in message
        assert "name rows by a column in both runs: `selfdistill fit DATA --id COLUMN`" in message
        assert "--take j" not in message
    for run, path, way in (("b", "j.jsonl", "name another file with --decisions"), ("a", "same.jsonl", "--take FILE")):
        code, err = cli("review", run, "--decisions", path, "--export", "b-others.csv")
        message = " ".join(err.split())
        assert code == 2
        assert f"{path} holds decisions about another run ('a'), not about '{run}'" in message
        assert way in message
        assert ("--take" in message) == (run == "a")
        assert ("whose data are others, and rows are named by numbers" in message) == (run == "b")
    row = next(row for row in range(60) if table.genre[row] != table.genre[59 - row])
    (tmp_path / "d.csv").write_text(f"id,given_label,settled_label\n{row},{table.genre[row]},{table.genre[row]}\n")
    assert cli("refine", "a", "--relabel", "--decisions", "d.csv", "--out", "a-refined.csv")[0] == 0
    for command in (
        ("review", "b", "--take", "d.csv", "--export", "b-taken.csv"),
        ("refine", "b", "--relabel", "--decisions", "d.csv", "--out", "b-refined.csv"),
    ):
        code, err = cli(*command)
        assert (code, f"row {row} was given {table.genre[row]!r} there" in " ".join(err.split())) == (2, True)
    assert not (tmp_path / "b.decisions.jsonl").exists()
    assert not list(tmp_path.glob("b-*"))


def test_decisions_that_are_not_taken_are_counted(cli, songs, tmp_path):
    journal(songs, tmp_path / "d.jsonl")
    (tmp_path / "more.csv").write_text("id,label\nt0,jazz\nt5,pop\nt98,pop\nt99,pop\n")
    code, err = cli("review", songs / "run", "--decisions", "d.jsonl", "--take", "more.csv", "--export", "out.csv")
    assert (code, err.splitlines()) == (
        0,
        [
            "note: not taken from more.csv: 2 that name no example of the run, 1 on examples that are decided already",
            "5 decisions in out.csv",
        ],
    )


def test_a_review_of_moved_data_says_so_in_the_terminal(cli, songs, tmp_path, monkeypatch):
    server = pytest.importorskip("selfdistill.review._server", reason="the extra `review` is not installed")
    monkeypatch.setattr(server, "serve", lambda session, taken, token: taken.close())
    arguments = ("review", songs / "run", "--no-browser", "--decisions", "d.jsonl")
    code, err = cli(*arguments)
    assert code == 0, err
    assert "note" not in err
    (songs / "songs.csv").rename(songs / "away.csv")
    try:
        code, err = cli(*arguments)
    finally:
        (songs / "away.csv").rename(songs / "songs.csv")
    assert code == 0, err
    message = " ".join(err.split())
    assert "note: only the names of the examples are shown" in message
    assert "songs.csv does not exist. Start this in the folder where `fit` was started." in message
    assert message.index("note:") < message.index("The page: http")


def test_numbered_rows_with_other_labels_are_refused_by_fit(cli, songs, tmp_path):
    """As many rows, in another order: a journal knows by its labels, a table by each given label that it holds."""
    table = pd.read_csv(songs / "songs.csv").drop(columns="track")
    table.to_csv("a.csv", index=False)
    table.assign(more=range(60, 0, -1)).to_csv("wider.csv", index=False)
    table[::-1].to_csv("b.csv", index=False)
    assert cli("fit", "a.csv", "--label", "genre", "--out", "a")[0] == 0
    (tmp_path / "begin.csv").write_text(f"id,label\n7,{table.genre[7]}\n")
    assert cli("review", "a", "--take", "begin.csv", "--export", "taken.csv")[0] == 0
    other = {"jazz": "pop", "pop": "jazz"}
    row = next(row for row in range(60) if table.genre[row] != table.genre[59 - row])
    (tmp_path / "d.csv").write_text(f"id,given_label,settled_label\n{row},{table.genre[row]},{table.genre[row]}\n")
    (tmp_path / "hand.csv").write_text("id,label\n7,jazz\n")
    table.assign(genre=table.genre.where(table.index != row, other[table.genre[row]])).to_csv("set.csv", index=False)
    (tmp_path / "set-d.csv").write_text(
        f"id,given_label,settled_label\n{row},{table.genre[row]},{other[table.genre[row]]}\n"
    )
    for data, decisions, refused in (
        ("wider.csv", "a.decisions.jsonl", None),
        ("b.csv", "hand.csv", None),
        ("wider.csv", "d.csv", None),
        ("set.csv", "set-d.csv", None),  # set as decided
        ("b.csv", "a.decisions.jsonl", "the run 'a' with other labels (fingerprint "),
        ("b.csv", "d.csv", f"row {row} was given {table.genre[row]!r} there, but here {other[table.genre[row]]!r}"),
    ):
        out = f"{data}-{decisions}"
        code, err = cli("fit", data, "--label", "genre", "--out", out, "--decisions", decisions)
        assert (code != 0) == (refused is not None), err
        assert (tmp_path / out).exists() == (refused is None)
        assert refused is None or (refused in " ".join(err.split()) and "--id" in err)
