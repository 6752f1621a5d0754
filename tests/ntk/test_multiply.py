"""The half product against the whole one."""

from __future__ import annotations

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from selfdistill.ntk._multiply import add_tokens, has_syrk, syrk, token_products


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


@pytest.mark.parametrize(("n", "each"), [(12, 1), (400, 1), (400, 2)])  # all tokens in one product, one product a token
def test_products_of_tokens_are_as_many_as_forecast(n, each):
    g = torch.Generator().manual_seed(0)
    tokens, grads = torch.randint(0, 10, (n, 6), generator=g), torch.randn(n, each, 6, 3, generator=g)
    with FlopCounterMode(display=False) as counter:
        add_tokens(torch.zeros(n * each, n * each), tokens, grads, None)
    done = counter.get_total_flops() / (2 * 3)
    assert done / 1.2 < token_products(n, 6, 10, each) < done * 1.2
