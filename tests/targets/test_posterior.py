"""The default's targets against a twin that loops over examples, and against noise matrices that are known."""

from __future__ import annotations

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from selfdistill._core.errors import SettingError
from selfdistill.targets import Posterior
from selfdistill.targets._noise_matrix import deconvolve, em_step, expected_counts


class Twin:
    """The docstring's formulas, example by example in float64."""

    def __init__(self, labels, k, step=0.2):
        self.step, self.clock, self.held = step, 0.0, 1.0
        self.y, self.k, self.n, self.epoch = labels.tolist(), k, len(labels), 0
        self.alphas = []
        self.fast = [[0.0] * k for _ in self.y]
        self.slow = [[0.0] * k for _ in self.y]
        self.q = [[float(c == y) for c in range(k)] for y in self.y]
        self.T = None

    def bayes(self, prior):
        rows = []
        for p, y in zip(prior, self.y, strict=True):
            row = [p[c] * self.T[c][y] for c in range(self.k)]
            rows.append([v / sum(row) for v in row])
        return rows

    def alpha(self):
        return min(self.clock / 5, 1)

    def unmixed(self, noisy):
        """The noise taken out, as far as the targets that the memory saw had it; each epoch's weight is 0.9^age."""
        weights = [0.9 ** (self.epoch - e) for e in range(self.epoch + 1)]
        a = sum(w * v for w, v in zip(weights, self.alphas, strict=True)) / sum(weights)
        T = [[(1 - a) * self.T[c][j] + a * float(c == j) for j in range(self.k)] for c in range(self.k)]
        p = list(noisy)
        for _ in range(10):
            seen = [sum(p[c] * T[c][j] for c in range(self.k)) for j in range(self.k)]
            p = [p[c] * sum(T[c][j] * noisy[j] / seen[j] for j in range(self.k)) for c in range(self.k)]
        return [v / sum(p) for v in p]

    def tick(self, mean):
        """An epoch after the warm-up counts as far as the network still says what it said."""
        highest = [
            (row.index(max(row)), memory.index(max(memory))) for row, memory in zip(mean, self.fast, strict=True)
        ]
        changed = sum(a != b for a, b in highest) / self.n
        speed = min(max((0.5 - changed) / 0.15, 0), 1)
        if self.epoch + 1 == 3:
            self.held = speed
        return speed if self.epoch + 1 > 3 else 0.0

    def end_epoch(self, mean):
        tick = self.tick(mean)
        for i in range(self.n):
            for c in range(self.k):
                self.fast[i][c] = 0.7 * self.fast[i][c] + 0.3 * mean[i][c]
                self.slow[i][c] = 0.9 * self.slow[i][c] + 0.1 * mean[i][c]
        prior = []
        for row in self.slow:
            clamped = [max(v / sum(row), 1e-6) for v in row]
            prior.append([v / sum(clamped) for v in clamped])
        for c in range(self.k):
            share = (self.y.count(c) + 1) / (self.n + self.k)
            r = share / (sum(row[c] for row in prior) / self.n + 1 / self.n)
            for i in range(self.n):
                prior[i][c] *= r
        prior = [[v / sum(row) for v in row] for row in prior]
        self.alphas.append(self.alpha())
        if self.T is not None:
            prior = [self.unmixed(p) for p in prior]
        q = prior if self.T is None else self.bayes(prior)
        T = [
            [1 / self.k + sum(q[i][c] for i in range(self.n) if self.y[i] == j) for j in range(self.k)]
            for c in range(self.k)
        ]
        new = [[v / sum(row) for v in row] for row in T]
        step = 1.0 if self.T is None or self.clock >= 7 else 1 - self.held + self.held * self.step
        old = self.T or new
        self.T = [
            [(1 - step) * o + step * v for o, v in zip(*rows, strict=True)] for rows in zip(old, new, strict=True)
        ]
        self.q = self.bayes(prior)
        self.wrong = sum(1 - self.q[i][y] for i, y in enumerate(self.y)) / self.n
        self.epoch += 1
        self.clock += tick

    def read(self, i, p):
        a = self.alpha()
        target = [(1 - a) * float(c == self.y[i]) + a * self.q[i][c] for c in range(self.k)]
        return target, [0.7 * f + 0.3 * v for f, v in zip(self.fast[i], p, strict=True)]


@given(st.integers(0, 10_000), st.integers(1, 14), st.sampled_from([1.0, 0.2]), st.sampled_from([0.1, 0.5, 1.0, 2.0]))
@settings(max_examples=40)
def test_equals_its_naive_twin(seed, epochs, step, unrest):
    g = torch.Generator().manual_seed(seed)
    n, k = 7, 3
    labels = torch.randint(0, k, (n,), generator=g)
    targets, twin = Posterior(labels, k, noise_step=step), Twin(labels, k, step)
    belief = torch.randn(n, k, generator=g).mul(2)
    for _ in range(epochs):
        p = (belief + torch.randn(n, k, generator=g).mul(unrest)).softmax(-1)
        order = torch.randperm(n, generator=g)
        targets.write(order[:3], p[order[:3]])
        targets.write(order[3:], p[order[3:]])
        targets.end_epoch()
        twin.end_epoch(p.tolist())
    logits = torch.randn(n, k, generator=g)
    got = targets.read(torch.arange(n), logits)
    for i in range(n):
        target, memory = twin.read(i, logits[i].softmax(-1).tolist())
        torch.testing.assert_close(got.target[i], torch.tensor(target), rtol=1e-3, atol=1e-5)
        joined = got.momentum * got.memory[i] + (1 - got.momentum) * logits[i].softmax(-1)
        torch.testing.assert_close(joined, torch.tensor(memory), rtol=1e-3, atol=1e-5)
    strength = min(max(2.5 * twin.wrong, 1), 2) * min(1, twin.wrong / 0.15)
    assert got.strength.item() == pytest.approx(strength, rel=1e-3, abs=1e-5)
    torch.testing.assert_close(targets.noise, torch.tensor(twin.T), rtol=1e-3, atol=1e-5)


def noisy(n, k, rate, kind, seed=0):
    g = torch.Generator().manual_seed(seed)
    truth = torch.randint(0, k, (n,), generator=g)
    flip = torch.rand(n, generator=g) < rate
    shift = torch.ones(n, dtype=torch.int64) if kind == "pair" else torch.randint(1, k, (n,), generator=g)
    return truth, torch.where(flip, (truth + shift) % k, truth)


@pytest.mark.parametrize(("kind", "rate"), [("symmetric", 0.0), ("symmetric", 0.4), ("symmetric", 0.7), ("pair", 0.4)])
def test_expectation_maximisation_finds_the_noise_matrix_from_sure_predictions(kind, rate):
    """With predictions that are right 9 times in 10 and say so, T converges to the share of each given label."""
    k, n = 5, 20_000
    truth, given = noisy(n, k, rate, kind)
    g = torch.Generator().manual_seed(1)
    seen = torch.where(torch.rand(n, generator=g) < 0.9, truth, torch.randint(0, k, (n,), generator=g))
    hit = 0.9 + 0.1 / k
    prior = torch.full((n, k), (1 - hit) / (k - 1)).scatter_(1, seen[:, None], hit)
    noise = None
    for _ in range(60):
        noise = em_step(prior, given, noise)
    expected = torch.eye(k) * (1 - rate)
    expected += rate * (torch.eye(k).roll(1, 1) if kind == "pair" else (1 - torch.eye(k)) / (k - 1))
    assert (noise - expected).abs().max() < 0.03
    torch.testing.assert_close(noise.sum(1), torch.ones(k))


@given(st.integers(0, 10_000))
@settings(max_examples=25)
def test_deconvolution_undoes_the_noise_and_its_likelihood_never_falls(seed):
    """Against a linear solve, which many steps must reach where the true prediction is positive."""
    g = torch.Generator().manual_seed(seed)
    k, n = 4, 6
    clean = torch.randn(n, k, generator=g, dtype=torch.float64).softmax(-1)
    noise = 0.6 * torch.eye(k) + 0.4 * torch.randn(k, k, generator=g, dtype=torch.float64).softmax(-1)
    noisy = clean @ noise
    likelihood = [(noisy * (deconvolve(noisy, noise, steps) @ noise).log()).sum(-1) for steps in range(8)]
    assert all((after >= before - 1e-12).all() for before, after in itertools.pairwise(likelihood))
    few = deconvolve(noisy, noise)
    assert ((few - clean).norm(dim=1) < 0.5 * (noisy - clean).norm(dim=1) + 1e-3).all()
    many = deconvolve(noisy, noise, 3000)
    torch.testing.assert_close(many, torch.linalg.solve(noise.T, noisy.T).T, atol=1e-3, rtol=0)


def test_a_network_that_predicts_noisy_labels_is_not_taken_at_its_word():
    """Pair noise at 40 %, and predictions p T that are right where p is: without `unmix` the labels win."""
    k, n = 5, 4000
    truth, labels = noisy(n, k, 0.4, "pair")
    g = torch.Generator().manual_seed(1)
    seen = torch.where(torch.rand(n, generator=g) < 0.9, truth, torch.randint(0, k, (n,), generator=g))
    hit = 0.9 + 0.1 / k
    clean = torch.full((n, k), (1 - hit) / (k - 1)).scatter_(1, seen[:, None], hit)
    says = clean @ (0.6 * torch.eye(k) + 0.4 * torch.eye(k).roll(1, 1))
    right = {}
    for unmix in (0, 10):
        targets = Posterior(labels, k, unmix=unmix, warmup=100.0)
        for _ in range(8):
            targets.write(torch.arange(n), says)
            targets.end_epoch()
        right[unmix] = (targets.refined().argmax(1) == truth).float().mean().item()
    assert right[0] < 0.62  # 0.6 is what the labels know
    assert right[10] > 0.7


def test_on_clean_labels_a_hard_example_keeps_its_label_and_under_noise_it_does_not():
    """The same prediction, .9 for another class: trusted where labels are noisy, not where they are clean."""
    k, n = 5, 2000
    outcomes = {}
    for rate in (0.0, 0.4):
        truth, given = noisy(n, k, rate, "symmetric")
        given[0], truth[0] = 0, 1
        prior = torch.full((n, k), 0.01).scatter_(1, truth[:, None], 0.96)
        prior[0] = torch.tensor([0.07, 0.90, 0.01, 0.01, 0.01])
        targets = Posterior(given, k, slow=0.0)
        for _ in range(8):
            targets.write(torch.arange(n), prior)
            targets.end_epoch()
        outcomes[rate] = targets.refined()[0].argmax().item()
    assert outcomes == {0.0: 0, 0.4: 1}


def test_stretch_makes_every_clock_slower_by_the_same_factor():
    labels = torch.tensor([0, 1])
    slow = Posterior(labels, 2, stretch=3.0)
    assert slow.fast_momentum**3 == pytest.approx(0.7)
    assert slow.slow_momentum**3 == pytest.approx(0.9)
    assert (1 - Posterior(labels, 2, stretch=3.0, noise_step=0.3).noise_step) ** 3 == pytest.approx(0.7)
    alphas = []
    for _ in range(25):
        slow.write(torch.arange(2), torch.full((2, 2), 0.5))
        slow.end_epoch()
        alphas.append(slow.alpha.item())
    assert alphas[8] == 0 < alphas[9]
    assert alphas[22] < 1 == alphas[23]


def run_with_changes(share, epochs, n=100):
    """Let each epoch differ from what the memory holds on a share of the examples."""
    targets = Posterior(torch.zeros(n, dtype=torch.int64), 2)
    clocks = []
    for _ in range(epochs):
        says = (torch.rand(n) < 0.5).long()
        remembered = torch.where(torch.randperm(n) < round(share * n), 1 - says, says)
        targets.fast.zero_().scatter_(1, remembered[:, None], 1.0)
        targets.write(torch.arange(n), torch.full((n, 2), 0.1).scatter_(1, says[:, None], 0.9))
        targets.end_epoch()
        clocks.append(targets.clock.item())
    return targets, clocks


@pytest.mark.parametrize(("share", "speed"), [(0.0, 1.0), (0.35, 1.0), (0.41, 0.6), (0.5, 0.0), (0.8, 0.0)])
def test_the_clock_runs_as_far_as_the_network_has_made_up_its_mind(share, speed):
    targets, clocks = run_with_changes(share, 6)
    assert clocks == pytest.approx([0, 0, 0, speed, 2 * speed, 3 * speed], abs=1e-5)
    assert targets.alpha.item() == pytest.approx(3 * speed / 5, abs=1e-5)


@pytest.mark.parametrize(("share", "held"), [(0.1, 1.0), (0.41, 0.6), (0.8, 0.0)])
def test_t_is_held_as_far_as_the_network_had_settled_by_the_end_of_the_warm_up(share, held):
    assert run_with_changes(share, 2)[0].held.item() == 1
    for epochs in (3, 6):
        assert run_with_changes(share, epochs)[0].held.item() == pytest.approx(held, abs=1e-5)


def test_a_network_that_keeps_changing_its_mind_is_taught_the_given_labels():
    targets, _ = run_with_changes(0.8, 40)
    assert targets.read(torch.arange(100)).target[:, 0].tolist() == [1.0] * 100


def test_examples_that_were_not_drawn_do_not_count_as_changed():
    targets = Posterior(torch.zeros(4, dtype=torch.int64), 2)
    for _ in range(5):
        targets.fast[:] = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.0, 1.0]])
        targets.write(torch.tensor([0, 1]), torch.tensor([[0.9, 0.1], [0.9, 0.1]]))
        targets.end_epoch()
    assert targets.clock.item() == 2


def test_a_class_never_given_and_an_example_never_written_stay_finite():
    targets = Posterior(torch.tensor([0, 1, 0]), 4)
    targets.write(torch.tensor([0, 1]), torch.tensor([[1.0, 0, 0, 0], [0, 1.0, 0, 0]]))
    targets.end_epoch()
    assert targets.refined().isfinite().all()
    torch.testing.assert_close(targets.refined().sum(-1), torch.ones(3))


@pytest.mark.parametrize(
    ("kwargs", "words"),
    [({"fast": 1.0}, r"fast is 1\.0"), ({"slow": -0.1}, r"slow is -0\.1"), ({"ramp": 0.0}, "ramp is 0"),
     ({"stretch": 0.0}, "stretch is 0"), ({"noise_step": 0.0}, "noise_step is 0"),
     ({"settled": 0.6}, r"settled is 0\.6 and unsettled 0\.5")],
)  # fmt: skip
def test_errors(kwargs, words):
    with pytest.raises(SettingError, match=words):
        Posterior(torch.tensor([0, 1]), 2, **kwargs)


def test_the_early_counts_come_from_the_epochs_of_the_ramp_and_two_more():
    g = torch.Generator().manual_seed(0)
    labels = torch.randint(0, 3, (40,), generator=g)
    targets, seen = Posterior(labels, 3), []
    for epoch in range(12):
        p = torch.randn(40, 3, generator=g).mul(2).softmax(-1)
        assert (targets.counts() is None) == (epoch < 10)
        targets.write(torch.arange(40), p)
        targets.end_epoch()
        if 3 <= epoch < 10:
            seen.append(p)
    expected = expected_counts(torch.stack(seen).mean(0), labels)
    torch.testing.assert_close(targets.counts(), expected, rtol=0.02, atol=0.1)


def test_a_held_noise_matrix_needs_no_early_look():
    targets, _ = run_with_changes(0.1, 12)
    assert targets.counts() is None
    assert not targets.early.any()
    assert run_with_changes(0.5, 12)[0].counts() is not None


def test_too_many_classes_take_no_room_for_the_early_epochs():
    targets = Posterior(torch.arange(301), 301)
    assert targets.early.numel() == 0
    for _ in range(11):
        targets.write(torch.arange(301), torch.full((301, 301), 1 / 301))
        targets.end_epoch()
    assert targets.counts() is None


def test_examples_that_were_not_drawn_keep_both_memories():
    g = torch.Generator().manual_seed(1)
    targets = Posterior(torch.randint(0, 3, (6,), generator=g), 3)
    for index in (torch.arange(6), torch.tensor([0, 2])):
        before = targets.fast.clone(), targets.slow.clone()
        p = torch.rand(len(index), 3, generator=g).softmax(-1)
        targets.write(index, p)
        targets.end_epoch()
        for memory, old, momentum in zip((targets.fast, targets.slow), before, (0.7, 0.9), strict=True):
            expected = old.clone()
            expected[index] = momentum * old[index] + (1 - momentum) * p
            torch.testing.assert_close(memory, expected)


@pytest.mark.parametrize("held", [0.0, 0.6, 1.0])
def test_t_takes_the_less_of_an_estimate_the_more_it_is_held(held):
    """A twin whose step is 1 takes all of each estimate."""
    g = torch.Generator().manual_seed(2)
    labels = torch.randint(0, 3, (30,), generator=g)
    slow, whole = Posterior(labels, 3, noise_step=0.2), Posterior(labels, 3, noise_step=1.0)
    for _ in range(5):
        slow.write(torch.arange(30), torch.randn(30, 3, generator=g).softmax(-1))
        slow.end_epoch()
    slow.held.fill_(held)
    old = slow.noise.clone()
    whole.load_state_dict(slow.state_dict())
    p = torch.randn(30, 3, generator=g).softmax(-1)
    for targets in (slow, whole):
        targets.write(torch.arange(30), p)
        targets.end_epoch()
    assert (whole.noise - old).abs().max() > 1e-3
    torch.testing.assert_close(slow.noise, old + (1 - held + 0.2 * held) * (whole.noise - old))
