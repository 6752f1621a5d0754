"""Which epoch teaches: what each way of choosing says, and the kernel's time to stop."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from selfdistill import air
from selfdistill._core.errors import RunError, SettingError
from selfdistill._core.labels import held_out
from selfdistill._core.record import RunRecord, read_record
from selfdistill.air._clock import Clock
from selfdistill.air._monitor import choose_examples
from selfdistill.air._snapshot import Examples, outputs_of, snapshot
from selfdistill.air._study import RunCurves, study
from selfdistill.distill._candidates import air_epoch, candidates, choose
from selfdistill.networks._build import build


def record(held=None, changed=(0.9, 0.5, 0.3, 0.4, 0.2, 0.1), kept_epoch=None):
    curves = {"changed_share": list(changed), "agreement": [0.5] * len(changed)}
    curves |= {} if held is None else {"held_out_accuracy": list(held)}
    settings = {"method": "cross-entropy", "network": "mlp:8", "epochs": len(changed), "batch_size": 4, "device": "cpu"}
    found = {
        "status": "running",
        "warnings": [],
        "notes": [],
        "data": {"examples": 9, "classes": ["a", "b"], "input_shape": [2], "fingerprint": "0f"},
        "settings": settings | {"seed": 0, "lr": 0.1, "momentum": 0.9},
        "curves": curves,
        "result": {"label_issues": 0, "confused": [], "seconds": 1.0, "kept_epoch": kept_epoch},
    }
    return RunRecord.from_json(found)


def keep(run, *epochs):
    (run / "epochs").mkdir()
    for epoch in epochs:
        (run / "epochs" / f"epoch-{epoch:04d}.safetensors").touch()
    return run


def test_candidates_are_the_kept_epochs_and_the_runs_own_model(tmp_path):
    found = candidates(keep(tmp_path, 2, 4, 6), record(held=[0, 1, 2, 3, 4, 5]))
    assert [one.epoch for one in found] == [2, 4, 6]
    assert [one.measures["held_out_accuracy"] for one in found] == [1, 3, 5]
    assert found[-1].path == tmp_path / "model.safetensors"
    early = candidates(tmp_path, record(kept_epoch=3))
    assert [one.epoch for one in early] == [2, 3, 4, 6]
    assert early[1].path == tmp_path / "model.safetensors"


def test_held_out_takes_the_first_of_the_best_that_was_kept(tmp_path):
    run = keep(tmp_path, 1, 2, 4, 5)
    found = choose(run, record(held=[0.1, 0.5, 0.9, 0.5, 0.5, 0.2]), "held-out")
    assert found.candidate.epoch == 2
    rows = {row["epoch"]: row["chosen_by"] for row in found.record()["candidates"]}
    assert "held-out" in rows[2]
    assert "last" in rows[6]


def test_label_wave_points_to_the_first_trough_and_takes_the_nearest(tmp_path):
    falling = (0.9, 0.5, 0.3, 0.31, 0.6, 0.01)
    smooth = [0.9, 0.7, (0.9 + 0.5 + 0.3) / 3, (0.5 + 0.3 + 0.31) / 3, (0.3 + 0.31 + 0.6) / 3]
    assert smooth.index(min(smooth)) == 3  # the fourth epoch; the fifth has risen
    found = choose(keep(tmp_path, 1, 3, 5), record(changed=falling), "label-wave")
    assert found.answers["label-wave"] == {"epoch": 3, "wanted": 4}  # as near as 5, and earlier


@pytest.mark.parametrize(("when", "taken"), [(2.4, 2), (3.7, 4), (None, 6), (float("inf"), 6), (0.2, 1)])
def test_air_takes_the_kept_epoch_nearest_to_its_time(tmp_path, when, taken):
    run = keep(tmp_path, 1, 2, 4)
    found = choose(run, record(), "air", lambda: {"epoch": when, "time": 1.0, "agreement": 0.5})
    assert found.candidate.epoch == taken
    assert found.answers["air"]["agreement"] == pytest.approx(0.5)


def test_air_costs_a_kernel_and_is_not_asked_unless_named(tmp_path):
    def never():
        raise AssertionError

    found = choose(keep(tmp_path, 1, 2), record(), None, never)
    assert found.way == "last"
    assert "not asked" in found.answers["air"]["not"]
    assert "held out no examples" in found.answers["held-out"]["not"]


def test_nothing_said_takes_held_out_where_the_run_can(tmp_path):
    assert choose(keep(tmp_path, 1, 2), record(held=[1, 0, 0, 0, 0, 0]), None).way == "held-out"


def test_what_a_run_cannot_serve_is_refused_with_what_it_kept_and_how_to_get_more(tmp_path):
    alone = r"kept the weights of epoch 6 only, so air has nothing to choose from. .*--keep-epochs all"
    with pytest.raises(RunError, match=alone):
        choose(tmp_path, record(), "air", lambda: {"epoch": 1.0})
    keep(tmp_path, 1, 3)
    with pytest.raises(
        RunError, match=r"cannot choose by held-out: it held out no examples \(it kept epochs 1, 3, 6\)"
    ):
        choose(tmp_path, record(), "held-out")
    with pytest.raises(RunError, match=r"--keep-epochs all --held-out 0.1, or choose another `choose`"):
        choose(tmp_path, record(), "held-out")
    with pytest.raises(SettingError, match=r"choose 'best' is unknown. .* last, held-out, label-wave, air"):
        choose(tmp_path, record(), "best")


def test_a_real_run_has_them_all(teacher_run):
    found = choose(teacher_run, read_record(teacher_run), None)
    assert [one.epoch for one in found.candidates] == list(range(1, 9))
    curve = read_record(teacher_run).curves["held_out_accuracy"]
    assert found.candidate.epoch == curve.index(max(curve)) + 1


def test_it_is_the_epoch_that_the_study_gives(teacher_run, digits):
    record = read_record(teacher_run)
    found = air_epoch(record, digits, examples=200)
    drawn, _ = held_out(digits.labels, 0.1, 0)
    picked = drawn[choose_examples(digits.labels[drawn], 200, 0)]
    examples = Examples(digits.inputs[picked], digits.labels[picked], 10)
    stats = digits.preprocess.stats
    network = air.calibrated(build("mlp:32", (1, 8, 8), 10, seed=0, stats=stats), examples.inputs)
    spectra = {"initial": air.network_kernel()(network, examples.inputs)}
    start = outputs_of(network, examples.inputs)
    moment = snapshot("initial", network, examples, spectra["initial"])
    steps = -(-len(drawn) // record.settings.batch_size)
    clock = Clock.of_ends(record.curves["lr"], steps, 0.9)
    measured = RunCurves(clock, record.curves["agreement"], {}, plain=True)
    gcv = study(examples, spectra, start, [moment], measured=measured)["stopping"]["gcv"]
    assert found["time"] == pytest.approx(gcv["time"], rel=1e-6)
    assert found["agreement"] == pytest.approx(gcv["agreement"], rel=1e-6)
    assert found["epoch"] == (None if gcv["epoch"] is None else pytest.approx(gcv["epoch"]))


def test_a_run_that_never_gets_there_has_no_epoch(teacher_run, digits):
    record = read_record(teacher_run)
    record = record.updated(curves=record.curves | {"agreement": [0.05] * 8})
    assert air_epoch(record, digits, examples=100)["epoch"] is None


def test_a_pair_has_no_kernel(teacher_run, digits):
    record = read_record(teacher_run)
    record = record.updated(settings=replace(record.settings, network="2*mlp:32"))
    with pytest.raises(RunError, match=r"trained a pair, 2\*mlp:32, which has no kernel"):
        air_epoch(record, digits)


def test_held_out_examples_are_not_looked_at(teacher_run, digits):
    _, held = held_out(digits.labels, 0.1, 0)
    torn = digits.inputs.clone()
    torn[held] = 0
    changed = digits.__class__(**{**vars(digits), "inputs": torn})
    record = read_record(teacher_run)
    assert air_epoch(record, changed, examples=100) == air_epoch(record, digits, examples=100)
    assert torch.equal(torn[held], torch.zeros_like(torn[held]))
