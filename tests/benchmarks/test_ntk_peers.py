"""The problems are what the page says they are, and the methods that run here give one kernel."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from benchmarks.ntk_peers import ours, problems, suites, torch_func
from benchmarks.ntk_peers.torch_networks import load


@pytest.mark.parametrize(("network", "parameters"), [("cnn", 289_482), ("mlp", 1_863_690)])
def test_networks_have_the_parameters_that_are_stated(network, parameters):
    model = load(network, problems.weights(network), torch.float64)
    assert sum(p.numel() for p in model.parameters()) == parameters == problems.parameters(network)


def test_inputs_are_reproducible_and_all_different():
    first, again = (problems.inputs("mlp", 1900) for _ in range(2))
    assert np.array_equal(first, again)
    assert len(np.unique(first.round(6), axis=0)) == 1900


def test_a_problem_is_handed_over_without_pickles(tmp_path):
    path = problems.stored(tmp_path, "mlp", 3)
    named, x = problems.read(path, "float64")
    assert x.shape == (3, 784)
    assert {name: v.shape for name, v in named.items()} == problems.shapes("mlp")


@pytest.mark.parametrize("network", ["resnet20", "transformer"])
def test_weights_that_torch_draws_are_handed_over(tmp_path, network):
    named, x = problems.read(problems.stored(tmp_path, network, 2), "float32")
    drawn, given = load(network, {}, torch.float32), load(network, named, torch.float32)
    assert named.keys() >= {name for name, _ in drawn.named_parameters()}
    assert torch.equal(drawn(torch.from_numpy(x)), given(torch.from_numpy(x)))
    blank = load(network, {name: 0 * value for name, value in named.items()}, torch.float32)
    assert not torch.equal(drawn(torch.from_numpy(x)), blank(torch.from_numpy(x)))


@pytest.mark.parametrize("output", ["sum", "full"])
def test_ours_and_torch_func_give_one_kernel(output):
    named, x = problems.weights("mlp"), problems.inputs("mlp", 4)
    kernels = []
    for module, method in ((ours, "ours"), (ours, "ours-operator"), (torch_func, "torch.func")):
        _, run = module.build("mlp", named, x, output, {"device": "cpu", "method": method})
        kernels.append(run())
    assert kernels[0].shape == ((4, 4, 10, 10) if output == "full" else (4, 4))
    for k in kernels[1:]:
        assert np.linalg.norm(k - kernels[0]) < 1e-10 * np.linalg.norm(kernels[0])


def test_what_does_not_fit_is_left_out_with_its_size():
    row = suites.Row("mlp", "trace", 5000, 1)
    assert suites.reason_to_leave(row, "torch.func") == "its Jacobian takes 373 GB"
    assert suites.reason_to_leave(row, "ours") is None
