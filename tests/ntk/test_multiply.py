"""The half product against the whole one."""

from __future__ import annotations

import pytest
import torch

from selfdistill.ntk._multiply import has_syrk, syrk


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("n", "p"), [(1, 1), (7, 3), (65, 200)])
def test_upper_half_is_added_to_and_the_rest_left(n, p, dtype):
    rows, kernel = torch.randn(n, p, dtype=dtype), torch.randn(n, n, dtype=dtype)
    before = kernel.clone()
    syrk(kernel, rows)
    torch.testing.assert_close(kernel.triu(), (before + rows @ rows.T).triu(), rtol=1e-4, atol=1e-4)
    assert torch.equal(kernel.tril(-1), before.tril(-1))


def test_other_types_and_devices_go_another_way():
    assert has_syrk(torch.zeros(2, 2))
    assert not has_syrk(torch.zeros(2, 2, dtype=torch.bfloat16))
    assert not has_syrk(torch.zeros(2, 2, device="meta"))
