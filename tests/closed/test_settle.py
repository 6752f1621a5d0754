"""Labels that a person settles: held in each round, told to the noise matrix, and exact for all other rows."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.optimize import check_grad

from selfdistill._core.errors import DataError
from selfdistill.closed import _settle, refine_labels
from selfdistill.closed._given import Given, check_given
from selfdistill.closed._link_fit import _Problem, fit_link
from selfdistill.closed._noise_link import FORMS, Form
from selfdistill.closed._passes import go_through
from selfdistill.closed._prepare import ClosedOptions, _factorise, prepare
from selfdistill.closed._settle import settle


def some_settled(truth: np.ndarray, share: float = 0.2) -> np.ndarray:
    return np.where(np.random.default_rng(5).random(len(truth)) < share, truth, -1)


def test_scores_equal_refits_that_leave_each_row_out(made, refit, smoothed) -> None:
    prepared, truth = made
    settled = some_settled(truth)
    found = settle(prepared, settled)
    given, everyone = replace(prepared.given, settled=settled), torch.arange(90)
    features = prepared.marks(prepared.rows(slice(0, 90)))
    kernel = features @ features.T
    quality, each = np.zeros(90), np.arange(90)
    for number, (part, weight) in enumerate(zip(found.parts, prepared.choice.weights, strict=True)):
        targets = torch.eye(3, dtype=torch.float64)[torch.from_numpy(given.learned)]
        for candidate, link in zip(part.chain, part.links, strict=True):
            rows = [refit(kernel, targets, everyone[everyone != i], candidate.ridge, i[None]) for i in everyone]
            unheld = link.prior(torch.cat(rows).numpy()) * link.matrix[:, given.codes].T
            unheld /= unheld.sum(1, keepdims=True)
            targets = torch.from_numpy(unheld.copy())
            targets[settled >= 0] = torch.eye(3, dtype=torch.float64)[torch.from_numpy(settled[settled >= 0])]
        quality += weight * unheld[each, given.codes]
        if number == prepared.choice.chosen:
            np.testing.assert_allclose(found.posterior.numpy(), targets.numpy(), atol=1e-6)  # it is kept in 32 bit
    assert len(found.parts) > 1
    smooth, targets = prepared.choice.firsts[0], torch.eye(3, dtype=torch.float64)[torch.from_numpy(given.learned)]
    rows = [refit(kernel, targets, everyone[everyone != i], smooth.ridge, i[None]) for i in everyone]
    quality = smoothed(quality, torch.cat(rows).numpy(), given.codes, smooth.link)
    np.testing.assert_allclose(found.quality, quality, atol=1e-8)


@pytest.mark.parametrize(("forest", "voted"), [(False, False), (True, False), (False, True)])
def test_it_equals_a_full_refit_with_the_clamped_labels(blobs, forest: bool, voted: bool) -> None:
    inputs, truth, labels = blobs(120, 3, 0.3)
    before = Given(labels, 3)
    if voted:
        counts = np.eye(3, dtype=int)[labels] + np.random.default_rng(1).multinomial(3, np.ones(3) / 3, 120)
        before = Given(counts.argmax(1), 3, counts / 4, None, None, np.full(120, 4))
    first = prepare(inputs, before, ClosedOptions(rounds=2, dtype=torch.float64, forest=forest))
    settled = some_settled(truth)
    given = replace(before, settled=settled)
    again = _factorise(first.rows, first.marks, given, shared=False)
    expected = go_through(again, given, first.choice, forest=first.forest)
    found = settle(first, settled, links=False)
    np.testing.assert_allclose(found.quality, expected.quality, atol=1e-8)
    np.testing.assert_allclose(found.posterior.numpy(), expected.posterior.numpy(), atol=1e-6)
    for one, other in zip(found.parts, expected.parts, strict=True):
        np.testing.assert_allclose(one.links[-1].matrix, other.links[-1].matrix, atol=1e-8)


def test_nothing_settled_changes_nothing(made) -> None:
    prepared, _ = made
    before = go_through(prepared.spectrum, prepared.given, prepared.choice)
    after = settle(prepared, np.full(90, -1))
    np.testing.assert_array_equal(before.quality, after.quality)


def test_the_order_of_decisions_does_not_matter_and_they_can_be_taken_back(made) -> None:
    prepared, truth = made
    settled = some_settled(truth)
    once = settle(prepared, settled)
    settle(prepared, some_settled((truth + 1) % 3, 0.5))  # leaves nothing behind
    np.testing.assert_array_equal(settle(prepared, settled).quality, once.quality)


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.name)
@pytest.mark.parametrize("k", [2, 4])
@pytest.mark.parametrize("weighted", [False, True])
def test_likelihood_and_gradient_of_settled_rows(form: Form, k: int, weighted: bool) -> None:
    rng = np.random.default_rng(k)
    labels, truth = rng.integers(k, size=30), rng.integers(k, size=30)
    weights = rng.gamma(1.0, size=30) if weighted else np.ones(30)
    given = Given(labels, k, None, weights if weighted else None, some_settled(truth, 0.5))
    problem = _Problem(rng.normal(size=(k, 30)), given, form)
    vector = np.concatenate([[0.3], 0.5 * rng.normal(size=len(problem.bounds(0.0)[0]) - 1)])
    gap = check_grad(lambda v: problem(v)[0], lambda v: problem(v)[1], vector, epsilon=1e-6)
    assert gap < 2e-5 * max(1, np.abs(problem(vector)[1]).max())
    link = problem.unpack(vector)
    prior = link.prior(problem.scores.T)
    joint = prior * link.matrix[:, labels].T
    expected = [np.log(row[c] if c >= 0 else row.sum()) for row, c in zip(joint, given.settled, strict=True)]
    posterior, found = link.posterior(problem.scores.T, given)
    np.testing.assert_allclose(found, expected, rtol=1e-9)
    np.testing.assert_array_equal(posterior[given.held], np.eye(k)[given.settled[given.held]])
    without = _Problem(problem.scores, replace(given, settled=None), form)
    change = (weights * (found - link.posterior(problem.scores.T, without.labels)[1])).sum() / weights.sum()
    assert problem(vector)[0] - without(vector)[0] == pytest.approx(-change)


def test_a_link_takes_its_noise_from_settled_rows_where_scores_say_nothing() -> None:
    rng = np.random.default_rng(0)
    truth = rng.integers(3, size=4000)
    given = np.where(rng.random(4000) < 0.3, (truth + 1) % 3, truth)
    found = fit_link(np.zeros((4000, 3)), Given(given, 3, settled=truth), Form("none", "own"))
    counted = np.array([[np.mean(given[truth == c] == j) for j in range(3)] for c in range(3)])
    assert np.abs(found.matrix - counted).max() < 0.03  # drawn to the even one by a tenth of a class's rows
    for c in range(3):
        assert found.matrix[c, (c + 1) % 3] > 0.25 > 0.05 > found.matrix[c, (c + 2) % 3]


def test_settled_labels_help_the_others(blobs) -> None:
    inputs, truth, labels = blobs(300, 3, 0.45, apart=1.2, pairs=True)
    settled = some_settled(truth, 0.5)
    before = refine_labels(inputs, labels, 3, forest=False)
    after = refine_labels(inputs, labels, 3, settled=settled, forest=False)
    rest = settled < 0
    right = [(one.posterior.argmax(1).numpy() == truth)[rest].mean() for one in (before, after)]
    assert right[1] > right[0] + 0.02
    held = np.flatnonzero(~rest)
    np.testing.assert_array_equal(after.quality[held], settled[held] == labels[held])
    np.testing.assert_array_equal(after.posterior.numpy()[held].argmax(1), settled[held])


@pytest.mark.parametrize(
    ("settled", "labels"),
    [([0, 3], [0, 1]), ([0, -2], [0, 1]), ([0], [0, 1]), ([0, 1], [[0.5, 0.5], [1.0, 0.0]])],
)
def test_settled_labels_that_do_not_fit_are_refused(settled, labels) -> None:
    with pytest.raises(DataError, match=r"settled labels have shape|are distributions"):
        check_given(np.array(labels), 2, None, settled)


@pytest.mark.parametrize("most", [2000, 20])
def test_rows_that_nobody_settled_count_as_many_as_there_are(made, monkeypatch, most: int) -> None:
    prepared, truth = made
    given, seen = replace(prepared.given, settled=some_settled(truth)), []
    monkeypatch.setattr(_settle, "_OTHERS", most)
    monkeypatch.setattr(_settle, "fit_link", lambda scores, part, *_, start, **__: seen.append(part) or start)
    _settle.relinked(prepared, given)
    held = int((given.settled[prepared.chosen_on] >= 0).sum())
    for part in seen:
        assert len(part) == held + min(most, 90 - held)
        assert part.weights[:held].sum() == held
        assert part.weights[held:].sum() == pytest.approx(90 - held)
