"""Rounds in passes that keep no targets equal rounds that keep them all."""

import functools

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

from selfdistill.closed import refine_labels
from selfdistill.closed._forest import Forest
from selfdistill.closed._given import Given
from selfdistill.closed._landmarks import Landmarks, choose_landmarks
from selfdistill.closed._link_fit import STEPS, fit_link
from selfdistill.closed._noise_link import NoiseLink
from selfdistill.closed._passes import go_through
from selfdistill.closed._rounds import Choice, choose_rounds
from selfdistill.closed._spectrum import Spectrum


def rows_and_labels(n: int, k: int) -> tuple[torch.Tensor, np.ndarray]:
    rng = np.random.default_rng(0)
    truth = rng.integers(k, size=n)
    rows = torch.from_numpy(rng.normal(size=(k, 5))[truth] + 0.7 * rng.normal(size=(n, 5)))
    given = np.where(rng.random(n) < 0.3, rng.integers(k, size=n), truth)
    return torch.nn.functional.normalize(rows, dim=1), given


def keeping_all(spectrum: Spectrum, given: Given, choice: Choice) -> list[tuple[np.ndarray, NoiseLink]]:
    """Scores and link of each chain's last round, with all scores and targets of each round in memory."""
    found = []
    for chain in choice.chains:
        targets = given.targets(torch.float64)
        for number, candidate in enumerate(chain):
            scores, link = spectrum.out_of_sample([targets], [candidate.ridge])[0].numpy(), candidate.link
            if number == 0:
                link = fit_link(scores, given, link.form, start=link, iterations=STEPS)
            targets = torch.from_numpy(link.posterior(scores, given)[0])
        found.append((scores, link))
    return found


def spectrum_of(rows: torch.Tensor, given: Given, **more) -> Spectrum:
    features = Landmarks("rbf", rows[choose_landmarks(len(rows), 40)])

    def rotated(rotation):
        turn = features.rotated(rotation)
        return lambda part: turn(rows[part])

    weights = None if given.weights is None else torch.from_numpy(given.weights)
    targets = lambda part: given[part].targets(torch.float64)
    return Spectrum(
        lambda part: features(rows[part]), len(rows), rotated=rotated, targets=targets, weights=weights, **more
    )


@functools.cache
def chosen(kind: str, rounds: int | None) -> tuple[torch.Tensor, Given, Choice]:
    rows, labels = rows_and_labels(200, 3)
    rng = np.random.default_rng(1)
    given = {
        "labels": Given(labels, 3),
        "weights": Given(labels, 3, None, rng.integers(1, 4, 200).astype(float)),
        "distributions": Given(labels, 3, 0.7 * np.eye(3)[labels] + 0.1),
    }[kind]
    return rows, given, choose_rounds(spectrum_of(rows, given), given, 3, rounds=rounds)


@pytest.mark.parametrize(
    ("kind", "rounds"), [("labels", 1), ("labels", 3), ("labels", None), ("weights", 3), ("distributions", 3)]
)
@pytest.mark.parametrize("keep", [True, False], ids=["kept", "anew"])
def test_rounds_equal_those_that_keep_all(kind: str, keep: bool, rounds: int | None, smoothed) -> None:
    rows, given, choice = chosen(kind, rounds)
    assert len(choice.chains) > 1
    spectrum = spectrum_of(rows, given, keep=keep, step=37)
    found, each = go_through(spectrum, given, choice), np.arange(200)
    expected = keeping_all(spectrum, given, choice)
    posteriors = [link.posterior(scores, given)[0] for scores, link in expected]
    prior = sum(w * link.prior(scores) for w, (scores, link) in zip(choice.weights, expected, strict=True))
    quality = sum(w * q[each, given.codes] for w, q in zip(choice.weights, posteriors, strict=True))
    np.testing.assert_allclose(found.posterior.numpy(), posteriors[choice.chosen], atol=1e-3)
    np.testing.assert_allclose(found.prior.numpy(), prior, atol=1e-3)
    scores = spectrum.out_of_sample([given.targets(torch.float64)], [choice.firsts[0].ridge])[0].numpy()
    np.testing.assert_allclose(found.quality, smoothed(quality, scores, given.codes, choice.firsts[0].link), atol=1e-3)
    whole = spectrum.learn(torch.from_numpy(posteriors[choice.chosen]))[0]
    torch.testing.assert_close(found.moments.cross, whole.cross, rtol=0, atol=1e-3)
    torch.testing.assert_close(found.moments.mean, whole.mean, rtol=0, atol=1e-5)
    assert found.moments.variance == pytest.approx(whole.variance, rel=1e-4)


def test_labels_that_a_forest_memorises_are_ranked_by_first_rounds() -> None:
    rng = np.random.default_rng(1)
    truth = rng.integers(2, size=800)
    inputs = torch.from_numpy(rng.normal(size=(800, 10)) + 0.8 * (2 * truth - 1)[:, None]).float()
    given = (inputs[:, 0] > 0).long().numpy()  # a rule, which a tree says in one split
    found = refine_labels(inputs, given, 2)
    assert found.choice.best.source == "forest"
    assert (found.posterior.argmax(1).numpy() == given).mean() > 0.99
    assert roc_auc_score(given != truth, -found.quality) > 0.65


@pytest.mark.parametrize("rounds", [1, 3])
def test_a_forest_goes_through_the_same_passes(rounds: int, monkeypatch) -> None:
    rows, labels = rows_and_labels(200, 3)
    weights = np.random.default_rng(1).integers(1, 3, 200).astype(float)
    given, inputs = Given(labels, 3, None, weights), rows.float()
    spectrum = spectrum_of(rows, given, step=37)
    choice = choose_rounds(spectrum, given, 3, inputs=inputs, rounds=rounds)
    chain = next(chain for chain in choice.chains if chain[0].source == "forest")
    forest, targets = Forest(inputs, given), given.targets(torch.float64)
    sums: list[torch.Tensor] = []  # over processes, where rows are spread
    monkeypatch.setattr("selfdistill.closed._passes.sum_over_processes", lambda value: sums.append(value) or value)
    chosen = Choice((chain,), (1.0,), 0, choice.tried)
    spread = go_through(spectrum, given, chosen, forest=forest, shared=True)
    assert sum(len(one) == forest.trees.leaves for one in sums) == rounds - 1
    found = go_through(spectrum, given, chosen, forest=forest)
    torch.testing.assert_close(spread.posterior, found.posterior)
    for number, candidate in enumerate(chain):
        scores, link = forest.out_of_bag(forest.fill(targets)).numpy(), candidate.link
        if number == 0:
            link = fit_link(scores, given, link.form, start=link, iterations=STEPS)
        targets = torch.from_numpy(link.posterior(scores, given)[0])
    np.testing.assert_allclose(found.posterior.numpy(), targets, atol=1e-4)
    assert len(found.parts[0].fits) == rounds


def test_moments_of_given_labels_come_with_the_first_pass() -> None:
    rows, labels = rows_and_labels(200, 3)
    given = Given(labels, 3, None, np.random.default_rng(0).gamma(1.0, size=200))
    spectrum = spectrum_of(rows, given, step=33)
    again = spectrum.learn(given.targets(torch.float64))[0]
    torch.testing.assert_close(spectrum.first.cross, again.cross, rtol=0, atol=1e-9)
    torch.testing.assert_close(spectrum.first.mean, again.mean, rtol=0, atol=1e-12)
    assert spectrum.first.variance == pytest.approx(again.variance)


def test_features_are_computed_once_for_each_round_and_once_more() -> None:
    rows, given, choice = chosen("labels", 3)
    spectrum, seen = spectrum_of(rows, given, keep=False, step=50), [0]
    compute = spectrum._turned

    def counted(part):
        found = compute(part)
        seen[0] += len(found)
        return found

    spectrum._turned = counted
    go_through(spectrum, given, choice)
    assert seen[0] == 200 + 3 * 200  # the links of round 1, then one pass for each round
