"""One run, every store of soft labels: the same findings within the tolerance that the record states."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from selfdistill import train
from selfdistill.data._source import from_arrays
from selfdistill.runs._directory import run
from selfdistill.runs._label_table import read_label_table
from selfdistill.runs._verdict import verdict

N, K = 400, 12
LIMITS = {
    "float32": (2**30, 2**31, 2**40),
    "float16": (0, 2**31, 2**40),
    "memory map": (0, 0, 2**40),
    "top-5": (0, 0, 0),
}


@pytest.fixture(scope="module")
def stores(tmp_path_factory):
    rng = np.random.default_rng(0)
    truth = rng.integers(0, K, N)
    made = from_arrays(np.eye(K)[truth] * 3 + rng.normal(size=(N, K)), np.array([f"c{k:02}" for k in truth]))
    given = made.labels.clone()
    given[:80] = (given[:80] + 1 + torch.arange(80) % 5) % K
    made = replace(made, labels=given, truth=made.labels)
    settings = train.Settings(network="mlp:32", epochs=15, batch_size=32).resolve(N, "cpu")
    folder, found = tmp_path_factory.mktemp("stores"), {}
    for kind, (dense, half, free) in LIMITS.items():
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("selfdistill.targets._stores.DENSE_BYTES", dense)
            patch.setattr("selfdistill.targets._stores.HALF_BYTES", half)
            patch.setattr("selfdistill.targets._stores._DISK_SHARE", 4 if free else 2**40)
            out = folder / kind.replace(" ", "-")
            record = run(made, settings, out, source={"source": "a.csv", "test": None, "read": {}})
        found[kind] = record, pd.read_parquet(out / "labels.parquet"), read_label_table(out)
        assert {p.name for p in out.iterdir()} >= {"run.json", "labels.parquet"}
        assert not list(out.glob("*.npy"))
        shutil.rmtree(out)
    return found


@pytest.mark.parametrize("kind", [kind for kind in LIMITS if kind != "float32"])
def test_findings_are_those_of_float32(stores, kind):
    record, table, findings = stores[kind]
    exact, whole, as_read = stores["float32"]
    kept = record.result.soft_labels
    assert kept.kind == kind
    assert (exact.result.soft_labels.kind, exact.result.soft_labels.tolerance) == ("float32", 0)
    slack = 2 * kept.tolerance  # once in the store, once where rows are made to sum to 1
    assert 40 < whole["is_label_issue"].sum() < 120
    np.testing.assert_allclose(table["refined_confidence"], whole["refined_confidence"], atol=slack)
    np.testing.assert_allclose(findings.p_given, as_read.p_given, atol=slack)
    # quality is a square root: small values are kept to their own tolerance, the smallest to that of sixteen bits
    np.testing.assert_allclose(table["label_quality"], whole["label_quality"], rtol=slack, atol=3e-4)
    assert table["refined_label"].equals(whole["refined_label"])
    assert table["is_label_issue"].equals(whole["is_label_issue"])
    assert table["label_quality"].corr(whole["label_quality"], method="spearman") > 0.9999
    assert record.trust.verdict == exact.trust.verdict
    assert record.result.truth.auroc == pytest.approx(exact.result.truth.auroc, abs=1e-3)


def test_a_memory_map_holds_what_float16_holds(stores):
    pd.testing.assert_frame_equal(stores["memory map"][1], stores["float16"][1], check_exact=True)


def test_the_record_says_which_store_and_why_and_the_terminal_what_is_lost(stores):
    for kind, why in {
        "float32": "it takes 1 MiB, at most 1,024 MiB",
        "float16": "float32 would take 1 MiB, more than 0 MiB",
        "memory map": "float16 would take 1 MiB, more than 0 MiB; the disk has room",
        "top-5": "float16 would take 1 MiB, more than 0 MiB, and the disk has",
    }.items():
        record = stores[kind][0]
        assert record.result.soft_labels.why.startswith(why)
        shown = "  Refined probabilities of five classes were kept" in "\n".join(verdict(record, Path("runs/a")))
        assert shown == (kind == "top-5")
