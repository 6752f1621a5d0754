"""The README is short, decisions have an index, and links between pages lead somewhere."""

from __future__ import annotations

import dataclasses
import importlib
import importlib.util
import inspect
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
GUIDES = [*(ROOT / "docs").glob("*.md"), *(ROOT / "docs" / "tutorials").glob("*.md")]
PAGES = [
    *ROOT.glob("*.md"),
    *(ROOT / "docs").rglob("*.md"),
    *(ROOT / "benchmarks" / "reports").glob("*.md"),
]


def test_the_readme_has_at_most_600_words_and_one_short_table():
    prose = re.sub(r"^```.*?^```|\]\([^)]*\)", "", README, flags=re.MULTILINE | re.DOTALL)
    lines = [line for line in prose.splitlines() if not line.startswith("    ")]
    assert len(re.findall(r"[\w'-]+", "\n".join(lines))) <= 600
    tables = re.findall(r"^\|[-|]+\|\n((?:\|.*\n)+)", README, re.MULTILINE)
    assert [5 <= rows.count("\n") <= 8 for rows in tables] == [True]


def test_every_decision_stands_in_the_index_with_its_title():
    index = (ROOT / "docs" / "decisions" / "README.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (\d+) \| \[(.+)\]\((.+?)\) \| (.+) \|$", index, re.MULTILINE)
    files = sorted((ROOT / "docs" / "decisions").glob("0*.md"))
    assert [name for _, _, name, _ in rows] == [path.name for path in files]
    for (number, title, _, line), path in zip(rows, files, strict=True):
        assert path.read_text(encoding="utf-8").splitlines()[0] == f"# {number}. {title}"
        assert path.name.startswith(f"{int(number):04}-")
        assert line.endswith(".")


def test_every_public_name_stands_in_the_reference_and_says_what_it_is():
    text = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "docs" / "reference").glob("*.md"))
    names = 0
    for path in sorted((ROOT / "src" / "selfdistill").glob("[a-z]*/__init__.py")):
        room = path.parent.name
        module = importlib.import_module(f"selfdistill.{room}")
        public = getattr(module, "__all__", []) if room != "cli" else []
        for name in public:
            assert f"<!-- room: {room} -->" in text or f"::: selfdistill.{room}.{name}" in text, f"{room}.{name}"
            assert getattr(module, name).__doc__, f"{room}.{name}"
        names += len(public)
    assert 50 <= names <= 55


ROOMS = sorted(path.parent.name for path in (ROOT / "src" / "selfdistill").glob("[a-z]*/__init__.py"))
NAMED = re.compile(
    rf"`~?((?:selfdistill(?:\.(?:{'|'.join(ROOMS)}))?|{'|'.join(ROOMS)})\.[A-Za-z]\w*(?:\.\w+)*)(?=[`(])"
)


def missing(text: str) -> list[str]:
    """Names such as `room.name` in backquotes that are not public."""
    return [name for name in NAMED.findall(text) if not name.endswith((".html", ".json")) and not public(name)]


def public(name: str) -> bool:
    """Whether a name can be reached through public modules and what they list as public."""
    found = importlib.import_module("selfdistill")
    for part in name.removeprefix("selfdistill.").split("."):
        if inspect.ismodule(found) and part not in getattr(found, "__all__", ()):
            try:
                found = importlib.import_module(f"{found.__name__}.{part}")
            except ModuleNotFoundError:
                return False
        elif not hasattr(found, part) and part not in {field.name for field in fields(found)}:
            return False
        else:
            found = getattr(found, part, None)
    return True


def fields(kind: object) -> tuple[dataclasses.Field, ...]:
    return dataclasses.fields(kind) if dataclasses.is_dataclass(kind) else ()


def test_public_names_are_recognised():
    assert missing("`theory.leave_one_out(s, y)`, `selfdistill.Run.report`, `selfdistill.rivals.liu2020elr`") == []
    wrong = "`theory.best_penalty(s)`, `selfdistill.train.METHODS`, `selfdistill.Run.reports`, `runs._run.Run`"
    assert len(missing(wrong)) == 3  # names with an underscore are not looked for


@pytest.mark.parametrize("page", [*ROOT.glob("[RC]*ING.md"), ROOT / "README.md", *GUIDES], ids=lambda page: page.name)
def test_names_on_the_pages_exist(page):
    assert missing(page.read_text(encoding="utf-8")) == []


def test_names_in_docstrings_exist():
    sources = {path: path.read_text(encoding="utf-8") for path in (ROOT / "src" / "selfdistill").rglob("*.py")}
    assert {path.name: names for path, text in sources.items() if (names := missing(text))} == {}


def test_every_command_stands_in_the_reference(cli):
    pytest.importorskip("mkdocs")
    pytest.importorskip("griffe")
    spec = importlib.util.spec_from_file_location("site_of_docs", ROOT / "docs" / "site.py")
    site = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(site)
    shown = re.findall(r"^│ (\w+) ", cli("--help")[1].partition("Commands")[2], re.MULTILINE)
    assert sorted(site.COMMANDS) == sorted(shown)
    assert len(shown) >= 11


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_within_the_repository_lead_to_files(page):
    for target in re.findall(r"\]\((?!https?:|#|mailto:)([^)\s]+)\)", page.read_text(encoding="utf-8")):
        assert (page.parent / target.partition("#")[0]).exists(), target
