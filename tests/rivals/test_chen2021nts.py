"""The held-out rule on curves written by hand, and the student's hard labels."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from selfdistill.rivals._method import Context, FirstStage
from selfdistill.rivals._table import RIVALS
from selfdistill.rivals.chen2021nts import best_on_held_out


@given(st.lists(st.integers(0, 20).map(lambda x: x / 20), min_size=1, max_size=15))
def test_the_held_out_rule_keeps_the_first_of_the_best(values):
    seen = [best_on_held_out([{"held_out_accuracy": v} for v in values[: i + 1]]) for i in range(len(values))]
    assert int(np.flatnonzero(seen)[-1]) == int(np.argmax(values))


def test_the_student_is_taught_the_likeliest_class_alone():
    probabilities = torch.tensor([[0.2, 0.5, 0.3], [0.4, 0.35, 0.25]])
    context = Context(torch.tensor([0, 0]), 3, 1, 1, first_stage=FirstStage(probabilities, probabilities))
    assert RIVALS["nts"].build(context).read(torch.tensor([1, 0])).tolist() == [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]
