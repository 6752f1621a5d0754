"""What the documentation site adds to the pages: the README as its home, formulas, the command line and the API."""

from __future__ import annotations

import importlib
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import griffe
from mkdocs.structure.files import File

from selfdistill.cli._app import app

ROOT = Path(__file__).parent.parent
REPORTS = ROOT / "benchmarks" / "reports"  # generated pages; the site shows them under results/
COMMANDS = tuple(command.name or getattr(command.callback, "__name__", "") for command in app.registered_commands)
CODE = re.compile(r"(^(?:```|~~~).*?^(?:```|~~~)|^    .*?$|`[^`\n]+`)", re.MULTILINE | re.DOTALL)
FORMULA = re.compile(r"\$\$(.+?)\$\$|(?<![\\$\w])\$([^\s$](?:[^$\n]*[^\s$])?)\$(?![\w$])", re.DOTALL)
OUTSIDE = re.compile(r"\[([^\]]+)\]\(((?:\.\./)+(?!docs/)[^)]*)\)")
REPORT = re.compile(r"\]\((?:\.\./)*benchmarks/reports/([^)]*)\)")


def on_files(files: Any, config: Any) -> Any:
    """Add the generated reports and their pictures."""
    for path in sorted(REPORTS.rglob("*.*")):
        place = f"results/{path.relative_to(REPORTS)}"
        files.append(File.generated(config, place, abs_src_path=str(path)))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Complete a page."""
    path = page.file.src_uri
    if path == "index.md":
        markdown = home((ROOT / "README.md").read_text())
    elif path == "reference/cli.md":
        markdown = markdown.replace("<!-- help -->", "\n".join(map(help_of, ("", *COMMANDS))))
    up = "../" * path.count("/")
    markdown = REPORT.sub(rf"]({up}results/\1)", markdown)
    if path.startswith("results/"):
        markdown = markdown.replace("](../../docs/", "](../")
    markdown = re.sub(r"<!-- room: (\w+) -->", lambda found: room(found[1]), markdown)
    if not path.startswith(("decisions/0", "results/")):
        markdown = OUTSIDE.sub(outside, markdown)
    return formulas(markdown)


def outside(found: re.Match[str]) -> str:
    """Name a file of the repository that is no page; links between pages stay."""
    text, target = found[1], found[2]
    return found[0] if target.endswith(".md") and "docs" in target else f"{text} (`{target.lstrip('./')}`)"


def home(readme: str) -> str:
    """Turn the README's links into those of the site."""
    readme = readme.replace("](docs/", "](")
    return re.sub(r"\[([^\]]+)\]\((?!https?:|#)([A-Z]+\.md|examples/[^)]*|[A-Z]+)\)", r"\1 (`\2`)", readme)


def help_of(command: str) -> str:
    """Give the help of a command."""
    call = [sys.executable, "-m", "selfdistill", *command.split(), "--help"]
    done = subprocess.run(call, env=os.environ | {"COLUMNS": "110", "TERM": "dumb"}, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{' '.join(call)}: {done.stderr}")
    text = "\n".join(line.rstrip() for line in done.stdout.splitlines())
    return f"## selfdistill {command}\n\n```text\n{text.strip()}\n```\n"


def room(name: str) -> str:
    """List the public names of a room, each with its docstring."""
    module = importlib.import_module(f"selfdistill.{name}")
    about = (module.__doc__ or "").strip()
    return "\n\n".join([about, *(f"::: selfdistill.{name}.{one}" for one in module.__all__)])


def formulas(markdown: str) -> str:
    """Write formulas as MathML, which browsers draw; code stays as it is."""
    parts = CODE.split(markdown)
    return "".join(part if i % 2 else FORMULA.sub(mathml, part) for i, part in enumerate(parts))


def mathml(found: re.Match[str]) -> str:
    """Convert one formula."""
    from latex2mathml.converter import convert

    text: str = convert(found[1] or found[2], display="block" if found[1] else "inline")
    return text


class Docstrings(griffe.Extension):
    """Docstrings as the site wants them: examples as code, formulas drawn."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        """Rewrite the docstring of a module, class, function or attribute."""
        if obj.docstring:
            text = re.sub(r"^( *)Example:$", r"\1Examples:", obj.docstring.value, flags=re.MULTILINE)
            text = re.sub(r"^ *\.\. math:: (.+(?:\n +\S.*)*)", r"$$\1$$", text, flags=re.MULTILINE)
            obj.docstring.value = FORMULA.sub(mathml, re.sub(r":math:`([^`]+)`", r"$\1$", text))
