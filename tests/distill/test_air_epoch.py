"""The AIR epoch of a run, against the record that the study of the whole run writes."""

from __future__ import annotations

import pytest
import torch

from selfdistill import air, networks, train
from selfdistill._core.errors import RunError
from selfdistill._core.record import read_record
from selfdistill.distill import air_epoch


def test_it_is_the_epoch_that_the_study_gives(teacher_run, digits):
    record = read_record(teacher_run)
    found = air_epoch(record, digits, examples=200)
    drawn, _ = train.held_out(digits.labels, 0.1, 0)
    picked = drawn[air.choose_examples(digits.labels[drawn], 200, 0)]
    examples = air.Examples(digits.inputs[picked], digits.labels[picked], 10)
    stats = digits.preprocess.stats
    network = air.calibrated(networks.build("mlp:32", (1, 8, 8), 10, seed=0, stats=stats), examples.inputs)
    spectra = {"initial": air.network_kernel()(network, examples.inputs)}
    start = air.outputs_of(network, examples.inputs)
    moment = air.snapshot("initial", network, examples, spectra["initial"])
    steps = -(-len(drawn) // record["settings"]["batch_size"])
    clock = air.Clock.of_ends(record["curves"]["lr"], steps, 0.9)
    measured = air.Measured(clock, record["curves"]["agreement"], {}, plain=True)
    said = air.study(examples, spectra, start, [moment], measured=measured)["stopping"]["gcv"]
    assert found["time"] == pytest.approx(said["time"], rel=1e-6)
    assert found["agreement"] == pytest.approx(said["agreement"], rel=1e-6)
    assert found["epoch"] == (None if said["epoch"] is None else pytest.approx(said["epoch"]))


def test_a_run_that_never_gets_there_has_no_epoch(teacher_run, digits):
    record = read_record(teacher_run)
    record["curves"]["agreement"] = [0.05] * 8
    assert air_epoch(record, digits, examples=100)["epoch"] is None


def test_a_pair_has_no_kernel(teacher_run, digits):
    record = read_record(teacher_run)
    record["settings"]["network"] = "2*mlp:32"
    with pytest.raises(RunError, match=r"trained a pair, 2\*mlp:32, which has no kernel"):
        air_epoch(record, digits)


def test_held_out_examples_are_not_looked_at(teacher_run, digits):
    _, held = train.held_out(digits.labels, 0.1, 0)
    torn = digits.inputs.clone()
    torn[held] = 0
    changed = digits.__class__(**{**vars(digits), "inputs": torn})
    record = read_record(teacher_run)
    assert air_epoch(record, changed, examples=100) == air_epoch(record, digits, examples=100)
    assert torch.equal(torn[held], torch.zeros_like(torn[held]))
