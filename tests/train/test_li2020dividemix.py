"""A step of DivideMix against a slow one, written from the paper's algorithm in loops and NumPy."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from selfdistill import data, networks
from selfdistill._core.rng import numpy_generator, torch_generator
from selfdistill.losses import pair_cross_entropy
from selfdistill.targets import Division
from selfdistill.train._li2020dividemix import divide_mix, semi_supervised, sharpened

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
    pair = networks.Pair(*(torch.nn.Linear(D, K, bias=False).double() for _ in range(2)))
    for net in (pair.a, pair.b):
        net.weight.data.copy_(torch.tensor(rng.normal(size=(K, D))))
    batch = data.Batch(torch.tensor(views[0]), torch.arange(B), torch.tensor(given), None, B)
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
    pair = networks.build("2*cnn", (1, 8, 8), 3, seed=0, stats=([100.0], [50.0]))
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
