"""The problems are what the page says they are, and the methods that run here give one kernel."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from benchmarks.ntk_peers import ours, problems, report, suites, torch_func, turns
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


def test_turns_give_a_record_for_each_method_and_turn(tmp_path, monkeypatch):
    monkeypatch.setattr(turns, "cell", lambda row, method: {"options": {}})
    found = turns.measure(suites.Row("mlp", "sum", 4, 1), tmp_path, 3)
    assert [(r["method"], r["repetition"]) for r in found if r["repetition"] == 1] == [("ours", 1), ("torch.func", 1)]
    assert [r["method"] for r in found[:2]] == ["torch.func", "ours"]
    assert all(r["cpu_s"] > 0 for r in found)
    assert found[0]["difference"]["relative"] < 1e-4  # of 32 bit: 3e-5 on some processors


def test_the_page_has_the_middle_of_the_ratios_of_each_turn():
    row = suites.SUITES["transformers"][0]
    shared = {"suite": "transformers", "network": row.network, "output": row.output, "n": row.n}
    ours_, other = ((0, 1.0), (1, 2.0), (2, 4.0)), ((0, 3.0), (1, 4.0), (2, 6.0))
    found = [
        {**shared, "method": method, "repetition": k, "cpu_s": s, "extra_bytes": size, "difference": {"relative": 1e-7}}
        for method, values, size in (("ours", ours_, 2), ("torch.func", other, 5))
        for k, s in values
    ]
    assert report._transformers([]) == []
    (line,) = [text for text in report._transformers(found) if text.startswith("| gpt")]
    assert line == "| gpt | sum | 64 | 2 (1 to 4) | 2.00 (1.50 to 3.00) | 2.5 | 1e-07 | 3 |"


def test_turns_of_some_kernels_are_numbered_on(tmp_path, monkeypatch):
    row = suites.Row("mlp", "sum", 4, 1)
    others = (row._replace(output="trace"), row._replace(n=5))
    before = [{"suite": "own", **row._asdict(), "method": m, "repetition": k} for m in turns.PAIR for k in range(2)]
    before += [{**r, "suite": "other"} for r in before] + [{**r, "n": 5} for r in before]
    written = []
    monkeypatch.setitem(suites.SUITES, "own", (row, *others))
    monkeypatch.setattr(report, "records", lambda: before)
    monkeypatch.setattr(turns.driver, "write", written.append)
    monkeypatch.setattr(
        turns, "measure", lambda row, *rest: [{"method": m, "repetition": k} for k in range(3) for m in turns.PAIR]
    )
    turns.run("own", tmp_path, ["sum"], [4])
    assert {(r["output"], r["n"]) for r in written} == {("sum", 4)}
    assert sorted(r["repetition"] for r in written) == [2, 2, 3, 3, 4, 4]
