"""A step in NumPy gives what one in torch gives, takes few operations and leaves what is unusual to torch's checks."""

from __future__ import annotations

import sys

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from selfdistill import RobustTargets
from selfdistill._core.errors import DataError, SettingError
from selfdistill.targets import Posterior
from selfdistill.train import _robust_targets
from selfdistill.train._robust_step import in_arrays

N, K = 90, 3
Y = torch.arange(N) % K
X = torch.randn(N, 4, generator=torch.Generator().manual_seed(0)) + torch.eye(K, 4)[Y]


def trained(change=None, dtype=torch.float32, method="selfdistill"):
    torch.manual_seed(0)
    net, robust = nn.Linear(4, K).to(dtype), RobustTargets(Y, K, method, steps=18)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.3)
    for epoch in range(5):
        for index in torch.randperm(N, generator=torch.Generator().manual_seed(epoch)).split(16):
            optimizer.zero_grad()
            robust.loss(index if change is None else change(index), net(X[index].to(dtype)), Y[index]).backward()
            optimizer.step()
        robust.end_epoch()
    return robust.state_dict()


def test_training_in_arrays_ends_where_training_in_torch_does(monkeypatch):
    found, lists, double = trained(), trained(change=lambda index: index.tolist()), trained(dtype=torch.float64)
    assert all(torch.equal(found[name], lists[name]) for name in found)
    monkeypatch.setattr(_robust_targets, "in_arrays", lambda *_, **__: None)
    for other in (trained(), double):
        for name, value in other.items():
            torch.testing.assert_close(found[name], value, rtol=1e-4, atol=1e-5)


class Counted(TorchDispatchMode):
    def __init__(self):
        super().__init__()
        self.names = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func not in (torch.ops.aten.detach.default, torch.ops.aten.view.default):  # these touch no numbers
            self.names.append(str(func))
        return func(*args, **(kwargs or {}))


def test_a_step_takes_few_operations_of_torch():
    robust, index = RobustTargets(Y, K, steps=18), torch.tensor([4, 9, 30])
    for _ in range(6):
        logits = torch.zeros(3, K, requires_grad=True)
        with Counted() as mine:
            robust.loss(index, logits, Y[index]).backward()
        with Counted() as plain:
            nn.functional.cross_entropy(logits, Y[index]).backward()
    assert len(mine.names) < len(plain.names), (mine.names, plain.names)


def test_a_step_makes_few_calls():
    robust, index, calls = RobustTargets(Y, K, steps=18), torch.tensor([4, 9, 30]), []
    for _ in range(4):
        robust.loss(index, logits := torch.zeros(3, K, requires_grad=True))
    sys.setprofile(lambda frame, event, arg: calls.append((frame.f_code.co_filename, event, arg)))
    try:
        robust.loss(index, logits)
    finally:
        sys.setprofile(None)
    made = [arg for file, event, arg in calls if event in {"call", "c_call"} and "/selfdistill/" in file]
    assert 20 < len(made) <= 36, made


@pytest.mark.parametrize("reduction", ["mean", "none"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])  # in arrays, in torch
def test_a_gradient_of_the_gradient_is_refused(reduction, dtype):
    net, robust, two = nn.Linear(4, K).to(dtype), RobustTargets(Y, K, steps=18), torch.tensor([5, 6])
    inputs = X[two].to(dtype).requires_grad_()
    value = robust.loss(two, net(inputs).tanh(), reduction=reduction).sum()
    torch.autograd.grad(value, inputs, retain_graph=True)
    with pytest.raises(SettingError, match=r"first derivatives only, .* \(create_graph=True\)"):
        torch.autograd.grad(value, inputs, create_graph=True)


def test_what_is_unusual_is_refused_at_any_step_as_it_is_in_the_first():
    net, robust = nn.Linear(4, K), RobustTargets(Y, K, steps=18)
    for part in torch.randperm(N, generator=torch.Generator().manual_seed(0))[:50].split(10):
        robust.loss(part, net(X[part]))
    two = torch.tensor([5, 6])
    for index, logits, error, message in [
        (torch.tensor([5, -1]), net(X[:2]), DataError, r"index goes from -1 to 5, but there are 90 labels"),
        (torch.tensor([90, 2]), net(X[:2]), DataError, r"index goes from 2 to 90"),
        (two.float(), net(X[:2]), SettingError, r"positions are whole numbers"),
        (two, nn.Linear(4, 4)(X[:2]), SettingError, r"logits have shape \[2, 4\]"),
        (two, net(X[:3]), SettingError, r"logits have shape \[3, 3\] and index \[2\]"),
        (two[:, None], net(X[:2]), SettingError, r"index \[2, 1\]"),
        (two, net(X[:2]).detach(), SettingError, r"logits have no gradient"),
    ]:
        with pytest.raises(error, match=message):
            robust.loss(index, logits)
    assert robust.targets.writes == 5


def test_what_arrays_do_not_hold_and_what_needs_many_threads_is_left_to_torch():
    targets, two = Posterior(Y, K), torch.tensor([5, 6])
    z = torch.zeros(2, K, requires_grad=True)
    assert in_arrays(targets, two, z, mean=True) is not None
    for index, logits in [(two, z.bfloat16()), (two, z.double()), (two.int(), z), (two, nn.Parameter(z)), ([5, 6], z)]:
        assert in_arrays(targets, index, logits, mean=True) is None
    many = torch.zeros(11_000, dtype=torch.int64)
    assert in_arrays(targets, many, torch.zeros(11_000, K, requires_grad=True), mean=True) is None
    robust = RobustTargets(Y, K, steps=18)
    for _ in range(5):
        value = robust.loss(two, z.bfloat16())
        assert value.dtype == torch.float32
