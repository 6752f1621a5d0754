"""The formula against refits of a regression whose rows come in groups."""

from __future__ import annotations

import pytest
import torch

from selfdistill._core.left_out import left_out


@pytest.mark.parametrize("each", [1, 3])
def test_left_out_equals_refits_of_ridge_regression_on_features(each):
    g = torch.Generator().manual_seed(0)
    n, c = 8, 0.3
    x = torch.randn(n * each, 5, generator=g, dtype=torch.float64)
    y = torch.randn(n * each, 1 if each > 1 else 2, generator=g, dtype=torch.float64)
    eye = torch.eye(5, dtype=torch.float64)
    hat = x @ torch.linalg.solve(x.T @ x + c * eye, x.T)
    found = []
    for i in range(n):
        kept = torch.arange(n * each) // each != i
        weights = torch.linalg.solve(x[kept].T @ x[kept] + c * eye, x[kept].T @ y[kept])
        found.append(x[~kept] @ weights)
    expected, residuals = torch.cat(found), y - hat @ y
    if each == 1:
        ours = left_out(y, residuals, 1 - hat.diagonal()[:, None])
    else:
        rest = torch.eye(n * each, dtype=torch.float64) - hat
        blocks = torch.stack([rest[i : i + each, i : i + each] for i in range(0, n * each, each)])
        ours = left_out(y.view(n, each, 1), residuals.view(n, each, 1), blocks).reshape(y.shape)
    torch.testing.assert_close(ours, expected, rtol=1e-10, atol=1e-10)
