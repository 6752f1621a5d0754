"""The pages on Trainer, Lightning, skorch and accelerate run as they stand, and find the wrong labels."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.distributed.checkpoint as dcp
from benchmarks.training_stacks import PAGES, lines

from selfdistill import RobustTargets

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


@pytest.mark.filterwarnings("ignore")  # dcp without a process group says so
def test_the_page_on_many_processes_saves_and_loads(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    labels = torch.arange(20) % 2
    robust, net = RobustTargets(labels, 2), torch.nn.Linear(3, 2)
    for _ in range(2):
        robust.loss(torch.arange(20), net(torch.randn(20, 3)))
        robust.end_epoch()
    (block,) = re.findall(r"```python\n(.*?)```", (DOCS / "scale.md").read_text(encoding="utf-8"), re.DOTALL)
    save, load = block.split("\n\n", 2)[1:]
    names = {"robust": robust, "net": net, "dcp": dcp}
    exec(save, names)
    other = RobustTargets(labels, 2)
    exec(load, names | {"robust": other, "net": torch.nn.Linear(3, 2)})
    for key, value in robust.state_dict().items():
        assert torch.equal(other.state_dict()[key], value), key


def test_the_lines_that_change_are_counted():
    page = (DOCS / "decisions" / "0044-training-stacks.md").read_text(encoding="utf-8")
    for stack in PAGES:
        train, find = lines(stack)
        assert f"| {stack} | {train} | {find} |" in page
