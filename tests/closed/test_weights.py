"""A weight says how many rows a row counts as; a distribution stands for weighted copies of its row."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.optimize import check_grad
from torch import Tensor

from selfdistill._core.errors import DataError
from selfdistill.closed import refine_labels
from selfdistill.closed._given import Given, check_given
from selfdistill.closed._landmarks import Landmarks, choose_landmarks
from selfdistill.closed._link_fit import _Problem, fit_link
from selfdistill.closed._noise_link import FORMS, Form, NoiseLink
from selfdistill.closed._prepare import _kernel_errors
from selfdistill.closed._rounds import Candidate, _stacked, _standard_errors, choose_rounds
from selfdistill.closed._rows import Rows
from selfdistill.closed._spectrum import Spectrum
from selfdistill.networks._kernel_machine import KERNELS, kernel_rows

pytestmark = pytest.mark.usefixtures("few_trees")


def soft(n: int, k: int, seed: int = 0) -> Tensor:
    return torch.from_numpy(np.random.default_rng(seed).dirichlet(np.ones(k), n))


def weighted_refit(gram: Tensor, q: Tensor, w: Tensor, ridge: float, rows: Tensor, other: Tensor) -> Tensor:
    """Weighted ridge regression on ``rows``, intercept free: one solve of the normal equations in the dual."""
    rows = rows[w[rows] > 0]
    m = len(rows)
    system = torch.zeros(m + 1, m + 1, dtype=torch.float64)
    system[:m, :m] = gram[rows][:, rows] + ridge * torch.diag(1 / w[rows])
    system[:m, m] = system[m, :m] = 1
    solved = torch.linalg.solve(system, torch.cat([q[rows], torch.zeros(1, q.shape[1], dtype=torch.float64)]))
    return gram[other][:, rows] @ solved[:m] + solved[m]


def spectrum_of(rows: Tensor, w: Tensor | None, kernel: str = "rbf", landmarks: Tensor | None = None) -> Spectrum:
    features = Landmarks(kernel, rows if landmarks is None else landmarks)
    return Spectrum(lambda part: features(rows[part]), len(rows), weights=w)


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("ridge", [0.01, 1.0])
def test_leave_one_out_equals_weighted_refits(points, kernel: str, ridge: float) -> None:
    rows, q = points(40, 5), soft(40, 3)
    w = torch.from_numpy(np.random.default_rng(1).gamma(1.0, size=40))
    w[::7] = 0
    gram, everyone = kernel_rows(kernel, rows, rows), torch.arange(40)
    expected = [weighted_refit(gram, q, w, ridge, everyone[everyone != i], i[None]) for i in everyone]
    found = spectrum_of(rows, w, kernel).out_of_sample([q], [ridge])[0]
    torch.testing.assert_close(found, torch.cat(expected), rtol=0, atol=1e-8)


@pytest.mark.parametrize("landmarks", [41, 8], ids=["system of rows", "system of columns"])
def test_folds_equal_weighted_refits(points, landmarks: int) -> None:
    rows, q, ridge = points(41, 5), soft(41, 3), 0.3
    w = torch.from_numpy(np.random.default_rng(1).gamma(1.0, size=41))
    w[::7] = 0
    part = rows[choose_landmarks(41, landmarks)]
    features = Landmarks("rbf", part)(rows)
    gram = features @ features.T
    for fold in spectrum_of(rows, w, landmarks=part).halves(torch.arange(41) % 3 == 1):
        weights = fold.fit(q[fold.inside], ridge)
        expected = weighted_refit(gram, q, w, ridge, fold.inside, fold.outside)
        torch.testing.assert_close(fold.predict(q[fold.inside], weights), expected, rtol=0, atol=1e-8)
        without = [weighted_refit(gram, q, w, ridge, fold.inside[fold.inside != i], i[None]) for i in fold.inside]
        found = fold.leave_one_out(q[fold.inside], weights, ridge)
        torch.testing.assert_close(found, torch.cat(without), rtol=0, atol=1e-8)


def test_whole_weights_equal_repeated_rows(points) -> None:
    rows, q, times = points(40, 5), soft(40, 3), torch.arange(40) % 4
    again = torch.repeat_interleave(torch.arange(40), times)
    one = spectrum_of(rows, times.double(), landmarks=rows[:20])
    two = spectrum_of(rows[again], None, landmarks=rows[:20])
    torch.testing.assert_close(one.values, two.values, rtol=1e-9, atol=1e-9)
    assert one.scale == pytest.approx(two.scale)
    fits = [each.solve(*each.learn(y), 0.3) for each, y in ((one, q), (two, q[again]))]
    for a, b in zip(*(each.coefficients(fit) for each, fit in zip((one, two), fits, strict=True)), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-9)
    energies = [each.learn(y)[0].energy(each.values) for each, y in ((one, q), (two, q[again]))]
    torch.testing.assert_close(*energies, rtol=0, atol=1e-9)
    # Leaving a row out takes all its copies at once, of a repeated row one only: the scores differ.
    alone, twin = one.out_of_sample([q], [0.3])[0], two.out_of_sample([q[again]], [0.3])[0]
    once = times[again] == 1
    torch.testing.assert_close(alone[again][once], twin[once], rtol=0, atol=1e-9)
    assert (alone[again] - twin)[times[again] == 3].abs().max() > 0.01


def test_errors_are_weighted_means(points) -> None:
    rows, q, w = points(40, 4), soft(40, 3), torch.arange(40).double() % 3 + 0.5
    spectrum, ridges = spectrum_of(rows, w), torch.tensor([0.1, 2.0], dtype=torch.float64)
    for most in (100, 14):
        expected = []
        for ridge in ridges.tolist():
            off = (spectrum.out_of_sample([q], [ridge])[0] - q).square().sum(1)[:: -(-40 // most)]
            expected.append(float((off * w[:: -(-40 // most)]).sum() / w[:: -(-40 // most)].sum()))
        assert spectrum.errors(q, ridges, most=most).tolist() == pytest.approx(expected)


def test_the_kernel_is_chosen_by_weighted_errors(blobs) -> None:
    inputs, _, given = blobs(60, 3, 0.2)
    w = np.random.default_rng(0).integers(1, 4, 60).astype(np.float64)
    rows = Rows(inputs, standardise=True, dtype=torch.float64, device=torch.device("cpu"), weights=w)
    some = Given(given, 3, None, w)
    found = _kernel_errors(rows, some, torch.arange(60), KERNELS)
    for kernel, error in found.items():
        spectrum = spectrum_of(rows(slice(0, 60)), torch.from_numpy(w), kernel)
        ridges = spectrum.scale * 4.0 ** torch.arange(-4, 5, dtype=torch.float64)
        assert error == pytest.approx(float(spectrum.errors(some.targets(torch.float64), ridges).min()), rel=1e-6)


# Links


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.name)
@pytest.mark.parametrize("k", [2, 4])
def test_gradient_with_weights_and_distributions(form: Form, k: int) -> None:
    rng = np.random.default_rng(k)
    w, labels = rng.gamma(1.0, size=30), rng.integers(k, size=30)
    counts = rng.multinomial(4, np.ones(k) / k, 30) + np.eye(k, dtype=int)[labels]
    counts[::3] = np.eye(k, dtype=int)[labels[::3]]
    votes = Given(labels, k, counts / counts.sum(1, keepdims=True), w, None, counts.sum(1))
    settled = replace(votes, settled=np.where(np.arange(30) % 5 == 0, rng.integers(k, size=30), -1))
    for given in (Given(labels, k, None, w), Given(labels, k, rng.dirichlet(np.ones(k), 30), w), votes, settled):
        problem = _Problem(rng.normal(size=(k, 30)), given, form)
        vector = np.concatenate([[0.3], 0.5 * rng.normal(size=len(problem.bounds(0.0)[0]) - 1)])
        gap = check_grad(lambda v: problem(v)[0], lambda v: problem(v)[1], vector, epsilon=1e-6)
        assert gap < 2e-5 * max(1, np.abs(problem(vector)[1]).max())


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.name)
def test_whole_weights_of_a_link_equal_repeated_rows(form: Form) -> None:
    rng = np.random.default_rng(0)
    scores, labels, times = rng.normal(size=(90, 4)), rng.integers(4, size=90), rng.integers(0, 4, 90)
    again = np.repeat(np.arange(90), times)
    one = _Problem(scores.T.copy(), Given(labels, 4, None, times.astype(float)), form)
    two = _Problem(scores[again].T.copy(), labels[again], form)
    vector = 0.3 * rng.normal(size=len(one.bounds(0.0)[0]))
    assert one(vector)[0] == pytest.approx(two(vector)[0], rel=1e-12)
    np.testing.assert_allclose(one(vector)[1], two(vector)[1], rtol=1e-9, atol=1e-12)
    starts = [
        fit_link(s, g, form, iterations=0)
        for s, g in ((scores, Given(labels, 4, None, times.astype(float))), (scores[again], labels[again]))
    ]
    np.testing.assert_allclose(starts[0].matrix, starts[1].matrix, rtol=1e-9)


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.name)
def test_a_distribution_stands_for_weighted_copies(form: Form) -> None:
    rng = np.random.default_rng(0)
    scores, shares, w = rng.normal(size=(60, 3)), rng.dirichlet(np.ones(3), 60), rng.gamma(1.0, size=60)
    shares[:10] = np.eye(3)[rng.integers(3, size=10)]
    again, labels = np.repeat(np.arange(60), 3), np.tile(np.arange(3), 60)
    whole = Given(shares.argmax(1), 3, shares, w)
    copies = Given(labels, 3, None, (shares * w[:, None]).ravel())
    one, two = _Problem(scores.T.copy(), whole, form), _Problem(scores[again].T.copy(), copies, form)
    vector = 0.3 * rng.normal(size=len(one.bounds(0.0)[0]))
    assert one(vector)[0] == pytest.approx(two(vector)[0], rel=1e-12)
    np.testing.assert_allclose(one(vector)[1], two(vector)[1], rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(
        fit_link(scores, whole, form, iterations=0).matrix,
        fit_link(scores[again], copies, form, iterations=0).matrix,
        rtol=1e-9,
    )
    link = one.unpack(vector)
    posterior, likelihood = link.posterior(scores, whole)
    each, likelihoods = link.posterior(scores[again], labels)
    np.testing.assert_allclose(posterior, (each * shares.reshape(-1, 1)).reshape(60, 3, 3).sum(1), atol=1e-12)
    np.testing.assert_allclose(likelihood, (likelihoods * shares.ravel()).reshape(60, 3).sum(1), atol=1e-12)
    np.testing.assert_allclose(posterior.sum(1), 1, atol=1e-12)


# The choice


def test_weighted_standard_errors_and_stacking_equal_repeated_rows() -> None:
    rng = np.random.default_rng(0)
    times, losses = rng.integers(0, 4, 200), rng.gamma(1.0, size=(2, 200))
    link = fit_link(np.zeros((4, 2)), np.array([0, 1, 0, 1]), Form("none", "even"), iterations=1)
    weighted = [Candidate("kernel", link.form, 1, 1.0, one, link, 0.1, times.astype(float)) for one in losses]
    repeated = [Candidate("kernel", link.form, 1, 1.0, np.repeat(one, times), link, 0.1) for one in losses]
    assert weighted[0].nats == pytest.approx(repeated[0].nats)
    assert _standard_errors(*weighted) == pytest.approx(_standard_errors(*repeated))
    logs = -losses.T
    np.testing.assert_allclose(_stacked(logs, times.astype(float)), _stacked(np.repeat(logs, times, 0)), rtol=1e-9)


def test_candidates_carry_the_weights(points) -> None:
    rng = np.random.default_rng(0)
    w = rng.integers(1, 3, 80).astype(float)
    given = Given(rng.integers(3, size=80), 3, None, w)
    choice = choose_rounds(spectrum_of(points(80, 4), torch.from_numpy(w)), given, 3)
    assert all(one.weights is w for one in choice.tried)


# The whole


def test_rows_of_weight_zero_teach_nothing_but_are_refined(blobs) -> None:
    inputs, truth, given = blobs(500, 3, 0.3, apart=0.6)
    rng = np.random.default_rng(0)
    out = rng.random(500) < 0.3
    spoiled, given = inputs.clone(), given.copy()
    spoiled[out] *= 2
    given[out] = rng.integers(3, size=out.sum())
    one = refine_labels(spoiled, given, 3, sample_weight=1.0 - out, rounds=1, dtype=torch.float64)
    two = refine_labels(spoiled[~out], given[~out], 3, rounds=1, dtype=torch.float64)
    assert one.kernel == two.kernel
    torch.testing.assert_close(one.posterior[~out], two.posterior, rtol=0, atol=1e-5)
    torch.testing.assert_close(one.machine.scores(spoiled), two.machine.scores(spoiled), rtol=0, atol=1e-4)
    np.testing.assert_allclose(one.noise_matrix, two.noise_matrix, atol=1e-5)
    # Links with confusion end where rounding leads them: what is mixed of them differs more.
    torch.testing.assert_close(one.prior[~out], two.prior, rtol=0, atol=0.02)
    np.testing.assert_allclose(one.quality[~out], two.quality, atol=0.02)
    torch.testing.assert_close(one.prior[out], two.machine(spoiled[out]).exp(), rtol=0, atol=0.03)  # none to leave out
    assert (one.posterior[out].argmax(1).numpy() == truth[out]).mean() > 0.5


@pytest.mark.parametrize("form", [Form("none", "even"), Form("none", "own")], ids=lambda form: form.name)
@pytest.mark.parametrize("dependence", [1e-12, 0.3, 5.0])
def test_votes_of_a_row_are_drawn_one_after_the_other(form: Form, dependence: float) -> None:
    rng, k = np.random.default_rng(0), 3
    scores, ballots = rng.normal(size=(50, k)), [rng.integers(k, size=rng.integers(1, 6)) for _ in range(50)]
    counts = np.stack([np.bincount(row, minlength=k) for row in ballots])
    given = Given(counts.argmax(1), k, counts / counts.sum(1, keepdims=True), None, None, counts.sum(1))
    rows = np.log(rng.dirichlet(np.ones(k), k))
    link = NoiseLink(form, 1.5, 0.1 * rng.normal(size=k), np.zeros((k, k)), 0.3, rows, dependence)
    joint = link.prior(scores)
    for i, row in enumerate(ballots):
        for c in range(k):
            seen = np.zeros(k)
            for vote in row:
                joint[i, c] *= (link.matrix[c, vote] + dependence * seen[vote]) / (1 + dependence * seen.sum())
                seen[vote] += 1
    posterior, likelihood = link.posterior(scores, given)
    np.testing.assert_allclose(posterior, joint / joint.sum(1, keepdims=True), rtol=1e-6)
    np.testing.assert_allclose(likelihood, np.log(joint.sum(1)), rtol=1e-6)
    one = np.flatnonzero(counts.sum(1) == 1)
    np.testing.assert_allclose(posterior[one], link.posterior(scores[one], counts[one].argmax(1))[0], rtol=1e-9)


@pytest.mark.parametrize("dependence", [0.0, 0.5, 2.0])
def test_how_much_votes_depend_on_each_other_is_found(dependence: float) -> None:
    rng, k, n = np.random.default_rng(1), 3, 2000
    truth = rng.integers(k, size=n)
    counts = np.zeros((n, k), int)
    for j in range(4):
        chances = (np.where(np.eye(k)[truth] == 1, 0.7, 0.15) + dependence * counts) / (1 + j * dependence)
        counts[np.arange(n), (rng.random((n, 1)) > chances.cumsum(1)).sum(1)] += 1
    given = Given(counts.argmax(1), k, counts / 4, None, None, np.full(n, 4))
    link = fit_link(np.eye(k)[truth] + 0.2 * rng.normal(size=(n, k)), given, Form("none", "own"))
    assert link.dependence == pytest.approx(dependence, rel=0.25, abs=0.03)
    np.testing.assert_allclose(link.matrix.diagonal(), 0.7, atol=0.05)


@pytest.mark.parametrize("alike", [False, True])
def test_votes_are_refined_better_than_their_shares_and_their_majority(blobs, alike: bool) -> None:
    inputs, truth, _ = blobs(500, 4, 0.0, d=5, apart=0.7)
    rng = np.random.default_rng(5)
    votes = np.stack([np.where(rng.random(500) < 0.4, rng.integers(4, size=500), truth) for _ in range(5)])
    if alike:
        hard, other = rng.random(500) < 0.4, rng.integers(4, size=500)
        votes = np.stack([np.where(hard & (rng.random(500) < 0.7), other, truth) for _ in range(5)])
    shares = np.stack([(votes == c).mean(0) for c in range(4)], 1)
    found = refine_labels(inputs, shares, 4, votes=np.full(500, 5))
    right = (found.posterior.argmax(1).numpy() == truth).mean()
    assert right > (shares.argmax(1) == truth).mean() + 0.01
    assert right > (refine_labels(inputs, shares, 4).posterior.argmax(1).numpy() == truth).mean() + 0.01
    chosen = found.posterior[np.arange(500), shares.argmax(1)]
    assert np.corrcoef(chosen, found.quality)[0, 1] > 0.9
    assert (found.choice.best.link.dependence > 0.5) == alike


@pytest.mark.parametrize("votes", [np.full(3, 0), np.full(4, 2), np.full(3, 1.5), None])
def test_numbers_of_votes_are_checked(votes: np.ndarray | None) -> None:
    shares = np.array([[1, 0], [0.5, 0.5], [0, 1]])
    with pytest.raises(DataError, match="numbers of votes are"):
        check_given(
            np.array([0, 1, 1]) if votes is None else shares, 2, votes=np.full(3, 2) if votes is None else votes
        )
    assert check_given(shares, 2, votes=np.array([1, 2, 7])).votes.tolist() == [1, 2, 7]
    with pytest.raises(DataError, match=r"row 2 has 1,000 votes, but at most 250"):
        check_given(shares, 2, votes=np.array([2, 2, 1000]))
    with pytest.raises(DataError, match=r"row 1 are not whole votes: 3 times 0.5 is 1.5"):
        check_given(shares, 2, votes=np.full(3, 3))


def test_hard_labels_as_distributions_change_nothing(blobs) -> None:
    inputs, _, given = blobs(300, 3, 0.3)
    one, two = refine_labels(inputs, given, 3), refine_labels(inputs, np.eye(3)[given], 3)
    torch.testing.assert_close(one.posterior, two.posterior, rtol=0, atol=2e-3)
