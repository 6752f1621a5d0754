"""The pages on Trainer, Lightning, skorch and accelerate run as they stand, and find the wrong labels."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

DOCS = Path(__file__).parents[1] / "docs"


def play(page: str) -> dict[str, object]:
    names: dict[str, object] = {"__name__": "page"}
    for block in re.findall(r"```python\n(.*?)```", (DOCS / page).read_text(encoding="utf-8"), re.DOTALL):
        exec(compile(block, page, "exec"), names)
    return names


@pytest.mark.filterwarnings("ignore")  # of the libraries and what they import
@pytest.mark.parametrize(
    ("library", "page"), [("transformers", "trainer.md"), ("lightning", "lightning.md"), ("skorch", "skorch.md")]
)
def test_the_page_runs_and_the_findings_are_right(library, page, tmp_path, monkeypatch):
    pytest.importorskip(library)
    monkeypatch.chdir(tmp_path)
    names = play(page)
    wrong = np.asarray(names.get("y", names["labels"])) != np.asarray(names["truth"])
    found = [names["found"].sort_index()] + ([names["net"].get_label_issues()] if "net" in names else [])
    for one in found:
        flagged = one.is_label_issue.to_numpy()
        assert (flagged & wrong).sum() > 0.85 * max(flagged.sum(), wrong.sum())
