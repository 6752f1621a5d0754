"""One table, every method: each entry inherits these tests."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from selfdistill._core.errors import SettingError
from selfdistill.data._loader import Batch
from selfdistill.networks._build import build
from selfdistill.rivals._method import Context, FirstStage
from selfdistill.targets import Targets
from selfdistill.train._methods import METHODS
from selfdistill.train._methods import method as train_method

N, K, B = 40, 5, 8
every_method = pytest.mark.parametrize("name", METHODS)


def make(name, n=N, k=K, epochs=4):
    g = torch.Generator().manual_seed(1)
    labels = torch.randint(0, k, (n,), generator=g)
    before = FirstStage(*torch.randn(2, n, k, generator=g).softmax(-1)) if first(name) else None
    return (
        METHODS[name],
        labels,
        METHODS[name].build(Context(labels, k, epochs, 20, first_stage=before)),
    )


def first(name):
    return METHODS[name].first


def outputs(name, b=B, k=K):
    """Logits as the method's network gives them in training."""
    shape = (b, k) if METHODS[name].networks == 1 else (b, 2, k)
    return torch.randn(*shape, generator=torch.Generator().manual_seed(2))


def mean_of(logits):
    p = logits.softmax(-1)
    return p if p.ndim == 2 else p.mean(1)


def epoch_of_writes(targets, n=N, k=K, seed=0):
    g = torch.Generator().manual_seed(seed)
    for index in torch.randperm(n, generator=g).split(B):
        targets.write(index, torch.randn(len(index), k, generator=g).mul(3).softmax(-1))


def leaves(value):
    if isinstance(value, tuple):
        return [leaf for part in value for leaf in leaves(part)]
    return [value] if isinstance(value, torch.Tensor) else []


@every_method
def test_obeys_the_protocol(name):
    _, labels, targets = make(name)
    assert isinstance(targets, Targets)
    mean, written = (epoch_of_writes(targets), targets.end_epoch())[1]
    assert mean.shape == (N, K)
    assert written.all()
    refined = targets.refined()
    assert refined.shape == (N, K)
    torch.testing.assert_close(refined.sum(-1), torch.ones(N))
    assert (refined >= 0).all()
    assert len(labels) == N


@every_method
def test_read_changes_nothing_write_stages_and_end_epoch_commits(name):
    _, _, targets = make(name)
    index, logits = torch.arange(B), outputs(name)
    before = {k: v.clone() for k, v in targets.state_dict().items()}
    first = leaves(targets.read(index, logits))
    assert all(torch.equal(v, before[k]) for k, v in targets.state_dict().items())
    targets.write(index, mean_of(logits))
    for a, b in zip(first, leaves(targets.read(index, logits)), strict=True):
        assert torch.equal(a, b)
    targets.end_epoch()
    assert not all(torch.equal(v, before[k]) for k, v in targets.state_dict().items())


@every_method
def test_targets_are_never_differentiated_and_losses_are_per_sample(name):
    method, _, targets = make(name)
    logits = outputs(name).requires_grad_()
    target = targets.read(torch.arange(B), logits)
    assert not any(leaf.requires_grad for leaf in leaves(target))
    value = method.loss(logits, target)
    assert value.shape == (B,)
    value.sum().backward()
    assert logits.grad is not None
    assert logits.grad.isfinite().all()


@every_method
def test_the_state_goes_through_state_dict_and_training_goes_on_alike(name):
    _, _, a = make(name)
    _, _, b = make(name)
    epoch_of_writes(a)
    a.end_epoch()
    epoch_of_writes(a, seed=1)  # staged, not committed: it must come along too
    b.load_state_dict(a.state_dict())
    for targets in (a, b):
        targets.end_epoch()
        epoch_of_writes(targets, seed=2)
        targets.end_epoch()
    assert all(torch.equal(v, b.state_dict()[k]) for k, v in a.state_dict().items())


@every_method
def test_all_state_moves_with_to(name):
    _, _, targets = make(name)
    targets.to(torch.device("meta"))
    assert {v.device.type for v in targets.state_dict().values()} == {"meta"}


# In a process of its own: the shape checker that the tests install in the losses does not trace.
GRAPH_BREAKS = """
import json, torch
from selfdistill.rivals._method import Context, FirstStage
from selfdistill.train._methods import METHODS
found = {}
for name, method in METHODS.items():
    before = FirstStage(*torch.full((2, 4, 3), 1 / 3)) if method.first else None
    targets = method.build(Context(torch.tensor([0, 1, 2, 0]), 3, 4, 20, first_stage=before))
    def step(logits, index):
        value = method.loss(logits, targets.read(index, logits.detach())).mean()
        p = logits.detach().softmax(-1)
        targets.write(index, p if p.ndim == 2 else p.mean(1))
        return value
    torch._dynamo.reset()
    shape = (4, 3) if method.networks == 1 else (4, 2, 3)
    explained = torch._dynamo.explain(step)(torch.randn(shape, requires_grad=True), torch.arange(4))
    found[name] = [explained.graph_count, explained.graph_break_count]
print(json.dumps(found))
"""


def test_loss_and_target_compile_to_one_graph_without_breaks():
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", GRAPH_BREAKS], capture_output=True, text=True, check=True, timeout=120
    )
    assert json.loads(done.stdout.splitlines()[-1]) == {name: [1, 0] for name in METHODS}


class Elements(TorchDispatchMode):
    """Counts one operation per element that any kernel writes or reads, besides what the FLOP counter knows."""

    count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        for t in torch.utils._pytree.tree_leaves((args, out)):
            self.count += t.numel() if isinstance(t, torch.Tensor) and t.numel() <= 256 * K else 0
        return out


RUN = 30  # epochs of a run
# What a method's networks cost relative to cross-entropy, from the share of a step's FLOPs that a forward pass takes;
# others cost 1. Predictions of held-out examples come on top.
MULTIPLES = {
    "early-stopping": lambda forward: 0.9,  # a tenth is held out
    "nts": lambda forward: 1.8,  # and of the teacher, who comes first
    "joint-optimization": lambda forward: 2.0,
    "forward": lambda forward: 2.0,  # where no noise matrix is given: plain training comes first
    "backward": lambda forward: 2.0,
    "gce-truncated": lambda forward: 1 + 8 / RUN * forward,  # the training set is predicted eight times
    "co-teaching": lambda forward: 2.9,  # where no noise rate is given: early stopping comes first
    "dividemix": lambda forward: 4.0 + 6.0 * forward,  # two views of both, four guesses, two predictions of all
}


def network_flops(name, network, shape):
    """FLOPs of a step's passes, past the first epoch; and those of one forward pass of one network."""
    method, labels, targets = make(name, n=256, k=10)
    targets.write(torch.arange(256), torch.full((256, 10), 0.1))
    targets.end_epoch()
    spec = network if method.networks == 1 else f"2*{network}"
    model = build(spec, shape, 10, seed=0, stats=([0.5] * shape[0], [0.5] * shape[0]))
    x, index = torch.rand(128, *shape), torch.arange(128)
    with FlopCounterMode(display=False) as forward, torch.no_grad():
        logits = model(x)
    with FlopCounterMode(display=False) as step:
        batch = Batch(x, index, labels[:128], None, 128)
        values, _ = method.objective(model, batch, lambda number: x, targets, method.loss)
        values.sum().backward()
    return step.get_total_flops(), forward.get_total_flops() / method.networks, logits


def epoch_flops(name, network, shape):
    """FLOPs of the networks' passes in an epoch of one batch: steps, predictions of all examples, a first training."""
    method = METHODS[name]
    step, forward, _ = network_flops(name, network, shape)
    predicted = method.networks * sum(method.needs_train_predictions(epoch, RUN) for epoch in range(RUN)) / RUN
    before = epoch_flops(first(name), network, shape) if first(name) else 0
    return before + (1 - method.held_out) * step + predicted * forward


def elements(name, network, shape):
    """Elements that targets and losses touch in a step."""
    method, _, targets = make(name, n=256, k=10)
    logits = network_flops(name, network, shape)[2]
    with Elements() as touched:
        loss = method.loss(logits.detach().requires_grad_(), targets.read(torch.arange(128), logits.detach())).mean()
        loss.backward()
        targets.write(torch.arange(128), mean_of(logits.detach()))
    return touched.count


@every_method
@pytest.mark.parametrize(("network", "shape"), [("mlp", (1, 28, 28)), ("cnn", (1, 28, 28))])
def test_an_epoch_costs_what_is_stated_and_targets_and_loss_at_most_five_percent_more(name, network, shape):
    step, forward, _ = network_flops("cross-entropy", network, shape)
    stated = MULTIPLES.get(name, lambda forward: 1.0)(forward / step)
    assert epoch_flops(name, network, shape) == pytest.approx(stated * step, rel=1e-6)
    own, plain = network_flops(name, network, shape)[0], 10 * elements("cross-entropy", network, shape)
    assert own + 10 * elements(name, network, shape) <= 1.05 * (own + plain)


def test_an_unknown_method_names_the_nearest():
    with pytest.raises(SettingError, match=r"'SelfDistil' does not exist. Did you mean selfdistill\? Choose one of: "):
        train_method("SelfDistil")
