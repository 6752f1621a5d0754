"""Leave-one-out, folds and eigenpairs against explicit solves."""

import pytest
import torch
from torch import Tensor

from selfdistill._core.errors import DataError
from selfdistill.closed._fold import Fold
from selfdistill.closed._landmarks import Landmarks, choose_landmarks
from selfdistill.closed._spectrum import Spectrum
from selfdistill.networks._kernel_machine import KERNELS, kernel_rows


def spectrum_of(kernel: str, rows: Tensor, landmarks: Tensor | None = None, *, keep: bool = True) -> Spectrum:
    features = Landmarks(kernel, rows if landmarks is None else landmarks)
    return Spectrum(lambda part: features(rows[part]), len(rows), keep=keep)


def soft(n: int, k: int, seed: int = 1) -> Tensor:
    return torch.randn(n, k, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).mul(2).softmax(1)


def given(n: int, k: int) -> Tensor:
    return torch.eye(k, dtype=torch.float64)[torch.arange(n) * 7 % k]


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("targets", [given(40, 3), soft(40, 3)], ids=["given", "refined"])
@pytest.mark.parametrize("ridge", [0.01, 0.5, 20.0])
def test_leave_one_out_equals_refits(points, refit, kernel: str, targets: Tensor, ridge: float) -> None:
    rows = points(40, 5)
    gram = kernel_rows(kernel, rows, rows)
    everyone = torch.arange(40)
    expected = torch.cat([refit(gram, targets, everyone[everyone != i], ridge, everyone[i : i + 1]) for i in everyone])
    found = spectrum_of(kernel, rows).out_of_sample([targets], [ridge])[0]
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-8)


def test_several_targets_and_ridges_in_one_pass(points) -> None:
    spectrum = spectrum_of("rbf", points(50, 4))
    one, two = given(50, 3), soft(50, 3)
    together = spectrum.out_of_sample([one, two, one], [0.1, 0.1, 3.0])
    for found, (q, ridge) in zip(together, [(one, 0.1), (two, 0.1), (one, 3.0)], strict=True):
        torch.testing.assert_close(found, spectrum.out_of_sample([q], [ridge])[0], rtol=0, atol=1e-12)
    assert (together[0] - together[2]).abs().max() > 0.01


def test_errors_are_those_of_the_predictions(points) -> None:
    spectrum, targets = spectrum_of("relu1", points(50, 4)), given(50, 3)
    ridges = torch.tensor([0.03, 1.0, 30.0], dtype=torch.float64)
    expected = [(spectrum.out_of_sample([targets], [float(r)])[0] - targets).square().sum(1).mean() for r in ridges]
    torch.testing.assert_close(spectrum.errors(targets, ridges), torch.stack(expected), rtol=1e-10, atol=0)


def test_errors_on_some_rows_are_means_over_them(points) -> None:
    spectrum, targets = spectrum_of("relu1", points(50, 4)), given(50, 3)
    alone = (spectrum.out_of_sample([targets], [0.5])[0] - targets).square().sum(1)[::4].mean()
    found = spectrum.errors(targets, torch.tensor([0.5]), most=13)
    torch.testing.assert_close(found[0], alone, rtol=1e-10, atol=0)


@pytest.mark.parametrize("targets", [given(41, 3), soft(41, 3)], ids=["given", "refined"])
@pytest.mark.parametrize("landmarks", [41, 12])
def test_folds_equal_refits_of_the_half(points, refit, targets: Tensor, landmarks: int) -> None:
    rows, ridge = points(41, 5), 0.3
    part = rows[choose_landmarks(41, landmarks)]
    features = Landmarks("rbf", part)(rows)
    gram = features @ features.T
    second = torch.arange(41) % 3 == 1
    for fold in spectrum_of("rbf", rows, part).halves(second):
        own = targets[fold.inside]
        weights = fold.fit(own, ridge)
        expected = refit(gram, targets, fold.inside, ridge, fold.outside)
        torch.testing.assert_close(fold.predict(own, weights), expected, rtol=0, atol=1e-8)
        without = [
            refit(gram, targets, fold.inside[fold.inside != i], ridge, i[None]) for i in fold.inside
        ]  # each row by the rest of its half
        found = fold.leave_one_out(own, weights, ridge)
        torch.testing.assert_close(found, torch.cat(without), rtol=0, atol=1e-8)


def test_folds_do_not_mix_ridges(points) -> None:
    fold = spectrum_of("rbf", points(30, 4)).halves(torch.arange(30) % 2 == 0)[0]
    own = given(30, 3)[fold.inside]
    fresh = spectrum_of("rbf", points(30, 4)).halves(torch.arange(30) % 2 == 0)[0]
    for ridge in (0.1, 5.0):
        weights = fold.fit(own, ridge)
        found = fold.leave_one_out(own, weights, ridge)
    torch.testing.assert_close(found, fresh.leave_one_out(own, fresh.fit(own, 5.0), 5.0), rtol=0, atol=1e-12)


@pytest.mark.parametrize("kernel", KERNELS)
def test_all_rows_as_landmarks_equal_dual_ridge(points, refit, kernel: str) -> None:
    rows, new, ridge = points(60, 4), points(25, 4, seed=9), 0.2
    targets = soft(60, 3)
    features = Landmarks(kernel, rows)
    spectrum = Spectrum(lambda part: features(rows[part]), 60)
    weights, offset = spectrum.coefficients(spectrum.solve(*spectrum.learn(targets), ridge))
    everyone = torch.cat([rows, new])
    gram = kernel_rows(kernel, everyone, everyone)
    expected = refit(gram, torch.cat([targets, torch.zeros(25, 3)]), torch.arange(60), ridge, torch.arange(60, 85))
    torch.testing.assert_close(features(new) @ weights + offset, expected, rtol=0, atol=1e-7)


def test_streaming_equals_kept(points, monkeypatch) -> None:
    rows, targets = points(70, 5), soft(70, 4)
    part = rows[choose_landmarks(70, 20)]
    kept = spectrum_of("relu3", rows, part)
    monkeypatch.setattr("selfdistill.closed._spectrum._BLOCK", 20 * 11)  # blocks of 11 rows
    stream = spectrum_of("relu3", rows, part, keep=False)
    assert len(list(stream.blocks())) == 7
    ridges = torch.tensor([0.1, 2.0])
    torch.testing.assert_close(stream.values, kept.values)
    torch.testing.assert_close(stream.errors(targets, ridges), kept.errors(targets, ridges))
    torch.testing.assert_close(stream.out_of_sample([targets], [0.1]), kept.out_of_sample([targets], [0.1]))
    one, two = (each.coefficients(each.solve(*each.learn(targets), 0.1))[0] for each in (stream, kept))
    torch.testing.assert_close(one, two)


def test_the_centre_is_that_of_all_rows_and_not_of_the_first(points, monkeypatch) -> None:
    monkeypatch.setattr("selfdistill.closed._spectrum._NEAR", 5)
    rows = points(40, 4)
    rows = rows[rows[:, 0].argsort()]  # the first ones are unlike the rest
    for weights in (None, torch.arange(40).double()):
        w = torch.ones(40, dtype=torch.float64) if weights is None else weights
        spectrum, mean = Spectrum(lambda part: rows[part], 40, weights=weights), w @ rows / w.sum()
        torch.testing.assert_close(spectrum.mean, mean)
        torch.testing.assert_close(spectrum.values, torch.linalg.eigvalsh((rows - mean).T * w @ (rows - mean)).flip(0))
        torch.testing.assert_close(w @ torch.cat([z for _, z in spectrum.blocks()]), torch.zeros_like(mean))


def test_energies_sum_to_the_variance_in_reach(points) -> None:
    rows, targets = points(40, 5), given(40, 3)
    spectrum = spectrum_of("rbf", rows)
    centred = kernel_rows("rbf", rows, rows)
    centred = centred - centred.mean(0) - centred.mean(1, keepdim=True) + centred.mean()
    values, vectors = torch.linalg.eigh(centred)
    torch.testing.assert_close(spectrum.values[:39], values.flip(0)[:39], rtol=1e-8, atol=1e-10)
    torch.testing.assert_close(spectrum.scale, float(centred.trace()) / 40)
    total = (targets - targets.mean(0)).square().sum()
    expected = (vectors.T @ targets).square().sum(1).flip(0)[:5] / total
    energy = spectrum.learn(targets)[0].energy(spectrum.values)
    torch.testing.assert_close(energy[:5], expected, rtol=1e-7, atol=1e-9)
    assert float(energy.sum()) == pytest.approx(1, abs=1e-6)


def test_equal_rows_lower_the_rank_and_nothing_breaks(points, refit) -> None:
    rows = points(20, 3).repeat(3, 1)
    targets = given(60, 3)  # the copies have conflicting labels
    found = spectrum_of("rbf", rows).out_of_sample([targets], [0.1])[0]
    everyone = torch.arange(60)
    gram = kernel_rows("rbf", rows, rows)
    expected = torch.cat([refit(gram, targets, everyone[everyone != i], 0.1, everyone[i : i + 1]) for i in everyone])
    assert len(Landmarks("rbf", rows).rows) <= 20
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-7)


def test_a_ridge_below_rounding_errors_is_raised(points) -> None:
    features = points(30, 40).float()
    features -= features.mean(0)
    gram = (features.T @ features).double()
    gram.diagonal().sub_(2e-6 * float(gram.diagonal().max()))  # what rounding may do to a moment of low rank
    fold = Fold(torch.arange(30), torch.arange(30), features, features, gram)
    factor = fold._factor(1e-12)[0].double()
    added = factor @ factor.T - gram
    torch.testing.assert_close(added, torch.diag(added.diagonal()), rtol=0, atol=1e-7 * float(gram.diagonal().max()))
    assert 0 < float(added.diagonal().max()) < 1e-5 * float(gram.diagonal().max())
    assert torch.isfinite(fold.fit(soft(30, 3).float(), 1e-12)).all()


def test_products_that_no_ridge_makes_definite_end_in_an_error(points) -> None:
    features = points(30, 40).float()
    gram = -torch.eye(41, dtype=torch.float64)  # of numbers beyond what can be added up
    with pytest.raises(DataError, match="not finite"):
        Fold(torch.arange(30), torch.arange(30), features, features, gram).fit(soft(30, 3).float(), 1.0)


def test_so_is_one_of_equal_rows_and_what_leaves_them_out_knows(points) -> None:
    features = points(15, 40).float().repeat(2, 1)  # 15 directions, 30 rows
    fold, ridge = Fold(torch.arange(30), torch.arange(30), features, features, None), 1e-12
    centred = (features - features.mean(0)).double()
    used = fold._factor(ridge)[1]
    assert ridge < used < 1e-5 * float(centred.square().sum(1).max())
    kernel = centred @ centred.T
    expected = (kernel @ torch.linalg.inv(kernel + used * torch.eye(30))).diagonal() + 1 / 30
    torch.testing.assert_close(fold._hat(ridge)[:, 0].double(), expected, rtol=0, atol=0.2)  # the ridge as given: 1.03


def test_landmarks_are_the_same_on_each_call_and_spread() -> None:
    one, two = choose_landmarks(1000, 100), choose_landmarks(1000, 100)
    assert torch.equal(one, two)
    assert len(one.unique()) == 100
    assert (one.diff() > 0).all()
    assert 400 < float(one.double().mean()) < 600


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_directions_of_little_variance_are_kept(dtype: torch.dtype) -> None:
    rows = torch.randn(500, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    rows = rows * torch.tensor([1.0, 1.0, 1.0, 0.1, 0.02, 0.01])
    unit = torch.cat([rows, rows[:, :1] + rows[:, 1:2]], 1)  # of rank six
    unit = (unit / unit.norm(dim=1, keepdim=True)).to(dtype)
    landmarks = Landmarks("linear", unit)
    assert len(landmarks.rows) == 6
    features = landmarks(unit).double()
    torch.testing.assert_close(features @ features.T, unit.double() @ unit.double().T, rtol=0, atol=1e-5)
