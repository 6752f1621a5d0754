"""A run in closed form by the command line: every verb works on it, and what it cannot use is refused."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from selfdistill.cli import main

pytestmark = pytest.mark.usefixtures("few_trees")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A table of three clouds, 30 % of the labels wrong, and its run."""
    folder = tmp_path_factory.mktemp("closed")
    rng = np.random.default_rng(0)
    truth = rng.integers(3, size=300)
    x = 4 * np.eye(3)[truth] + rng.normal(size=(300, 3))
    given = np.where(rng.random(300) < 0.3, (truth + rng.integers(1, 3, size=300)) % 3, truth)
    names = np.array(["disco", "jazz", "pop"])
    frame = pd.DataFrame(x.round(4), columns=["tempo", "loud", "long"])
    frame.assign(genre=names[given], right=names[truth]).to_csv(folder / "songs.csv", index=False)
    frame.assign(genre=names[truth]).head(60).to_csv(folder / "new.csv", index=False)
    with pytest.raises(SystemExit) as left:
        main(["fit", str(folder / "songs.csv"), "--label", "genre", "--truth", "right", "--test",
              str(folder / "new.csv"), "--out", str(folder / "run")])  # fmt: skip
    assert not left.value.code
    return folder


def test_a_table_is_fitted_in_closed_form_by_itself(made):
    record = json.loads((made / "run" / "run.json").read_text())
    assert record["settings"]["method"] == "kernel"
    assert any("method: kernel" in note for note in record["notes"])
    assert record["settings"]["network"].startswith("kernel:")
    assert record["result"]["test_accuracy"]["last"] > 0.9
    assert record["result"]["truth"]["refined_right"] > 0.93
    assert abs(record["result"]["estimated_noise"]["expected_wrong"] / 90 - 1) < 0.25
    assert record["trust"]["verdict"] == "trust"
    spectrum = record["closed"]["spectrum"]
    assert len(spectrum["given"]) == len(spectrum["eigenvalue"]) == len(spectrum["refined"])
    assert sum(spectrum["given"]) + spectrum["rest"]["given"] <= 1.01
    # Refined labels lie in the leading directions, wrong ones do not.
    assert sum(spectrum["refined"][:3]) > sum(spectrum["given"][:3]) + 0.2


def test_the_verdict_names_rounds_and_likelihood(made, cli):
    code, out, _ = cli("fit", "--resume", made / "run")
    assert code == 0
    assert "Closed form in " in out
    assert "nats for each unseen label" in out
    assert "Test accuracy" in out


def test_predict_refine_air_and_distill(made, cli, tmp_path, monkeypatch):
    monkeypatch.chdir(made)
    code, out, err = cli("predict", "run", "new.csv")
    assert code == 0, err
    assert out.splitlines()[0] == "id,predicted_label,confidence,p_disco,p_jazz,p_pop"
    assert cli("refine", "run", "--relabel", "--out", tmp_path / "refined.csv")[0] == 0
    refined = pd.read_csv(tmp_path / "refined.csv")
    assert (refined["refined_label"] == refined["right"]).mean() > 0.9
    code, out, err = cli("air", "run", "--out", tmp_path / "air")
    assert code == 0, err
    assert "Round 1 stopped at direction " in out
    assert {p.name for p in (tmp_path / "air").iterdir()} == {"air.json", "directions.svg", "directions.png"}
    code, out, err = cli("distill", "run", "--student", "mlp:8", "--epochs", "2", "--out", tmp_path / "student")
    assert "Teacher: run\n" in out  # which has no epochs
    assert code == 0, err


def test_what_was_lost_is_computed_anew_with_the_same_bytes(made, cli):
    table = made / "run" / "labels.parquet"
    before = table.read_bytes()
    table.unlink()
    assert cli("fit", "--resume", made / "run")[0] == 0
    assert table.read_bytes() == before


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--method", "kernel", "--epochs", "3"], "method 'kernel' trains no network, and --epochs is 3"),
        (["--method", "elr", "--rounds", "2"], "method 'elr' trains a network, and --rounds is 2"),
        (["--kernel", "rbf", "--epochs", "2"], "--kernel is for the closed form, --epochs for a network."),
        (["--rounds", "7"], "--rounds is 7, but must be at most 3"),
        (["--kernel", "cosine"], "kernel is 'cosine'. Choose one of auto, linear, relu1, relu3, rbf."),
        (["--landmarks", "1"], "--landmarks is 1, but must be at least 2"),
        (["--method", "kernal"], "Did you mean kernel?"),
    ],
)
def test_what_does_not_go_together_is_refused_before_reading(made, cli, options, words):
    code, _, err = cli("fit", made / "songs.csv", "--label", "genre", *options)
    assert code == 2
    assert words in err
    assert "Reading" not in err


def test_options_of_training_take_a_network(made, cli, tmp_path):
    code, out, _ = cli("fit", made / "songs.csv", "--label", "genre", "--ignore", "right", "--epochs", "2", "--network",
                       "mlp:8", "--out", tmp_path / "run")  # fmt: skip
    assert code == 0
    assert "selfdistill, mlp:8" in out


def test_methods_lists_it_first(cli):
    _, out, _ = cli("methods")
    assert out.splitlines()[0].split()[0] == "auto"
    assert out.splitlines()[0].endswith("(default)")
    assert out.splitlines()[1].split()[0] == "kernel"


GOOD = ["great", "lovely", "superb", "pleasant", "brilliant", "charming", "happy", "excellent", "wonderful", "fine"]
POOR = ["awful", "boring", "terrible", "dull", "poor", "horrible", "sad", "dreadful", "weak", "bad"]
NOUNS = ["film", "story", "book", "song", "meal", "day", "night"]
OTHER = ["the", *NOUNS[:5], "was", "is", "really", "quite", "a", "bit", "and", *NOUNS[5:], "we", "had"]


@pytest.mark.parametrize(("seed", "auroc"), [(0, 0.95), (1, 0.65)])  # of the second, none is expected to be wrong
def test_of_few_short_texts_the_ranking_is_told_and_the_count_left_open(tmp_path, cli, monkeypatch, seed, auroc):
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, 2, 120)
    rows = [rng.permutation([*rng.choice([POOR, GOOD][k], 2), *rng.choice(OTHER, 4)]) for k in truth]
    wrong = np.isin(np.arange(120), rng.choice(120, 12, replace=False))
    frame = pd.DataFrame({"text": map(" ".join, rows), "label": np.array(["neg", "pos"])[truth ^ wrong]})
    frame.to_csv("t.csv", index=False)
    code, out, _ = cli("fit", "t.csv", "--out", "run")
    assert code == 0
    assert "None of" not in out
    assert "  Trust the ranking, not the count: " in out
    assert "labels of least label_quality first." in " ".join(out.split())
    quality = pd.read_parquet("run/labels.parquet")["label_quality"]
    assert roc_auc_score(wrong, -quality) > auroc
