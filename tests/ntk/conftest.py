"""Small networks of every kind, and a slow twin of the kernel."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

from selfdistill.ntk import NTK, _multiply
from selfdistill.ntk._peak import PeakBytes


class ResNet(nn.Module):
    """Two stages with BatchNorm and additions in place."""

    def __init__(self):
        super().__init__()
        self.stem, self.norm = nn.Conv2d(3, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4)
        self.conv, self.after = nn.Conv2d(4, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4)
        self.head = nn.Linear(4, 3)

    def forward(self, x):
        x = functional.relu_(self.norm(self.stem(x)))
        y = self.after(self.conv(x))
        y += x
        return self.head(functional.relu(y).mean((2, 3)))


class Transformer(nn.Module):
    """Attention with its own weights, and an embedding tied to the head."""

    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(11, 8, padding_idx=0)
        self.layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True, dropout=0.0)
        self.head = nn.Linear(8, 11, bias=False)
        self.head.weight = self.embed.weight

    def forward(self, x):
        return self.head(self.layer(self.embed(x)).mean(1))


class Odd(nn.Module):
    """A bare parameter, a weight used functionally, a layer used twice, a normalised weight, an unused layer."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(1.5))
        self.twice, self.unused = nn.Linear(5, 5), nn.Linear(2, 2)
        self.hidden = nn.utils.parametrizations.weight_norm(nn.Linear(5, 4))
        self.bare = nn.Linear(4, 3)

    def forward(self, x):
        x = torch.tanh(self.twice(torch.tanh(self.twice(x)))) * self.scale
        return functional.linear(self.hidden(x), self.bare.weight.abs(), self.bare.bias)


class Looks(nn.Module):
    """Control flow that looks at a value, which vmap refuses; and a subclass whose forward is not its parent's."""

    class Doubled(nn.Linear):
        def forward(self, x):
            return 2 * super().forward(x)

    def __init__(self):
        super().__init__()
        self.first, self.gain = self.Doubled(4, 6), nn.Parameter(torch.ones(6))

    def forward(self, x):
        x = self.first(x) * self.gain
        return torch.sigmoid(x[:, :3] if float(x.detach().sum()) > -1e9 else x[:, 3:])


class Two(nn.Module):
    """Two inputs by name."""

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(3, 4), nn.Conv1d(2, 4, 3, stride=2, dilation=2, padding=2)

    def forward(self, table, series):
        return self.a(table) * self.b(series).mean(2)


def _cnn():
    return nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1, stride=2),
        nn.ReLU(inplace=True),
        nn.Conv2d(4, 6, 3, padding=1, groups=2, padding_mode="reflect"),
        nn.GroupNorm(2, 6),
        nn.Conv2d(6, 6, (1, 3), dilation=(1, 2), padding="same"),
        nn.Conv2d(6, 5, 1, stride=2),
        nn.Flatten(),
        nn.LayerNorm(20),
        nn.Linear(20, 3),
    )


def _mlp():
    return nn.Sequential(nn.Flatten(), nn.Linear(12, 9), nn.ReLU(inplace=True), nn.BatchNorm1d(9), nn.Linear(9, 4))


NETWORKS = {
    "mlp": lambda: (_mlp(), torch.randn(7, 3, 4)),
    "cnn": lambda: (_cnn(), torch.randn(7, 3, 8, 8)),
    "resnet": lambda: (ResNet(), torch.randn(6, 3, 8, 8)),
    "transformer": lambda: (Transformer(), torch.randint(0, 11, (6, 5))),
    "odd": lambda: (Odd(), torch.randn(6, 5)),
    "looks": lambda: (Looks(), torch.randn(6, 4)),
    "two inputs": lambda: (Two(), {"table": torch.randn(5, 3), "series": torch.randn(5, 2, 9)}),
}


@pytest.fixture(params=NETWORKS)
def problem(request):
    """A network in evaluation mode with statistics of its own, and inputs, in 64 bit."""
    torch.manual_seed(0)
    model, inputs = NETWORKS[request.param]()
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            nn.init.normal_(module.running_mean)
            nn.init.uniform_(module.running_var, 0.5, 2)
    return model.double().eval(), _double(inputs)


def _double(inputs):
    if isinstance(inputs, dict):
        return {k: _double(v) for k, v in inputs.items()}
    return inputs.double() if inputs.is_floating_point() else inputs


def jacobian(model, inputs):
    """One gradient at a time: ``[n, C, P]``."""
    parameters = [p for p in model.parameters() if p.requires_grad]
    n = len(next(iter(inputs.values())) if isinstance(inputs, dict) else inputs)
    rows = []
    for i in range(n):
        if isinstance(inputs, dict):
            f = model(**{k: v[i : i + 1] for k, v in inputs.items()})[0]
        else:
            f = model(inputs[i : i + 1])[0]
        for value in f:
            grads = torch.autograd.grad(value, parameters, retain_graph=True, allow_unused=True)
            flat = [torch.zeros_like(p) if g is None else g for g, p in zip(grads, parameters, strict=True)]
            rows.append(torch.cat([g.flatten() for g in flat]))
    return torch.stack(rows).reshape(n, len(f), -1)


def logits(model, inputs):
    """Outputs without a graph."""
    with torch.no_grad():
        return model(**inputs) if isinstance(inputs, dict) else model(inputs)


def directions(model, inputs, output):
    """Directions by their definition: ``[n, R, C]``."""
    f = logits(model, inputs)
    n, c = f.shape
    eye = torch.eye(c, dtype=f.dtype).expand(n, c, c)
    if output == "sum":
        return torch.ones(n, 1, c, dtype=f.dtype)
    if output == "centered":
        return eye - 1 / c  # not a basis, but a tight frame: the same kernel
    if output.startswith("fisher"):
        p = f.softmax(-1)
        return p.sqrt()[:, :, None] * (eye - p[:, None, :])
    return eye


def kernel(model, inputs, output):
    """The kernel by a double loop over examples, from gradients taken one at a time."""
    j = torch.einsum("nrc,ncp->nrp", directions(model, inputs, output), jacobian(model, inputs))
    n = len(j)
    if "full" in output:
        return torch.stack([torch.stack([(a * b).sum() for b in j.flatten(0, 1)]) for a in j.flatten(0, 1)])
    return torch.stack([torch.stack([(j[a] * j[b]).sum() for b in range(n)]) for a in range(n)])


@pytest.fixture(scope="session")
def twin():
    """The slow kernel."""
    return kernel


@pytest.fixture(scope="session")
def slow_jacobian():
    """The slow Jacobian."""
    return jacobian


@pytest.fixture
def peak_bytes():
    """A context that counts bytes."""
    return PeakBytes()


def build(name):
    """One of the networks, in 32 bit and evaluation mode, and its inputs."""
    torch.manual_seed(0)
    model, inputs = NETWORKS[name]()
    return model.eval(), inputs


@pytest.fixture(scope="session")
def network():
    """Builds a network by name."""
    return build


class Flops(FlopCounterMode):
    """Counts products in place too, which torch's counter leaves out, and those of BLAS."""

    def __init__(self):
        super().__init__(display=False, custom_mapping={torch.ops.aten.addmm_: self.addmm})
        self.outside = 0

    @staticmethod
    def addmm(self_shape, a_shape, b_shape, out_shape=None, **kwargs):
        return 2 * a_shape[0] * a_shape[1] * b_shape[1]

    def get_total_flops(self):
        return super().get_total_flops() + self.outside


@pytest.fixture
def flops(monkeypatch):
    """Makes a counter of FLOPs."""
    made = []
    whole = _multiply.syrk

    def counted(kernel, rows):
        for counter in made:
            counter.outside += len(rows) * (len(rows) + 1) * rows.shape[1]
        whole(kernel, rows)

    monkeypatch.setattr(_multiply, "syrk", counted)

    def make():
        made.append(Flops())
        return made[-1]

    return make


def double_precision(value):
    """Double a module, a tensor or a dictionary of tensors; what is complex stays so."""
    if isinstance(value, nn.Module):
        return value._apply(double_precision)
    if isinstance(value, dict):
        return {key: double_precision(v) for key, v in value.items()}
    return value.to(torch.cdouble) if value.is_complex() else value.double() if value.is_floating_point() else value


@pytest.fixture(scope="session")
def double():
    """Takes a network or inputs to 64 bit."""
    return double_precision


def one_by_one(model, inputs, output="trace", call=lambda model, value: model(value)):
    """The kernel from one gradient of one example at a time; ``call`` says how inputs are passed."""
    model = copy.deepcopy(model)
    parameters = [p for p in model.parameters() if p.requires_grad]
    rows = []
    for i in range(len(next(iter(inputs.values())) if isinstance(inputs, dict) else inputs)):
        if isinstance(inputs, dict):
            f = call(model, {key: v[i : i + 1].clone() for key, v in inputs.items()}).reshape(-1)
        else:
            f = call(model, inputs[i : i + 1].clone()).reshape(-1)
        eye, p = torch.eye(len(f), dtype=f.dtype), f.detach().softmax(-1)
        for r, v in enumerate({"sum": eye.sum(0, True), "fisher": p.sqrt()[:, None] * (eye - p)}.get(output, eye)):
            grads = torch.autograd.grad(f, parameters, v, retain_graph=True, allow_unused=True)
            grads = [torch.zeros_like(w) if g is None else g for g, w in zip(grads, parameters, strict=True)]
            grads = [torch.view_as_real(g) if g.is_complex() else g for g in grads]
            rows.append((i, r, torch.cat([g.flatten().double() for g in grads])))
    if output == "full":
        return torch.tensor([[float(a @ b) for *_, b in rows] for *_, a in rows], dtype=torch.float64)
    found = torch.zeros(i + 1, i + 1, dtype=torch.float64)
    for a, r, x in rows:
        for b, s, y in rows:
            if r == s:
                found[a, b] += float(x @ y)
    return found


@pytest.fixture(scope="session")
def oracle():
    """The kernel of examples that never meet."""
    return one_by_one


@pytest.fixture(scope="session")
def assert_right():
    """Compares all forms of a kernel with the oracle; an error may show in one only."""

    def compare(model, inputs, output="trace", within=1e-9, call=lambda model, value: model(value), **more):
        with torch.enable_grad():
            expected = one_by_one(model, inputs, output, call)
        scale = float(expected.norm())
        given = {key: v.clone() for key, v in inputs.items()} if isinstance(inputs, dict) else inputs.clone()
        kernel = NTK(model, given, output=output, **more)
        found = kernel @ torch.eye(len(expected)).to(kernel.dtype)
        assert float((found - expected).norm()) < within * scale
        assert float((NTK(model, given, output=output, **more).matrix() - expected).norm()) < within * scale
        assert float((kernel.diagonal() - expected.diagonal()).norm()) < within * scale
        return kernel

    return compare
