"""The experiments behind the claims, beside closed forms, autograd and numbers found independently."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from benchmarks.claims import air, clusters, margin, problems, threshold, trainings, two_layer
from benchmarks.claims.closed_forms import first_layer_kernel

from selfdistill._core.errors import SettingError
from selfdistill.targets import FixedTargets
from selfdistill.theory import Spectrum, gradient_flow, settled_distillation

BINARY = {"examples": 400, "dimension": 20, "clusters": 8, "radius": 0.4, "noise": 0.3}


# Data


@pytest.mark.parametrize("radius", [0.1, 1.2])
def test_clusters_keep_to_the_model(radius):
    made = clusters.make(3, **BINARY | {"radius": radius})
    assert torch.allclose(made.inputs.norm(dim=1), torch.ones(400, dtype=torch.float64))
    of = torch.arange(400) % 8
    for cluster in range(8):
        mine = of == cluster
        both = torch.cat([made.inputs[mine], made.test_inputs[mine]])
        assert float(torch.cdist(both, both).max()) <= 2 * radius + 1e-9
        assert int((made.given != made.truth)[mine].sum()) == 15  # 0.3 of 50
        assert len(set(made.truth[mine].tolist())) == 1
    assert not torch.equal(made.inputs, made.test_inputs)


def test_labels_of_many_classes_are_drawn_from_all():
    made = clusters.make(0, **BINARY | {"examples": 4000, "clusters": 10, "noise": 0.8}, classes=10)
    assert abs(float((made.given != made.truth).double().mean()) - 0.72) < 0.02


def test_a_problem_has_disjoint_parts_and_the_noise_it_names():
    settings = {"data": "digits", "examples": 1000, "noise": "symmetric-40"}
    made = problems.draw(settings, 5, Path("nowhere"))
    sizes = [len(y) for _, y in (made.holdout, made.choice, made.test)]
    assert sizes == [100, 300, 1797 - 1000 - 100 - 300]
    parts = [made.train.inputs, *(x for x, _ in made.sets.values())]
    whole = torch.cat(parts).flatten(1)
    pixels = problems._read("digits", Path("nowhere"))[0].inputs.flatten(1)
    assert len(whole.unique(dim=0)) == len(pixels.unique(dim=0))  # every image once
    assert abs(float(made.wrong.double().mean()) - 0.4) < 0.05
    assert torch.equal(problems.draw(settings, 5, Path("nowhere")).train.labels, made.train.labels)
    clean = problems.draw(settings | {"noise": "clean"}, 5, Path("nowhere"))
    assert not clean.wrong.any()
    with pytest.raises(SettingError, match="leave none to test on"):
        problems.draw(settings | {"examples": 1700}, 5, Path("nowhere"))


def test_missing_files_are_named_and_packed_ones_found(tmp_path):
    assert len(problems.missing(("fashion",), tmp_path)) == 4
    folder = tmp_path / "fashion-mnist"
    folder.mkdir()
    (folder / "train-images-idx3-ubyte.gz").touch()
    assert len(problems.missing(("fashion",), tmp_path)) == 3
    assert problems.missing((), tmp_path) == []


# The two-layer network


def _network(inputs, hidden, output):
    return torch.tanh(inputs @ hidden.T) @ output


def test_a_step_and_the_kernel_are_those_of_autograd():
    net, x = two_layer.TwoLayer.draw(6, 3, 0), torch.randn(5, 3, generator=torch.Generator().manual_seed(1))
    y = torch.tensor([1.0, -1, 1, -1, 1])
    w = net.hidden.clone().requires_grad_()
    assert torch.allclose(net(x), _network(x, w, net.output))
    jacobian = torch.autograd.functional.jacobian(lambda v: _network(x, v, net.output), w).flatten(1)
    assert torch.allclose(net.kernel(x).float(), jacobian @ jacobian.T, atol=1e-6)
    loss = 0.5 * (_network(x, w, net.output) - y).square().sum()
    (slope,) = torch.autograd.grad(loss, w)
    net.step(x, lambda outputs: y, 0.1)
    assert torch.allclose(net.hidden, w.detach() - 0.1 * slope, atol=1e-6)
    assert sorted(net.output.tolist()) == pytest.approx([-(6**-0.5)] * 3 + [6**-0.5] * 3)


def test_a_wide_network_goes_the_way_of_its_kernel():
    made = clusters.make(0, **BINARY | {"examples": 40})
    x, y = made.inputs.float(), clusters.signs(made.given).float()
    net = two_layer.TwoLayer.draw(20_000, 20, 0)
    spectrum, start = Spectrum.of(net.kernel(x)), net(x).double()
    lr, truth = 0.1 / float(spectrum.values[0]), clusters.signs(made.truth)
    path = two_layer.descend(net, (x, y, truth.float(), x, y), lr, 100, [0, 100])
    flow = gradient_flow(spectrum, y.double(), 100 * lr, start=start)
    expected = float((flow - truth).norm()) / 40**0.5
    assert path.distance[1] == pytest.approx(expected, abs=0.02)
    assert path.distance[0] - path.distance[1] > 0.3


def test_the_target_mixes_given_labels_and_own_signs():
    made = clusters.make(0, **BINARY | {"examples": 80})
    x, y = made.inputs.float(), clusters.signs(made.given).float()
    net, seen = two_layer.TwoLayer.draw(256, 20, 0), []

    def weight(step, agreement):
        seen.append((step, agreement))
        return 0.25

    target = two_layer._target(y, 3, weight)(net(x))
    own = torch.sign(net(x))
    assert torch.allclose(target, 0.25 * y + 0.75 * own)
    assert seen == [(3, pytest.approx(float((own == y).double().mean())))]
    data = (x, y, y, x, y)
    plain, all_given = (two_layer.descend(net, data, 0.05, 20, [0, 20], w) for w in (None, lambda step, agreement: 1.0))
    assert plain == all_given


# The kernel regime, beside numbers found independently (8 clusters, n = 400, noise 0.3, radius 0.4)


def test_margins_and_distances_of_the_kernel_regime():
    found = margin.kernel(clusters.make(0, **BINARY), BINARY | {"width": None}).numbers
    noise = 2 * math.sqrt(0.3)  # |y - y*| / sqrt(n); 21.909 in all
    assert noise * 20 == pytest.approx(21.909, abs=1e-3)
    assert found["plain: l2"] == pytest.approx(noise)
    assert found["plain: wrong"] == pytest.approx(0.3)
    assert found["stopped: l2"] == pytest.approx(12.3 / 20, abs=0.06)  # of another draw of the same data
    assert (found["right when settled"], found["predictions stay"]) == pytest.approx((1, 1))
    assert found["schedule: l2 end"] == pytest.approx(0, abs=1e-3)
    assert found["schedule: margin end"] == pytest.approx(1, abs=1e-3)
    assert found["agreement: l2 end"] == pytest.approx(6.573 / 20, abs=1e-3)
    assert found["agreement: margin end"] == pytest.approx(0.4, abs=1e-3)
    assert found["schedule: l2 end"] <= found["bound end"] + 1e-9


def test_the_falling_product_of_both_weights_ends_at_the_truth():
    """In the kernel regime a = (1 - agreement) exp(-(t - early) / early) leaves nothing of the noise in the end."""
    found = margin.kernel(clusters.make(0, **BINARY), BINARY | {"width": None}).numbers
    assert found["decayed: l2 end"] == pytest.approx(0, abs=1e-3)
    assert found["agreement: margin over promised"] == pytest.approx(1, abs=1e-3)  # 1 - 2r = 0.4


def test_99_of_100_have_at_least_the_low_margin():
    for n in (1, 60, 99, 100, 200, 250):
        margins = torch.randn(n, generator=torch.Generator().manual_seed(n))
        low = two_layer.low_margin(margins)
        assert float((margins >= low).double().mean()) >= 0.99
        assert n < 200 or float((margins > low).double().mean()) < 0.99
        assert n >= 100 or low == pytest.approx(float(margins.min()))


def test_the_weights_of_a_network():
    falling = math.exp(-2.0)
    for name, late in (("schedule", falling), ("agreement", 0.3), ("decayed", 0.3 * falling)):
        weight = margin._weight(name, 10)
        assert (weight(9, 0.7), weight(30, 0.7)) == pytest.approx((1.0, late))
    assert margin._weight("plain", 10) is None


def test_where_the_assumptions_end():
    base = BINARY | {"width": 512, "examples": 200, "noise": 0.2}
    inside = ({}, {"noise": 0.3}, {"noise": 0.4, "examples": 800}, {"width": None}, {"radius": 0.1})
    outside = ({"radius": 0.8}, {"noise": 0.4}, {"noise": 0.48}, {"width": 64}, {"examples": 4000})
    assert not any(margin._outside(base | change) for change in inside)
    assert all(margin._outside(base | change) for change in outside)
    assert margin.rate(base | {"noise": 0.3}) == pytest.approx(8 / 25)  # whole labels of a cluster of 25


def test_examples_and_width_grow_together():
    settings = BINARY | {"steps": 60, "noise": 0.2, "width": 64, "sizes": [[40, 64], [80, 128]]}
    found = margin.measure(settings, 0, Path("nowhere")).numbers
    one = settings | {"examples": 80, "width": 128}
    alone = margin.network(margin._made(one, 0), one, 0).numbers
    assert found["l2 end, largest"] == pytest.approx(alone["schedule: l2 end"])
    assert found["margin end, largest"] == pytest.approx(alone["schedule: margin end"])
    assert found["l2, largest over smallest"] == pytest.approx(found["l2 end, largest"] / found["n = 40: l2 end"])


def test_a_constant_weight_of_four_tenths_leaves_four_tenths_of_the_noise():
    made = clusters.make(0, **BINARY)
    spectrum = Spectrum.of(first_layer_kernel(made.inputs))
    given, truth = clusters.signs(made.given), clusters.signs(made.truth)
    end = settled_distillation(spectrum, given, truth, 2000.0, start=0.1 * truth, given_weight=0.4)
    assert float((end - truth).norm()) == pytest.approx(8.76, abs=0.01)
    assert float((end * truth).min()) == pytest.approx(0.2, abs=1e-3)


def test_what_locks_in():
    assert threshold.locked(0.56) == pytest.approx(0.06)
    assert threshold.locked(0.742) == pytest.approx(0.242)
    assert threshold.locked(0.742, 0.9) == pytest.approx(0.742 - 1 + 0.5 / 0.9)
    assert threshold.locked(0.3) == pytest.approx(0)


@pytest.mark.parametrize(
    ("noise", "right"), [(0.4, 1.0), (0.6, 0.892), (0.8, 0.745)]
)  # labels right with own weight = agreement, of another draw of the same data
def test_the_threshold_in_the_kernel_regime(noise, right):
    settings = {"examples": 600, "dimension": 20, "clusters": 10, "radius": 0.4, "time": 200.0, "noise": noise}
    found = threshold.kernel(settings, 0).numbers
    assert found["agreement: right"] == pytest.approx(right, abs=0.07)
    assert found["own 0.6: kept"] > 0.95
    assert found["schedule: kept"] > 0.95
    assert found["own 0.4: right over given"] < 0.02
    assert found["agreement, lock"] >= -1e-9
    assert found["agreement 0.9, lock"] >= -1e-9


# Order of fitting


def test_order_is_the_rank_correlation_of_speed():
    values = torch.tensor([4.0, 3.0, 2.0, 1.0])
    time = torch.tensor([0.0, 0.5, 1.0])[:, None]
    assert air.order(values, torch.exp(-values * time)) == pytest.approx(1)
    assert air.order(values, torch.exp(-values.flip(0) * time)) == pytest.approx(-1)
    rng = np.random.default_rng(0)
    left, values = torch.tensor(rng.random((3, 9))), torch.tensor(np.sort(rng.random(9))[::-1].copy())
    ranks = [np.argsort(np.argsort(z)) for z in (values.numpy(), -left.mean(0).numpy())]
    naive = 1 - 6 * sum((a - b) ** 2 for a, b in zip(*ranks, strict=True)) / (9 * 80)
    assert air.order(values, left) == pytest.approx(naive)


def test_residuals_and_what_is_retrieved():
    spectrum = Spectrum.of(torch.diag(torch.tensor([2.0, 1.0])))
    target, start = torch.eye(2, dtype=torch.float64), torch.zeros(2, 2, dtype=torch.float64)
    half = torch.tensor([[0.5, 0.0], [0.0, 0.0]], dtype=torch.float64)
    found = air._residuals(spectrum, [start, half], target)
    assert found.tolist() == [[1.0, 1.0], [0.25, 1.0]]
    clean = torch.eye(2, dtype=torch.float64) - 0.5
    given = 0.6 * clean + torch.tensor([[0.5, 0.5], [-0.5, -0.5]], dtype=torch.float64)
    assert air._retrieved(given, clean, given) == pytest.approx(1)  # all that the given labels hold of the clean ones
    assert air._retrieved(0.3 * clean, clean, given) == pytest.approx(0.5)


# Trainings


def test_a_training_tells_what_became_of_wrong_labels():
    problem = problems.draw({"data": "digits", "examples": 300, "noise": "symmetric-40"}, 0, Path("nowhere"))
    fixed = FixedTargets(torch.nn.functional.one_hot(problem.truth, 10).float())
    outcome = trainings.trained(problem, "cross-entropy", "mlp:64", 12, 0, targets=fixed, keep=lambda done: done == 12)
    found = trainings.memory_of(problem, outcome)
    guess = outcome.probabilities[12].argmax(1)
    wrong = problem.wrong.numpy()
    naive = np.mean(guess.numpy()[wrong] == problem.train.labels.numpy()[wrong])
    assert found["wrong fitted"] == pytest.approx(naive)
    assert found["wrong put right"] > 0.95  # it was taught the truth
    assert found["given right"] == pytest.approx(1 - wrong.mean())
    assert found["noise removed"] > 0.9
    assert outcome.at_best("test") == max(outcome.curve("test"))
    assert outcome.curve("choice")[outcome.best_epoch() - 1] == max(outcome.curve("choice"))
