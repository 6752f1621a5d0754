"""What the package imports is what it requires: no package that merely happens to be installed beside it."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from collections.abc import Iterator
from importlib import import_module
from importlib.metadata import packages_distributions
from importlib.util import find_spec
from pathlib import Path

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
# Tried where a user has them, and named in docs; nothing requires them.
WELCOME = {"huggingface_hub", "onnxruntime"}

COME_ALONG = {"markupsafe", "tokenizers", "_typeshed"}  # with jinja2, with transformers, with type checkers
ASKED_FOR = {"_server.py"}  # imported by `review` alone


def named(requirements: list[str]) -> set[str]:
    return {re.sub(r"[-_.]+", "-", re.match(r"[\w.-]+", one)[0]).lower() for one in requirements}


REQUIRED = named(PROJECT["dependencies"])
OPTIONAL = {name for extra, one in PROJECT["optional-dependencies"].items() if extra != "dev" for name in named(one)}


def imported(tree: ast.AST, inside: bool = False) -> Iterator[tuple[str, bool]]:
    """Give each imported package, and whether only a function or a type checker imports it."""
    for node in ast.iter_child_nodes(tree):
        names = [one.name for one in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom) and not node.level:
            names = [node.module or ""]
        yield from ((name.partition(".")[0], inside) for name in names)
        lazy = isinstance(node, ast.FunctionDef) or (
            isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)
        )
        yield from imported(node, inside or lazy)


def test_each_import_is_required():
    of, missing = packages_distributions(), []
    for path in sorted((ROOT / "src").rglob("*.py")):
        asked_for = path.parent.name == "integrations" or path.name in ASKED_FOR
        for name, lazily in imported(ast.parse(path.read_text(encoding="utf-8"))):
            lazily = lazily or asked_for
            if name in {"selfdistill", *sys.stdlib_module_names, *COME_ALONG} or (lazily and name in WELCOME):
                continue
            if not named(of.get(name, [name])) & (REQUIRED | OPTIONAL if lazily else REQUIRED):
                missing.append(f"{path.name}: {name}")
    assert not missing


def test_what_benchmarks_and_examples_import_exists():
    missing = []
    for path in (*(ROOT / "benchmarks").rglob("*.py"), *(ROOT / "examples").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("selfdistill"):
                module = import_module(node.module)
                missing += [
                    f"{path.name}: {node.module}.{one.name}"
                    for one in node.names
                    if not hasattr(module, one.name) and not find_spec(f"{node.module}.{one.name}")
                ]
    assert not missing
