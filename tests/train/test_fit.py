"""The loop against a plain one written out here, and what surrounds it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from selfdistill import losses, train
from selfdistill._core.errors import SettingError
from selfdistill._core.events import BatchDone, EpochDone, RunStarted
from selfdistill._core.rng import torch_generator
from selfdistill.data._source import from_arrays
from selfdistill.networks._build import build
from selfdistill.train import _loop
from selfdistill.train._fit import fit
from selfdistill.train._methods import METHODS

N = 90


@pytest.fixture
def blobs():
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 3, N)
    x = np.eye(3)[truth] * 3 + rng.normal(size=(N, 3))
    return from_arrays(x, truth.astype(str))


def settings(**kwargs):
    return train.Settings(
        **(
            {"network": "mlp:16", "epochs": 3, "batch_size": 16, "method": "memory", "lr": 0.1, "lr_warmup": 0.3}
            | kwargs
        )
    ).resolve(N, "cpu")


def plain_loop(blobs, chosen, *, memory):
    """The same training in plain torch, with a memory kept as a dictionary."""
    net = build("mlp:16", (3,), 3, seed=0, stats=None)
    opt = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9, nesterov=True, weight_decay=5e-4)
    steps = chosen.epochs * 6  # 90 = 5 x 16 + 10
    schedule = torch.optim.lr_scheduler.OneCycleLR(opt, 0.1, steps + 1, cycle_momentum=False)
    m = {i: torch.eye(3)[blobs.labels[i]] for i in range(N)}
    for epoch in range(chosen.epochs):
        order = torch.randperm(N, generator=torch_generator(0, "shuffle", epoch)).tolist()
        new = {}
        hardness = epoch / chosen.epochs
        for start in range(0, N, 16):
            part = order[start : start + 16]
            z = net(blobs.inputs[part])
            rows = []
            for i in part:
                read = (1 - hardness) * m[i] + hardness * torch.eye(3)[m[i].argmax()]
                rows.append(read if memory else torch.eye(3)[blobs.labels[i]])
            loss = -(torch.stack(rows) * z.log_softmax(-1)).sum(-1).mean()
            opt.zero_grad()
            loss.backward()
            opt.step()
            schedule.step()
            new |= dict(zip(part, z.detach().softmax(-1), strict=True))
        m = {i: 0.9 * m[i] + 0.1 * new[i] if memory else new[i] for i in range(N)}
    return net, torch.stack([m[i] for i in range(N)])


@pytest.mark.parametrize("method", ["memory", "cross-entropy"])
def test_equals_a_plain_loop(blobs, method):
    fitted = fit(blobs, settings(method=method))
    net, refined = plain_loop(blobs, fitted.settings, memory=method == "memory")
    for a, b in zip(fitted.model.parameters(), net.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(fitted.targets.refined(), refined, rtol=1e-4, atol=1e-5)


def test_given_labels_are_matched_as_their_one_hot_rows_would_be(blobs):
    plain = METHODS["cross-entropy"]
    by_rows = replace(plain, loss=lambda logits, rows: losses.cross_entropy(logits, rows))
    a, b = (fit(blobs, settings(method="cross-entropy"), method=method) for method in (plain, by_rows))
    assert a.model.state_dict().keys() == b.model.state_dict().keys()
    assert all(torch.equal(x, y) for x, y in zip(a.model.parameters(), b.model.parameters(), strict=True))
    assert [c["loss"] for c in a.curves] == [c["loss"] for c in b.curves]


def test_the_global_random_state_is_left_alone_and_runs_repeat(blobs):
    before = torch.get_rng_state()
    a, b = (fit(blobs, settings()) for _ in range(2))
    assert torch.equal(before, torch.get_rng_state())
    assert all(torch.equal(x, y) for x, y in zip(a.model.parameters(), b.model.parameters(), strict=True))
    c = fit(blobs, settings(seed=1))
    assert not torch.equal(next(a.model.parameters()), next(c.model.parameters()))


def test_events_tell_the_story_in_order(blobs):
    heard = []
    fitted = fit(blobs, settings(epochs=2), tell=heard.append, evaluations={"test": (blobs.inputs, blobs.labels)})
    assert heard[0] == RunStarted(2, 0, N, 6)
    assert [type(e) for e in heard[1:]] == ([BatchDone] * 6 + [EpochDone]) * 2
    assert sum(e.examples for e in heard if isinstance(e, BatchDone)) == 2 * N
    assert heard[-1].metrics == fitted.curves[-1]
    assert set(fitted.curves[0]) == {
        "loss", "agreement", "changed_share", "refined_share", "lr", "seconds", "examples_per_second", "test_accuracy"
    }  # fmt: skip


def test_the_best_checkpoint_is_never_chosen_by_an_evaluation(blobs):
    """Evaluations watch; they do not steer."""
    with_set = fit(blobs, settings(), evaluations={"test": (blobs.inputs, blobs.labels)})
    without = fit(blobs, settings())
    assert all(torch.equal(a, b) for a, b in zip(with_set.model.parameters(), without.model.parameters(), strict=True))


@pytest.mark.parametrize("epochs", [1, 2, 3])
@pytest.mark.parametrize("warmup", [0.05, 0.3])
def test_any_number_of_steps_has_a_learning_rate(blobs, epochs, warmup):
    """6, 12 and 18 steps; at 19 steps and 5 % the library's schedule would divide by zero."""
    fitted = fit(blobs, settings(epochs=epochs, lr_warmup=warmup, batch_size=16 if epochs < 3 else 5))
    assert all(0 <= epoch["lr"] <= 0.1 for epoch in fitted.curves)


def test_nineteen_steps_do_not_divide_by_zero(blobs):
    fitted = fit(
        replace(blobs, inputs=blobs.inputs[:76], labels=blobs.labels[:76]),
        settings(epochs=1, lr_warmup=0.05, batch_size=4),
    )
    assert fitted.curves[0]["lr"] < 0.1


def test_a_diverging_run_says_so(blobs):
    with pytest.raises(
        SettingError, match=r"the loss became (nan|inf) in epoch \d+. Bring `lr` \(1e\+09\) nearer to the usual 0.03"
    ):
        fit(blobs, settings(lr=1e9, epochs=20))
    with pytest.raises(SettingError, match=r"Bring `weight_decay` \(1e\+06\) nearer to the usual 0.0005"):
        fit(blobs, settings(weight_decay=1e6, epochs=20))


@pytest.mark.parametrize(
    ("numbers", "message"),
    [
        ({"temperature": (4.0, 4.0)}, "Lower --lr."),
        ({"temperature": (39.0, 4.0), "mixing": (0.0, 1.0)}, "Lower --lr."),
        ({"temperature": (1e30, 4.0)}, "Bring --temperature (1e+30) nearer to the usual 4."),
        ({"temperature": (0.001, 4.0)}, "Bring --temperature (0.001) nearer to the usual 4."),
        ({"mixing": (-1e9, 1.0)}, "Bring --mixing (-1e+09) nearer to the usual 1."),
    ],
)
def test_what_made_a_run_diverge_is_named(numbers, message):
    assert _loop._hint(numbers) == message


def test_a_module_of_ones_own_and_bf16(blobs):
    net = torch.nn.Linear(3, 3)
    fitted = fit(blobs, settings(precision="bf16"), model=net)
    assert fitted.model is net
    assert not net.training
    assert fitted.curves[-1]["loss"] < fitted.curves[0]["loss"]


def test_compiled_training_follows_the_plain_one(blobs, monkeypatch):
    compiled = torch.compile
    monkeypatch.setattr(torch, "compile", lambda module: compiled(module, backend="eager", fullgraph=True))
    torch._dynamo.reset()
    a, b = fit(blobs, settings(compile=True)), fit(blobs, settings())
    for x, y in zip(a.model.parameters(), b.model.parameters(), strict=True):
        torch.testing.assert_close(x, y)


def test_a_compiler_that_fails_is_one_line(blobs, monkeypatch):
    compiled = torch.compile

    def broken(graph, inputs):
        raise OSError("no working C++ compiler")

    monkeypatch.setattr(torch, "compile", lambda module: compiled(module, backend=broken))
    torch._dynamo.reset()
    with pytest.raises(SettingError, match=r"torch.compile failed: .*no working C\+\+ compiler\. Leave `compile` out"):
        fit(blobs, settings(compile=True))
    monkeypatch.setattr(torch.nn.Linear, "forward", lambda self, x: torch.zeros(2) @ torch.zeros(3))
    with pytest.raises(RuntimeError, match="inconsistent tensor size"):  # what is no compiler's passes
        fit(blobs, settings())


def test_fits_in_concurrent_threads_give_what_one_alone_gives(blobs):
    from concurrent.futures import ThreadPoolExecutor

    def weights(seed):
        fitted = fit(blobs, settings(epochs=1, seed=seed))
        return torch.cat([p.detach().flatten() for p in fitted.model.parameters()])

    alone = {seed: weights(seed) for seed in range(3)}
    seeds = [seed % 3 for seed in range(60)]
    with ThreadPoolExecutor(4) as pool:
        for seed, found in zip(seeds, pool.map(weights, seeds), strict=True):
            assert torch.equal(found, alone[seed])
