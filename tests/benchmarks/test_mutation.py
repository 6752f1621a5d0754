"""Faults that are put into the code, and the tests that reach them, on a module of a few lines."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from pathlib import Path

from benchmarks.mutation import Swap, places, turned
from benchmarks.reached import lines_of

SOURCE = """\
def size(x: int, most: int = 9) -> int:
    if x < 0:
        raise ValueError(f"{x + 1}")
    return min(
        x + 2,
        most,
    )


def first(rows):
    return rows[0]
"""


def test_each_fault_changes_one_place():
    tree = ast.parse(SOURCE)
    whole = ast.unparse(tree).splitlines()
    changed = []
    for number in range(len(places(tree))):
        tree = ast.parse(SOURCE)
        old = places(tree)[number]
        made = ast.unparse(ast.fix_missing_locations(Swap(old, turned(old)).visit(tree))).splitlines()
        assert len(made) == len(whole)
        (line,) = [b.strip() for a, b in zip(whole, made, strict=True) if a != b]
        changed.append(line)
    assert changed == [
        "if not x < 0:",
        "if x <= 0:",
        "if x < 1:",
        "return min(x - 2, most)",
        "return min(x + 3, most)",
        "return rows[1]",
    ]


def test_a_statement_is_reached_where_any_of_its_lines_is_and_one_with_others_by_its_head():
    tree = ast.parse(SOURCE)
    assert [list(lines_of(tree, node)) for node in places(tree)][::3] == [[2], [4, 5, 6, 7]]
    assert list(lines_of(tree, places(tree)[-1])) == [11]


def test_a_fixture_s_lines_are_reached_by_all_tests_of_its_file(tmp_path):
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "toy.py").write_text(SOURCE)
    (tmp_path / "test_toy.py").write_text(
        "import sys\n\nimport pytest\n\nsys.path.insert(0, 'code')\nimport toy\n\n\n"
        "@pytest.fixture(scope='module')\ndef made():\n    return toy.first([3])\n\n\n"
        "def test_one(made):\n    assert made == 3\n\n\n"
        "def test_two():\n    assert toy.size(1) == 3\n"
    )
    (tmp_path / "pytest.ini").touch()
    code = (
        "import sys; from pathlib import Path; from benchmarks.reached import write_reached;"
        "sys.exit(write_reached(Path('code').resolve(), ('test_toy.py',), Path('out.json')))"
    )
    here = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=here, check=True, capture_output=True, timeout=60)
    found = json.loads((tmp_path / "out.json").read_text())
    toy = str((tmp_path / "code" / "toy.py").resolve())
    reached = {line: {test.partition("::")[2] for test in found.get(f"{toy}:{line}", [])} for line in (2, 3, 5, 11)}
    assert reached == {2: {"test_two"}, 3: set(), 5: {"test_two"}, 11: {"test_one", "test_two"}}
