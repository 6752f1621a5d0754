from __future__ import annotations

import pytest
import torch

from selfdistill.losses._precision import at_least_single


@pytest.mark.parametrize(
    ("given", "computed"),
    [(torch.float16, torch.float32), (torch.bfloat16, torch.float32), (torch.float32,) * 2, (torch.float64,) * 2],
)
def test_half_is_lifted_and_the_rest_left_alone(given, computed):
    assert at_least_single(torch.zeros(1, dtype=given)).dtype == computed
