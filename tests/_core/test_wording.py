"""Words of strangers do nothing to a terminal or a shell."""

import json
import subprocess
from pathlib import Path

import pytest

from selfdistill._core.wording import clean, cleaned, ending, quoted


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


def test_what_a_name_ends_in_is_said_where_there_is_an_ending():
    assert (ending(Path("a.b")), ending(Path("nope"))) == ("a.b ends in '.b'", "nope has no ending")
