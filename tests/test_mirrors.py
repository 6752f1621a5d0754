"""Each module has its mirror, or a line in tests/README.md that says which tests cover it."""

from __future__ import annotations

import re
from fnmatch import fnmatch
from pathlib import Path

TESTS = Path(__file__).parent
SOURCE = TESTS.parent / "src" / "selfdistill"
ROWS = re.findall(r"^\| (`.+`) \| (`.+`) \|$", (TESTS / "README.md").read_text(encoding="utf-8"), re.MULTILINE)
TABLE = {pattern: tests for [patterns, files] in ROWS for pattern in re.findall(r"`(.+?)`", patterns)
         for tests in [re.findall(r"`(.+?)`", files)]}  # fmt: skip


def mirrored(module: Path) -> bool:
    name = f"test_{module.stem.lstrip('_')}.py"
    return any((TESTS / folder / name).exists() for folder in (module.parent.relative_to(SOURCE), "."))


def test_each_module_has_a_mirror_or_a_line():
    modules = [path for path in SOURCE.rglob("*.py") if path.name not in {"__init__.py", "__main__.py"}]
    left = [
        name
        for module in modules
        if not mirrored(module) and not any(fnmatch(name := str(module.relative_to(SOURCE)), line) for line in TABLE)
    ]
    assert not left, "write tests/ROOM/test_NAME.py, or say in tests/README.md which tests cover these"
    for pattern, tests in TABLE.items():
        assert any(any(TESTS.glob(test)) for test in tests), f"{pattern}: none of {tests}"


def test_two_thirds_of_the_modules_outside_the_command_line_have_a_mirror():
    modules = [p for p in SOURCE.rglob("_*.py") if p.name not in {"__init__.py", "__main__.py"}]
    modules = [p for p in modules if "cli" not in p.parts and "formats" not in p.parts]
    assert sum(map(mirrored, modules)) > 0.6 * len(modules)
