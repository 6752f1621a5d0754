"""The link: gradient, recovery of known noise, and what it promises of probabilities."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given as examples
from hypothesis import settings
from hypothesis import strategies as st
from scipy.optimize import check_grad

from selfdistill.closed._given import Given
from selfdistill.closed._link_fit import STEPS, _Problem, fit_link
from selfdistill.closed._noise_link import FORMS, Form, NoiseLink

SYMMETRIC = np.full((4, 4), 0.1) + 0.6 * np.eye(4)
PAIRS = 0.65 * np.eye(4) + 0.35 * np.roll(np.eye(4), 1, axis=1)
OWN = np.array([[0.9, 0.1, 0, 0], [0, 1, 0, 0], [0.2, 0.2, 0.6, 0], [0, 0.05, 0.25, 0.7]])


def draw(matrix: np.ndarray, n: int, *, blur: float = 0.15, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Scores, given labels and true ones; scores are near the one-hot truth."""
    rng, k = np.random.default_rng(seed), len(matrix)
    truth = rng.integers(k, size=n)
    scores = np.eye(k)[truth] + blur * rng.normal(size=(n, k))
    given = (matrix[truth].cumsum(1) > rng.random((n, 1))).argmax(1)
    return scores, given, truth


@examples(st.sampled_from(FORMS), st.integers(2, 5), st.integers(0, 10_000))
@settings(max_examples=60)
def test_gradient_equals_finite_differences(form: Form, k: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    problem = _Problem(rng.normal(size=(k, 30)), rng.integers(k, size=30), form)
    shape = problem.bounds(0.0)[0].shape
    vector = np.concatenate([[rng.uniform(-1, 2)], 0.7 * rng.normal(size=shape[0] - 1)])
    gap = check_grad(lambda v: problem(v)[0], lambda v: problem(v)[1], vector, epsilon=1e-6)
    assert gap < 2e-5 * max(1, np.abs(problem(vector)[1]).max())


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.name)
def test_loss_is_the_penalised_likelihood(form: Form) -> None:
    rng = np.random.default_rng(3)
    scores, given = rng.normal(size=(50, 4)), rng.integers(4, size=50)
    problem = _Problem(scores.T.copy(), given, form)
    vector = 0.4 * rng.normal(size=len(problem.bounds(0.0)[0]))
    link = problem.unpack(vector)
    prior = np.exp(scores @ link.calibration + link.bias)
    prior /= prior.sum(1, keepdims=True)
    expected = -np.log((prior @ link.matrix)[np.arange(50), given]).sum()
    expected += 10 * (link.confusion**2).sum() + 1e-3 * 50 * (link.bias**2).sum()
    if form.noise == "own":
        even = np.full((4, 4), link.rate / 3) + np.eye(4) * (1 - link.rate * 4 / 3)
        expected += 0.1 * 50 / 4 * (even * np.log(even / link.matrix)).sum()
    assert problem(vector)[0] * 50 == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.name)
def test_units_are_those_of_known_true_classes(form: Form, weighted: bool) -> None:
    """With true classes as likely as the link says they are, the loss curves by 1 in each number alone."""
    rng, k, n = np.random.default_rng(4), 3, 40
    scores, w = rng.normal(size=(n, k)), rng.uniform(0.5, 3, n) if weighted else np.ones(n)
    given = Given(rng.integers(k, size=n), k, None, w if weighted else None)
    problem = _Problem(scores.T.copy(), given, form)
    vector = 0.4 * rng.normal(size=len(problem.bounds(0.0)[0]))
    there = problem.unpack(vector)
    even = np.full((k, k), there.rate / (k - 1)) + np.eye(k) * (1 - there.rate * k / (k - 1))
    vector = problem.pack(replace(there, rows=np.log(even)))
    prior = there.prior(scores)

    def loss(moved: np.ndarray) -> float:
        link = problem.unpack(moved)
        spread = np.full((k, k), link.rate / (k - 1)) + np.eye(k) * (1 - link.rate * k / (k - 1))
        both = (w @ prior)[:, None] * even if form.noise == "own" else w.sum() / k * even
        total = -(w[:, None] * prior * np.log(link.prior(scores))).sum() - (both * np.log(link.matrix)).sum()
        total += 10 * (link.confusion**2).sum() + 1e-3 * w.sum() * (link.bias**2).sum()
        if form.noise == "own":
            total += 0.1 * w.sum() / k * (spread * np.log(spread / link.matrix)).sum()
        return total / w.sum()

    for unit, step in zip(problem.units(vector), np.eye(len(vector)), strict=True):
        h = 1e-3 * step
        curvature = (loss(vector + h) - 2 * loss(vector) + loss(vector - h)) / 1e-6
        assert curvature * unit**2 == pytest.approx(1, rel=0.15 if form.confusion == "both" else 1e-4)  # no cross terms


def test_units_lead_away_from_no_noise() -> None:
    """In few steps from a rate that is far too small."""
    matrix = np.array([[1.0, 0.0], [0.3, 0.7]])
    scores, given, _ = draw(matrix, 1000, blur=0.3)
    near = fit_link(scores, given, Form("none", "own"))
    start = replace(near, rate=0.001, rows=np.log(np.array([[0.999, 0.001], [0.001, 0.999]])))
    found = fit_link(scores, given, Form("none", "own"), start=start, iterations=STEPS)
    np.testing.assert_allclose(found.matrix, near.matrix, atol=0.03)


def test_vectors_come_back() -> None:
    rng = np.random.default_rng(0)
    for form in FORMS:
        problem = _Problem(rng.normal(size=(3, 9)), rng.integers(3, size=9), form)
        vector = 0.5 * rng.normal(size=len(problem.bounds(0.0)[0]))
        np.testing.assert_allclose(problem.pack(problem.unpack(vector)), vector, atol=1e-12)


@pytest.mark.parametrize(
    ("form", "matrix", "off"),
    [
        (Form("none", "even"), SYMMETRIC, 0.02),
        (Form("none", "own"), SYMMETRIC, 0.05),
        (Form("none", "own"), PAIRS, 0.08),
        (Form("none", "own"), OWN, 0.08),
        (Form("both", "even"), SYMMETRIC, 0.02),
    ],
    ids=["even", "own of even", "pairs", "own", "even with confusion"],
)
def test_recovers_the_noise(form: Form, matrix: np.ndarray, off: float) -> None:
    scores, given, _ = draw(matrix, 4000)
    np.testing.assert_allclose(fit_link(scores, given, form).matrix, matrix, atol=off)


def test_recovers_the_noise_when_confusion_begins_where_the_plain_form_ended() -> None:
    scores, given, truth = draw(PAIRS, 4000)
    plain = fit_link(scores, given, Form("none", "own"))
    link = fit_link(scores, given, Form("each", "own"), start=plain)
    np.testing.assert_allclose(link.matrix, PAIRS, atol=0.08)
    assert (link.posterior(scores, given)[0].argmax(1) == truth).mean() > 0.97


def test_true_labels_are_left_alone() -> None:
    scores, given, _ = draw(np.eye(4), 3000)
    link = fit_link(scores, given, Form("none", "even"))
    assert link.rate < 0.005
    assert (link.posterior(scores, given)[0].argmax(1) == given).mean() > 0.999


def test_random_labels_say_nothing() -> None:
    rng = np.random.default_rng(0)
    scores, given = 0.1 * rng.normal(size=(2000, 4)), rng.integers(4, size=2000)
    nats = -fit_link(scores, given, Form("none", "even")).posterior(scores, given)[1].mean()
    assert nats == pytest.approx(np.log(4), abs=0.005)


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.name)
@pytest.mark.parametrize("k", [2, 4, 60])
def test_probabilities_are_probabilities(form: Form, k: int) -> None:
    rng = np.random.default_rng(1)
    scores, given = rng.normal(size=(120, k)), rng.integers(k, size=120)
    link = fit_link(scores, given, form, iterations=20)
    for one in (link.prior(scores), link.posterior(scores, given)[0], link.matrix):
        np.testing.assert_allclose(one.sum(1), 1, atol=1e-9)
        assert (one >= 0).all()
    joint = link.prior(scores)[:, :, None] * link.matrix  # [n, true, given]
    each = np.arange(120)
    expected = joint[each, :, given] / joint.sum(1)[each, given][:, None]
    posterior, likelihood = link.posterior(scores, given)
    np.testing.assert_allclose(posterior, expected, atol=1e-9)
    np.testing.assert_allclose(likelihood, np.log(joint.sum(1)[each, given]), atol=1e-9)


def test_extreme_scores_stay_finite() -> None:
    scores, given, _ = draw(OWN, 200)
    for factor in (0.0, 1e-6, 1e6):
        for form in FORMS:
            link = fit_link(factor * scores, given, form)
            assert np.isfinite(link.posterior(factor * scores, given)[0]).all()


def test_sharpness_stays_above_its_least() -> None:
    scores, given, _ = draw(SYMMETRIC, 500)
    assert fit_link(scores, given, Form("none", "even"), sharpest=20.0).sharpness >= 20 * (1 - 1e-9)


def test_confusion_of_both_ways_is_symmetric() -> None:
    scores, given, _ = draw(OWN, 800, blur=0.5)
    link = fit_link(scores, given, Form("both", "own"))
    np.testing.assert_array_equal(link.confusion, link.confusion.T)
    assert np.abs(link.confusion).max() > 1e-4


def test_own_rows_begin_from_an_even_start() -> None:
    scores, given, _ = draw(PAIRS, 1000)
    start = fit_link(scores, given, Form("none", "even"))
    np.testing.assert_allclose(fit_link(scores, given, Form("none", "own"), start=start).matrix, PAIRS, atol=0.1)


def test_classes_without_rows() -> None:
    scores, given, _ = draw(SYMMETRIC, 300)
    scores = np.concatenate([scores, np.zeros((300, 2))], 1)
    for form in FORMS:
        assert np.isfinite(fit_link(scores, given, form).prior(scores)).all()


def test_matrix_of_a_link_by_hand() -> None:
    link = NoiseLink(Form("none", "even"), 2.0, np.zeros(3), np.zeros((3, 3)), 0.3, np.zeros((3, 3)))
    np.testing.assert_allclose(link.matrix, [[0.7, 0.15, 0.15], [0.15, 0.7, 0.15], [0.15, 0.15, 0.7]])
    np.testing.assert_allclose(link.calibration, 2 * np.eye(3))
