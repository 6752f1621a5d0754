"""The Python of docs/label-issues.md runs as it stands, block after block."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

PAGE = Path(__file__).parents[1] / "docs" / "label-issues.md"


@pytest.mark.filterwarnings("ignore:The inplace keyword")  # cleanlab 2.9 under pandas 3.1
def test_the_snippets_run_and_agree(capsys):
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert len(blocks) == 2
    names: dict[str, object] = {}
    for block in blocks:
        exec(compile(block, str(PAGE), "exec"), names)
    wrong, flagged = (int(word) for word in capsys.readouterr().out.splitlines()[0].split() if word.isdigit())
    assert abs(flagged - wrong) < 0.15 * wrong
    np.testing.assert_allclose(names["pruned"].noise_matrix.sum(0), 1)
    issues = names["lab"].get_issues()
    assert abs(issues["is_label_issue"].sum() - wrong) < 0.25 * wrong  # cleanlab keeps what equals the argmax
    assert issues["is_distill_issue"].sum() == flagged
