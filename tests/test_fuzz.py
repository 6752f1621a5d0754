"""Every reader on damaged and random files: it reads, or says one line of our own; no other exception, no hang.

The quick form runs a few examples of each; ``-m slow`` runs many, and ``python -m tests.fuzzing`` for as long as one
likes, guided by the lines that are reached. What that kept, and files that once failed, are read each time.
"""

from __future__ import annotations

import contextlib
import faulthandler

import pytest
from hypothesis import HealthCheck, given, settings
from tests.fuzz_readers import READERS, attempt, make_place
from tests.fuzzing import kept_seeds

HANGS = 60  # seconds after which a reader hangs: the process ends with a traceback of where
FEW = {"csv": 12, "numerals": 10, "saved": 6, "photo": 12, "parquet": 20}
COMMON = {"deadline": None, "database": None, "suppress_health_check": list(HealthCheck)}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = make_place(tmp_path_factory.mktemp("fuzz"))
    with contextlib.chdir(folder):
        yield folder


def held(place, reader, data):
    """It works, or says one line of our own; and it ends."""
    faulthandler.dump_traceback_later(HANGS, exit=True)
    try:
        attempt(lambda: READERS[reader].check(place, data))
    finally:
        faulthandler.cancel_dump_traceback_later()


def fuzz(place, reader, examples):
    seeds = READERS[reader].seeds(place)
    for seed in seeds:
        held(place, reader, seed)

    @settings(max_examples=examples, derandomize=examples < 100, **COMMON)
    @given(READERS[reader].inputs(seeds))
    def run(data):
        held(place, reader, data)

    run()


@pytest.mark.parametrize("reader", READERS)
def test_a_reader_reads_or_says_one_line(place, reader):
    fuzz(place, reader, FEW.get(reader, 30))


@pytest.mark.slow
@pytest.mark.parametrize("reader", READERS)
def test_a_reader_on_many_files(place, reader):
    fuzz(place, reader, 3000)


@pytest.mark.parametrize("reader", READERS)
def test_what_once_reached_lines_of_its_own(place, reader):
    for data in kept_seeds(reader):
        held(place, reader, data)
