"""Advice names only what is there, and stays a sentence."""

import json
import subprocess

import pytest

from selfdistill._core.wording import clean, cleaned, fit_advice, quoted

FILL = "Fill them in, or leave these rows out with --drop-unlabelled (drop_unlabelled=True)."


@pytest.mark.parametrize(
    ("text", "options", "said"),
    [
        (FILL, {"drop_unlabelled"}, FILL),
        (FILL, set(), "Fill them in."),
        ("Leave it out with --ignore x, or flatten it first.", {"out"}, "Flatten it first."),
        ("column 'id' is no feature; --id to choose another.", set(), "column 'id' is no feature."),
        ("Say which with --label. Give --id too.", {"id"}, "Give --id too."),
        ("Choose another --label.", set(), ""),
        ("Go on with: selfdistill fit --resume run", set(), "Go on with: selfdistill fit --resume run"),
        ("Did you mean 'a'? There are: 'a', 'b'.", set(), "Did you mean 'a'? There are: 'a', 'b'."),
        ("", set(), ""),
    ],
)
def test_alternatives_without_their_option_are_left_out(text, options, said):
    assert fit_advice(text, options) == said


@pytest.mark.parametrize(
    "name", ["$(touch made); --foo", "a, or --foo. But $(touch made)", "a' ; --foo $(touch made)", "x"]
)
def test_words_of_strangers_part_no_clauses(name):
    word = quoted(name)
    text = f"Leave it out with --ignore {word}, or say --text {word}, or flatten it; --numeric {word} to use it."
    wanted = f"Leave it out with --ignore {word}, or flatten it; --numeric {word} to use it."
    assert fit_advice(text, {"ignore", "numeric"}) == wanted
    assert fit_advice(text, {"ignore", "numeric"}, dashes=False) == wanted.replace("--ign", "ign").replace(
        "--num", "num"
    )


def test_in_python_options_are_arguments():
    assert fit_advice("Lower --weight-decay.", {"weight_decay"}, dashes=False) == "Lower weight_decay."


def test_characters_that_act_are_written_as_their_numbers_and_words_stay():
    assert clean("grün 猫 न\u200dम \U0001f408 a\u00a0b") == "grün 猫 न\u200dम \U0001f408 a\u00a0b"
    odd = "\x1b[2J\r\b\x7f\x9b\u202e\u2066\u2028\n\udcff\U000e0041"
    assert clean(odd) == (r"\u001b[2J\u000d\u0008\u007f\u009b\u202e\u2066\u2028\u000a\udcff\udb40\udc41")
    assert clean("a\nb\x07", keep="\n") == "a\nb\\u0007"
    shown = json.dumps({"\x9b": ["\u202e"]}, ensure_ascii=False)
    assert json.loads(clean(shown)) == {"\x9b": ["\u202e"]}
    assert cleaned({"\x1b": [("\x07", 1, None)]}) == {r"\u001b": [[r"\u0007", 1, None]]}


@pytest.mark.parametrize("name", ["$(touch made)", "`touch made`", "a'; touch made; '", 'a"; touch made; "', "a b"])
def test_a_quoted_word_is_a_word_to_a_shell(tmp_path, name):
    done = subprocess.run(f"printf %s {quoted(name)}", shell=True, cwd=tmp_path, capture_output=True, check=True)
    assert done.stdout.decode() == name
    assert not list(tmp_path.iterdir())
