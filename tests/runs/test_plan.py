"""A plan prepares a run and brings its method; what it says is in the record from the start to the end."""

from __future__ import annotations

import json

import pytest

from selfdistill import runs, train
from selfdistill._core.errors import Interrupted
from selfdistill._core.events import BatchDone
from selfdistill.runs._directory import Plan, run
from selfdistill.train._methods import METHODS


@pytest.fixture(scope="module")
def digits():
    return runs.noisy_digits(0)[0]


SETTINGS = train.Settings(method="of-a-plan", network="mlp:4", epochs=2).resolve(1438, "cpu")


def plan(calls, go_on="Go on with: another door --resume {}"):
    def prepare(out):
        calls.append(json.loads((out / "run.json").read_text())["distillation"]["objective"])
        return METHODS["cross-entropy"], {"distillation": {"objective": "mine", "epoch": len(calls)}}

    return Plan({"distillation": {"objective": "mine"}}, prepare, 0, go_on)


def test_it_is_called_once_the_directory_is_ours_and_its_words_are_kept(tmp_path, digits):
    calls = []
    record = run(digits, SETTINGS, tmp_path / "run", source={}, plan=plan(calls))
    assert calls == ["mine"]
    assert (record.distillation.objective, record.distillation.epoch) == ("mine", 1)
    assert record.status == "finished"
    assert record.settings.method == "of-a-plan"
    run(digits, SETTINGS, tmp_path / "run", source={}, plan=plan(calls), resume=True)
    assert calls == ["mine"]  # it is finished


def test_a_stop_says_how_this_door_goes_on(tmp_path, digits):
    def stop(event):
        if isinstance(event, BatchDone) and event.epoch == 1:
            raise KeyboardInterrupt

    calls = []
    with pytest.raises(Interrupted, match=r"Go on with: another door --resume .*run"):
        run(digits, SETTINGS, tmp_path / "run", source={}, plan=plan(calls), tell=stop)
    record = run(digits, SETTINGS, tmp_path / "run", source={}, plan=plan(calls), resume=True)
    assert len(calls) == 2
    assert record.distillation.epoch == 2


def test_its_bytes_are_counted_in_the_room(tmp_path, digits):
    hungry = Plan({}, lambda out: (METHODS["cross-entropy"], {}), 2**60)
    with pytest.raises(OSError, match=r"MiB free, but the run needs about 1,099,511,6"):
        run(digits, SETTINGS, tmp_path / "run", source={}, plan=hungry)
