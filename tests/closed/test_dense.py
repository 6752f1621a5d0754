"""NumPy and SciPy on a CPU give what torch does."""

from __future__ import annotations

import pytest
import torch

from selfdistill.closed._dense import cholesky, eigenpairs, gram, inverse_lower, product, solve_lower, thin

TOLERANCE = {torch.float32: {"rtol": 1e-4, "atol": 1e-5}, torch.float64: {"rtol": 1e-11, "atol": 1e-12}}


@pytest.fixture(params=[torch.float32, torch.float64], ids=["32", "64"])
def rows(request) -> torch.Tensor:
    return torch.randn(40, 60, generator=torch.Generator().manual_seed(0)).to(request.param)


def test_products_of_rows(rows) -> None:
    for part in (rows, rows.T, rows[::2, ::3]):
        torch.testing.assert_close(gram(part), part @ part.T, **TOLERANCE[rows.dtype])


def test_products_with_a_few_columns(rows) -> None:
    for part, columns in ((rows, rows.T[:, :3]), (rows.T, rows[:, ::9])):
        torch.testing.assert_close(thin(part, columns), part @ columns, **TOLERANCE[rows.dtype])


@pytest.mark.parametrize("by_columns", [False, True])
def test_triangular_systems(rows, by_columns: bool) -> None:
    factor = torch.linalg.cholesky(rows @ rows.T)
    factor = factor.T.contiguous().T if by_columns else factor.contiguous()
    for columns in (rows, rows.T.contiguous().T):
        before = columns.clone()
        found = solve_lower(factor, columns)  # perhaps in the place of the columns
        torch.testing.assert_close(factor @ found, before, **TOLERANCE[rows.dtype])


def test_cholesky_factors_and_their_inverses(rows) -> None:
    matrix = rows @ rows.T
    before = matrix.clone()
    factor = cholesky(matrix)
    assert factor is not None
    half = inverse_lower(factor)
    for one in (factor, half):
        torch.testing.assert_close(one, one.tril(), rtol=0, atol=0)
    rounding = 3e-4 if rows.dtype == torch.float32 else 1e-11
    torch.testing.assert_close(factor @ factor.T, matrix, rtol=0, atol=rounding)
    torch.testing.assert_close(half.T @ half @ matrix, torch.eye(40).to(rows), rtol=0, atol=rounding)
    assert cholesky(matrix - 100 * torch.eye(40).to(rows)) is None
    assert torch.equal(matrix, before)


def test_eigenpairs_and_products_of_two_matrices(rows) -> None:
    matrix = rows @ rows.T
    values, vectors = eigenpairs(matrix.clone())
    assert (values.diff() >= 0).all()
    rounding = 1e-3 if rows.dtype == torch.float32 else 1e-11
    torch.testing.assert_close(product(vectors * values, vectors.T), matrix, rtol=0, atol=rounding)
    torch.testing.assert_close(product(vectors.T, vectors), torch.eye(40).to(rows), rtol=0, atol=rounding)


def test_other_devices_go_another_way() -> None:
    matrix = torch.empty(4, 4, device="meta")
    for found in (gram(matrix), product(matrix, matrix), solve_lower(matrix, matrix), *eigenpairs(matrix)):
        assert found.device.type == "meta"
