"""The bench of words and characters: its recipes, one fit of each learner, and the table."""

import numpy as np
import pytest
from benchmarks.table import Table

from benchmarks import text_features as bench


@pytest.fixture
def folder(tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    truth = np.arange(90) % 3
    vocabulary = np.array([["goal", "team", "ball"], ["vote", "law", "poll"], ["stock", "bank", "rate"]])
    texts = np.array([" ".join(rng.choice(vocabulary[k], 5)) for k in truth])
    arrays = {"texts_train": texts, "texts_test": texts[:30], "y_true": truth, "y_test": truth[:30]}
    given = {"X_train": np.zeros((90, 1)), "X_test": np.zeros((30, 1)), "source": np.array("made up")}
    np.savez(tmp_path / "semeval-text.development.npz", **arrays, **given)
    monkeypatch.setattr(bench, "TABLE", Table(tmp_path / "records.parquet"))
    bench.features.cache_clear()
    return tmp_path


def test_blocks_have_their_shares(folder):
    _, inputs, _ = bench.features("semeval-text", "third", folder, folder)
    words = bench.features("semeval-text", "words", folder, folder)[1].shape[1]
    assert np.allclose(inputs.norm(dim=1), 10)
    assert np.allclose(inputs[:, :words].square().sum(1), 100 * 2 / 3)
    assert np.allclose(bench.features("semeval-text", "words/5", folder, folder)[1].norm(dim=1), 5)


def test_fits_are_recorded_once_and_told(folder, monkeypatch, capsys):
    forms = {"closed": [("third", "linear")], "network": [("words", "linear")], "light": [("words", "linear")]}
    monkeypatch.setattr(bench, "FORMS", forms)
    for learner in ("closed", "network", "closed", "light"):
        bench.run(learner, ["symmetric-20", "random"], [0], folder, folder, ["semeval-text"], [])
    rows = [*bench.TABLE.read().values()]
    assert [(row["learner"], row["case"]) for row in rows] == [
        ("closed", "symmetric-20"),
        ("closed", "random"),
        ("network", "symmetric-20"),
        ("network", "random"),
        ("light", "symmetric-20"),
        ("light", "random"),
    ]
    assert rows[0]["accuracy"] > 0.9
    bench.report()
    said = capsys.readouterr().out
    assert "| semeval-text | third, linear |" in said
    assert "| semeval-text | words, linear |" in said
