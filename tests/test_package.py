"""The package itself: what it loads, and when."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

import selfdistill


def test_the_package_loads_nothing_heavy_until_asked():
    code = (
        "import sys, selfdistill; assert not {'torch', 'sklearn', 'numpy'} & set(sys.modules); "
        "selfdistill.SelfDistillClassifier; assert 'sklearn' in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    assert "SelfDistillClassifier" in dir(selfdistill)
    with pytest.raises(AttributeError, match="nothing"):
        _ = selfdistill.nothing


def test_version_changelog_and_citation_agree():
    root = Path(__file__).parents[1]
    version, day = re.search(
        r"^## (\S+) \((\d{4}-\d\d-\d\d)\)$", (root / "CHANGELOG.md").read_text(), re.MULTILINE
    ).groups()
    assert version == selfdistill.__version__
    assert f"version: {version}\ndate-released: {day}\n" in (root / "CITATION.cff").read_text()
