"""The rule that the bench calls the present one is the closed form's own."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from benchmarks.counting_rules import RULES, ends, report

from selfdistill.closed import refine_labels


@pytest.mark.parametrize("rate", [0.0, 0.3])
def test_the_present_rule_is_the_methods_own(rate: float) -> None:
    rng = np.random.default_rng(0)
    truth = rng.integers(3, size=300)
    inputs = (2 * np.eye(3)[truth] + rng.normal(size=(300, 3))).astype(np.float32)
    given = np.where(rng.random(300) < rate, (truth + rng.integers(1, 3, size=300)) % 3, truth)
    taken = next(rule for name, rule in RULES.items() if name.endswith("(now)"))(ends(inputs, given, truth, 3))
    own = refine_labels(torch.from_numpy(inputs), given, 3).choice.best
    assert (taken["name"], taken["wrong"]) == (own.name, own.wrong)
    assert taken["right"] > 0.8


def test_a_report_has_a_line_for_each_rule() -> None:
    lines = report().splitlines()
    assert [line.split(" | ")[0] for line in lines[2:]] == [f"| {name}" for name in RULES]
