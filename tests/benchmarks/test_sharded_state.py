"""What is reckoned of state that is spread over processes, against real tensors that are counted."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from benchmarks.sharded_state import reckon, simulate

from selfdistill import RobustTargets


@pytest.mark.parametrize("layout", ["own", "hash"])
@pytest.mark.parametrize("processes", [2, 4])
def test_both_layouts_take_what_is_reckoned(layout, processes):
    case = (layout, 9600, 50, 5, processes, 200)
    on_paper, counted = reckon(*case), simulate(*case)
    assert counted.kept == on_paper.kept
    assert counted.sent == pytest.approx(on_paper.sent, rel=0.02)  # how many rows lie elsewhere is drawn
    assert counted.sent_at_end == on_paper.sent_at_end


@pytest.mark.parametrize(("method", "memories"), [("elr", 1), ("cross-entropy", 1)])
def test_what_is_built_takes_what_is_reckoned(method, memories):
    robust = RobustTargets(torch.arange(300) % 20, 20, method)
    state = {name: part for name, part in robust.state_dict().items() if part.ndim and len(part) == 300}
    size = sum(part.numel() * part.element_size() for part in state.values())
    assert size == reckon("copied", 300, 20, 5, 1, 10, memories).kept


def test_the_page_shows_what_is_reckoned():
    page = (Path(__file__).parents[2] / "docs" / "scale.md").read_text(encoding="utf-8")
    rows = [line.split(" | ")[1:] for line in page.splitlines() if line.startswith(("| a copy", "| each", "| row i"))]
    for layout, row in zip(("copied", "own", "hash"), rows, strict=True):
        found = reckon(layout, 10**9, 1000, 5, 64, 1024)
        assert [_bytes(cell) for cell in row] == [pytest.approx(value, rel=0.005) for value in found]


def _bytes(cell):
    number, unit = cell.strip(" |").split() if cell != "nothing" else ("0", "kB")
    return float(number) * {"kB": 1e3, "MB": 1e6, "GB": 1e9, "TB": 1e12}[unit]
