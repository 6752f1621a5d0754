"""Encoding in tasks: what threads of this process give, in the same order; failures are one line."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import numpy as np
import pytest

from selfdistill._core.errors import RunError, SettingError
from selfdistill.encoders._ray import on_ray
from selfdistill.encoders._store import in_threads


class Lengths:
    kind, name, fingerprint, dimension, side = "texts", "lengths", "f" * 64, 2, 0

    def encode(self, prepared):
        return np.array([[len(one), len(prepared)] for one in prepared], np.float32)


def prepare(place):
    if place % 7 == 3:
        raise OSError(f"{place} is damaged")
    return "x" * place


class BrokenError(Exception):
    pass


def stand_in(fails=None):
    """Ray, for one process: tasks run when they are asked for."""

    def remote(work):
        def call(job, places):
            return lambda: work(job, places)

        return SimpleNamespace(remote=call)

    def get(task):
        if fails is BrokenError:
            raise BrokenError("the worker died\nand more")
        return task()

    def put(job):
        if fails is TypeError:
            raise TypeError("cannot pickle 'InferenceSession' object")
        return job

    exceptions = SimpleNamespace(RayError=BrokenError)
    return SimpleNamespace(
        is_initialized=lambda: True, put=put, get=get, remote=remote, exceptions=exceptions, init=None
    )


def test_tasks_give_what_threads_do(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", stand_in())
    todo = list(range(5, 1300))
    here, there = (list(engine(Lengths(), prepare, todo)) for engine in (in_threads, on_ray))
    assert len(here) == len(there) == -(-len(todo) // 32)
    for (places, features, errors), (others, found, problems) in zip(here, there, strict=True):
        assert places == others
        np.testing.assert_array_equal(features, found)
        assert {place: str(error) for place, error in errors.items()} == {p: str(e) for p, e in problems.items()}


def test_what_goes_wrong_is_said_in_one_line(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(SettingError, match=r"Ray is not installed. Install it with pip install 'selfdistill\[ray\]'"):
        next(on_ray(Lengths(), prepare, [1]))
    monkeypatch.setitem(sys.modules, "ray", stand_in(TypeError))
    with pytest.raises(SettingError, match=r"encoder 'lengths' cannot be sent to other processes: cannot pickle"):
        next(on_ray(Lengths(), prepare, [1]))
    monkeypatch.setitem(sys.modules, "ray", stand_in(BrokenError))
    with pytest.raises(RunError, match=r"a task of Ray failed: the worker died.*Start again"):
        next(on_ray(Lengths(), prepare, [1]))
