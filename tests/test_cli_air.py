"""What `selfdistill air` prints, writes and refuses."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from selfdistill._core.record import read_json_record, write_json_record
from selfdistill.cli import main
from selfdistill.cli._air_tables import _share

FIGURES = {f"{name}.{ending}" for name in ("spectrum", "energy", "retrieval", "curves") for ending in ("svg", "png")}


def call(capsys, *arguments):
    with pytest.raises(SystemExit) as left:
        main([str(a) for a in arguments])
    captured = capsys.readouterr()
    return int(left.value.code or 0), captured.out, captured.err


@pytest.fixture
def undrawn(monkeypatch):
    """Leave out the figures: tests/air/test_figures.py draws them."""
    monkeypatch.setattr("selfdistill.runs._air.save_figures", lambda folder, record: [])


@pytest.fixture(scope="module")
def there(tmp_path_factory):
    """A table with its truth, and two finished runs: of the table without it, and of the demonstration."""
    folder = tmp_path_factory.mktemp("air")
    rng = np.random.default_rng(0)
    x = rng.normal(size=(90, 3))
    frame = pd.DataFrame(x.round(3), columns=["tempo", "loud", "long"])
    frame["right"] = np.where(x[:, 0] > 0, "jazz", "pop")
    frame["genre"] = frame["right"]
    frame.loc[:19, "genre"] = np.where(frame["right"][:20] == "jazz", "pop", "jazz")
    frame.to_csv(folder / "songs.csv", index=False)
    few = ["--epochs", "3", "--network", "mlp:8", "--label", "genre", "--ignore", "right"]
    with pytest.raises(SystemExit):
        main(["fit", str(folder / "songs.csv"), *few, "--out", str(folder / "bare")])
    with pytest.raises(SystemExit):
        main(["fit", str(folder / "songs.csv"), *few[:-2], "--truth", "right", "--method", "cross-entropy",
              "--out", str(folder / "known")])  # fmt: skip
    return folder


def test_a_run_with_truth(there, capsys, tmp_path):
    code, out, err = call(capsys, "air", there / "known", "--examples", "60", "--out", tmp_path / "a")
    assert code == 0, err
    assert err.splitlines()[0].startswith("60 of 90 examples, network mlp:8, kernel trace: 2 kernels at ")
    assert "FLOP" in err.splitlines()[0]
    assert "Kernel 2 of 2 (trained)" in err
    for words in (
        "Classes retrieved first: ",
        "A wrong label takes ",
        "Energy in the leading directions",
        "true labels",
        "When to stop",
        "cross-validation (GCV) *",
    ):
        assert words in out
    assert {path.name for path in (tmp_path / "a").iterdir()} == FIGURES | {"air.json"}
    record = json.loads((tmp_path / "a" / "air.json").read_text())
    assert record["schema"] == 2
    assert record["settings"]["examples"] == 60
    assert "torch" in record["versions"]
    assert record["data"]["clean_is"] == "truth"
    assert record["noise"]["found_share"] == pytest.approx(20 / 90, abs=0.06)
    assert [found["name"] for found in record["moments"]] == ["initial", "trained"]
    assert record["moments"][1]["epoch"] == 3
    assert len(record["curves"]["measured"]["agreement"]) == 3
    assert record["curves"]["measured"]["plain"]
    assert f"Stop after about {record['stopping_epoch']['epoch']:.1f} epochs, the median of the six estimates" in out
    assert str(there) not in (tmp_path / "a" / "air.json").read_text()
    assert record["data"]["source"] == "known"


def test_a_run_without_truth_takes_its_refined_labels_and_says_so(there, capsys):
    code, out, _ = call(capsys, "air", there / "bare", "--examples", "40", "--rank", "12")
    assert code == 0
    assert "Only 12 of 40 directions were computed" in out
    assert "How many labels are wrong is unknown: that needs all directions, so leave --rank out; " in out
    assert "Stop after" not in out  # the default does not train as predicted
    assert "No true labels are known: the run's refined labels stand in for them." in out
    record = json.loads((there / "bare" / "air" / "air.json").read_text())
    assert record["data"]["clean_is"] == "refined"
    assert len(record["spectrum"]["trained"]["values"]) == 12
    labels = pd.read_parquet(there / "bare" / "labels.parquet").set_index("id")
    chosen = labels.loc[record["data"]["ids"]]
    share = float((chosen.given_label != chosen.refined_label).mean())
    assert record["noise"]["found_share"] == pytest.approx(share)
    code, _, err = call(capsys, "air", there / "bare")
    assert code == 2
    assert "already holds files. Choose another --out, or overwrite them with --force." in err
    assert call(capsys, "air", there / "bare", "--force", "--examples", "40", "--json")[0] == 0


def test_a_share_is_told_as_a_range_or_withheld():
    noise = {"wrong_share": 0.3, "wrong_share_range": [0.15, 0.33], "fall": 1.1, "found_share": None}
    assert _share(noise, None) == "15.0-33.0 % of the labels look wrong, by the energy in the last directions."
    withheld = _share(noise | {"wrong_share_range": None, "fall": 1.4, "found_share": 0.25}, "truth")
    assert withheld == (
        "How many labels are wrong is unknown: labels follow from the inputs even in the last directions; "
        "25.0 % differ from the true ones."
    )


def test_checkpoints_between_start_and_end_are_moments_too(there, capsys, tmp_path, undrawn):
    folder = there / "known" / "checkpoint"
    last = sorted(folder.glob("step-*.pt"))[-1]
    middle = folder / "step-000000003.pt"
    middle.write_bytes(last.read_bytes())
    middle.with_suffix(".json").write_bytes(last.with_suffix(".json").read_bytes())
    code, out, _ = call(capsys, "air", there / "known", "--examples", "30", "--out", tmp_path / "a", "--json")
    middle.unlink()
    middle.with_suffix(".json").unlink()
    assert code == 0
    names = [found["name"] for found in json.loads(out)["moments"]]
    assert names[0] == "initial"
    assert names[-1] == "trained"
    assert len(names) == 3


def test_data_with_a_network_as_initialised(there, capsys, monkeypatch, undrawn):
    monkeypatch.chdir(there)
    code, out, err = call(
        capsys, "air", "songs.csv", "--label", "genre", "--truth", "right", "--network", "mlp:16", "--json",
        "--output", "centered", "--time", "2.5",
    )  # fmt: skip
    assert code == 0, err
    shown = json.loads(out)
    assert shown["air"] == "air-songs"
    assert shown["at"]["time"] == pytest.approx(2.5)
    assert [found["name"] for found in shown["moments"]] == ["initial"]
    assert shown["data"]["network"] == "mlp:16"
    assert all(Path(name).is_file() for name in shown["files"])
    code, out, _ = call(capsys, "air", "songs.csv", "--label", "genre", "--ignore", "right", "--out", "bare-air")
    assert code == 0
    assert "No true labels are known: only the given ones are shown." in out


def test_two_examples_are_enough_where_their_labels_differ(there, capsys, tmp_path, undrawn):
    data = [there / "songs.csv", "--label", "genre", "--ignore", "right", "--network", "mlp:8"]
    code, out, err = call(capsys, "air", *data, "--examples", "2", "--out", tmp_path / "two")
    assert code == 0, err
    assert "nan" not in out
    code, _, err = call(capsys, "air", there / "known", "--examples", "2", "--out", tmp_path / "none")
    assert code == 2
    assert "the 2 examples drawn are all of the class 'pop'. Take more with --examples." in err
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (
            ["known", "--network", "mlp"],
            "--network does not apply to a run, whose record says it. Leave --network out.",
        ),
        (["known", "--drop-unlabelled"], "--drop-unlabelled does not apply to a run"),
        (["nowhere"], "nowhere does not exist"),
        (["songs.csv", "--label", "genre", "--network", "mpl"], "network 'mpl' is not one of auto"),
        (["songs.csv", "--label", "genre", "--network", "cnn"], "needs images"),
        (["known", "--output", "full"], "--output is 'full'. Choose one of trace, sum, centered, fisher."),
        (["known", "--examples", "1"], "--examples is 1, but must be at least 2"),
        (["known", "--rank", "2000"], "--rank is 2000, but 1000 examples have 1 to 1000 directions"),
        (["known", "--time", "0"], "--time is 0.0, but must be in (0, 1e+30)"),
        (["known", "--time", "inf"], "--time is inf, but must be in (0, 1e+30)"),
        (["known", "--memory", "12kg"], "12kg"),
        (["known", "--memory", "1KiB"], "memory"),
        (["known", "--out", "songs.csv"], "--out songs.csv is a file. Name a folder."),
    ],
)
def test_what_is_refused_before_the_work(there, capsys, monkeypatch, arguments, words):
    monkeypatch.chdir(there)
    where = [] if "--out" in arguments else ["--out", "unwritten"]
    code, out, err = call(capsys, "air", *arguments, *where)
    assert code == 2
    assert out == ""
    assert not Path("unwritten").exists()
    assert words in " ".join(err.split())


def test_a_run_that_is_not_whole_is_refused(there, capsys, tmp_path):
    def changed(change):
        folder = tmp_path / f"run-{len(list(tmp_path.iterdir()))}"
        folder.mkdir()
        record = read_json_record(there / "bare")
        change(record)
        write_json_record(folder, record)
        for name in ("model.safetensors", "labels.parquet"):
            (folder / name).write_bytes((there / "bare" / name).read_bytes())
        return call(capsys, "air", folder)

    assert "is not finished. Finish it with: selfdistill fit --resume" in changed(
        lambda record: record.update(status="interrupted"))[2]  # fmt: skip
    assert "holds other data than" in changed(lambda record: record["data"].update(fingerprint="0"))[2]
    assert "failed: no number" in changed(lambda record: record.update(status="failed", error="no number"))[2]
    assert "was not started by `selfdistill fit`" in changed(lambda record: record["data"].pop("read"))[2]
