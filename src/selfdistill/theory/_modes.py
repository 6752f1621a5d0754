"""Filters on the eigenbasis of a kernel: what every closed form of the kernel regime comes down to."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from selfdistill._core.errors import DataError, SettingError
from selfdistill._core.rows import check_finite, checked_rows
from selfdistill.theory._spectrum import Spectrum

Amount = float | Sequence[float] | Tensor


def eigenvalues(spectrum: Spectrum) -> Tensor:
    """Return all n eigenvalues; those below ``n eps`` times the largest, negative ones too, count as 0."""
    if not spectrum.complete:
        raise SettingError(
            f"the spectrum has {len(spectrum.values)} of {spectrum.size} eigenpairs, but closed forms need all",
            "Use Spectrum.of(kernel) without k.",
        )
    values = spectrum.values
    floor = spectrum.size * torch.finfo(torch.float64).eps * values.abs().max()
    return torch.where(values > floor, values, 0.0)


def amounts(value: Amount, name: str, *, whole: bool = False, positive: bool = False) -> Tensor:
    """Return a scalar or a list of numbers as float64, having checked their range."""
    found = torch.as_tensor(value, dtype=torch.float64).detach().cpu()
    if found.ndim > 1:
        raise SettingError(f"{name} has shape {tuple(found.shape)}, but must be one number or a list", "Flatten it.")
    low = found <= 0 if positive else found < 0
    bad = low | found.isnan() | ((found != found.round()) if whole else False)
    if bool(bad.any()):
        kind = ("a whole number, " if whole else "") + ("above 0" if positive else "0 or more")
        raise SettingError(f"{name} is {float(found[bad][0]):g}, but must be {kind}", f"Give another {name}.")
    return found


def target_rows(spectrum: Spectrum, z: Tensor, name: str = "targets") -> Tensor:
    """Return values per example as float64 ``[n]`` or ``[n, c]``, checked to be finite."""
    rows = checked_rows(z, spectrum.size, name).detach().to(spectrum.vectors)
    check_finite(rows, f"{name} has", "Leave such examples out.")
    return rows


def start_rows(spectrum: Spectrum, start: Tensor | None, like: Tensor) -> Tensor:
    """Return the outputs that training starts from, 0 if not given; of the targets' shape."""
    if start is None:
        return torch.zeros_like(like)
    rows = target_rows(spectrum, start, "start")
    if rows.shape != like.shape:
        raise DataError(
            f"start has shape {tuple(rows.shape)}, but the targets have {tuple(like.shape)}",
            "Give the outputs before training, one for each target.",
        )
    return rows


def filtered(spectrum: Spectrum, share: Tensor, targets: Tensor, start: Tensor | None = None) -> Tensor:
    """Go a share of the way from the start to the targets, in each eigendirection its own share."""
    goal = target_rows(spectrum, targets)
    begin = start_rows(spectrum, start, goal)
    way = spectrum.vectors.T @ (goal - begin).reshape(spectrum.size, -1)
    moved = spectrum.vectors @ (share.to(way)[..., None] * way)
    return begin + moved.reshape(*share.shape[:-1], *goal.shape)


def damping(values: Tensor, time: Tensor) -> Tensor:
    """Return ``lambda t`` for all pairs, 0 where lambda is 0 however long the time."""
    product = time.to(values)[..., None] * values
    return torch.where(values > 0, product, torch.zeros_like(product))


def shrinkage(values: Tensor, time: Amount | None, penalty: Amount | None) -> Tensor:
    """Return the filter of one training: gradient flow for a time, or ridge regression with a penalty."""
    if (time is None) == (penalty is None):
        raise SettingError(
            f"time is {time} and penalty is {penalty}, but exactly one must be given", "Give one of them."
        )
    if time is not None:
        return -torch.expm1(-damping(values, amounts(time, "time")))
    return values / (values + amounts(penalty, "penalty", positive=True).to(values)[..., None])  # type: ignore[arg-type]


def steady_lr(values: Tensor, lr: float) -> float:
    """Check that gradient descent with this step does not grow without bound."""
    largest = float(values[0])
    if not lr > 0 or lr * largest > 2 + 1e-9:
        limit = f"above 0 and at most 2 / largest eigenvalue = {2 / largest:.6g}" if largest > 0 else "above 0"
        raise SettingError(f"lr is {lr:g}, but must be {limit}", "Take 1 / largest eigenvalue.")
    return float(lr)
