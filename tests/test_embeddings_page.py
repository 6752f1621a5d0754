"""The code of docs/embeddings.md runs, and prints about what the page says."""

from __future__ import annotations

import re
from pathlib import Path

PAGE = Path(__file__).parents[1] / "docs" / "embeddings.md"


def test_the_code_prints_what_the_page_says(capsys):
    text = PAGE.read_text(encoding="utf-8")
    (code,) = [block for block in re.findall(r"```python\n(.*?)```", text, re.DOTALL) if "LogisticRegression" in block]
    exec(compile(code, str(PAGE), "exec"), {})
    printed = dict(re.findall(r"^(\S.*?)  +([\d.]+) %$", capsys.readouterr().out, re.MULTILINE))
    shown = dict(re.findall(r"^    (\S.*?)  +([\d.]+) %$", text.partition("It prints")[2], re.MULTILINE))
    assert printed.keys() == shown.keys()
    assert all(abs(float(printed[name]) - float(shown[name])) < 1.5 for name in shown)
