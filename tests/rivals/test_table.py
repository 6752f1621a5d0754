"""The table of rivals: every file of a paper is in it, and no name is given twice."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

import pytest
import torch

from selfdistill import rivals
from selfdistill._core.errors import SettingError
from selfdistill.rivals._method import Context
from selfdistill.rivals._table import RIVALS

PAPERS = sorted(p.stem for p in Path(rivals.__file__).parent.glob("[a-z]*.py"))


def test_every_paper_is_in_the_table_and_every_name_is_its_own():
    found = [method for paper in PAPERS for method in import_module(f"selfdistill.rivals.{paper}").METHODS.items()]
    assert len(found) == len(RIVALS)
    assert dict(found) == RIVALS


@pytest.mark.parametrize("name", ["nts", "joint-optimization"])
def test_a_method_that_builds_on_another_training_says_so(name):
    with pytest.raises(SettingError, match=r"a training that comes first, but none was run\. Pass first"):
        RIVALS[name].build(Context(torch.tensor([0, 1]), 2, 1, 1))
