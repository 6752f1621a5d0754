"""Candidates are judged by labels that they have not seen, and the choice among them follows its rules."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.optimize import minimize

from selfdistill.closed._forest import ForestFold
from selfdistill.closed._given import as_given
from selfdistill.closed._landmarks import Landmarks
from selfdistill.closed._link_fit import fit_link
from selfdistill.closed._noise_link import Form
from selfdistill.closed._rounds import (
    Candidate,
    _Halves,
    _stacked,
    _survivors,
    choose,
    choose_rounds,
    least_sharpness,
    ridge_of_least_error,
    soft_targets,
    two_halves,
)
from selfdistill.closed._spectrum import Spectrum
from selfdistill.networks._kernel_machine import kernel_rows


def halves_of(rows: torch.Tensor, given: np.ndarray, second: torch.Tensor, source: str = "kernel") -> _Halves:
    one, two = (~second).nonzero().flatten(), second.nonzero().flatten()
    labelled = as_given(given, int(given.max()) + 1)
    folds = {
        "kernel": lambda: spectrum_of(rows).halves(second),
        "forest": lambda: [ForestFold(*sides, rows.float(), labelled, 5) for sides in ((one, two), (two, one))],
    }[source]()
    return _Halves(source, folds, labelled, torch.float64)


def spectrum_of(rows: torch.Tensor, kernel: str = "rbf") -> Spectrum:
    features = Landmarks(kernel, rows)
    return Spectrum(lambda part: features(rows[part]), len(rows))


def labels(n: int, k: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(k, size=n)


def candidate(losses: list[float] | np.ndarray, wrong: float, number: int = 1, noise: str = "even") -> Candidate:
    form = Form("none", noise)
    link = fit_link(np.zeros((4, 2)), np.array([0, 1, 0, 1]), form, iterations=1)
    return Candidate("kernel", form, number, 1.0, np.asarray(losses, float), link, wrong)


def test_halves_are_alike_in_classes_and_the_same_on_each_call() -> None:
    given = np.array([0] * 40 + [1] * 7 + [2] * 2 + [3])
    second = two_halves(given).numpy()
    assert second.sum() == 25
    assert np.bincount(given[second], minlength=4).tolist()[2] == 1
    assert abs(np.bincount(given[second])[0] - 20) <= 1
    np.testing.assert_array_equal(second, two_halves(given).numpy())


@pytest.mark.parametrize("source", ["kernel", "forest"])
@pytest.mark.parametrize("rounds", [1, 2, 3])
def test_the_label_of_a_row_has_no_part_in_its_scores(points, rounds: int, source: str) -> None:
    rows, given = points(60, 4), labels(60, 3)
    other = given.copy()
    other[17] = (given[17] + 1) % 3
    second = two_halves(given)
    link = fit_link(np.eye(3)[given] + 0.3, given, Form("none", "own"))
    found = []
    for one in (given, other):
        halves = halves_of(rows, one, second, source)
        targets = [soft_targets(one[fold.inside.numpy()], 3, torch.float64) for fold in halves.folds]
        for number in range(rounds):
            ((fits, scores),) = halves.try_ridge([targets], 0.2 / 4 ** min(number, 1))
            targets = halves.refine(halves.leave_one_out(fits), link)
        found.append(scores)
    mine = second.numpy() == bool(second[17])
    np.testing.assert_array_equal(found[0][mine], found[1][mine])
    assert np.abs(found[0][~mine] - found[1][~mine]).max() > 1e-3


def test_refined_labels_within_a_half_leave_the_row_out(points, refit) -> None:
    rows, given, ridge = points(30, 4), labels(30, 3), 0.4
    gram = kernel_rows("rbf", rows, rows)
    halves = halves_of(rows, given, two_halves(given))
    onehot = soft_targets(given, 3, torch.float64)
    link = fit_link(np.eye(3)[given] + 0.3, given, Form("none", "own"))
    ((fits, _),) = halves.try_ridge([[onehot[fold.inside] for fold in halves.folds]], ridge)
    for fold, refined in zip(halves.folds, halves.refine(halves.leave_one_out(fits), link), strict=True):
        scores = torch.cat([refit(gram, onehot, fold.inside[fold.inside != i], ridge, i[None]) for i in fold.inside])
        expected = link.posterior(scores.numpy(), given[fold.inside.numpy()])[0]
        np.testing.assert_allclose(refined.numpy(), expected, atol=1e-7)


def test_forms_fitted_side_by_side_are_those_fitted_alone(points) -> None:
    rows, given = points(40, 4), labels(40, 3)
    halves = halves_of(rows, given, two_halves(given))
    one = [soft_targets(given[fold.inside.numpy()], 3, torch.float64) for fold in halves.folds]
    two = [0.7 * targets.flip(1) + 0.1 for targets in one]
    for found, alone in zip(halves.try_ridge([one, two], 0.3), (one, two), strict=True):
        ((fits, scores),) = halves.try_ridge([alone], 0.3)
        np.testing.assert_allclose(found[1], scores, atol=1e-12)
        for side in (0, 1):
            torch.testing.assert_close(found[0][side].weights, fits[side].weights, rtol=0, atol=1e-12)


def test_the_ridge_of_a_later_round_is_that_of_the_likelier_labels(points, blobs) -> None:
    inputs, _, given = blobs(300, 3, 0.3, d=5)
    rows = torch.nn.functional.normalize(torch.cat([inputs / 5, torch.ones(300, 1)], 1).double())
    halves = halves_of(rows, given, two_halves(given))
    targets = [soft_targets(given[fold.inside.numpy()], 3, torch.float64) for fold in halves.folds]
    form, scores = Form("none", "even"), halves.try_ridge([targets], 0.5)[0][1]
    link = halves.judged(scores, form, 1, None)[0]
    choices = {ridge: halves.try_ridge([targets], ridge)[0] for ridge in (1e-3, 0.5, 300.0)}
    found, fits = halves.best_ridge(choices, form, 2, link)
    half = {ridge: halves.judged(scores, form, 2, link)[1].mean() for ridge, (_, scores) in choices.items()}
    least = min(half, key=lambda ridge: half[ridge])
    assert least != next(iter(choices))
    assert found.ridge == fits[0].ridge == pytest.approx(least)


def test_a_form_that_a_round_made_worse_gets_no_further_one(points, monkeypatch) -> None:
    given = labels(80, 3)
    for errors, rounds in ((1.1, {1, 2}), (0.9, {1, 2, 3})):
        monkeypatch.setattr("selfdistill.closed._rounds._standard_errors", lambda one, best, errors=errors: errors)
        chains = halves_of(points(80, 4), given, two_halves(given)).chains(
            [Form("none", "even")], 1.0, [0.25], None, print
        )
        assert {one.round for one in chains[0]} == rounds


def test_losses_are_of_labels_unseen(points) -> None:
    """Labels at random cost at least log K each, whatever the number of rounds and what is free in the link."""
    given = labels(300, 3)
    choice = choose_rounds(spectrum_of(points(300, 4)), given, 3)
    assert min(one.nats for one in choice.tried) > np.log(3) - 0.01
    assert {one.round for one in choice.tried} == {1, 2, 3}


def test_errors_of_pairs_are_found_and_counted(blobs, points) -> None:
    inputs, truth, given = blobs(500, 4, 0.35, pairs=True, d=5)
    rows = torch.nn.functional.normalize(torch.cat([inputs / 5, torch.ones(500, 1)], 1).double())
    choice = choose_rounds(spectrum_of(rows), given, 4)
    assert choice.best.form.noise == "own"
    assert choice.best.wrong * 500 == pytest.approx((given != truth).sum(), rel=0.2)


def test_a_forest_is_tried_where_inputs_are_given_and_wins_where_columns_decide_alone(points) -> None:
    rng = np.random.default_rng(1)
    inputs = torch.from_numpy(rng.normal(size=(400, 12))).float()
    truth = ((inputs[:, 0] > 0.3) ^ (inputs[:, 1] > -0.2)).long().numpy()
    given = np.where(rng.random(400) < 0.1, 1 - truth, truth)
    rows = torch.nn.functional.normalize(inputs.double())
    alone, both = (choose_rounds(spectrum_of(rows), given, 2, inputs=one) for one in (None, inputs))
    assert {one.source for one in alone.tried} == {"kernel"}
    assert {one.source for one in both.tried} == {"kernel", "forest"}
    assert both.best.source == "forest"
    assert both.best.nats < alone.best.nats - 0.05


def test_rounds_and_ridge_may_be_given(points, blobs) -> None:
    spectrum, given = spectrum_of(points(80, 4)), labels(80, 3)
    for number in (1, 2):
        choice = choose_rounds(spectrum, given, 3, rounds=number, ridge=0.7)
        assert choice.best.round == number
        assert all(chain[0].ridge == pytest.approx(0.7) and len(chain) == number for chain in choice.chains)


def test_ridge_of_least_error_is_the_least_of_all(points) -> None:
    spectrum, targets = spectrum_of(points(60, 3)), soft_targets(labels(60, 2), 2, torch.float64)
    ridges = spectrum.scale * 2.0 ** torch.arange(-8, 9, dtype=torch.float64)
    errors = [(spectrum.out_of_sample([targets], [float(r)])[0] - targets).square().sum() for r in ridges]
    assert ridge_of_least_error(spectrum, targets) == pytest.approx(float(ridges[int(np.argmin(errors))]))


def test_few_rows_try_fewer_forms(points) -> None:
    two = choose_rounds(spectrum_of(points(60, 3)), labels(60, 2), 2)
    few = choose_rounds(spectrum_of(points(60, 3)), labels(60, 10), 10)
    for choice in (two, few):
        assert {one.form.confusion for one in choice.tried} == {"none"}


def test_within_a_standard_error_most_wrong_labels_are_counted() -> None:
    rng = np.random.default_rng(0)
    best = rng.normal(1, 0.2, size=400)
    noise = rng.normal(0, 0.5, size=400)
    noise -= noise.mean()
    near, far = best + noise + 0.5 * noise.std() / 20, best + noise + 3 * noise.std() / 20
    chains = [[candidate(best, 0.1)], [candidate(near, 0.2)], [candidate(far, 0.3)]]
    assert choose(chains).best.wrong == pytest.approx(0.2)
    assert choose(chains[::-1]).best.wrong == pytest.approx(0.2)


def behind(best: np.ndarray, errors: float) -> np.ndarray:
    """Make losses so many standard errors worse."""
    noise = np.random.default_rng(1).normal(0, 0.5, size=len(best))
    noise -= noise.mean()
    return best + noise + errors * noise.std() / len(best) ** 0.5


def test_few_more_wrong_labels_do_not_outweigh_likelihood() -> None:
    best = np.random.default_rng(0).normal(1, 0.2, size=400)
    for wrong, counted in ((0.12, 0.10), (0.14, 0.14)):  # exp(-0.9 / 4) of them: 0.096 and 0.112
        chains = [[candidate(best, 0.10)], [candidate(behind(best, 0.9), wrong)]]
        assert choose(chains).best.wrong == pytest.approx(counted)


def test_rows_of_each_class_count_where_they_explain_best_and_call_few_labels_wrong() -> None:
    best = np.random.default_rng(0).normal(1, 0.2, size=400)
    for noise, wrong, counted in (("own", 0.55, 0.05), ("own", 0.45, 0.45), ("even", 0.55, 0.55)):
        chains = [[candidate(best, wrong, noise=noise)], [candidate(behind(best, 0.5), 0.05)]]
        assert choose(chains).best.wrong == pytest.approx(counted), (noise, wrong)
    one_rate_is_best = [[candidate(best, 0.05)], [candidate(behind(best, 0.1), 0.3, noise="own")]]
    assert choose(one_rate_is_best).best.wrong == pytest.approx(0.05)
    alone = [[candidate(best, 0.55, noise="own")]]
    assert choose(alone).best.wrong == pytest.approx(0.55)


def test_a_round_asked_for_is_taken() -> None:
    chain = [candidate([0.1, 0.1], 0.1, 1), candidate([0.5, 0.6], 0.1, 2), candidate([0.4, 0.6], 0.1, 3)]
    assert choose([chain], rounds=2).best.round == 2
    assert choose([chain]).best.round == 1


def test_stacking_maximises_the_likelihood_of_the_mixture() -> None:
    logs = -np.abs(np.random.default_rng(0).normal(1, 1, size=(300, 3)))

    def loss(free: np.ndarray) -> float:
        weights = np.exp(free - free.max())
        return float(-np.log(np.exp(logs) @ (weights / weights.sum())).mean())

    found = minimize(loss, np.zeros(3), method="Nelder-Mead", options={"xatol": 1e-8, "fatol": 1e-12})
    weights = _stacked(logs, steps=3000)
    assert weights.sum() == pytest.approx(1)
    assert -np.log(np.exp(logs) @ weights).mean() == pytest.approx(found.fun, abs=1e-5)


def test_one_certain_class_gets_99_percent_in_later_rounds() -> None:
    for k in (2, 10, 1000):
        logits = np.zeros(k)
        logits[0] = least_sharpness(2, k)
        assert (np.exp(logits) / np.exp(logits).sum())[0] == pytest.approx(0.99)
    assert least_sharpness(1, 10) == 0


def test_hopeless_forms_are_left_after_the_first_round_but_the_plain_one_with_own_rows() -> None:
    noise = np.random.default_rng(0).normal(0, 0.5, size=400)
    noise -= noise.mean()

    def behind(errors: float, confusion: str, noise_form: str) -> Candidate:
        one = candidate(1 + noise * (errors > 0) + errors * noise.std() / 20, 0.1, noise=noise_form)
        return replace(one, form=Form(confusion, noise_form))

    chains = {
        tried.form: [tried]
        for tried in (behind(0, "none", "even"), behind(30, "none", "own"), behind(9, "both", "own"))
    }
    assert _survivors(chains) == [Form("none", "even"), Form("none", "own")]
    chains[Form("both", "own")] = [behind(7, "both", "own")]
    assert len(_survivors(chains)) == 3
