"""How labels are divided by their losses, and what is said of them."""

from __future__ import annotations

import math
import warnings

import numpy as np
import pytest
import torch
from sklearn.cluster import KMeans
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture

from selfdistill._core.rng import numpy_generator, torch_generator
from selfdistill.data._loader import Batch
from selfdistill.losses._cross_entropy import pair_cross_entropy
from selfdistill.networks._build import build
from selfdistill.networks._small_networks import Pair
from selfdistill.rivals.li2020dividemix import (
    Division,
    clean_probability,
    divide_mix,
    far_from_uniform,
    semi_supervised,
    sharpened,
    two_gaussians,
)


def division(n=6, k=2, epochs=300, steps=4):
    return Division(torch.zeros(n, dtype=torch.int64), k, epochs=epochs, steps=steps)


def test_each_networks_losses_divide_by_themselves():
    targets = division()
    first = torch.tensor([0.9, 0.95, 0.85, 0.1, 0.05, 0.2])
    predicted = torch.stack([torch.stack([p, 1 - p], 1) for p in (first, first.flip(0))], 1)
    targets.take_train_predictions(predicted)
    assert (targets.clean[:, 0] > 0.5).tolist() == [True] * 3 + [False] * 3
    assert torch.equal(targets.clean[:, 1], targets.clean[:, 0].flip(0))
    losses = -first.double().log()
    stretched = (losses - losses.min()) / (losses.max() - losses.min())
    torch.testing.assert_close(
        targets.clean[:, 0].double(), two_gaussians(stretched).lower(stretched), atol=1e-5, rtol=0
    )


def test_equal_losses_and_impossible_labels_stay_finite():
    assert clean_probability(torch.full((4,), 2.0)).tolist() == [0.5] * 4
    targets = division()
    predicted = torch.tensor([[1.0, 0.0]] * 3 + [[0.0, 1.0]] * 3)
    targets.take_train_predictions(torch.stack([predicted, predicted], 1))
    np.testing.assert_allclose(targets.clean[:, 0], [1, 1, 1, 0, 0, 0], atol=1e-6)


def test_the_refined_label_trusts_the_given_one_as_far_as_both_networks_do():
    targets = division()
    targets.write(torch.arange(6), torch.tensor([[0.2, 0.8]]).expand(6, 2))
    targets.end_epoch()
    targets.clean.copy_(torch.tensor([[0.9, 0.7], [0.5, 0.5], [1.0, 0.0], [1.0, 0.1], [0.0, 0.0], [1.0, 1.0]]))
    expected = [0.8 + 0.2 * 0.2, 0.2, 0.2, 0.55 + 0.45 * 0.2, 0.2, 1.0]
    np.testing.assert_allclose(targets.refined()[:, 0], expected, rtol=1e-5)


@pytest.mark.parametrize(("epochs", "warm_up"), [(300, 10), (30, 1), (1, 1), (12, 1), (120, 4)])
def test_warm_up_and_rise_are_shares_of_the_papers(epochs, warm_up):
    targets = division(epochs=epochs)
    assert targets.warm_up == warm_up
    assert targets.risen(warm_up - 1, 3) == 0
    assert targets.risen(warm_up, 0) == 0
    assert targets.risen(warm_up + epochs, 0) == 1
    assert division().risen(10 + 8, 0) == pytest.approx(0.5)
    assert division().risen(10, 2) == pytest.approx(0.5 / 16)


def test_epochs_and_steps_are_counted():
    targets, p = division(), torch.full((2, 2), 0.5)
    for epoch in range(2):
        for step in range(3):
            assert targets.now() == (epoch, step)
            targets.write(torch.tensor([1, 0]), p)
        targets.end_epoch()
    assert targets.now() == (2, 0)


@pytest.mark.parametrize("seed", range(5))
def test_equals_its_naive_twin(seed):
    z = np.random.default_rng(seed).normal(0, 2, (6, 4))
    p = np.exp(z) / np.exp(z).sum(1, keepdims=True)
    mean = [sum(p[i, c] for i in range(6)) / 6 for c in range(4)]
    twin = sum(0.25 * np.log(0.25 / m) for m in mean)
    assert far_from_uniform(torch.tensor(z)).item() == pytest.approx(twin, rel=1e-9)


def test_one_class_for_all_is_worst_and_stays_finite():
    z = torch.tensor([[1e4, 0.0], [1e4, 0.0]], requires_grad=True)
    value = far_from_uniform(z)
    value.backward()
    assert value.item() > 1e3
    assert z.grad.isfinite().all()
    assert far_from_uniform(torch.zeros(3, 5)).abs().item() < 1e-6


def losses(seed, n=400, share=0.6):
    """As a network has them: many small, others large and spread, stretched to [0, 1]."""
    rng = np.random.default_rng(seed)
    x = np.where(rng.random(n) < share, rng.gamma(1.5, 0.2, n), rng.gamma(6, 0.4, n))
    return (x - x.min()) / (x.max() - x.min())


def fitted(x, **start):
    """Scikit-learn's, with the settings of the authors' code, and which of its components is the lower."""
    oracle = GaussianMixture(2, max_iter=10, tol=1e-2, reg_covar=5e-4, random_state=0, **start)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        oracle.fit(x[:, None])
    return oracle, oracle.means_[:, 0].argsort()


@pytest.mark.parametrize("share", [0.2, 0.5, 0.8])
@pytest.mark.parametrize("seed", range(4))
def test_equals_scikit_learn_from_the_same_start(seed, share):
    x = losses(seed, share=share)
    start = two_gaussians(torch.tensor(x), steps=0)
    oracle, order = fitted(
        x,
        weights_init=start.weights.numpy(),
        means_init=start.means.numpy()[:, None],
        precisions_init=1 / start.variances.numpy()[:, None, None],
    )
    found = two_gaussians(torch.tensor(x))
    np.testing.assert_allclose(found.means, oracle.means_[order, 0], rtol=1e-8)
    np.testing.assert_allclose(found.variances, oracle.covariances_[order, 0, 0], rtol=1e-8)
    np.testing.assert_allclose(found.weights, oracle.weights_[order], rtol=1e-8)
    np.testing.assert_allclose(found.lower(torch.tensor(x)), oracle.predict_proba(x[:, None])[:, order[0]], atol=1e-8)


@pytest.mark.parametrize("seed", range(4))
def test_divides_as_scikit_learn_does_from_its_own_start(seed):
    """Its clusters stop a little early, so that the start differs by a few values."""
    x = losses(seed)
    oracle, order = fitted(x)
    ours = two_gaussians(torch.tensor(x)).lower(torch.tensor(x)).numpy() > 0.5
    assert np.mean(ours != (oracle.predict_proba(x[:, None])[:, order[0]] > 0.5)) <= 0.02


@pytest.mark.parametrize("seed", range(4))
def test_the_start_is_two_clusters_hardly_wider_than_the_best(seed):
    x = losses(seed)
    best = KMeans(2, tol=0, n_init=10, random_state=0).fit(x[:, None]).inertia_
    low, high = two_gaussians(torch.tensor(x), steps=0).means.tolist()
    upper = abs(x - high) < abs(x - low)
    assert (low, high) == (pytest.approx(x[~upper].mean()), pytest.approx(x[upper].mean()))  # nothing moves any more
    assert np.minimum((x - low) ** 2, (x - high) ** 2).sum() <= 1.01 * best


def test_a_step_equals_its_naive_twin():
    x = losses(7, n=30)
    start, after = (two_gaussians(torch.tensor(x), steps=steps, tolerance=0.0) for steps in (3, 4))
    r = np.empty((30, 2))
    for i in range(30):
        for j in (0, 1):
            w, m, v = (float(part[j]) for part in start)
            r[i, j] = w * math.exp(-((x[i] - m) ** 2) / (2 * v)) / math.sqrt(2 * math.pi * v)
        r[i] /= r[i].sum()
    for j in (0, 1):
        total = sum(r[:, j])
        mean = sum(r[i, j] * x[i] for i in range(30)) / total
        assert float(after.weights[j]) == pytest.approx(total / 30)
        assert float(after.means[j]) == pytest.approx(mean)
        assert float(after.variances[j]) == pytest.approx(
            sum(r[i, j] * (x[i] - mean) ** 2 for i in range(30)) / total + 5e-4
        )


def test_two_values_and_one_far_away_are_fitted_without_dividing_by_zero():
    for x in ([0.0, 1.0], [0.0] * 50 + [1.0], [0.0] + [1.0] * 50):
        found = two_gaussians(torch.tensor(x))
        assert all(part.isfinite().all() for part in found)
        assert found.means[0] < found.means[1]


B, D, K = 5, 4, 3
RIGHT = {"both kinds": [[0.9, 0.2], [0.6, 0.7], [0.1, 0.3], [0.45, 0.95], [0.8, 0.5]],
         "no labelled": [[0.1, 0.2]] * B, "no unlabelled": [[0.9, 0.8]] * B}  # fmt: skip


def softmax(z):
    e = np.exp(z - z.max())
    return e / e.sum()


def twin(weights, moved, views, given, right, where, strength):
    """Both networks' losses; ``weights`` label, ``moved`` predict the mixture (the same but for derivatives)."""
    total = 0.0
    for me, other in ((0, 1), (1, 0)):
        x, t, labelled = [], [], []
        for view in views:
            for i in range(B):
                own = sum(softmax(weights[me] @ v[i]) for v in views) / 2
                if right[i][other] > 0.5:
                    w = right[i][other]
                    target = w * np.eye(K)[given[i]] + (1 - w) * own
                else:
                    target = (own + sum(softmax(weights[other] @ v[i]) for v in views) / 2) / 2
                target = target**2 / sum(target**2)  # sharpening, T = 1/2
                x, t, labelled = [*x, view[i]], [*t, target], [*labelled, right[i][other] > 0.5]
        beta = numpy_generator(where[0], "mix", *where[1:], me).beta(4, 4)
        order = torch.randperm(2 * B, generator=torch_generator(where[0], "mix", *where[1:], me)).tolist()
        share = max(beta, 1 - beta)
        mixed_x = [share * x[i] + (1 - share) * x[order[i]] for i in range(2 * B)]
        mixed_t = [share * t[i] + (1 - share) * t[order[i]] for i in range(2 * B)]
        p = [softmax(moved[me] @ v) for v in mixed_x]
        known = [i for i in range(2 * B) if labelled[i]]
        unknown = [i for i in range(2 * B) if not labelled[i]]
        if known:
            total += sum(-mixed_t[i] @ np.log(p[i]) for i in known) / len(known)
        if unknown:
            total += strength * sum(((mixed_t[i] - p[i]) ** 2).sum() / K for i in unknown) / len(unknown)
        mean = sum(p) / (2 * B)
        total += sum(1 / K * math.log(1 / K / m) for m in mean)
    return total


def problem(right, seed=5):
    """A pair of linear networks past the warm-up, in the second step of the third epoch of 30."""
    rng = np.random.default_rng(0)
    views = rng.normal(size=(2, B, D))
    given = np.array([0, 1, 2, 0, 1])
    target = Division(torch.tensor(given), K, epochs=30, steps=4, seed=seed)
    target.place.copy_(torch.tensor([2, 1]))
    target.clean.copy_(torch.tensor(right))
    pair = Pair(*(torch.nn.Linear(D, K, bias=False).double() for _ in range(2)))
    for net in (pair.a, pair.b):
        net.weight.data.copy_(torch.tensor(rng.normal(size=(K, D))))
    batch = Batch(torch.tensor(views[0]), torch.arange(B), torch.tensor(given), None, B)
    return pair, batch, views, target


@pytest.mark.parametrize("kind", RIGHT)
def test_a_step_equals_its_naive_twin_and_so_does_its_gradient(kind):
    pair, batch, views, target = problem(RIGHT[kind])
    values, logits = divide_mix(pair, batch, lambda i: torch.tensor(views[i]), target, pair_cross_entropy)
    values.mean().backward()
    assert values.shape == (B,)
    torch.testing.assert_close(logits, pair(batch.inputs).detach())
    weights = [net.weight.detach().numpy().copy() for net in (pair.a, pair.b)]
    strength = 25 * min((2 + 1 / 4 - 1) / 1.6, 1)

    def at(moved):
        return twin(weights, moved, views, batch.labels.tolist(), RIGHT[kind], (5, 2, 1), strength)

    assert values.mean().item() == pytest.approx(at(weights), rel=1e-6)
    for net, module in enumerate((pair.a, pair.b)):
        for place in ((0, 0), (2, 3), (1, 1)):
            up, down = ([w.copy() for w in weights] for _ in range(2))
            up[net][place] += 1e-5
            down[net][place] -= 1e-5
            slope = (at(up) - at(down)) / 2e-5
            assert module.weight.grad[place].item() == pytest.approx(slope, rel=1e-4, abs=1e-6)


def test_the_first_epochs_are_cross_entropy_of_both():
    pair, batch, views, target = problem(RIGHT["both kinds"])
    target.place.zero_()
    values, logits = divide_mix(pair, batch, lambda i: torch.tensor(views[i]), target, pair_cross_entropy)
    given = torch.eye(K)[batch.labels]
    torch.testing.assert_close(values, pair_cross_entropy(pair(batch.inputs), given))
    assert logits.shape == (B, 2, K)


def test_draws_depend_on_seed_epoch_step_and_network_alone():
    def value(seed, place):
        pair, batch, views, target = problem(RIGHT["both kinds"], seed)
        target.place.copy_(torch.tensor(place))
        torch.manual_seed(np.random.default_rng().integers(1000))
        return divide_mix(pair, batch, lambda i: torch.tensor(views[i]), target, pair_cross_entropy)[0].mean().item()

    same = [value(1, [20, 2]) for _ in range(3)]  # past the rise, where the place changes the draws alone
    assert len(set(same)) == 1
    assert len({same[0], value(2, [20, 2]), value(1, [21, 2]), value(1, [20, 3])}) == 4


def test_pixels_stored_as_whole_numbers_are_mixed_as_fractions():
    pair = build("2*cnn", (1, 8, 8), 3, seed=0, stats=([100.0], [50.0]))
    x = torch.randint(0, 256, (B, 1, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    results = []
    for inputs in (x, x.float()):
        _, batch, _, target = problem(RIGHT["both kinds"])
        values, _ = divide_mix(pair, batch._replace(inputs=inputs), lambda i, x=inputs: x, target, pair_cross_entropy)
        results.append(values)
    torch.testing.assert_close(results[0], results[1])


def test_large_logits_stay_finite():
    logits = torch.tensor([[1e4, 0.0], [1e4, -1e4]], requires_grad=True)
    value = semi_supervised(logits, torch.tensor([[0.0, 1.0], [0.5, 0.5]]), torch.tensor([True]), 25.0)
    value.sum().backward()
    assert value.isfinite().all()
    assert logits.grad.isfinite().all()
    assert sharpened(torch.tensor([[1.0, 0.0]])).tolist() == [[1.0, 0.0]]
