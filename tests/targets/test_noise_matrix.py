"""Expected counts of true and given labels, against a loop over rows and on noise that is known."""

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from selfdistill._core.shards import Shard
from selfdistill.targets._noise_matrix import expected_counts


def ambiguous(n, k, rate, seed=0):
    """Predictions p T of a network that knows p, of which examples differ, and labels drawn from them."""
    rng = np.random.default_rng(seed)
    p = rng.dirichlet(np.full(k, 0.1), n).clip(1e-6)
    p /= p.sum(1, keepdims=True)
    T = np.full((k, k), rate / (k - 1))
    np.fill_diagonal(T, 1 - rate)
    labels = (rng.random(n)[:, None] > (p @ T).cumsum(1)).sum(1).clip(max=k - 1)
    return torch.tensor(p @ T, dtype=torch.float32), torch.from_numpy(labels)


@pytest.mark.parametrize(("rate", "least", "most"), [(0.0, 0.0, 0.01), (0.2, 0.08, 0.2), (0.4, 0.22, 0.4)])
def test_expected_counts_see_noise_but_take_no_ambiguity_for_it(rate, least, most):
    """Two in ten of these labels differ from the likeliest class, and none is wrong at rate 0."""
    predicted, labels = ambiguous(3000, 5, rate)
    counts = expected_counts(predicted, labels)
    torch.testing.assert_close(counts.sum(0), torch.bincount(labels, minlength=5).float(), rtol=1e-3, atol=0.1)
    assert least <= 1 - counts.trace() / 3000 <= most


def test_expected_counts_from_a_part_of_the_rows_are_nearly_those_of_all():
    predicted, labels = ambiguous(4000, 4, 0.3)
    whole, part = expected_counts(predicted, labels), expected_counts(predicted, labels, work=16 * 1000.0)
    assert not torch.equal(whole, part)  # T came from every fourth row
    assert (whole - part).abs().max() < 100
    torch.testing.assert_close(part.sum(0), whole.sum(0), rtol=1e-3, atol=0.1)


def test_expected_counts_equal_a_slow_twin_on_every_row():
    rng = np.random.default_rng(0)
    noisy, labels = rng.dirichlet(np.ones(3), 9), rng.integers(3, size=9)
    steps, unmix = 4, 3

    def unmixed(row, T):
        clean = row.copy()
        for _ in range(unmix):
            clean = clean * (T @ (row / (clean @ T)))
        return clean / clean.sum()

    def step(rows, T):
        counts = np.full((3, 3), 1 / 3)
        for row, label in zip(rows, labels, strict=True):
            q = row if T is None else row * T[:, label] / (row * T[:, label]).sum()
            counts[:, label] += q
        return counts / counts.sum(1, keepdims=True)

    T = step(noisy, None)
    for _ in range(steps - 1):
        T = step([unmixed(row, T) for row in noisy], T)
    counts = np.zeros((3, 3))
    for row, label in zip(noisy, labels, strict=True):
        q = unmixed(row, T) * T[:, label]
        counts[:, label] += q / q.sum()
    found = expected_counts(torch.tensor(noisy).float(), torch.tensor(labels), steps=steps, unmix=unmix)
    np.testing.assert_allclose(found, counts, atol=1e-5)


@pytest.mark.parametrize("cut", [1502, 2999])  # neither is the place of a third row
def test_rows_spread_over_two_processes_give_the_counts_of_all(monkeypatch, cut):
    predicted, labels = ambiguous(4001, 4, 0.3)
    barrier, sent = threading.Barrier(2, timeout=60), {}

    def total(value):
        mine = threading.get_ident()
        sent[mine] = value.clone()
        barrier.wait()
        value.copy_(sum(sent.values()))
        barrier.wait()
        return value

    def counted(start, stop):
        rows = slice(start, stop)
        return expected_counts(predicted[rows], labels[rows], Shard(4001, start, stop), work=16 * 4001 / 3)

    monkeypatch.setattr("selfdistill._core.shards.sum_over_processes", total)
    with ThreadPoolExecutor(2) as pool:
        found = [job.result() for job in [pool.submit(counted, *part) for part in ((0, cut), (cut, 4001))]]
    assert torch.equal(*found)
    torch.testing.assert_close(found[0], expected_counts(predicted, labels, work=16 * 4001 / 3), rtol=1e-5, atol=1e-3)


def test_where_work_allows_no_row_the_matrix_comes_from_one():
    predicted, labels = ambiguous(10, 3, 0.3)
    labels[5], other = 0, predicted.clone()
    other[5] = torch.tensor([0.1, 0.1, 0.8])
    found = [expected_counts(said, labels, work=0.0) for said in (predicted, other)]
    assert torch.equal(found[0][:, 1:], found[1][:, 1:])  # T knows nothing of the row that differs, whose label is 0
    assert not torch.equal(*found)
