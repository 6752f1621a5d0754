"""The package itself: what it loads, and when."""

from __future__ import annotations

import subprocess
import sys

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
