"""The bench of rivals: suites, running, resuming."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from benchmarks.science import (
    cell as cells,
)
from benchmarks.science import (
    conditions,
    drive,
    records,
    report,
    suite,
)
from benchmarks.science.__main__ import main

from benchmarks import drive as shared
from selfdistill._core.errors import ResourceError, RunError, SettingError
from selfdistill.train._methods import METHODS

ROOT = Path(__file__).resolve().parents[2]


# Suites


@pytest.mark.parametrize("name", suite.suite_names())
def test_every_suite_that_is_shipped_reads(name):
    found = suite.read_suite(name)
    assert found.cells()
    assert {"cross-entropy", "selfdistill"} <= {row.name for row in found.rows}
    chosen_by = name == "tuning" or name.startswith("development")
    assert {data.endswith("-development") for data in found.data} == {chosen_by}
    assert all((seed < 100) == chosen_by for seed in found.seeds)  # the default was developed with lower ones


def test_cells_come_seed_by_seed_with_the_main_rows_first(science, tmp_path):
    order = [(c["seed"], c["row"], c["noise"]) for c in science.write_suite(tmp_path).cells()]
    rows = ("cross-entropy", "selfdistill", "sat")
    assert order == [(s, r, n) for s in (100, 101) for r in rows for n in ("symmetric-40", "pair-40")]


def test_a_pair_of_networks_comes_after_single_ones(science, tmp_path, monkeypatch):
    from dataclasses import replace

    monkeypatch.setitem(METHODS, "sat", replace(METHODS["sat"], networks=2))
    text = science.toml.replace('"sat", ', '"sat", "dong-1", ')
    rows = dict.fromkeys(c["row"] for c in science.write_suite(tmp_path, text).cells())
    assert list(rows) == ["cross-entropy", "selfdistill", "dong-1", "sat"]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("budget = 1", "budgte = 1", "unknown key 'budgte'. Did you mean 'budget'?"),
        ("budget = 1", "", "has no 'budget'"),
        ("budget = 1", "budget = 0", "budget is 0, but must be above 0"),
        ('["digits"]', '["fashon"]', "data set 'fashon' does not exist. Did you mean 'fashion'?"),
        ('["digits"]', "[]", "data is []"),
        ('"pair-40"', '"given"', "noise 'given' does not go with the data set 'digits'"),
        ('"pair-40"', '"pear-40"', "noise 'pear-40' does not go"),
        ('"pair-40"', '"symmetric-40"', "names 'symmetric-40' twice"),
        ("[100, 101]", "[1.5]", "seeds is [1.5]. Give a list of numbers."),
        ("[100, 101]", "[-1]", "a seed is -1"),
        ("examples = 200", 'examples = "all"', "examples is 'all', but must be at least 2"),
        ("epochs = 2", "epoch = 2", "settings has the unknown key 'epoch'. Did you mean 'epochs'?"),
        ("epochs = 2", "epochs = 0", "settings: epochs is 0, but must be at least 1"),
        ("mlp:16", "mpl:16", "Did you mean 'mlp'?"),
        ("[settings]", "[settings", "is no TOML"),
        ("[settings]", '[[rows]]\nname = "a"\n', "a row has no method"),
    ],
)
def test_a_suite_that_is_wrong_is_refused_with_a_way_out(science, tmp_path, old, new, message):
    assert old in science.toml
    with pytest.raises(SettingError) as error:
        science.write_suite(tmp_path, science.toml.replace(old, new))
    assert message in str(error.value)


def test_an_unknown_suite_names_the_nearest():
    with pytest.raises(SettingError, match=r"suite 'smokes' does not exist\. Did you mean 'smoke'\?"):
        suite.read_suite("smokes")


def test_an_unknown_method_names_the_nearest_before_anything_runs(science, tmp_path):
    science.write_suite(tmp_path, science.toml.replace('"sat"', '"memroy"'))
    with pytest.raises(SettingError, match=r"method 'memroy' does not exist\. Did you mean memory\?"):
        drive.select(suite.read_suite("trial", tmp_path))
    chosen = drive.select(suite.read_suite("trial", tmp_path), ["selfdistill"])  # the others can run meanwhile
    assert {c["row"] for c in chosen} == {"selfdistill"}


def test_an_option_that_a_method_does_not_take_is_refused(science, tmp_path):
    extra = '\n[[rows]]\nname = "told"\nmethod = "cross-entropy"\nnoise_rate = "oracle"\n'
    with pytest.raises(SettingError, match="row 'told': method 'cross-entropy' takes no noise_rate"):
        drive.select(science.write_suite(tmp_path, science.toml + extra))


def test_selecting_what_a_suite_does_not_have_is_refused(science, tmp_path):
    trial = science.write_suite(tmp_path)
    for arguments, message in (
        ({"methods": ["selfdistil"]}, "has no method 'selfdistil'. Did you mean 'selfdistill'?"),
        ({"noise": ["pair-4"]}, "has no noise 'pair-4'. Did you mean 'pair-40'?"),
        ({"seeds": [7]}, "has no seed 7. Choose of 100, 101."),
    ):
        with pytest.raises(SettingError) as error:
            drive.select(trial, **arguments)
        assert message in str(error.value)
    assert len(drive.select(trial, ["sat"], [101], ["pair-40"])) == 1


# Running and resuming


def test_a_later_run_redoes_what_was_killed_and_nothing_else(science, tmp_path):
    trial, seen = science.write_suite(tmp_path), []

    def dies_on_third(found, folder):
        seen.append(suite.record_key(found))
        return {"failed": "killed"} if len(seen) == 3 else science.answer(found, folder)

    failed = drive.run(trial, trial.cells(), tmp_path, work=dies_on_third, store=tmp_path / "r")
    assert failed == [f"{seen[2]}: killed"]
    before = records.table_of("trial", tmp_path / "r").read()
    assert len(before) == 11
    (tmp_path / "r" / ".trial.parquet.x1.part").write_bytes(b"PAR1")  # half of a table
    again = []
    assert not drive.run(
        trial, trial.cells(), tmp_path, work=lambda c, d: again.append(c) or science.answer(c, d), store=tmp_path / "r"
    )
    assert [suite.record_key(c) for c in again] == [seen[2]]
    after = records.table_of("trial", tmp_path / "r").read()
    assert {key: after[key] for key in before} == before
    assert set(after) - set(before) == {seen[2]}


def test_a_process_that_is_killed_leaves_no_record(science, tmp_path, monkeypatch):
    script = tmp_path / "python"
    script.write_text("#!/bin/sh\nkill -9 $$\n")
    script.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(script))
    assert cells.in_own_process(science.write_suite(tmp_path).cells()[0], str(tmp_path)) == {
        "failed": "its process ended with -9"
    }


def test_no_cell_is_started_after_the_budget(science, tmp_path, capsys, monkeypatch):
    trial, clock = science.write_suite(tmp_path), iter(range(0, 10_000, 25))
    monkeypatch.setattr(shared.time, "monotonic", lambda: next(clock))
    assert not drive.run(trial, trial.cells(), tmp_path, work=science.answer, store=tmp_path / "r")
    assert len(records.table_of("trial", tmp_path / "r").read()) == 2  # at 25 and 50 seconds of the minute
    assert "the budget is spent; 10 cells are left for a later run" in capsys.readouterr().err


def test_several_at_a_time_make_the_same_records(science, tmp_path):
    trial = science.write_suite(tmp_path)
    for jobs in (1, 3):
        drive.run(trial, trial.cells(), tmp_path, jobs=jobs, work=science.answer, store=tmp_path / str(jobs))
    one, three = (records.table_of("trial", tmp_path / n).read() for n in ("1", "3"))
    assert one == three
    assert len(one) == 12


def test_a_record_of_another_schema_names_the_file_and_the_way_out(science, tmp_path):
    trial = science.write_suite(tmp_path)
    records.write("trial", science.answer(trial.cells()[0], "") | {"schema": 99}, tmp_path / "r")
    path, key = tmp_path / "r" / "trial.parquet", suite.record_key(trial.cells()[0])
    with pytest.raises(RunError) as error:
        drive.run(trial, trial.cells(), tmp_path, work=science.answer, store=tmp_path / "r")
    assert str(error.value) == (
        f"record {key!r} of {path} has schema 99, but this version reads schema 1. "
        f"To measure it anew, take it out: python -m benchmarks drop {path} {key!r}."
    )
    path.write_bytes(b"PAR1")
    with pytest.raises(RunError, match=r"is no table of records: .* Take it from git again, or delete it"):
        conditions.group(trial, tmp_path / "r")


def test_a_record_of_other_settings_is_not_taken_for_this_one(science, tmp_path):
    trial = science.write_suite(tmp_path)
    records.write("trial", science.answer(trial.cells()[0], ""), tmp_path / "r")
    changed = science.write_suite(tmp_path, science.toml.replace("epochs = 2", "epochs = 3"))
    with pytest.raises(RunError, match="was measured with other settings than the suite 'trial' has now"):
        drive.run(changed, changed.cells(), tmp_path, work=science.answer, store=tmp_path / "r")


def test_absent_data_are_skipped_by_name(science, tmp_path, capsys):
    text = science.toml.replace('["digits"]', '["digits", "fashion"]')
    trial, store = science.write_suite(tmp_path, text), tmp_path / "r"
    assert not drive.run(trial, trial.cells(), tmp_path / "none", work=science.answer, store=store)
    captured = capsys.readouterr().err
    assert "fashion is skipped" in captured
    assert "train-images-idx3-ubyte" in captured
    assert {r["cell"]["data"] for r in records.finished(trial, trial.cells(), store).values()} == {"digits"}
    lines = "\n".join(report.section(trial, tmp_path / "other", tmp_path))
    assert "Skipped" not in lines
    absent = records.read_skipped("trial", store)
    records.write_skipped("trial", absent, tmp_path / "none")
    lines = "\n".join(report.section(trial, tmp_path / "none", tmp_path))
    assert "**Skipped: fashion, which was not there when the suite was run last** (fashion-mnist/" in lines
    records.write_skipped("trial", {}, store)
    assert records.read_skipped("trial", store) == {}


def test_only_what_needs_an_absent_file_is_skipped(science, tmp_path):
    text = science.toml.replace('["digits"]', '["cifar10"]').replace('"pair-40"', '"human-worse"')
    trial = science.write_suite(tmp_path, text.replace("mlp:16", "cnn"))
    (tmp_path / "cifar10").mkdir()
    for number in range(1, 6):
        (tmp_path / "cifar10" / f"data_batch_{number}.bin").touch()
    assert not drive.run(trial, trial.cells(), tmp_path, work=science.answer, store=tmp_path / "r")
    assert records.read_skipped("trial", tmp_path / "r") == {"cifar10, human-worse": ["cifar10/cifar10n.npz"]}
    found = records.finished(trial, trial.cells(), tmp_path / "r").values()
    assert {record["cell"]["noise"] for record in found} == {"symmetric-40"}


def test_a_suite_for_a_device_that_is_not_there_is_refused(science, tmp_path):
    trial = science.write_suite(tmp_path, science.toml.replace("budget = 1", 'budget = 1\ndevice = "cuda:99"'))
    with pytest.raises(ResourceError, match="suite 'trial' trains on 'cuda:99', which is not there"):
        drive.run(trial, trial.cells(), tmp_path, work=science.answer, store=tmp_path / "r")


# The command line


@pytest.mark.slow
def test_smoke_runs_and_resumes(tmp_path):
    command = [sys.executable, "-m", "benchmarks.science", "run", "smoke", "--jobs", "2", "--records", str(tmp_path)]
    environment = cells._environment(os.environ)
    first = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
    assert "0 cells are there, 4 to run" in first.stderr
    made = records.table_of("smoke", tmp_path).read()
    assert len(made) == 4
    last = {name.split("_")[3]: found["returned"] for name, found in made.items()}
    assert last["selfdistill"] > last["cross-entropy"] > 0.5
    smoke = suite.read_suite("smoke")
    assert drive.run(smoke, smoke.cells(), tmp_path, work=None, store=tmp_path) == []  # nothing is left to do


def test_the_command_line_answers_errors_in_one_line(tmp_path, capsys):
    assert main(["run", "smokey", "--records", str(tmp_path)]) == 2
    assert capsys.readouterr().err.startswith("Error: suite 'smokey' does not exist. Did you mean 'smoke'?")
    assert main(["report", "--short", "smoke", "--records", str(tmp_path)]) == 0
    assert capsys.readouterr().out.startswith("| data | default |")
