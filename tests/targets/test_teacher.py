"""A teacher's logits in sixteen bits, and the targets made of them."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from selfdistill._core.errors import SettingError
from selfdistill.targets import Targets, TeacherTargets
from selfdistill.targets._teacher import SoftLogits, choose_entries

N, K = 12, 3


def filled(z, k=None):
    store = SoftLogits(*z.shape, k=k)
    for start in range(0, len(z), 3):
        store.write(slice(start, start + 3), z[start : start + 3])
    return store


def logits(seed, n=40, k=10, scale=8.0):
    return torch.randn(n, k, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) * scale


@given(st.integers(0, 1000), st.sampled_from([0.3, 1.0, 4.0, 20.0]), st.sampled_from([2, 10, 300]))
def test_dense_is_within_its_tolerance_at_every_temperature(seed, t, k):
    z = logits(seed, k=k)
    store = filled(z)
    error = (store.probabilities(torch.arange(len(z)), t) - (z / t).softmax(-1)).abs().max()
    assert error < 1.01 * store.describe()["tolerance"] + 1e-5


def test_probabilities_in_sixteen_bits_would_not_do():
    z = torch.tensor([[0.0, -18.0, -18.5, -19.0]], dtype=torch.float64)
    exact = (z / 4).softmax(-1)
    rounded = z.softmax(-1).half().double() ** 0.25
    rounded /= rounded.sum(-1, keepdim=True)
    assert (rounded - exact).abs().max() > 0.02
    assert (filled(z).probabilities(torch.tensor([0]), 4.0) - exact).abs().max() < 1e-3


@pytest.mark.parametrize("k", [1, 2, 9])
def test_the_largest_few_and_the_rest_evenly(k):
    z = logits(3)
    store = filled(z, k)
    found = store.probabilities(torch.arange(len(z)))
    for row, q in zip(found, z.softmax(-1), strict=True):
        order = q.argsort(descending=True).tolist()
        slow = q.clone()
        for c in order[k:]:
            slow[c] = sum(q[d] for d in order[k:]) / (10 - k)
        torch.testing.assert_close(row.double(), slow, rtol=0, atol=2e-3)
        assert row.argmax() == order[0]


def test_bytes_are_those_of_the_formula_and_few_entries_are_few():
    z = logits(0, n=100, k=300)
    assert filled(z).describe()["bytes"] == 2 * 100 * 300
    assert filled(z, 5).describe()["bytes"] == 100 * (4 * 5 + 2)
    assert filled(z[..., :200], 5).describe()["bytes"] == 100 * (3 * 5 + 2)
    assert [filled(z, k).describe()["kind"] for k in (None, 5)] == ["float16 logits", "top-5 float16 logits"]


def test_certainty_and_impossibility_are_kept():
    z = torch.tensor([[0.0, -torch.inf, -torch.inf]])
    for k in (None, 1, 2):
        assert filled(z, k).probabilities(torch.tensor([0]), 10.0).tolist() == [[1.0, 0.0, 0.0]]


def test_it_is_moved_but_not_in_checkpoints():
    store = filled(logits(0), 3)
    assert store.state_dict() == {}
    store.to("meta")
    assert {b.device.type for b in store.buffers()} == {"meta"}


def test_a_wrong_number_of_entries_is_refused_and_small_stores_are_dense():
    with pytest.raises(SettingError, match=r"5 logits of each example are to be kept, but there are 4 classes. Keep 1"):
        SoftLogits(2, 4, k=5)
    assert choose_entries(10, 1000) is None
    assert choose_entries(2_000_000, 1000) == 10


def make():
    g = torch.Generator().manual_seed(0)
    labels, z = torch.randint(0, K, (N,), generator=g), torch.randn(N, K, generator=g)
    return labels, z, TeacherTargets(labels, filled(z), lambda given, teacher: (given, teacher.softmax(-1)))


def test_it_reads_given_labels_beside_the_teacher():
    labels, z, targets = make()
    assert isinstance(targets, Targets)
    index = torch.tensor([3, 0, 7])
    for _ in range(2):
        given, taught = targets.read(index, torch.randn(3, K, requires_grad=True))
        assert given.argmax(-1).tolist() == labels[index].tolist()
        torch.testing.assert_close(taught, z[index].softmax(-1), atol=2e-3, rtol=0)
        assert not taught.requires_grad
        targets.write(torch.arange(N), torch.full((N, K), 1 / K))
        mean, written = targets.end_epoch()
        assert written.all()
        torch.testing.assert_close(targets.refined(), mean)


def test_the_state_goes_through_state_dict_without_the_store():
    _, _, a = make()
    _, _, b = make()
    a.write(torch.tensor([1]), torch.tensor([[0.5, 0.25, 0.25]]))
    a.end_epoch()
    assert not any("store" in name for name in a.state_dict())
    b.load_state_dict(a.state_dict())
    assert torch.equal(a.refined(), b.refined())


def test_as_many_classes_as_entries_are_all_kept():
    many = 2**30 // 20 + 1  # rows whose logits of 10 classes take more than a GiB
    assert choose_entries(many, 10) is None
    assert choose_entries(many, 11) == 10
    assert choose_entries(many - 1, 10) is None
    assert choose_entries(2**28, 2) is None


@pytest.mark.parametrize("classes", [256, 257, 2**15 - 1, 2**15, 2**15 + 1])
def test_the_last_class_of_many_can_be_kept(classes):
    z = torch.zeros(1, classes)
    z[0, -1] = 9.0
    store = filled(z, k=1)
    assert int(store.kept[0, 0]) == classes - 1
