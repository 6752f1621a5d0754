"""What is reckoned of state that is spread over processes, against tensors and against what was measured."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from benchmarks.sharded_state import TABLE, keep_likeliest, reckon, row

from selfdistill import RobustTargets
from selfdistill.targets._stores import TopK

RECORDS = {key: record for key, record in TABLE.read().items() if "layout" in record}


@pytest.mark.parametrize("key", RECORDS)
def test_what_was_measured_is_what_is_reckoned(key):
    found = RECORDS[key]
    names = ("layout", "method", "n", "classes", "processes", "batch")
    layout, method, n, k, processes, batch = (found[name] for name in names)
    reckoned = reckon(layout, method, n, k, None, processes, batch)
    matrices = 4 * (2 * k**2 + k) if method == "selfdistill" else 0
    assert found["kept"] == reckoned.kept + matrices
    assert found["sent_per_step"] == pytest.approx(reckoned.sent, rel=0.005)  # how many rows lie elsewhere is drawn
    assert found["sent_at_end"] == pytest.approx(reckoned.sent_at_end, rel=0.02)
    assert found["differs"] <= (1e-6 if method == "selfdistill" else 0)
    if layout == "asked":
        assert found["loopback_per_step"] == pytest.approx(found["sent_per_step"], rel=0.05)  # and the packets' headers


@pytest.mark.parametrize("method", ["memory", "selfdistill"])
def test_what_is_built_takes_what_is_reckoned(method):
    robust = RobustTargets(torch.arange(300) % 20, 20, method, epochs=2)
    state = {name: part for name, part in robust.state_dict().items() if part.ndim and len(part) == 300}
    size = sum(part.numel() * part.element_size() for part in state.values())
    assert size == reckon("copied", method, 300, 20, None, 1, 10).kept


@pytest.mark.parametrize("classes", [1000, 40_000])
def test_a_row_of_the_likeliest_classes_takes_what_is_reckoned(classes):
    store = TopK(torch.zeros(3, dtype=torch.int64), classes, k=5)
    size = sum(part.numel() * part.element_size() for part in (store.value, store.classes))
    assert size == 3 * row(classes, 5)


def test_what_a_row_keeps_is_what_the_store_keeps_and_its_sum():
    labels = torch.arange(40) % 8
    rows = (3 * torch.randn(40, 8, generator=torch.Generator().manual_seed(0))).softmax(1)
    store, shorter = TopK(labels, 8, k=3), 0.4 * rows
    store.write(slice(None), rows)
    keep_likeliest(rows, labels, 3)
    torch.testing.assert_close(rows, store[slice(None)], rtol=0, atol=1e-6)
    keep_likeliest(shorter, labels, 3)
    torch.testing.assert_close(shorter.sum(1), torch.full((40,), 0.4))
    torch.testing.assert_close(shorter, 0.4 * rows, rtol=0, atol=1e-3)


def test_the_page_shows_what_is_reckoned():
    page = (Path(__file__).parents[2] / "docs" / "scale.md").read_text(encoding="utf-8")
    lines = [line.strip("| ").split(" | ") for line in page.splitlines() if line.startswith("| `")]
    rows = {tuple(cells[:2]): cells[2:] for cells in lines if cells[1] in LAYOUTS}
    assert len(rows) == 5
    for (method, layout), cells in rows.items():
        name = LAYOUTS[layout]
        top = None if name == "copied" else 5
        found = reckon(name, "memory" if "memory" in method else "selfdistill", 10**9, 1000, top, 64, 1024)
        assert [_bytes(cell) for cell in cells] == [pytest.approx(value, rel=0.005) for value in found]


LAYOUTS = {"a copy in each, all classes": "copied", "own rows": "own", "rows asked for": "asked"}


def _bytes(cell):
    number, unit = cell.split() if cell != "nothing" else ("0", "kB")
    return float(number) * {"B": 1.0, "kB": 1e3, "MB": 1e6, "GB": 1e9, "TB": 1e12}[unit]
