"""Words that count, against texts from which each word was taken by hand."""

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from selfdistill.review._words import weighed
from selfdistill.runs._examples import open_examples
from selfdistill.runs._model_file import load_model
from selfdistill.runs._run import fit, load


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder, rng = tmp_path_factory.mktemp("words"), np.random.default_rng(0)
    truth = rng.integers(2, size=120)
    words = [["meow", "purr"], ["bark", "bone"]]
    texts = [" ".join(rng.choice([*words[c], "the", "of", "and"], 6)) + " \U0001f600 <b>" for c in truth]
    frame = pd.DataFrame(
        {"text": texts, "label": np.array(["cat", "dog"])[np.where(rng.random(120) < 0.2, 1 - truth, truth)]}
    )
    frame.to_csv(folder / "texts.csv", index=False)
    fit(folder / "texts.csv", out=folder / "run", label="label", text=("text",), encoder="none", say=None)
    return folder / "run"


def pieces(run: Path, row: int, given: int = 0, other: int = 1):
    examples = open_examples(run)
    return weighed(load_model(run / "model.safetensors"), examples.row(row), examples.texts(row), given, other)


def test_the_pieces_are_the_text_and_speak_for_the_class_of_their_word(run):
    seen, heaviest = set(), []
    for row in range(20):
        found = pieces(run, row)
        assert "".join(piece for piece, _ in found) == open_examples(run).text(row)
        heaviest.append(max(found, key=lambda one: abs(one[1]))[0])
        for piece, weight in found:
            if weight and piece in {"meow", "purr", "bark", "bone"}:
                assert (weight > 0) == (piece in {"bark", "bone"})
                seen.add(piece)
        turned = pieces(run, row, 1, 0)
        assert [piece for piece, _ in turned] == [piece for piece, _ in found]
        np.testing.assert_allclose([one for _, one in turned], [-one for _, one in found], atol=1e-6)
    assert sum(word in seen for word in heaviest) >= 15  # of twenty; pairs of words count too
    assert seen == {"meow", "purr", "bark", "bone"}


def test_a_weight_is_how_much_the_odds_that_the_run_predicts_fall_without_the_word(run, tmp_path):
    text, found = open_examples(run).text(3), pieces(run, 3)
    at, weights = 0, {}
    for piece, weight in found:
        if weight:
            weights[at, at + len(piece)] = weight
        at += len(piece)
    spans = [one.span() for one in re.finditer(r"\w+", text)]
    assert set(weights) <= set(spans)
    table = pd.DataFrame({"text": [text, *(text[:start] + text[end:] for start, end in spans)]})
    table.to_csv(tmp_path / "new.csv", index=False)
    predicted = load(run).predict(tmp_path / "new.csv")
    odds = np.log(predicted["p_dog"] / predicted["p_cat"]).to_numpy()
    change = dict(zip(spans, odds[0] - odds[1:], strict=True))
    for span, weight in weights.items():
        assert weight == pytest.approx(change[span], abs=1e-4)
    least = min(map(abs, weights.values()))
    assert sorted(map(abs, change.values()))[-len(weights)] == pytest.approx(least, abs=1e-4)


def test_long_texts_are_weighed_in_parts_and_empty_ones_not(run):
    examples, model = open_examples(run), load_model(run / "model.safetensors")
    text = "the of and " * 400 + "bark bone bark bone"
    found = weighed(model, examples.row(0), {"text": text}, 0, 1)
    assert "".join(piece for piece, _ in found) == text
    assert any(weight and "bark" in piece for piece, weight in found)
    assert weighed(model, examples.row(0), {"text": "?! "}, 0, 1) == [("?! ", 0.0)]


def test_several_columns_are_named(run):
    examples, model = open_examples(run), load_model(run / "model.safetensors")
    row = examples.row(0).append_column("more", [["bark"]])
    model.preprocess.check_columns = lambda names: None
    found = weighed(model, row, {"text": "meow", "more": "bone"}, 0, 1)
    assert "".join(piece for piece, _ in found) == "text: meow\nmore: bone"
