"""Two sections of the report: what tuning gives the rivals, and published accuracies beside ours."""

from __future__ import annotations

import pytest
from benchmarks.science import published, records, report_tuning
from benchmarks.science.suite import read_suite

from selfdistill._core.files import write_json


def write(science, store, name: str, row: str, noise: str, seed: int, test, held=None) -> None:
    suite = read_suite(name)
    found = next(c for c in suite.cells() if (c["row"], c["noise"], c["seed"]) == (row, noise, seed))
    made = science.record(science_suite(suite, row, seed), row, seed, test, held) | {"cell": found}
    records.write(name, made, store)


def science_suite(suite, row: str, seed: int):
    """Stand in for a suite in `record`, which looks for a cell with symmetric noise."""

    class Stub:
        def cells(self):
            return [{"row": row, "seed": seed, "noise": "symmetric-40", "method": row}]

    return Stub()


def test_the_best_of_a_method_by_its_mean_is_bold(science, tmp_path):
    for row, values in {"gce": (0.8, 0.5, 0.6), "gce, q = 0.5": (0.7, 0.7, 0.6), "gce, q = 0.9": (0.9, 0.9)}.items():
        for noise, value in zip(read_suite("tuning").noise, values, strict=False):
            write(science, tmp_path, "tuning", row, noise, 0, [0.99, value])
    text = "\n".join(report_tuning.section(tmp_path))
    assert "| gce | 80.0 | 50.0 | 60.0 | 63.3 |" in text
    assert "| **gce, q = 0.5** | 70.0 | 70.0 | 60.0 | 66.7 |" in text
    assert "| gce, q = 0.9 | 90.0 | 90.0 | – | – |" in text  # a mean over fewer conditions is none


def test_tuning_without_records_says_how_to_get_them(tmp_path):
    assert "run tuning" in "\n".join(report_tuning.section(tmp_path))


def test_gains_are_paired_over_the_seeds_that_both_have(science, tmp_path):
    for seed, own, plain in ((100, 0.80, 0.70), (101, 0.84, 0.72)):
        write(science, tmp_path, "fashion-cpu", "elr", "symmetric-40", seed, [0.9, own])
        write(science, tmp_path, "fashion-cpu", "cross-entropy", "symmetric-40", seed, [0.75, plain], [0.4, 0.3])
    write(science, tmp_path, "fashion-cpu", "elr", "symmetric-40", 102, [0.1, 0.1])
    lines = published.section(tmp_path)
    last, best = ([line for line in lines if line.startswith(f"| elr, {column}")] for column in ("last", "hold"))
    assert "| +23.0, +11.0 ± 1.4 |" in last[0]  # 87.78 - 64.79; (10 + 12) / 2
    # the hold-out of made-up records follows the test curve: .9 against .75, in both seeds
    assert "| +7.3, +15.0 ± 0.0 |" in best[0]  # 89.15 - 81.88


def test_a_published_training_is_told_in_hours_of_the_fastest_core_measured(tmp_path):
    cases = [{"limit_flops": 1e10}, {"limit_flops": 2e11}]
    write_json(tmp_path / "throughput-cpu.json", {"schema": 1, "cases": cases})
    work = published._IMAGES * published._EPOCHS * published._FLOPS
    assert f"which is {work / 2e11 / 3600:,.0f} hours" in "\n".join(published.section(tmp_path))


@pytest.mark.parametrize("table", published.TABLES, ids=lambda table: table.source[:20])
def test_published_numbers_are_accuracies_of_four_rates(table):
    for values in (table.plain, *table.methods.values()):
        assert len(values) == len(published.RATES)
        assert [*values] == sorted(values, reverse=True)  # more noise, less accuracy
        assert all(10 < value < 100 for value in values)
