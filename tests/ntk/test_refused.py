"""Networks that are sorted, random, coupled or wrapped: each gets the right kernel, or one sentence."""

from __future__ import annotations

import re
import warnings
from collections import UserDict

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from selfdistill._core.errors import DataError, SelfdistillError
from selfdistill.ntk import NTK, _operator
from selfdistill.ntk._network import Mismatch


class Sorting(nn.Module):
    """Sorts its examples, and puts them back."""

    def __init__(self):
        super().__init__()
        self.first, self.head = nn.Linear(4, 5), nn.Linear(5, 3)

    def forward(self, x):
        order = x[:, 0].argsort()
        return self.head(torch.tanh(self.first(x[order])))[order.argsort()]


class LateSorting(Sorting):
    """Does so in one chunk only: that which holds a value above 50."""

    def forward(self, x):
        order = (-x[:, 1]).argsort() if float(x.detach().max()) > 50 else torch.arange(len(x))
        x = x.clamp(max=1.0)
        return self.head(torch.tanh(self.first(x[order])))[order.argsort()]


class ListSorting(LateSorting):
    """Does so by Python's lists."""

    def forward(self, x):
        large = max(x[:, 1].tolist()) > 50
        order = sorted(range(len(x)), key=(-x[:, 1]).tolist().__getitem__) if large else list(range(len(x)))
        inner = self.head(torch.tanh(self.first(torch.stack([x[i].clamp(max=1.0) for i in order]))))
        return torch.stack([inner[order.index(i)] for i in range(len(x))])


class LateMean(LateSorting):
    """Adds the mean over its examples in that chunk."""

    def forward(self, x):
        mean = x.clamp(max=1.0).mean() if float(x.detach().max()) > 50 else 0.0
        return self.head(torch.tanh(self.first(x.clamp(max=1.0)))) + mean


class Mixture(nn.Module):
    """Each example goes to the expert that its gate chooses."""

    def __init__(self):
        super().__init__()
        self.gate, self.experts = nn.Linear(4, 3), nn.ModuleList(nn.Linear(4, 3) for _ in range(3))

    def forward(self, x):
        weights = self.gate(x).softmax(-1)
        best, chosen = weights.max(-1)
        out = torch.zeros(len(x), 3, dtype=x.dtype)
        for k, expert in enumerate(self.experts):
            here = chosen == k
            if bool(here.any()):
                out[here] = expert(x[here]) * best[here, None]
        return out


class Capacity(Mixture):
    """Drops what is more than four examples for each expert: coupled, but only in larger batches."""

    def forward(self, x):
        weights = self.gate(x).softmax(-1)
        best, chosen = weights.max(-1)
        out = torch.zeros(len(x), 3, dtype=x.dtype)
        for k, expert in enumerate(self.experts):
            here = ((chosen == k) & ((chosen == k).cumsum(0) <= 4)).to(x)[:, None]
            out = out + here * expert(x) * best[:, None]
        return out


class DropPath(nn.Module):
    """Stochastic depth, of no class that is known to be random."""

    def __init__(self, p=0.1, forced=False):
        super().__init__()
        self.first, self.branch, self.head = nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 3)
        self.p, self.forced = p, forced

    def forward(self, x):
        x = self.first(x)
        keep = 1.0
        if self.training or self.forced:
            keep = (torch.rand(len(x), 1, dtype=x.dtype) >= self.p).to(x) / (1 - self.p)
        return self.head(torch.tanh(x + keep * torch.tanh(self.branch(x))))


class Refining(nn.Module):
    """Refines what is large once more with the same layer."""

    def __init__(self):
        super().__init__()
        self.body, self.head = nn.Linear(4, 4), nn.Linear(4, 3)

    def forward(self, x):
        large, x = x[:, :1] > 50, torch.tanh(self.body(x.clamp(max=1.0)))
        if bool(large.any()):
            x = torch.where(large, torch.tanh(self.body(x)), x)
        return self.head(x)


class Checkpointed(nn.Module):
    """Activations are computed anew in the backward pass."""

    def __init__(self, reentrant):
        super().__init__()
        self.first, self.body, self.head = nn.Linear(4, 5), nn.Linear(5, 5), nn.Linear(5, 3)
        self.reentrant = reentrant

    def forward(self, x):
        inner = lambda h: torch.tanh(self.body(h))
        return self.head(checkpoint(inner, torch.tanh(self.first(x)), use_reentrant=self.reentrant))


class OneDict(nn.Module):
    """Takes its inputs as one dictionary."""

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(3, 4), nn.Linear(2, 4)

    def forward(self, batch):
        return self.a(batch["table"]) * self.b(batch["more"])


class InPlace(nn.Module):
    """Changes its inputs."""

    def __init__(self, change):
        super().__init__()
        self.change, self.body, self.head = change, nn.Linear(4, 5), nn.Linear(5, 3)

    def forward(self, x):
        self.change(x)
        return self.head(torch.tanh(self.body(x)))


class Counting(nn.Module):
    """Counts in a buffer how often it was called, and draws a number that it does not use."""

    def __init__(self):
        super().__init__()
        self.body, self.head = nn.Linear(4, 5), nn.Linear(5, 3)
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, x):
        self.calls += 1
        torch.rand(1)
        return self.head(torch.tanh(self.body(x)))


def scripted():
    """A TorchScript module."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.jit.script(nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3)))


def made_in_inference_mode():
    with torch.inference_mode():
        return nn.Linear(4, 3)


def x4(n=9):
    return torch.randn(n, 4)


RIGHT = {
    "sorting": lambda: (Sorting(), x4()),
    "mixture of experts": lambda: (Mixture(), x4(20)),
    "checkpoint": lambda: (Checkpointed(False), x4()),
    "one dict": lambda: (OneDict(), {"table": torch.randn(5, 3), "more": torch.randn(5, 2)}),
    "x -= 0.5": lambda: (InPlace(lambda x: x.sub_(0.5)), x4()),
    "clamp_": lambda: (InPlace(lambda x: x.clamp_(-0.3, 0.3)), x4()),
    "counting": lambda: (Counting(), x4()),
}


@pytest.mark.parametrize("output", ["trace", "sum", "fisher", "full"])
@pytest.mark.parametrize("name", RIGHT)
def test_the_kernel_is_that_of_single_examples(assert_right, double, name, output):
    torch.manual_seed(0)
    model, inputs = RIGHT[name]()
    kernel = assert_right(double(model).eval(), double(inputs), output)
    assert "sort" not in name or kernel.structure.other_set == set(kernel.structure.parameters)


@pytest.mark.parametrize("kind", [LateSorting, ListSorting])
def test_examples_that_are_sorted_in_a_later_chunk_only(oracle, double, kind):
    torch.manual_seed(0)
    model, x = double(kind()), torch.rand(1200, 4, dtype=torch.float64)
    x[-2] = 100.0
    kernel, sample = NTK(model, x), torch.tensor([0, 150, 1000, 1198, 1199])
    assert kernel.structure.other_set == set()
    expected = oracle(model, x[sample])
    product = (kernel @ torch.eye(1200, dtype=torch.float64))[sample][:, sample]
    for found in (kernel.matrix()[sample][:, sample], product):
        torch.testing.assert_close(found, expected)
    torch.testing.assert_close(kernel.diagonal()[sample], expected.diagonal())


def test_a_layer_that_meets_other_examples_later_goes_the_slow_way(assert_right, double):
    torch.manual_seed(0)
    model, x = double(Mixture()), torch.rand(40, 4, dtype=torch.float64)
    model.gate.weight.data.zero_()
    model.gate.weight.data[0, 0] = 4.0  # all but the last examples to one expert
    model.gate.bias.data[:] = torch.tensor([0.0, -1.0, -2.0])
    x[-4:-1, 0] = -2
    assert NTK(model, x).structure.other_set.isdisjoint({"gate.weight", "experts.0.weight"})
    assert_right(model, x)


def test_a_layer_that_is_used_more_often_later_goes_the_slow_way(assert_right, double):
    torch.manual_seed(0)
    model, x = double(Refining()), torch.rand(20, 4, dtype=torch.float64)
    x[3] = 100.0
    assert not NTK(model, x).structure.other_set
    kernel = assert_right(model, x)
    assert {name for name in kernel.structure.other_set if "body" in name}


def test_examples_that_are_coupled_in_larger_batches_are_refused(double):
    torch.manual_seed(0)
    model, x = double(Capacity()), torch.rand(30, 4, dtype=torch.float64)
    model.gate.weight.data.zero_()
    with pytest.raises(DataError, match="outputs depend on the others beside it"):
        NTK(model, x).matrix()


def test_examples_that_are_coupled_in_a_later_chunk_are_refused(double):
    torch.manual_seed(0)
    model, x = double(LateMean()), torch.rand(1200, 4, dtype=torch.float64)
    x[-2] = 100.0
    kernel = NTK(model, x)
    for work in (kernel.matrix, kernel.diagonal, lambda: kernel @ torch.ones(1200, 1)):
        with pytest.raises(DataError, match="outputs depend on the others beside it"):
            work()


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize(("p", "forced"), [(0.1, False), (0.01, False), (0.1, True)])
def test_networks_that_draw_numbers_are_refused(seed, p, forced):
    torch.manual_seed(seed)
    model = DropPath(p, forced).train(not forced)
    with pytest.raises(DataError, match=r"draws random numbers.*eval\(\)"):
        NTK(model, x4())


def test_numbers_drawn_and_buffers_are_left_alone():
    torch.manual_seed(0)
    model, x = Counting(), x4()
    kept, before = model.calls, (torch.get_rng_state(), np.random.get_state()[1].copy())  # noqa: NPY002
    kernel = NTK(model.eval(), x)
    for work in (kernel.matrix, kernel.diagonal, lambda: kernel @ torch.ones(9, 1), lambda: kernel.eigh(2)):
        work()
    assert torch.equal(torch.get_rng_state(), before[0])
    assert (np.random.get_state()[1] == before[1]).all()  # noqa: NPY002
    assert model.calls is kept
    assert not model.calls


class Drifting(Mixture):
    """Its outputs depend on how often it was called."""

    def __init__(self):
        super().__init__()
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, x):
        self.calls += 1
        return super().forward(x).mul_(self.calls)


def test_a_network_that_drifts_has_the_kernel_of_its_present_state(oracle, double):
    torch.manual_seed(0)
    model, x = double(Drifting()), double(x4())
    still = double(Mixture())
    still.load_state_dict(model.state_dict(), strict=False)
    expected = oracle(still, x)
    for kernel in (NTK(model, x), NTK(model, x, rules=False)):
        torch.testing.assert_close(kernel.matrix(), expected)
        torch.testing.assert_close(kernel @ torch.eye(9).double(), expected)
    assert not model.calls


def test_a_drifting_network_that_changes_in_place_is_run_again_from_the_same_state(oracle, double):
    class InPlaceToo(Counting):
        def forward(self, x):
            self.calls += 1
            return self.head(self.body(x).relu_()) * self.calls

    torch.manual_seed(0)
    model, x = double(InPlaceToo()).eval(), double(x4())
    expected = oracle(double(nn.Sequential(model.body, nn.ReLU(), model.head)), x)
    kernel = NTK(model, x)
    torch.testing.assert_close(kernel.matrix(), expected)
    assert not kernel.structure.other_set
    assert not model.calls


def test_the_plan_says_when_examples_go_one_by_one():
    torch.manual_seed(0)
    plan = str(NTK(Mixture(), x4(20)).plan)
    assert re.search(r"experts.0.weight +Linear +one by one +12 ", plan)
    assert "per-sample" in str(NTK(Sorting(), x4()).plan)


@pytest.mark.parametrize(
    ("model", "inputs", "words"),
    [
        (
            Checkpointed(True),
            x4(),
            r"^the network uses a reentrant checkpoint, .* Call checkpoint\(.*use_reentrant=False",
        ),
        (scripted(), x4(), r"TorchScript.*the nn\.Module"),
        (nn.LazyLinear(3), x4(), r"weight of the network has no shape yet.*Pass a batch through"),
        (made_in_inference_mode(), x4(), r"weight of the network was made in inference mode"),
        (OneDict(), x4(), r"fails on its inputs"),
        (nn.Linear(5, 3), x4(), r"fails on its inputs.*shapes"),
        (nn.Linear(4, 3), {"wrong": x4()}, r"fails on its inputs.*must be Tensor, not dict"),
    ],
)
def test_what_cannot_be_differentiated_gets_one_sentence(model, inputs, words):
    with pytest.raises(SelfdistillError, match=words) as caught:
        NTK(model, inputs).matrix()
    assert caught.value.hint.endswith(".")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", [UserDict, dict])
def test_any_mapping_is_passed_by_name_or_whole(oracle, double, kind):
    torch.manual_seed(0)
    whole, inputs = double(OneDict()), {"table": torch.randn(5, 3).double(), "more": torch.randn(5, 2).double()}
    expected = oracle(whole, inputs)

    class Named(OneDict):
        def forward(self, table, more):
            return super().forward({"table": table, "more": more})

    named = Named().double()
    named.load_state_dict(whole.state_dict())
    for model, given in ((whole, kind(inputs)), (whole, (kind(inputs),)), (named, kind(inputs))):
        torch.testing.assert_close(NTK(model, given).matrix(), expected)
        torch.testing.assert_close(NTK(model, given, rules=False).matrix(), expected)


def test_over_several_processes_what_one_finds_late_is_refused(monkeypatch):
    kernel = NTK(nn.Linear(4, 3), x4())
    monkeypatch.setattr(_operator.dist, "world", lambda: 2)

    def work():
        raise Mismatch({"weight"})

    with pytest.raises(DataError, match=r"treats examples of a batch differently.*rules=False"):
        kernel._retry_slower(work)


def test_inference_mode_is_left_and_wrappers_are_taken_off(oracle, double):
    torch.manual_seed(0)
    model, x = double(nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.PReLU(), nn.Linear(5, 3))), double(x4())
    expected = oracle(model, x)
    with torch.inference_mode():
        kernel = NTK(nn.DataParallel(model), x + 0)
        for found in (kernel.matrix(), kernel @ torch.eye(9)):
            assert float((found - expected).norm()) < 1e-9 * float(expected.norm())
        kernel.eigh(3)
        kernel.diagonal()


@pytest.mark.parametrize("change", [lambda x: x.sub_(0.5), lambda x: x.clamp_(-0.3, 0.3)])
@pytest.mark.parametrize("rules", [False, True])
@pytest.mark.parametrize("array", [False, True])
def test_inputs_are_left_as_they_were(double, change, array, rules):
    torch.manual_seed(0)
    x = double(x4(150))
    before, kernel = x.clone(), NTK(double(InPlace(change)), x.numpy() if array else x, rules=rules)
    for work in (kernel.matrix, kernel.diagonal, lambda: kernel @ torch.ones(150, 1)):
        work()
        assert torch.equal(x, before)
    assert kernel.structure.per_sample.way == 0
