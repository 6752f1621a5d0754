"""Runs whose findings cannot be used are refused, each with its reason."""

from __future__ import annotations

import json
import tracemalloc
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from selfdistill import train
from selfdistill._core.errors import RunError
from selfdistill.data._source import from_arrays
from selfdistill.runs._directory import run as runs_run
from selfdistill.runs._label_table import read_label_table


@pytest.fixture
def run(tmp_path):
    rng = np.random.default_rng(0)
    examples = from_arrays(rng.normal(size=(20, 2)), np.array(["a", "b"] * 10))
    settings = train.Settings(network="mlp:4", epochs=2).resolve(20, "cpu")
    described = {"source": "some.csv", "read": {"label": "y", "ignore": ["z"]}, "test": None}
    runs_run(examples, settings, tmp_path / "run", source=described)
    return tmp_path / "run"


def edit(run: Path, **changes: object) -> None:
    """Write the record as of a version without digests, with changes."""
    record = json.loads((run / "run.json").read_text())
    record = {name: value for name, value in record.items() if name not in {"digest", "files"}}
    (run / "run.json").write_text(json.dumps(record | {"schema": 1} | changes))


def test_findings_are_those_of_the_table(run):
    found, table = read_label_table(run), pq.read_table(run / "labels.parquet")
    soft = np.stack(table["refined_distribution"].to_pylist())
    assert found.options.ignore == ("z",)
    assert found.given.tolist() == ["a", "b"] * 10
    assert found.refined.tolist() == [found.classes[k] for k in soft.argmax(1)]
    np.testing.assert_allclose(found.p_given + found.p_other, 1, rtol=1e-5)  # there are two classes
    np.testing.assert_allclose(found.p_given, soft[np.arange(20), np.arange(20) % 2], rtol=1e-6)


def test_a_changed_bit_of_the_distributions_is_seen(run):
    edit(run)
    path, before = run / "labels.parquet", read_label_table(run)
    whole, group = path.read_bytes(), pq.read_metadata(path).row_group(0)
    part = next(c for c in map(group.column, range(group.num_columns)) if c.path_in_schema.startswith("refined_distr"))
    start, seen, wrong = part.dictionary_page_offset or part.data_page_offset, 0, 0
    for place in range(start, start + part.total_compressed_size, 3):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        try:
            wrong += not np.array_equal(read_label_table(run).p_given, before.p_given)
        except RunError as error:
            seen += "labels.parquet is damaged" in str(error)
    assert seen > 50
    assert wrong <= 1  # checksums cover the values; the head of a page has a bit that changes how they are read


def test_distributions_are_read_in_blocks(run):
    n, k = 6000, 500
    rng = np.random.default_rng(0)
    soft, given = rng.dirichlet(np.ones(k), n).astype(np.float32), rng.integers(0, k, n)
    names = [f"c{i}" for i in range(k)]
    old = pq.read_table(run / "labels.parquet")
    columns = {name: np.resize(old[name].to_numpy(), n) for name in old.column_names}
    columns["given_label"] = np.array(names, dtype=object)[given]
    columns["refined_label"] = columns["given_label"]
    columns["refined_distribution"] = pa.FixedSizeListArray.from_arrays(pa.array(soft.reshape(-1)), k)
    table = pa.table(columns).replace_schema_metadata({"classes": json.dumps(names)})
    pq.write_table(table, run / "labels.parquet", row_group_size=2500)
    edit(run, data=json.loads((run / "run.json").read_text())["data"] | {"examples": n, "classes": names})
    del table, columns
    tracemalloc.start()
    found = read_label_table(run)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 0.8 * soft.nbytes  # a block of 4 MiB twice, and the vectors; all of it would be 12 MB
    np.testing.assert_array_equal(found.p_given, soft[np.arange(n), given])
    soft[np.arange(n), given] = -1
    np.testing.assert_array_equal(found.p_other, soft.max(1))


def test_a_run_of_another_schema_is_refused(run):
    edit(run, schema=99)
    with pytest.raises(RunError, match="has schema 99, but this version reads schema 1"):
        read_label_table(run)


def test_a_run_that_is_not_finished_is_refused(run):
    edit(run, status="interrupted")
    with pytest.raises(RunError, match=r"is not finished. Finish it with: selfdistill fit --resume"):
        read_label_table(run)


def test_the_demonstration_has_no_source(run):
    edit(run, data=json.loads((run / "run.json").read_text())["data"] | {"source": None})
    with pytest.raises(RunError, match=r"not trained on a file or folder.*Its label table is in .*labels.parquet"):
        read_label_table(run)


def test_a_table_cut_short_damaged_or_missing_is_refused(run):
    edit(run)
    path = run / "labels.parquet"
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(RunError, match=r"labels.parquet is damaged: .*Run `fit` again"):
        read_label_table(run)
    path.write_bytes(whole)
    table = pq.read_table(path)
    pq.write_table(table.slice(0, 12), path)
    with pytest.raises(RunError, match="holds 12 rows, but the run had 20 examples"):
        read_label_table(run)
    pq.write_table(table.drop_columns("label_quality"), path)
    with pytest.raises(RunError, match="has no column 'label_quality'"):
        read_label_table(run)
    pq.write_table(table.set_column(1, "given_label", [["c"] * 20]), path)
    with pytest.raises(RunError, match=r"labels.parquet is damaged: given_label 'c' is not a class of the run"):
        read_label_table(run)
    path.unlink()
    with pytest.raises(RunError, match=r"labels.parquet does not exist. Run `fit` again"):
        read_label_table(run)
