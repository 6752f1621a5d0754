"""TF-IDF of words and characters against its definition, and rebuilt without pickles."""

import base64
import hashlib
import math
import unicodedata
import uuid
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression

from selfdistill._core.read_options import ReadOptions
from selfdistill.data import _fitted as module
from selfdistill.data._fitted import TEXT_WEIGHT, Terms, TextColumn
from selfdistill.data._preprocess import Preprocess
from selfdistill.data._source import from_frame


def words(cell):
    found = cell.lower().split()
    return found + [" ".join(pair) for pair in pairwise(found)]


def characters(cell):
    out = []
    for word in cell.lower().split():
        padded = f" {word} "
        for length in range(2, 6):
            if length >= len(padded):
                out.append(padded)
                break
            out += [padded[start : start + length] for start in range(len(padded) - length + 1)]
    return out


def by_definition(cells, terms, corpus, grams):
    out = np.zeros((len(cells), len(terms)))
    n = len(corpus)
    for i, cell in enumerate(cells):
        for j, term in enumerate(terms):
            count = grams(cell).count(term)
            within = sum(term in grams(other) for other in corpus)
            out[i, j] = (1 + math.log(count)) * (1 + math.log((1 + n) / (1 + within))) if count else 0.0
        norm = np.linalg.norm(out[i])
        out[i] /= norm if norm else 1.0
    return out


def both(cells, column, corpus):
    out = np.hstack(
        [
            by_definition(cells, column.words.terms, corpus, words) * math.sqrt(2),
            by_definition(cells, column.characters.terms, corpus, characters),
        ]
    )
    norms = np.linalg.norm(out, axis=1, keepdims=True)
    return TEXT_WEIGHT * out / np.where(norms > 0, norms, 1.0)


WORDS = st.lists(st.sampled_from(["Ab", "cd", "é", "x", "日本", "CD", "abacab"]), max_size=6).map(" ".join)


@given(st.lists(WORDS, min_size=1, max_size=6).filter(lambda cells: any(cells)), st.lists(WORDS, max_size=4))
@settings(max_examples=40, deadline=None)
def test_equals_the_definition(cells, new):
    column = TextColumn.fit(cells, 1000)
    np.testing.assert_allclose(column.apply(cells), both(cells, column, cells), rtol=1e-5, atol=1e-5)
    if new:
        np.testing.assert_allclose(column.apply(new), both(new, column, cells), rtol=1e-5, atol=1e-5)


def test_rebuilt_column_gives_equal_bits():
    cells = [f"word{i % 7} and {i % 3} more" for i in range(60)]
    column = TextColumn.fit(cells, 1000)
    parts = [Terms(one.kind, list(one.terms), one.idf.copy()) for one in (column.words, column.characters)]
    np.testing.assert_array_equal(TextColumn(*parts).apply(cells), column.apply(cells))


def test_limit_rare_terms_and_no_terms():
    cells = [f"word{i % 7} unique{i}" for i in range(60)]
    assert set(TextColumn.fit(cells, 1000).words.terms) == {f"word{i}" for i in range(7)}
    assert len(TextColumn.fit(cells, 3).words.terms) == 3
    assert len(TextColumn.fit(cells, 3).characters.terms) == 3
    assert TextColumn.fit(["", " "], 10) is None
    assert TextColumn.fit(["...", "!"], 10).words.terms == ()  # signs are characters, too


@pytest.mark.parametrize("cell", ["", "xyz", "?!"])
def test_text_without_known_terms_is_zero(cell):
    assert not TextColumn.fit(["some words"], 10).apply([cell]).any()


def test_one_kind_alone_has_the_whole_length():
    column = TextColumn.fit(["some words", "more words"], 1000)
    assert np.linalg.norm(column.apply(["sore"])) == pytest.approx(TEXT_WEIGHT)
    alone = column.apply(["sore"])
    assert not alone[:, : len(column.words.terms)].any()


def test_characters_are_learned_from_a_sample_and_from_the_heads_of_texts(monkeypatch):
    monkeypatch.setattr(module, "_SAMPLE", 3)
    monkeypatch.setattr(module, "_LETTERS", 6)
    cells = ["abcdef zz", "no", "abcxyz", "no", "abcabc"]
    column = TextColumn.fit(cells, 1000)
    assert " no " not in column.characters.terms
    assert not any("z" in term for term in column.characters.terms if term.startswith(" z"))
    np.testing.assert_array_equal(column.characters.rows(["abcdef zz"]), column.characters.rows(["abcdef"]))


CHINESE = {
    "sport": ["球队昨晚赢得了比赛", "球员在比赛中进球", "教练称赞球队的球员", "决赛将在周末比赛", "冠军球队回到家乡"],
    "money": ["银行提高了贷款利率", "股票市场今天下跌", "银行的股票下跌", "利率影响贷款市场", "投资者卖出股票"],
}


def test_texts_without_spaces():
    rows = [(text + "。!"[: i % 3], name) for i in range(8) for name, texts in CHINESE.items() for text in texts]
    frame = pd.DataFrame({"text": [text for text, _ in rows]})
    data = from_frame(frame, [name for _, name in rows], options=ReadOptions(text=("text",)))
    new = data.preprocess.apply(pd.DataFrame({"text": ["球队在决赛中输了", "贷款市场的利率", "我们的球员"]}))
    near = (new @ data.inputs.T).argmax(1)
    assert [rows[row][1] for row in near] == ["sport", "money", "sport"]
    again = Preprocess.from_state(*data.preprocess.to_state())
    assert torch.equal(again.apply(frame), data.inputs)


@pytest.mark.parametrize("script", ["คนไทยชอบดูฟุตบอลมาก", "日本の銀行は金利を上げた", "银行提高了贷款利率", "ประเทศ"])
def test_texts_without_spaces_are_no_names(script):
    frame = pd.DataFrame({"t": [script + chr(ord(script[0]) + i) for i in range(30)]})
    data = from_frame(frame, ["a", "b"] * 15)
    assert data.preprocess.kinds["text"] == ("t",)


@pytest.mark.parametrize(
    ("words", "kind"),
    [
        (lambda i: "王小" + chr(0x4E00 + i), "text"),
        (lambda i: "#" + "".join("abcdefghij"[int(d)] for d in str(i**3 + 7)), "text"),
        (lambda i: "C" * (i + 1) + f"(=O)OC{i % 9}", "text"),  # a formula
        (lambda i: f"user_{i}", "none"),
        (lambda i: hashlib.md5(bytes([i])).hexdigest(), "none"),
        (lambda i: str(uuid.UUID(int=i * 2**100)), "none"),
        (lambda i: base64.b64encode(hashlib.md5(bytes([i])).digest()).decode(), "none"),
        (lambda i: f"photos/{'cat' if i % 2 else 'dog'}/{i}.jpg", "none"),
        (lambda i: f"SKU-{i * 977 % 1000:03}/{chr(65 + i % 26)}", "none"),
        (lambda i: f"Nr. ({i})".replace(" ", ""), "none"),
    ],
)
def test_words_that_differ_in_every_row_are_texts_or_names(words, kind):
    frame = pd.DataFrame({"t": [words(i) for i in range(60)], "x": np.arange(60) % 7})
    data = from_frame(frame, ["a", "b"] * 30)
    assert data.preprocess.kinds["text"] == (("t",) if kind == "text" else ())
    (warning,) = data.warnings
    if words(0).endswith(".jpg"):
        assert "column 't' names image files and is not used; --image-column t" in warning
    else:
        assert "column 't' holds a different word in every row" in warning
        assert "--id t" in warning


@pytest.mark.parametrize(
    ("letters", "message"),
    [
        ("天地人山水火風雨雪春秋夏冬東西南北上下", ("很好", "很差")),
        ("あいうえおかきくけこさしすせそ", ("楽しい", "悲しい")),
        ("กขคงจฉชซญดตถ", ("ดีมาก", "แย่มาก")),
        ("abcdefghijklmnopqrstuvwxyz", ("happy", "sadly")),
    ],
    ids=["Chinese", "Japanese", "Thai", "hashtags"],
)
def test_words_without_spaces_are_told_apart_by_their_characters(letters, message):
    rng = np.random.default_rng(0)

    def word(k):
        before, after = ("".join(rng.choice(list(letters), 4)) for _ in range(2))
        return before + message[k] + after

    labels = rng.integers(0, 2, 300)
    frame = pd.DataFrame({"t": [word(k) for k in labels]})
    data = from_frame(frame[:200], labels[:200])
    guess = LogisticRegression().fit(data.inputs, labels[:200]).predict(data.preprocess.apply(frame[200:]))
    assert (guess == labels[200:]).mean() > 0.97


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("हिन्दी में किताबें", ["हिन्दी", "में", "किताबें"]),
        ("தமிழ் மொழி", ["தமிழ்", "மொழி"]),
        ("ก็ดี น้ำ เก่ง", ["ก็ดี", "น้ำ", "เก่ง"]),
        ("שָׁלוֹם עוֹלָם", ["שָׁלוֹם", "עוֹלָם"]),
        ("مُحَمَّد كَتَبَ", ["مُحَمَّد", "كَتَبَ"]),
        ("می\u200cخواهم", ["می\u200cخواهم"]),
        ("good👍🏽 ❤️ 👨\u200d👩\u200d👧🇩🇪🇫🇷👍👍", ["good", "👍🏽", "❤️", "👨\u200d👩\u200d👧", "🇩🇪", "🇫🇷", "👍", "👍"]),
        ("Don't e-mail C++, snake_case 3.5", ["don", "t", "e", "mail", "c", "snake_case", "3", "5"]),
    ],
)
def test_marks_and_emoji_stay_in_words(text, words):
    composed = [unicodedata.normalize("NFC", word) for word in words]
    found = Terms.fit("words", [text], 100)
    assert set(found.terms) == {*composed, *map(" ".join, pairwise(composed))}
    assert found.rows([unicodedata.normalize("NFD", text)]).tolist() == found.rows([text]).tolist()


def test_a_run_of_before_marks_belonged_to_words():
    cells = ["हिन्दी में", "café"]
    old = Terms("words", ["हिन", "दी", "caf", "café"], np.ones(4), marks=False)
    plain = TfidfVectorizer(sublinear_tf=True, vocabulary=["हिन", "दी", "caf", "café"]).fit(cells)
    plain.idf_ = np.ones(4)
    assert old.rows(cells).tolist() == plain.transform(cells).toarray().tolist()
    data = from_frame(pd.DataFrame({"text": ["a ना song", "a नी song", "no ना"]}), ["a", "b", "a"])
    spec, tensors = data.preprocess.to_state()
    assert spec["text"][0].pop("marks") is True
    again = Preprocess.from_state(spec, tensors)
    assert again.to_state()[0] == spec
    assert not torch.equal(
        again.apply(pd.DataFrame({"text": ["ना"]})), data.preprocess.apply(pd.DataFrame({"text": ["ना"]}))
    )


def test_a_run_of_before_there_were_characters():
    data = from_frame(pd.DataFrame({"text": ["good song", "bad song", "a good one"]}), ["a", "b", "a"])
    spec, tensors = data.preprocess.to_state()
    (column,) = spec["text"]
    old = spec | {"text": [{"name": column["name"], "terms": column["terms"]}]}
    made = Preprocess.from_state(old, {name: one for name, one in tensors.items() if name != "characters.0"})
    rows = made.apply(pd.DataFrame({"text": ["good song"]}))
    assert rows.shape == (1, len(column["terms"]))
    assert rows.norm().item() == pytest.approx(TEXT_WEIGHT)
