"""The bench of rivals: data, cells, costs."""

from __future__ import annotations

import json

import pytest
import torch
from benchmarks.science import (
    cell as cells,
)
from benchmarks.science import (
    columns,
    cost,
    data_sets,
    records,
    report_costs,
    suite,
    throughput,
)

from selfdistill._core.errors import SettingError
from selfdistill._core.files import write_json
from selfdistill.data._read import read
from selfdistill.targets._base import GivenLabels
from selfdistill.train import Settings

# Data


def test_hold_out_and_test_set_share_no_example_with_training(science, tmp_path):
    found = science.write_suite(tmp_path).cells()[0]
    prepared = data_sets.load(found, tmp_path)
    again = data_sets.load(found | {"row": "sat", "method": "sat"}, tmp_path)
    other = data_sets.load(found | {"seed": 101}, tmp_path)
    parts = [prepared.train.inputs, prepared.holdout[0], prepared.test[0]]
    assert [len(part) for part in parts] == [200, 20, 360]
    rows = [{bytes(image.numpy().tobytes()) for image in part} for part in parts]
    assert not rows[0] & rows[1]
    assert not rows[2] & (rows[0] | rows[1])
    wrong = (prepared.train.labels != prepared.train.truth).double().mean().item()
    assert prepared.rate == pytest.approx(wrong)
    assert abs(wrong - 0.4) < 0.1
    assert torch.equal(prepared.train.labels, again.train.labels)
    assert not torch.equal(prepared.train.inputs, other.train.inputs)
    assert torch.equal(prepared.test[0], other.test[0])


def test_labels_go_with_their_images(science, tmp_path):
    found = science.write_suite(tmp_path).cells()[0]
    digits = read("digits")
    known = {image.numpy().tobytes(): int(label) for image, label in zip(digits.inputs, digits.labels, strict=True)}
    clean = data_sets.load(found | {"noise": "clean"}, tmp_path)
    noisy = data_sets.load(found, tmp_path)
    for images, labels in ((clean.train.inputs, clean.train.labels), clean.holdout, clean.test):
        assert [known[image.numpy().tobytes()] for image in images] == labels.tolist()
    assert torch.equal(noisy.train.truth, clean.train.labels)
    assert 0 < (noisy.holdout[1] != clean.holdout[1]).sum() < 16  # about 8 of 20


def test_the_oracle_gets_the_realised_rate_and_matrix(science, tmp_path):
    found = science.write_suite(tmp_path).cells()[0]
    prepared = data_sets.load(found, tmp_path)
    truth, given = prepared.train.truth, prepared.train.labels
    by_hand = torch.stack([torch.bincount(given[truth == k], minlength=10) for k in range(10)]).double()
    assert torch.allclose(prepared.matrix, by_hand / by_hand.sum(1, keepdim=True))
    options = found["settings"] | {"noise_rate": "oracle"}
    assert cells.settings_of(found | {"settings": options}, prepared, tmp_path).noise_rate == prepared.rate


def test_more_examples_than_there_are_is_refused(science, tmp_path):
    found = science.write_suite(tmp_path, science.toml.replace("examples = 200", "examples = 2000")).cells()[0]
    with pytest.raises(SettingError, match="has 1,437 examples to draw from, but the suite wants 2,000 and 20"):
        data_sets.load(found, tmp_path)


@pytest.mark.parametrize(
    ("name", "noise"),
    [("trec", "given"), ("trec-development", "given"), ("fashion", "instance-40"), ("cifar10", "human-worse")],
)
def test_real_data_are_split_as_said(shared_data, name, noise):
    if data_sets.missing(name, [noise], shared_data):
        pytest.skip(f"{name} is not unpacked at {shared_data}")
    settings = {"data": name, "noise": noise, "seed": 100, "examples": 500, "holdout": 50}
    prepared = data_sets.load(settings, shared_data)
    assert (len(prepared.train), len(prepared.holdout[1])) == (500, 50)
    assert 0.3 < prepared.rate < 0.6


def test_rows_with_their_true_labels_are_the_same_rows(shared_data):
    if data_sets.missing("trec-development", [], shared_data):
        pytest.skip(f"no text is at {shared_data}")
    cell = {"data": "trec-development", "seed": 100, "examples": 500, "holdout": 50}
    given, clean = (data_sets.load(cell | {"noise": noise}, shared_data) for noise in ("given", "clean"))
    assert clean.rate == 0 < given.rate
    assert torch.equal(clean.train.labels, given.train.truth)
    assert torch.equal(clean.train.inputs, given.train.inputs)
    assert not torch.equal(clean.holdout[1], given.holdout[1])


def test_development_rows_are_training_rows_that_are_not_trained_on(shared_data):
    names = [name for name in ("music", "trec", "semeval") if not data_sets.missing(name, [], shared_data)]
    if not names:
        pytest.skip(f"no table is at {shared_data}")
    for name in names:
        whole, part = (
            data_sets.read_pool(name, "given", shared_data),
            data_sets.read_pool(f"{name}-development", "given", shared_data),
        )
        all_ids, kept = set(whole.full.ids), set(part.full.ids)
        assert kept < all_ids
        assert len(part.test[1]) == len(all_ids) - len(kept) == len(all_ids) // 5
        left = torch.tensor([i not in kept for i in whole.full.ids])
        assert sorted(whole.truth[left].tolist()) == sorted(part.test[1].tolist())


# Cells


def test_a_cell_that_diverges_is_recorded_with_its_curves(science, tmp_path):
    found = science.write_suite(tmp_path, science.toml.replace("epochs = 2", "epochs = 3\nlr = 1e6")).cells()[0]
    made = cells.run_cell(found, tmp_path)
    assert made["diverged"].startswith("the loss became nan in epoch ")
    assert len(made["curves"].get("test_accuracy", [])) < 3
    records.write("trial", made, tmp_path / "r")
    assert records.table_of("trial", tmp_path / "r").read()[suite.record_key(found)]["returned"] is None


def test_what_early_stopping_returns_is_the_epoch_it_kept(science, tmp_path):
    text = science.toml.replace('"sat"', '"early-stopping"').replace("epochs = 2", "epochs = 8")
    found = next(c for c in science.write_suite(tmp_path, text).cells() if c["row"] == "early-stopping")
    made = cells.run_cell(found, tmp_path)
    epochs, kept = columns.epochs_of(made), made["kept_epoch"]
    assert epochs["last"] == kept - 1
    assert made["returned"] == pytest.approx(made["curves"]["test_accuracy"][kept - 1], abs=1e-6)
    held = made["curves"]["held_out_accuracy"]
    assert kept - 1 == held.index(max(held))
    assert {len(curve) for curve in made["curves"].values()} == {8}
    assert made["cost"]["cpu_seconds"] > made["cost"]["evaluation_cpu_seconds"] > 0
    assert made["cost"]["plain_cpu_seconds"] > 0
    assert made["cost"]["plain_wall_seconds"] > 0
    assert made["commit"] == cells.commit()
    assert made["cost"]["peak_mib"] >= made["cost"]["training_peak_mib"] > 50


def test_bytes_are_those_of_buffers_and_parameters():
    module = torch.nn.Module()
    module.register_buffer("rows", torch.zeros(7, 3))
    module.register_buffer("matrix", torch.zeros(3, 3, dtype=torch.float64))
    module.register_parameter("u", torch.nn.Parameter(torch.zeros(7, 1)))
    module.refined = lambda: module.rows
    assert cells.state_bytes(module) == {"state_bytes": 7 * 3 * 4 + 9 * 8 + 7 * 4, "sample_bytes": 7 * 3 * 4 + 7 * 4}


# Costs


def test_flops_of_cross_entropy_are_those_of_its_matrices():
    found = cost.count("cross-entropy", "mlp:512,512", epochs=2)
    layers = [784 * 512, 512 * 512, 512 * 10]
    # Forward and weight gradients of all layers, and input gradients of all but the first.
    assert found["flops_per_image"] == 2 * (2 * sum(layers) + sum(layers[1:]))
    state = GivenLabels(torch.arange(256) % 10, 10)
    assert found["sample_bytes"] == sum(b.numel() * b.element_size() for b in state.buffers())


def test_flops_of_a_held_out_tenth_are_those_of_fewer_steps_and_more_looks():
    plain = cost.count("cross-entropy", "mlp:512,512", epochs=2)
    kept = cost.count("early-stopping", "mlp:512,512", epochs=2)
    forward = 2 * (784 * 512 + 512 * 512 + 512 * 10)
    labels = cost.images((1, 28, 28), 256).labels
    held = sum(int(0.1 * int((labels == k).sum())) for k in range(10))
    looks = 2 * held * forward + 256 * forward  # each epoch, and all at the end
    assert kept["flops"] == plain["flops"] // 256 * (256 - held) + looks


def test_an_unknown_network_is_not_counted(tmp_path):
    with pytest.raises(SettingError, match="network 'resnet20' is not counted here"):
        cost.run(["resnet20"], None, tmp_path)


def test_a_fit_is_timed_between_the_ends_of_epochs(monkeypatch):
    part = cost.images((1, 28, 28), 256)
    settings = Settings(method="cross-entropy", network="mlp:16", epochs=3, batch_size=128, lr=1e-3).resolve(256, "cpu")
    clock = iter([(10.0, 1.0), (11.0, 1.5), (14.0, 2.0)])
    monkeypatch.setattr(throughput, "now", lambda: next(clock))
    assert throughput.fit_block(part, settings) == (512 / 4, 512 / 1)


def test_a_fit_and_the_bare_loop_take_turns(monkeypatch):
    part = cost.images((1, 28, 28), 256)
    settings = Settings(method="cross-entropy", network="mlp:16", epochs=3, batch_size=128, lr=1e-3).resolve(256, "cpu")
    bare = throughput.Bare(part, settings)
    hours = [0.0]  # the clock moves by one second in each bare step, by a tenth in each look at it
    monkeypatch.setattr(bare, "step", lambda x, y: hours.__setitem__(0, hours[0] + 1.0))

    def look():
        hours[0] += 0.1
        return hours[0], 2 * hours[0]

    monkeypatch.setattr(throughput, "now", look)
    fit, loop = throughput.in_turn(part, settings, bare)
    # Two epochs of two steps and an end each: six stretches of the fit, four bare steps.
    assert fit == pytest.approx((512 / 0.6, 512 / 1.2))
    assert loop == pytest.approx((512 / 4.4, 512 / 8.8))


def test_the_bare_loop_takes_the_steps_it_is_timed_for(monkeypatch):
    bare = throughput.Bare(cost.images((1, 28, 28), 256), Settings(network="mlp:16", device="cpu", precision="fp32"))
    steps = []
    monkeypatch.setattr(bare, "step", lambda x, y: steps.append(len(y)))
    assert min(bare.block()) > 0
    assert steps == [128] * 5  # one to warm up, two epochs of two


def test_networks_that_are_not_timed_anew_keep_their_times_on_the_same_machine(tmp_path, monkeypatch):
    def measure(network, shape, device, repetitions, seconds):
        shown = " x ".join(map(str, shape))
        return {"network": network, "shape": shown, "images_per_second": {"bare": [seconds]}}

    monkeypatch.setattr(throughput, "measure", measure)

    def times(names, seconds):
        path = throughput.run(names, "cpu", 1, seconds, tmp_path)
        return [case["images_per_second"]["bare"][0] for case in json.loads(path.read_text())["cases"]], path

    assert times(None, 1.0)[0] == [1.0] * 4
    found, path = times(["cnn"], 2.0)
    assert found == [1.0, 2.0, 2.0, 1.0]
    record = json.loads(path.read_text())
    write_json(path, record | {"versions": record["versions"] | {"torch": "0.1"}})
    assert times(["cnn"], 3.0)[0] == [3.0, 3.0]


def test_costs_and_speeds_are_told_relative_to_the_plain_ones(tmp_path):
    one = {"flops": 100, "flops_per_image": 2e6, "sample_bytes": 4000, "examples": 10, "classes": 10}
    methods = {"cross-entropy": one, "sce": one | {"flops": 150, "sample_bytes": 8000}}
    case = {"network": "mlp", "shape": "1 x 2", "methods": methods}
    names = ["cross-entropy", "sce"]
    write_json(tmp_path / "cost.json", {"schema": 1, "epochs": 40, "methods": names, "cases": [case]})
    speeds = {"bare": [100.0, 200.0], "fit": [90.0, 200.0]}
    timed = {"network": "mlp", "shape": "1 x 2", "images": 1000, "flops_per_image": 1e6}
    timed |= {"images_per_second": speeds, "limit_flops": 4e8}
    timed |= {"over_bare": {"fit": [0.9, 1.0]}, "over_bare_by_cpu": {"fit": [0.99, 0.99]}}
    speed = {"schema": 1, "device": "cpu", "precision": "fp32", "batch": 128}
    hardware = {"device_name": "one", "threads": 1}
    write_json(tmp_path / "throughput-cpu.json", speed | {"hardware": hardware, "cases": [timed]})
    lines = report_costs.section(tmp_path)
    assert "| sce | 1.50 | 1.00 | 80.0 |" in lines
    assert "| mlp, 1 x 2 | 1,000 | 150 ± 71 | 50 % | 0.950 ± 0.071 (0.990 ± 0.000) |" in lines
    assert any("On a GPU: not measured" in line for line in lines)
