"""What is forecast is what happens: FLOPs, sweeps and bytes are counted; and the least memory that is told works."""

from __future__ import annotations

import re
from contextlib import contextmanager

import pytest
import torch
from torch import nn

from selfdistill._core.errors import SettingError
from selfdistill.ntk import NTK
from selfdistill.ntk._forecast import Cost, Item, as_bytes, parse_bytes
from selfdistill.ntk._plan import block_rows

WITHIN = 1.5


def wide(name, network, n):
    """Networks large enough that matrix products dominate what is counted."""
    torch.manual_seed(0)
    if name == "mlp":
        return nn.Sequential(nn.Linear(40, 96), nn.ReLU(), nn.Linear(96, 64), nn.ReLU(), nn.Linear(64, 5)), torch.randn(
            n, 40
        )
    if name == "cnn":
        layers = [
            nn.Conv2d(3, 16, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(16, 24, 3, stride=2, padding=1),
            nn.GroupNorm(2, 24),
        ]
        head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(24, 5)]
        return nn.Sequential(*layers, nn.ReLU(), *head), torch.randn(n, 3, 12, 12)
    model, _ = network("transformer")
    return model, torch.randint(0, 11, (n, 5))


def least(work):
    """Read from its error how many bytes a piece of work needs."""
    with pytest.raises(SettingError, match=r"memory is .*, but this kernel needs at least .*B\. Give more") as caught:
        work()
    number, unit = re.search(r"least ([\d.,]+) (\w+)", str(caught.value)).groups()
    return float(number.replace(",", "")) * {"B": 1, "KiB": 2**10, "MiB": 2**20}[unit]


@pytest.mark.parametrize("memory", ["2GiB", "tight"])
@pytest.mark.parametrize("output", ["trace", "sum", "full"])
@pytest.mark.parametrize("name", ["mlp", "cnn", "transformer"])
def test_the_matrix_costs_what_is_forecast(network, peak_bytes, flops, name, output, memory):
    n = 100 if output == "full" else 300
    model, x = wide(name, network, n)
    if memory == "tight":
        roomy = NTK(model, x, output=output).plan.matrix.bytes
        memory = int(0.7 * least(NTK(model, x, output=output, memory=1000).matrix) + 0.3 * roomy + 1e5)
    kernel = NTK(model, x, output=output, memory=memory)
    forecast = kernel.plan.matrix
    with peak_bytes:
        kernel.matrix()
    assert forecast.bytes / WITHIN < peak_bytes.peak < forecast.bytes * WITHIN
    assert peak_bytes.peak < kernel.memory
    kernel = NTK(model, x, output=output, memory=kernel.memory)
    with flops() as counter:
        kernel.matrix()
    assert forecast.flops / WITHIN < counter.get_total_flops() < forecast.flops * WITHIN
    assert kernel.jacobian.examples == forecast.sweeps * n


@pytest.mark.parametrize("memory", ["2GiB", "tight"])
@pytest.mark.parametrize("output", ["trace", "full"])
@pytest.mark.parametrize("name", ["mlp", "cnn"])
def test_a_product_costs_what_is_forecast(network, peak_bytes, flops, name, output, memory):
    model, x = wide(name, network, 200)
    roomy = NTK(model, x, output=output).plan.product.bytes
    kernel = NTK(model, x, output=output, memory=int(0.6 * roomy) if memory == "tight" else memory)
    forecast, vectors = kernel.plan.product, torch.randn(kernel.shape[0], 20)
    first = 1 if forecast.sweeps == 0 else forecast.sweeps
    with peak_bytes:
        kernel.matmat(vectors)
    assert forecast.bytes / WITHIN < peak_bytes.peak < forecast.bytes * WITHIN
    assert kernel.jacobian.examples == first * 200
    with flops() as counter:
        kernel.matmat(vectors)
    assert forecast.flops / WITHIN < counter.get_total_flops() < forecast.flops * WITHIN
    assert kernel.jacobian.examples == (1 if forecast.sweeps == 0 else 2 * first) * 200


@pytest.mark.parametrize("name", ["mlp", "cnn", "transformer"])
def test_too_little_memory_is_told_with_the_least_that_works(network, name):
    model, x = wide(name, network, 12)
    fewest = least(NTK(model, x, memory=1000).matrix)
    found = NTK(model, x, memory=int(1.01 * fewest)).matrix()
    torch.testing.assert_close(found, NTK(model, x).matrix(), rtol=1e-4, atol=1e-4)
    assert least(NTK(model, x, memory=int(0.99 * fewest)).matrix) == fewest
    assert least(lambda: NTK(model, x, memory=1000) @ torch.ones(12, 1)) > 1000


def test_plan_says_how_each_layer_is_treated(network):
    text = str(NTK(*network("transformer")).plan)
    assert re.search(r"embed.weight +Embedding +slabs +88 ", text)
    assert re.search(r"layer.self_attn.in_proj_weight +Projection +slabs +192 ", text)
    assert re.search(r"as a matrix: .*FLOP, 1 sweep, ", text)
    text = str(NTK(*network("mlp"), memory="2kB").plan)
    assert re.search(r"1.weight +Linear +factors +117 ", text)
    assert "as a matrix: does not fit" in text


def test_linear_layers_on_vectors_are_never_expanded(network, peak_bytes):
    model, x = nn.Sequential(nn.Linear(2000, 500), nn.Tanh(), nn.Linear(500, 2)), torch.randn(64, 2000)
    kernel = NTK(model, x, output="sum")
    with peak_bytes:
        kernel.matrix()
    assert peak_bytes.peak < 64 * 4 * 20_000  # the gradients themselves take 64 · 4 · 1,000,000 bytes


@pytest.mark.parametrize("n", [1, 100, 128, 300, 5000])
def test_blocks_of_rows_cover_all(n):
    blocks = block_rows(n)
    assert [row for start, stop in blocks for row in range(start, stop)] == list(range(n))
    assert len(blocks) <= 16


@pytest.mark.parametrize("text", ["0", "-1GB", "2 parsecs", "", "1.2.3MB"])
def test_amounts_that_are_none(text):
    with pytest.raises(SettingError, match="memory is"):
        parse_bytes(text)


def test_amounts_are_read_and_written():
    read = {"7": 7, "1.5 GiB": 3 * 2**29, "2kb": 2000, " 3MB ": 3 * 10**6, "0.25T": 25 * 10**10, "4KiB": 4096}
    assert {text: parse_bytes(text) for text in read} == read
    written = {999: "999 B", 1000: "1.0 KiB", 5 * 2**20: "5.0 MiB", 3 * 2**30: "3.0 GiB", 2**42: "4,096.0 GiB"}
    assert {value: as_bytes(value) for value in written} == written
    assert str(Cost(999, 1, 12)) == "999 FLOP, 1 sweep, 12 B"
    assert str(Cost(1.25e9, 3, 12)) == "1.25 GFLOP, 3 sweeps, 12 B"
    assert str(Cost(4e19, 1.2, 12)) == "4e+04 PFLOP, 1 sweep, 12 B"


def test_a_product_takes_its_vectors_three_times_and_the_gradients_of_each_vector_and_example(network):
    model, x = network("mlp")
    kernel = NTK(model, x, rules=False)  # rules mix directions in memory of their own
    planner, gradients = kernel._planner(), kernel.directions.count * sum(p.numel() for p in model.parameters())
    for block in (1, 10):
        _, chunk, kept, cost = planner.product(block)
        assert kept
        numbers = 3 * 2 * len(x) * block + gradients * (block + len(x))
        assert cost.bytes - planner.chunk_bytes(chunk) == pytest.approx(4 * numbers, abs=1e-3)


def test_bytes_are_counted_to_the_byte(peak_bytes):
    with peak_bytes:
        one = torch.zeros(100)
        whole = torch.cat([one.view(10, 10), one[:50].double().view(5, 10)])  # 400, 400 for the copy in 64 bit, 1200
        assert peak_bytes.peak == 2000
        del one
        assert peak_bytes.alive == whole.nbytes == 1200
    assert peak_bytes.peak == 2000


def test_patches_of_a_convolution_are_forecast_for_some_examples_at_once(peak_bytes):
    model = nn.Sequential(nn.Conv2d(8, 4, 5, padding=2), nn.Tanh(), nn.Flatten(), nn.Linear(400, 3))
    kernel = NTK(model, torch.randn(40, 8, 10, 10))
    each, fixed = kernel.jacobian.overhead(kernel.inputs)
    assert each < 8 * 5 * 5 * 10 * 10 * 4  # bytes of one example's patches
    weights = [Item("0.weight", 0, 4), Item("3.weight", 0, 3)]
    pairs = [(item, kernel.jacobian.empty(item, 40, kernel.structure.like)) for item in weights]
    with peak_bytes:
        kernel.jacobian.differentiate(kernel.inputs.chunk(0, 40), pairs)
    assert peak_bytes.peak / 1.2 < each * 40 + fixed < peak_bytes.peak * 1.2


def test_progress_ends_at_the_examples_that_were_announced(network, monkeypatch):
    told = []

    @contextmanager
    def bar(forecast, examples, wanted):
        told.append([examples, 0])
        yield lambda done: told[-1].__setitem__(1, told[-1][1] + done)

    monkeypatch.setattr("selfdistill.ntk._operator.progress_bar", bar)
    model, x = network("mlp")
    x = torch.randn(40, *x.shape[1:])
    kernel = NTK(model, x, memory="30kB")  # chunks of 5 and 10 examples
    kernel.matrix()
    kernel.matmat(torch.randn(40, 3))
    kernel.diagonal()
    NTK(model, x, x[:25], memory="30kB").matrix()
    for memory in ("30kB", "2GiB"):  # anew for each sweep, kept
        between = NTK(model, x, x[:25], memory=memory)
        between.matmat(torch.randn(25, 3))
        between.T.matmat(torch.randn(40, 3))
    assert len(told) == 8
    assert all(announced == done > 0 for announced, done in told), told


def deep():
    """Wide convolutions on a small map, and token-wise Linear layers."""
    torch.manual_seed(0)
    convolutions = [nn.Conv2d(2, 48, 3, padding=1), nn.ReLU(), nn.Conv2d(48, 64, 3, padding=1), nn.ReLU()]
    tokens = [
        nn.Flatten(2),
        nn.Linear(9, 40),
        nn.ReLU(),
        nn.Linear(40, 40),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(2560, 3),
    ]
    return nn.Sequential(*convolutions, *tokens), torch.randn(40, 2, 3, 3)


@pytest.mark.parametrize("memory", ["2GiB", "3.4MB"])
@pytest.mark.parametrize("output", ["sum", "trace", "full"])
def test_wide_layers_are_kept_instead_of_their_gradients(peak_bytes, flops, output, memory):
    model, x = deep()
    kernel = NTK(model, x, output=output, memory="12MB" if output != "sum" and memory != "2GiB" else memory)
    groups, _, forecast = kernel._planner().explicit()
    assert {kept.name for group in groups for kept in group.kept} >= {"2.weight"}
    done = [item for group in groups for item in group.everything]
    assert sorted((i.name, row) for i in done for row in range(i.first, i.last)) == sorted(
        (name, row)
        for name, p in model.named_parameters()
        if name != "10.bias"
        for row in range(len(p))
        if name != "10.weight" or row == 0
    )
    with peak_bytes:
        found = kernel.matrix()
    assert forecast.bytes / WITHIN < peak_bytes.peak < min(forecast.bytes * WITHIN, kernel.memory)
    gradients = 4 * len(x) * kernel.directions.count * 48 * 64 * 9
    assert peak_bytes.peak < gradients  # those of the wide layer alone
    with flops() as counter:
        kernel.matrix()
    assert forecast.flops / WITHIN < counter.get_total_flops() < forecast.flops * WITHIN
    slow = NTK(model, x, output=output, rules=False).matrix()
    assert float((found - slow).norm() / slow.norm()) < 1e-5


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("output", ["trace", "full"])
def test_examples_that_a_layer_sees_as_they_are_are_not_copied(peak_bytes, output, bias):
    model = nn.Sequential(nn.Flatten(), nn.Linear(4000, 5, bias=bias), nn.Tanh(), nn.Linear(5, 2))
    x, y = torch.randn(50, 40, 100), torch.randn(9, 40, 100)
    before = x.clone()
    kernel = NTK(model, x, output=output, memory="2GiB")
    assert kernel.structure.fed == {"1.weight"}
    with peak_bytes:
        found = kernel.matrix()
    assert peak_bytes.peak < 4 * x.numel()
    assert torch.equal(x, before)
    torch.testing.assert_close(found, NTK(model, x, output=output, rules=False).matrix(), rtol=1e-4, atol=1e-3)
    for other in (y, y.double(), y.transpose(1, 2).contiguous().transpose(1, 2)):  # views, and what has to be copied
        slow = NTK(model, x, other, output=output, rules=False).matrix()
        torch.testing.assert_close(NTK(model, x, other, output=output).matrix(), slow, rtol=1e-4, atol=1e-3)


def test_examples_in_another_order_are_copied():
    class Turned(nn.Module):
        def forward(self, x):
            return x.transpose(1, 2).reshape(len(x), 12)

    model, x = nn.Sequential(Turned(), nn.Linear(12, 5), nn.Tanh(), nn.Linear(5, 2)), torch.randn(6, 3, 4)
    assert NTK(model, x).structure.fed == set()
    torch.testing.assert_close(NTK(model, x).matrix(), NTK(model, x, rules=False).matrix())
