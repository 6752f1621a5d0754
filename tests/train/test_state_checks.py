"""What a checkpoint holds is refused before anything is changed; each check with its smallest case."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from selfdistill._core.errors import RunError
from selfdistill.train._state_checks import check_finite, check_position, check_types, fitting


def test_a_state_of_other_entries_is_refused():
    with pytest.raises(ValueError, match=r"model has other entries than \['weight', 'bias'\]"):
        fitting("model", {"bias": torch.zeros(3)}, nn.Linear(2, 3), {})


def test_counters_that_no_run_has_are_refused():
    here = {"epoch": 3, "step": 0, "seconds": 0.0, "loss": torch.zeros(()), "curves": []}
    with pytest.raises(ValueError, match="0 curves of 3 epochs"):
        check_position(here, {"schedule": {"last_epoch": 6}}, epochs=3, steps=2)


def test_a_number_that_is_not_finite_is_counted():
    with pytest.raises(RunError, match=r"a\.pt is damaged: 1 of 2 numbers of 'w' is not finite\. Train again\."):
        check_finite(Path("a.pt"), {"w": torch.tensor([1.0, float("nan")])}, "Train again.")


def test_weights_of_another_type_are_refused():
    with pytest.raises(ValueError, match=r"'bias' is torch\.float64 instead of torch\.float32"):
        check_types({"bias": torch.zeros(2, dtype=torch.float64)}, nn.Linear(3, 2))
