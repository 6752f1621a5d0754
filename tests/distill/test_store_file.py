"""Soft labels in a file: the same read back, whole or not at all, and of these data or refused."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from safetensors.torch import save_file

from selfdistill._core.errors import DataError
from selfdistill.distill import About, Store, load_store, save_store
from selfdistill.targets import SoftLogits


def make(data, k=None, views=1):
    soft = SoftLogits(views, len(data), data.num_classes, k=k)
    g = torch.Generator().manual_seed(0)
    for view in range(views):
        soft.write(view, slice(0, len(data)), torch.randn(len(data), data.num_classes, generator=g) * 5)
    spec = "flip" if views > 1 else "none"
    teacher = {"name": "runs/a-001", "kind": "run", "epoch": 3}
    return Store(soft, About(teacher, data.classes, data.fingerprint, len(data), {"read": {}}, spec, 7))


@pytest.mark.parametrize(("k", "views"), [(None, 1), (3, 1), (None, 4), (2, 2)])
def test_what_was_written_is_read_again(tmp_path, digits, k, views):
    store = make(digits, k, views)
    save_store(tmp_path / "soft", store)
    found = load_store(tmp_path / "soft")
    assert found.about == store.about
    assert found.views == (views if views > 1 else 0)
    there = torch.tensor([0, 5, 1437])
    for view in range(views):
        assert torch.equal(found.soft.logits(there, view), store.soft.logits(there, view))
    assert (tmp_path / "soft").stat().st_size < store.soft.describe()["bytes"] + 2000
    assert [p.name for p in tmp_path.iterdir()] == ["soft"]


def test_no_absolute_path_is_written(tmp_path, digits):
    store = make(digits)
    teacher, source = {"name": str(tmp_path / "a-001"), "kind": "run"}, {"source": str(tmp_path / "d.csv"), "read": {}}
    store = Store(store.soft, replace(store.about, teacher=teacher, source=source))
    save_store(tmp_path / "soft", store)
    assert str(tmp_path).encode() not in (tmp_path / "soft").read_bytes()
    assert load_store(tmp_path / "soft").about == store.about


def test_nothing_is_overwritten_and_a_failure_leaves_nothing(tmp_path, digits, monkeypatch):
    store = make(digits)
    save_store(tmp_path / "soft", store)
    before = (tmp_path / "soft").read_bytes()
    with pytest.raises(DataError, match=r"soft exists already. Choose another file"):
        save_store(tmp_path / "soft", store)
    assert (tmp_path / "soft").read_bytes() == before

    def fail(*_):
        raise OSError(5, "broken")

    monkeypatch.setattr("selfdistill.distill._store_file.save_file", fail)
    with pytest.raises(OSError, match="half could not be written: Input/output error"):
        save_store(tmp_path / "half", store)
    assert [p.name for p in tmp_path.iterdir()] == ["soft"]


def test_cut_short_damaged_or_something_else(tmp_path, digits):
    path = tmp_path / "soft"
    save_store(path, make(digits))
    whole = path.read_bytes()
    for part in (whole[:-1], whole[: len(whole) // 2], whole[:5], b"", b"not a store"):
        path.write_bytes(part)
        with pytest.raises(
            DataError, match=rf"soft \({len(part):,} bytes\) is damaged, cut short or holds no soft labels"
        ):
            load_store(path)
    save_file({"x": torch.zeros(2)}, path)
    with pytest.raises(DataError, match="holds no soft labels"):
        load_store(path)


def test_a_description_that_lies_is_refused_without_allocating(tmp_path, digits):
    store = make(digits)
    store = Store(store.soft, replace(store.about, examples=10**12))
    save_store(tmp_path / "soft", store)
    with pytest.raises(DataError, match="damaged"):
        load_store(tmp_path / "soft")


def test_other_data_are_refused_naming_both(digits, other):
    store = make(digits)
    store.check(digits)
    with pytest.raises(DataError) as told:
        store.check(other)
    for part in (digits.fingerprint[:12], other.fingerprint[:12], "runs/a-001", "1,438 examples"):
        assert part in str(told.value)
    named = replace(digits, classes=tuple("abcdefghij"))
    with pytest.raises(
        DataError, match=r"have 10 classes \(0, 1, 2, 3, ...\), but the data 10 classes \(a, b, c, d, ...\)"
    ):
        store.check(named)
