"""Which tests reach which lines: the tests of a folder run once, with a trace of the files that are asked about."""

from __future__ import annotations

import ast
import json
import sys
import threading
from collections import defaultdict
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

ALONE = ("-q", "-x", "-p", "no:cacheprovider", "-p", "no:randomly")


class Reached:
    """A plugin of pytest that notes the lines of the files below a folder which each test runs.

    What runs in a fixture, or while tests are collected, counts for all tests of the file: others may find it made.
    """

    def __init__(self, below: Path) -> None:
        self.below = str(below)
        self.now = ""
        self.lines: dict[str, set[tuple[str, int]]] = defaultdict(set)
        self.seconds: dict[str, float] = defaultdict(float)

    def trace(self, frame: FrameType, event: str, value: Any) -> Any:
        """Follow the frames of these files alone."""
        if not frame.f_code.co_filename.startswith(self.below):
            return None
        self.lines[self.now].add((frame.f_code.co_filename, frame.f_lineno))
        return self.trace

    def pytest_collectstart(self, collector: pytest.Collector) -> None:
        """From here on lines are of the file."""
        self.now = collector.nodeid.partition("::")[0]

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> None:
        """From here on lines are of the file."""
        self.now = item.nodeid.partition("::")[0]

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_call(self, item: pytest.Item) -> None:
        """From here on lines are of the test."""
        self.now = item.nodeid

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_teardown(self, item: pytest.Item) -> None:
        """From here on lines are of the file."""
        self.now = item.nodeid.partition("::")[0]

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Add up what a test takes."""
        self.seconds[report.nodeid] += report.duration

    def found(self) -> dict[str, list[str]]:
        """Return the tests that reach each line, ``path:line``, the quickest first."""
        places: dict[str, list[str]] = defaultdict(list)
        for test in sorted(self.seconds, key=self.seconds.__getitem__):
            for path, line in self.lines[test] | self.lines[test.partition("::")[0]]:
                places[f"{path}:{line}"].append(test)
        return places


def write_reached(below: Path, tests: tuple[str, ...], out: Path) -> int:
    """Run the tests, write what `Reached` found, and return the exit code."""
    plugin = Reached(below)
    threading.settrace(plugin.trace)
    sys.settrace(plugin.trace)
    code = int(pytest.main([*ALONE, *tests], plugins=[plugin]))
    sys.settrace(None)
    out.write_text(json.dumps(plugin.found()), encoding="utf-8")
    return code


def lines_of(tree: ast.Module, node: ast.AST) -> range:
    """Return the lines of the statement around a node; of one that holds others those of its head."""
    line: int = node.lineno  # type: ignore[attr-defined]
    around = [
        one
        for one in ast.walk(tree)
        if isinstance(one, ast.stmt) and one.lineno <= line <= (one.end_lineno or one.lineno)
    ]
    least = min(around, key=lambda one: (one.end_lineno or one.lineno) - one.lineno)
    body = getattr(least, "body", None)
    return range(
        least.lineno, max(least.lineno + 1, body[0].lineno if body else (least.end_lineno or least.lineno) + 1)
    )
