"""What the report says of a cell: accuracy at the end, at the hold-out's epoch, at the oracle's; and how to compare."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import mean
from typing import Any

from selfdistill.rivals.yuan2024labelwave import first_trough

DEFAULT, PLAIN = "selfdistill", "cross-entropy"
PART = "memory"  # of the default: shown, and no rival
END, HOLDOUT, ORACLE, WAVE = "last", "hold-out", "oracle", "label wave"
COLUMNS = (END, HOLDOUT, ORACLE)
SIGNIFICANT = 0.05
_FEW = 3  # seeds, below which nothing is tested

Record = dict[str, Any]
BySeed = Mapping[int, float]


def epochs_of(record: Record) -> dict[str, int]:
    """Say which epoch each column stands for, counted from 0."""
    curves = record["curves"]
    test, held = curves["test_accuracy"], curves["noisy_holdout_accuracy"]
    kept = record["kept_epoch"]
    found = {
        END: len(test) - 1 if kept is None else kept - 1,
        HOLDOUT: held.index(max(held)),
        ORACLE: test.index(max(test)),
    }
    if record["cell"]["method"] == PLAIN:
        found[WAVE] = label_wave(curves["changed_share"])
    return found


def label_wave(shares: Sequence[float]) -> int:
    """Find the epoch that Label Wave keeps, from the shares of changed predictions; counted from 0."""
    curves = [{"changed_share": share} for share in shares]
    return max(end for end in range(len(curves)) if first_trough(curves[: end + 1]))


def accuracies(record: Record) -> dict[str, float]:
    """Read the test accuracy of each column off the curve; empty for a cell that diverged."""
    if record["diverged"]:
        return {}
    return {name: record["curves"]["test_accuracy"][epoch] for name, epoch in epochs_of(record).items()}


@dataclass(frozen=True)
class Comparison:
    """The default beside a rival, seed by seed.

    Attributes:
        seeds: Seeds that both have.
        difference: Mean of default minus rival.
        p: Of the paired t-test; ``None`` below 3 seeds, or where all differences are the same.
        verdict: "win", "tie" or "loss" of the default; "untested" below 3 seeds.
    """

    seeds: int
    difference: float
    p: float | None
    verdict: str


def compare(default: BySeed, rival: BySeed) -> Comparison:
    """Compare accuracies over seeds.

    A tie is a difference that is not significant: p of at least 0.05, paired t-test, two-sided, not corrected for the
    number of tests.
    """
    shared = sorted(set(default) & set(rival))
    a, b = [default[s] for s in shared], [rival[s] for s in shared]
    difference = mean(a) - mean(b) if shared else 0.0
    if len(shared) < _FEW:
        return Comparison(len(shared), difference, None, "untested")
    p = paired_p(a, b)
    tie = difference == 0 if p is None else p >= SIGNIFICANT
    return Comparison(len(shared), difference, p, "tie" if tie else "win" if difference > 0 else "loss")


def paired_p(a: Sequence[float], b: Sequence[float]) -> float | None:
    """Two-sided p of the paired t-test; ``None`` where all differences are equal, which it has no answer for."""
    from scipy.stats import ttest_rel

    differences = [x - y for x, y in zip(a, b, strict=True)]
    if max(differences) - min(differences) < 1e-12:
        return None
    return float(ttest_rel(a, b).pvalue)


def by_seed(records: Sequence[Record], column: str) -> dict[int, float]:
    """Collect one column of a row over its seeds; diverged cells have none."""
    found = {record["cell"]["seed"]: accuracies(record).get(column) for record in records}
    return {seed: value for seed, value in found.items() if value is not None}


def ratios(records: Sequence[Record], plain: Sequence[Record], what: str) -> list[float]:
    """Divide a cost by that of cross-entropy on the same seed.

    Times are compared with the epochs of cross-entropy that the cell itself ran after its training. Older records have
    none: they, and memory, are compared with the record of cross-entropy from the same kind of machine.
    """
    base = {record["cell"]["seed"]: record for record in plain}
    found = []
    for record in records:
        if record["diverged"]:
            continue
        its, other = record["cost"].get(f"plain_{what}_seconds"), base.get(record["cell"]["seed"])
        if not its and other is not None and not other["diverged"] and _machine(record) == _machine(other):
            its = cost(other, what)
        mine = cost(record, what)
        if mine is not None and its:
            found.append(mine / its)
    return found


def cost(record: Record, what: str) -> float | None:
    """Read a cost off a record, see `ratios`."""
    measured = record["cost"]
    if what in {"memory", "gpu"}:
        value: float | None = measured.get("training_peak_mib" if what == "memory" else "gpu_mib")
        return value
    spent: float = measured[f"{what}_seconds"] - measured[f"evaluation_{what}_seconds"]
    return spent


def _machine(record: Record) -> tuple[Any, ...]:
    hardware = record["hardware"]
    return tuple(hardware.get(key) for key in ("device_name", "threads"))
