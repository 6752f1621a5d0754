"""Decisions learned one after the other: equal to regressions made anew, and taken back without a trace."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from selfdistill.closed import _settler
from selfdistill.closed._given import Given
from selfdistill.closed._prepare import ClosedOptions, prepare
from selfdistill.closed._settle import settle
from selfdistill.closed._settler import Settler


def steps(truth: np.ndarray, count: int, each: int = 1):
    """Settle rows at random, and change one's mind about one of them."""
    settled, rows = np.full(len(truth), -1), np.random.default_rng(1).permutation(len(truth))
    for start in range(0, count, each):
        settled = settled.copy()
        settled[rows[start : start + each]] = truth[rows[start : start + each]]
        yield settled
    settled = settled.copy()
    settled[rows[0]] = (truth[rows[0]] + 1) % 3
    settled[rows[1]] = -1
    yield settled


def test_after_single_decisions_scores_equal_refits_that_leave_each_row_out(made, refit, smoothed, monkeypatch) -> None:
    monkeypatch.setattr(_settler, "_LEAST", 0.0)
    prepared, truth = made
    settler = Settler(prepared)
    settler.settle(np.full(90, -1))
    for settled in steps(truth, 12):
        posterior, quality = settler.settle(settled, links=False)
    given, everyone, expected = replace(prepared.given, settled=settled), torch.arange(90), np.zeros(90)
    features = prepared.marks(prepared.rows(slice(0, 90)))
    eye, held = torch.eye(3, dtype=torch.float64), np.flatnonzero(settled >= 0)
    for i, (chain, weight) in enumerate(zip(prepared.choice.chains, prepared.choice.weights, strict=True)):
        targets = eye[torch.from_numpy(given.learned)]
        for candidate, link in zip(chain, settler.links[i], strict=True):
            rows = [
                refit(features @ features.T, targets, everyone[everyone != j], candidate.ridge, j[None])
                for j in everyone
            ]
            unheld = link.prior(torch.cat(rows).numpy()) * link.matrix[:, given.codes].T
            unheld /= unheld.sum(1, keepdims=True)
            targets = torch.from_numpy(unheld.copy())
            targets[held] = eye[settled[held]]
        expected += weight * unheld[np.arange(90), given.codes]
        if i == prepared.choice.chosen:
            np.testing.assert_allclose(posterior, targets.numpy(), atol=1e-6)
    smooth, targets = prepared.choice.firsts[0], eye[torch.from_numpy(given.learned)]
    rows = [refit(features @ features.T, targets, everyone[everyone != j], smooth.ridge, j[None]) for j in everyone]
    expected = smoothed(expected, torch.cat(rows).numpy(), given.codes, smooth.link)
    np.testing.assert_allclose(quality, expected, atol=1e-8)


@pytest.mark.parametrize("forest", [False, True])
@pytest.mark.parametrize("weighted", [False, True])
def test_all_anew_equals_the_passes_of_a_run(blobs, few_trees, forest: bool, weighted: bool) -> None:
    inputs, truth, labels = blobs(120, 3, 0.3)
    weights = np.random.default_rng(2).integers(0, 3, 120).astype(float) if weighted else None
    options = ClosedOptions(rounds=2, dtype=torch.float64, forest=forest)
    prepared = prepare(inputs, Given(labels, 3, weights=weights), options)
    assert (prepared.forest is not None) == forest
    settler = Settler(prepared)
    for settled in [*steps(truth, 30, 10), np.full(120, -1)]:
        posterior, quality = settler.settle(settled)
        expected = settle(prepared, settled)
        np.testing.assert_allclose(quality, expected.quality, atol=1e-4)  # where a fit of links stops hangs on rounding
        np.testing.assert_allclose(posterior, expected.posterior.numpy(), atol=1e-4)


@pytest.mark.parametrize("forest", [False, True])
def test_one_by_one_comes_to_what_all_at_once_comes_to(blobs, few_trees, forest: bool) -> None:
    inputs, truth, labels = blobs(200, 3, 0.3, apart=1.2)
    prepared = prepare(inputs, Given(labels, 3), ClosedOptions(rounds=2, forest=forest))
    one, other = Settler(prepared), Settler(prepared)
    first, other_first = (settler.settle(np.full(200, -1)) for settler in (one, other))
    np.testing.assert_array_equal(first[1], other_first[1])
    for settled in steps(truth, 60):
        found = one.settle(settled, links=False)
    expected = other.settle(settled, links=False)
    assert np.abs(expected[1] - first[1]).max() > 0.05
    np.testing.assert_allclose(found[1], expected[1], atol=2e-3)
    np.testing.assert_allclose(found[0], expected[0], atol=2e-3)
    back = one.settle(np.full(200, -1), links=False)
    np.testing.assert_allclose(back[1], first[1], atol=2e-3)


def test_labels_too_many_to_keep_are_refined_anew_each_time(made, monkeypatch) -> None:
    prepared, truth = made
    monkeypatch.setattr(_settler, "_KEPT_BYTES", 0)
    settled = next(iter(steps(truth, 20, 20)))
    posterior, quality = Settler(prepared).settle(settled, links=False)
    np.testing.assert_array_equal(quality, settle(prepared, settled).quality)
    np.testing.assert_array_equal(posterior, settle(prepared, settled).posterior.numpy())
