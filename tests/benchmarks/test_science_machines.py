"""The bench over machines: with as much of Ray as is used, and with Ray itself where it is installed."""

from __future__ import annotations

import os
import sys

import pytest
from benchmarks.science import drive, records, suite
from benchmarks.science.cell import in_own_process

from selfdistill._core.errors import ResourceError


class FakeRay:
    """As much of Ray as is used; the newest cell answers first."""

    class exceptions:  # noqa: N801  (Ray's name)
        class RayError(Exception):
            pass

    def __init__(self, answer):
        self.most, self.asked, self.cells, self.answer = 0, [], [], answer

    def is_initialized(self):
        return True

    def cluster_resources(self):
        return {"CPU": 3.0}

    def remote(self, *given):
        if callable(given[0]):  # a function to be sent
            return self
        self.cells.append(given)
        return len(self.cells) - 1

    def options(self, **resources):
        self.asked.append(resources)
        return self

    def wait(self, references, num_returns):
        self.most = max(self.most, len(references))
        return [references[-1]], references[:-1]

    def get(self, reference):
        (found,) = self.cells[reference]
        if found["seed"] == 101 and found["row"] == "sat":
            raise self.exceptions.RayError("the machine went away\nand more")
        return self.answer(found, "")


def test_machines_get_as_many_cells_as_they_have_room_for(science, tmp_path, monkeypatch):
    ray, trial, far = FakeRay(science.answer), science.write_suite(tmp_path), drive.over_machines
    monkeypatch.setitem(sys.modules, "ray", ray)
    failed = drive.run(trial, trial.cells(), tmp_path, jobs=0, work=science.answer, spread=far, store=tmp_path)
    assert ray.most == 3
    assert set(map(str, ray.asked)) == {"{'num_cpus': 1, 'num_gpus': 0}"}
    assert len(records.finished(trial, trial.cells(), tmp_path)) == 10
    assert [line.partition(": ")[2] for line in failed] == ["the machine went away"] * 2


def test_without_ray_the_way_out_is_named(science, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    trial, far = science.write_suite(tmp_path), drive.over_machines
    with pytest.raises(ResourceError, match=r"pip install 'selfdistill\[ray\]'"):
        drive.run(trial, trial.cells(), tmp_path, work=science.answer, spread=far, store=tmp_path)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # Ray's own
def test_a_real_cluster_loses_the_cell_whose_process_dies_and_no_other(science, tmp_path, monkeypatch):
    ray = pytest.importorskip("ray", reason="Ray is not installed: pip install 'selfdistill[ray]'")
    monkeypatch.setenv("RAY_worker_niceness", "0")  # as fast as other processes
    trial = science.write_suite(tmp_path)
    some = trial.cells()[:3]
    doomed = suite.record_key(some[1])

    def work(found, folder):  # a closure travels by value: Ray's workers cannot import the tests
        return os._exit(1) if suite.record_key(found) == doomed else in_own_process(found, folder)

    try:
        failed = drive.run(trial, some, tmp_path, jobs=2, work=work, spread=drive.over_machines, store=tmp_path)
    finally:
        ray.shutdown()
    assert len(failed) == 1
    assert failed[0].startswith(f"{doomed}: ")
    made = records.finished(trial, some, tmp_path)
    assert set(made) == {suite.record_key(found) for found in some} - {doomed}
    here = in_own_process(some[0], str(tmp_path))
    there = made[suite.record_key(some[0])]
    assert there["curves"]["test_accuracy"] == here["curves"]["test_accuracy"]
    assert there["commit"] == here["commit"]  # code that travels leaves its git behind
