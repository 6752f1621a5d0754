"""The tutorials run as they stand, and print what they say: texts as they are, numbers within a tenth."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import torch

DOCS = Path(__file__).parents[1] / "docs"
BLOCK = re.compile(r"^```(sh|python|text)\n(.*?)^```", re.MULTILINE | re.DOTALL)
NUMBER = re.compile(r"\d+(?:\.\d+)?")


def same(printed: str, expected: str) -> bool:
    """Whether two texts are alike but for their numbers, and those within a tenth."""
    words = [NUMBER.sub("#", text).split() for text in (printed, expected)]
    numbers = [list(map(float, NUMBER.findall(text))) for text in (printed, expected)]
    return words[0] == words[1] and numbers[0] == pytest.approx(numbers[1], rel=0.1, abs=0.05)


def play(page: Path, cli, capsys) -> dict[str, object]:
    """Run the blocks of a page in order; a block of text is what the code before it printed."""
    names: dict[str, object] = {"__name__": "tutorial"}
    printed = ""
    for kind, text in BLOCK.findall(page.read_text(encoding="utf-8")):
        if kind == "python":
            exec(compile(text, str(page), "exec"), names)
            printed = capsys.readouterr().out
        elif kind == "text":
            assert same(printed, text), printed
        else:
            for line in text.splitlines():
                word, *arguments = shlex.split(line)
                assert word == "selfdistill"
                code, _, err = cli(*arguments)
                assert code == 0, f"{line}\n{err}"
    names["printed"] = printed
    return names


def test_numbers_and_words_are_compared():
    assert same("0.95 right of 100", "0.94 right of 101")
    assert not same("0.95 right of 100", "0.75 right of 100")
    assert not same("0.95 right", "0.95 wrong")


def test_a_table(tmp_path, monkeypatch, cli, capsys):
    monkeypatch.chdir(tmp_path)
    names = play(DOCS / "tutorials" / "table.md", cli, capsys)
    marked, flipped = names["marked"], names["flipped"]
    assert (marked & flipped).sum() > 0.9 * max(marked.sum(), flipped.sum())
    assert Path("predicted.csv").exists()


def test_your_own_loop(cli, capsys):
    names = play(DOCS / "tutorials" / "own-loop.md", cli, capsys)
    found, wrong = names["found"], names["wrong"]
    flagged = found.is_label_issue.to_numpy()
    assert (flagged & wrong).sum() > 0.85 * max(flagged.sum(), wrong.sum())
    assert torch.equal(names["given"][names["index"]], names["labels"])


def test_the_kernel_of_a_network(cli, capsys):
    names = play(DOCS / "tutorials" / "kernel.md", cli, capsys)
    doubted, wrong = names["doubted"], names["wrong"]
    assert (doubted & wrong).sum() > 0.9 * wrong.sum()


def test_distillation(tmp_path, monkeypatch, cli, capsys):
    monkeypatch.chdir(tmp_path)
    names = play(DOCS / "tutorials" / "distillation.md", cli, capsys)
    (teacher, large), (student, small) = [map(float, NUMBER.findall(line)) for line in names["printed"].splitlines()]
    assert student > teacher + 0.03
    assert small < large / 3


def test_every_tutorial_is_on_the_site_and_is_played():
    pages = {path.name for path in (DOCS / "tutorials").glob("*.md")}
    assert pages == set(re.findall(r'"tutorials" / "([\w-]+\.md)"', Path(__file__).read_text()))
    assert pages == set(re.findall(r"tutorials/([\w-]+\.md)", (DOCS.parent / "mkdocs.yml").read_text()))
