"""Soft labels in a file: the same read back, whole or not at all, and of these data or refused."""

from __future__ import annotations

import json
from dataclasses import asdict, replace

import pytest
import torch
from safetensors.torch import save_file

from selfdistill._core.errors import DataError
from selfdistill._core.files import json_text
from selfdistill.distill._soft_labels import About, Store, _digest, load_store, save_store
from selfdistill.targets._teacher import SoftLogits


def make(data, k=None):
    soft = SoftLogits(len(data), data.num_classes, k=k)
    soft.write(
        slice(0, len(data)), torch.randn(len(data), data.num_classes, generator=torch.Generator().manual_seed(0)) * 5
    )
    teacher = {"name": "runs/a-001", "kind": "run", "epoch": 3}
    return Store(soft, About(teacher, data.classes, data.fingerprint, len(data), {"read": {}}))


@pytest.mark.parametrize("k", [None, 3])
def test_what_was_written_is_read_again(tmp_path, digits, k):
    store = make(digits, k)
    save_store(tmp_path / "soft", store)
    found = load_store(tmp_path / "soft")
    assert found.about == store.about
    there = torch.tensor([0, 5, 1437])
    assert torch.equal(found.soft.logits(there), store.soft.logits(there))
    assert (tmp_path / "soft").stat().st_size < store.soft.describe()["bytes"] + 2000
    assert [p.name for p in tmp_path.iterdir()] == ["soft"]


def of_format_2(path, store, augment):
    """As versions before 0.2 wrote it: with views, of which there is one unless images were augmented."""
    about = asdict(store.about) | {"augment": augment, "seed": 0}
    described = {"format": "selfdistill-soft-labels-2", "entries": store.soft.k} | json.loads(json_text(about))
    tensors = {name: tensor[None].contiguous() for name, tensor in store.soft.named_buffers()}
    save_file(tensors, path, {"description": json_text(described | {"sha256": _digest(described, tensors)})})


@pytest.mark.parametrize("k", [None, 3])
def test_a_file_of_an_earlier_version_is_read_if_it_has_one_view(tmp_path, digits, k):
    store = make(digits, k)
    of_format_2(tmp_path / "one", store, "none")
    found = load_store(tmp_path / "one")
    assert found.about == store.about
    there = torch.arange(len(digits))
    assert torch.equal(found.soft.logits(there), store.soft.logits(there))
    of_format_2(tmp_path / "several", store, "flip")
    with pytest.raises(DataError, match="it holds augmented views, which only versions before"):
        load_store(tmp_path / "several")


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

    monkeypatch.setattr("selfdistill.distill._soft_labels.save_file", fail)
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
    with pytest.raises(DataError) as error:
        store.check(other)
    for part in (digits.fingerprint[:12], other.fingerprint[:12], "runs/a-001", "1,438 examples"):
        assert part in str(error.value)
    named = replace(digits, classes=tuple("abcdefghij"))
    with pytest.raises(
        DataError, match=r"have 10 classes \(0, 1, 2, 3, ...\), but the data 10 classes \(a, b, c, d, ...\)"
    ):
        store.check(named)
