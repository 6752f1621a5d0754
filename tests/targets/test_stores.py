"""One table, every store: what is read is what was written within the tolerance that each states."""

from __future__ import annotations

import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from selfdistill._core.errors import DataError, SettingError
from selfdistill.issues import find_issues
from selfdistill.targets._stores import Dense, Mapped, TopK, choose_store, compact, open_mapped

N, K = 60, 12
KINDS = ("float32", "float16", "top-5", "memory map")


def make(kind, labels, folder, k=K):
    n = len(labels)
    if kind == "memory map":
        return Mapped(folder / "soft.npy", n, k)
    if kind == "top-5":
        return TopK(labels, k)
    return Dense(n, k, dtype=getattr(torch, kind))


def peaked(seed=0, n=N, k=K):
    g = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, k, (n,), generator=g)
    return labels, torch.randn(n, k, generator=g).mul(3).softmax(-1)


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_written_is_read_within_the_stated_tolerance(kind, tmp_path):
    labels, soft = peaked()
    store = make(kind, labels, tmp_path)
    store.write(slice(0, 20), soft[:20])
    order = torch.randperm(N - 20, generator=torch.Generator().manual_seed(1)) + 20
    store.write(order, soft[order])
    assert store.shape == (N, K)
    facts = store.describe()
    assert facts["kind"] == kind
    read = torch.cat([store[:25], store[torch.arange(25, N)]])
    assert read.dtype == torch.float32
    torch.testing.assert_close(read.sum(1), torch.ones(N), rtol=0, atol=1e-3)
    kept = torch.ones(N, K, dtype=torch.bool)
    if kind == "top-5":
        kept = torch.zeros(N, K, dtype=torch.bool).scatter_(1, soft.topk(4).indices, True)
        kept.scatter_(1, labels[:, None], True)
    assert ((read - soft).abs()[kept] <= facts["tolerance"]).all()


@pytest.mark.parametrize("kind", KINDS)
def test_findings_from_every_store_are_the_same_within_its_tolerance(kind, tmp_path):
    labels, soft = peaked(n=2000)
    store = make(kind, labels, tmp_path)
    store.write(slice(None), soft)
    whole, found = find_issues(labels, soft), find_issues(labels, store, block_bytes=1000)
    slack = 2 * store.describe()["tolerance"]
    np.testing.assert_allclose(found.p_given, whole.p_given, atol=slack + 1e-6)
    np.testing.assert_allclose(found.confidence, whole.confidence, atol=slack + 1e-6)
    close = np.sort(soft.numpy(), 1)[:, -1] - np.sort(soft.numpy(), 1)[:, -2] < 2 * slack
    assert ((found.refined == whole.refined) | close).all()
    assert abs(found.noise.wrong - whole.noise.wrong) <= 2000 * slack + 1e-2
    assert abs(int(found.is_issue.sum()) - int(whole.is_issue.sum())) <= 2000 * slack + 1
    if kind != "top-5":  # there the rest of each row is spread evenly, so cells of the matrix move
        np.testing.assert_allclose(found.noise.counts, whole.noise.counts, atol=0.5)
    assert found.distribution is store


@given(st.integers(0, 10_000), st.integers(2, 9), st.integers(2, 9))
@settings(max_examples=40)
def test_the_largest_few_equal_a_loop_over_rows(seed, k, classes):
    k = min(k, classes)
    labels, soft = peaked(seed, 5, classes)
    store = TopK(labels, classes, k=k)
    store.write(slice(None), soft)
    read = store[:]
    for i, row in enumerate(soft.tolist()):
        y = int(labels[i])
        best = sorted((c for c in range(classes) if c != y), key=lambda c: -row[c])[: k - 1]
        rest = (1 - sum(float(torch.tensor(row[c]).half()) for c in [y, *best])) / max(classes - k, 1)
        expected = [row[c] if c in {y, *best} else max(rest, 0) for c in range(classes)]
        assert read[i].tolist() == pytest.approx(expected, abs=1e-3)


def test_sizes_are_those_of_the_docstrings(tmp_path):
    labels = torch.zeros(1000, dtype=torch.int64)
    sizes = {kind: make(kind, labels, tmp_path, 100).describe()["bytes"] for kind in KINDS}
    assert sizes == {"float32": 400_000, "float16": 200_000, "top-5": 20_000, "memory map": 200_000}
    assert TopK(labels, 40_000).describe()["bytes"] == 30_000
    per_row = sizes["top-5"] / 1000
    assert 1_280_000 * per_row < 50e6


@pytest.mark.parametrize(
    ("n", "k", "kind", "why"),
    [
        (2**18, 2**10, "float32", "it takes 1,024 MiB, at most 1,024 MiB"),
        (2**18 + 1, 2**10, "float16", "float32 would take 1,025 MiB, more than 1,024 MiB"),
        (2**20, 2**10, "float16", "float32 would take 4,096 MiB, more than 1,024 MiB"),
        (2**20 + 1, 2**10, "top-5", "float16 would take 2,049 MiB, more than 2,048 MiB, and there is no folder"),
    ],
)
def test_the_store_follows_from_the_size_and_says_why(n, k, kind, why, tmp_path):
    assert choose_store(n, k) == (kind, why)
    if kind != "top-5":
        assert choose_store(n, k, tmp_path)[0] == kind


def test_the_largest_go_to_a_file_where_the_disk_has_room(tmp_path, monkeypatch):
    half = 2 * (2**20 + 1) * 2**10
    for free, kind in ((4 * half, "memory map"), (4 * half - 1, "top-5")):
        monkeypatch.setattr("shutil.disk_usage", lambda path, free=free: shutil._ntuple_diskusage(9 * half, 0, free))
        assert choose_store(2**20 + 1, 2**10, tmp_path)[0] == kind
    assert "and the disk has 8,193 MiB free, less than 8,193 MiB" in choose_store(2**20 + 1, 2**10, tmp_path)[1]


@pytest.mark.parametrize("kind", KINDS)
def test_compact_copies_all_rows_over_its_blocks(kind, monkeypatch, tmp_path):
    monkeypatch.setattr("selfdistill.targets._stores._BLOCK_BYTES", 7 * 4 * K)
    labels, soft = peaked()
    store = compact(soft, labels, kind, tmp_path)
    assert store.describe()["kind"] == kind
    assert not list(tmp_path.iterdir())  # the file of a memory map has no name
    torch.testing.assert_close(store[:].gather(1, labels[:, None]), soft.gather(1, labels[:, None]), rtol=0, atol=5e-4)
    before = store[:].clone()
    soft.zero_()
    assert torch.equal(store[:], before)


def test_stores_of_memory_are_in_state_dict():
    labels, soft = peaked()
    for kind in ("float32", "float16", "top-5"):
        store = compact(soft, labels, kind)
        other = make(kind, labels, None)
        other.load_state_dict(store.state_dict())
        assert torch.equal(other[:], store[:])


def test_a_memory_map_takes_no_memory_of_its_own_and_needs_a_folder(tmp_path):
    labels, soft = peaked()
    with pytest.raises(SettingError, match=r"a memory map needs a folder, but none is given. Pass folder."):
        compact(soft, labels, "memory map")
    code = """if True:
        import sys, torch
        from pathlib import Path
        from selfdistill.targets._stores import compact
        def own():
            lines = Path("/proc/self/status").read_text().splitlines()
            return next(int(line.split()[1]) for line in lines if line.startswith("RssAnon"))
        soft, labels = torch.full((400_000, 100), 0.01), torch.zeros(400_000, dtype=torch.int64)
        compact(soft[:50_000], labels[:50_000], sys.argv[1], Path(sys.argv[2]))  # the allocator's own
        before = own()
        store = compact(soft, labels, sys.argv[1], Path(sys.argv[2]))
        print(own() - before)
    """
    taken = {}
    for kind in ("float16", "memory map"):
        done = subprocess.run([sys.executable, "-c", code, kind, tmp_path], capture_output=True, text=True, check=True)
        taken[kind] = int(done.stdout) / 1024
    assert taken["float16"] > 60  # 76 MiB
    assert taken["memory map"] < 25


@pytest.mark.parametrize("k", [1, 13])
def test_too_few_or_too_many_entries_are_refused(k):
    with pytest.raises(SettingError, match=f"k is {k}, but must be from 2 to the 12 classes"):
        TopK(torch.tensor([0]), 12, k=k)


def test_a_map_is_never_overwritten_and_a_file_cut_short_is_refused(tmp_path):
    path = tmp_path / "soft.npy"
    _, soft = peaked()
    store = Mapped(path, N, K)
    store.write(slice(None), soft)
    store.value.flush()
    np.testing.assert_allclose(open_mapped(path), soft, atol=5e-4)
    with pytest.raises(DataError, match="exists already"):
        Mapped(path, N, K)
    whole = path.read_bytes()
    path.write_bytes(whole[:-100])
    with pytest.raises(DataError, match=rf"soft.npy \({len(whole) - 100:,} bytes\) is damaged, cut short or no .npy"):
        open_mapped(path)
    path.write_text("p,q")
    with pytest.raises(DataError, match=r"is damaged, cut short or no .npy file"):
        open_mapped(path)
    np.save(path, np.zeros(5))
    with pytest.raises(DataError, match=r"holds float64 of shape \(5,\), but soft labels are floats with two axes"):
        open_mapped(path)
    with pytest.raises(DataError, match="does not exist"):
        open_mapped(str(tmp_path / "none.npy"))
    with pytest.raises(DataError, match=r"is a folder. Name the file that holds"):
        open_mapped(tmp_path)
