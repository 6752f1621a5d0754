"""Kernel ridge regression on a network linearised at its weights: what training the tangent model would predict."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, final

import numpy as np
import torch
from torch import Tensor

from selfdistill._core.errors import DataError, SettingError
from selfdistill._core.rows import check_finite
from selfdistill.ntk._directions import Directions
from selfdistill.ntk._eigenpairs import all_pairs
from selfdistill.ntk._inputs import Inputs
from selfdistill.ntk._network import read_inputs, refuse_infinite, translate_errors
from selfdistill.theory import leave_one_out
from selfdistill.theory._leave_one_out import Criterion, best_penalty, checked_ridge, dual_weights

if TYPE_CHECKING:
    from selfdistill.ntk._operator import NTK

_CHUNK = 64  # examples of a forward pass


@final
@dataclass(frozen=True, eq=False)
class Prediction:
    """What kernel ridge regression on a network's tangent kernel predicts; see `NTK.predict`."""

    outputs: Tensor  # at the examples asked for, float64 ``[m, C]``, or with the further axes of the network's outputs
    leave_one_out: Tensor  # at each training example, by the regression on all others, float64 ``[n, C]``
    ridge: float  # the penalty, in units of the kernel's eigenvalues
    error: float  # mean square of the labels less ``leave_one_out``


def outputs_summed(directions: Directions) -> float:
    """Say over how many outputs a kernel sums."""
    if directions.output not in {"full", "trace", "sum"}:
        raise SettingError(
            f"output is {directions.output!r}, but a regression needs the kernel of the logits themselves",
            "Use 'full', 'trace' or 'sum'.",
        )
    return float(directions.classes) if directions.traced else 1.0


def label_rows(labels: Tensor | np.ndarray, n: int, shape: tuple[int, ...]) -> Tensor:
    """Read what a network is to output."""
    given, outputs = torch.as_tensor(labels).detach().cpu(), int(np.prod(shape))
    if given.shape == (n,) and len(shape) == 1 and outputs > 1 and not given.is_floating_point():
        if not 0 <= int(given.min()) <= int(given.max()) < outputs:
            raise DataError(
                f"labels go from {int(given.min())} to {int(given.max())}, but the network has {outputs} outputs",
                f"Number the classes from 0 to {outputs - 1}.",
            )
        return torch.nn.functional.one_hot(given.long(), outputs).double()
    if given.shape != (n, *shape) and not (given.shape == (n,) and outputs == 1):
        wanted = ", ".join(map(str, (n, *shape)))
        raise DataError(
            f"labels have shape {tuple(given.shape)}, but the network's outputs are [{wanted}]",
            f"Give numbers [{wanted}]" + (f", or classes [{n}] as whole numbers." if len(shape) == 1 else "."),
        )
    rows = given.reshape(n, outputs).double()
    check_finite(rows, "labels have", "Leave such examples out.")
    return rows


def predict(
    kernel: NTK, x: Any, labels: Tensor | np.ndarray, ridge: Criterion | float, *, from_zero: bool
) -> Prediction:
    """Fit and predict; see `NTK.predict`."""
    if not kernel.symmetric:
        raise SettingError("a kernel between two sets of inputs cannot be fitted", "Leave `other` out.")
    summed, shape = outputs_summed(kernel.directions), kernel.structure.output_shape
    n, others = len(kernel.inputs), read_inputs(kernel.structure.model, x, "x")
    y = label_rows(labels, n, shape)
    checked_ridge(ridge)
    blocks = [others.rows(first, first + n) for first in range(0, len(others), n)]  # none larger than the training set
    kernel._planner().explicit()  # before work starts: whether both kernels fit the memory
    kernel._between(kernel.inputs, blocks[0])._planner().explicit()
    start = torch.zeros_like(y) if from_zero else _outputs(kernel, kernel.inputs)
    spectrum = all_pairs(kernel, divisor=summed)
    rows, each = (spectrum.size, -1), spectrum.size // n
    goal, begin = y.reshape(rows), start.reshape(rows)
    c = best_penalty(spectrum, goal, begin, by=ridge, each=each) if isinstance(ridge, str) else float(ridge)
    alone = leave_one_out(spectrum, goal, c, begin, each=each).reshape(n, *shape)
    weights = dual_weights(spectrum, goal, c, begin) / summed
    parts = []
    for some in blocks:
        between = kernel._between(kernel.inputs, some)
        moved = between._gathered(between.matrix()).cpu().double().T @ weights
        parts.append(moved.reshape(len(some), -1) + (0.0 if from_zero else _outputs(kernel, some)))
    error = float((y - alone.flatten(1)).square().mean())
    return Prediction(torch.cat(parts).reshape(-1, *shape), alone, c, error)


def _outputs(kernel: NTK, inputs: Inputs) -> Tensor:
    """Run the network: float64 ``[n, C]``."""
    network, parts = kernel.structure.network, []
    with torch.inference_mode(False), torch.no_grad(), network.quiet(), translate_errors():
        for first in range(0, len(inputs), _CHUNK):
            rows = network.rows(inputs.chunk(first, min(first + _CHUNK, len(inputs))))
            refuse_infinite(rows)
            parts.append(rows.cpu().double())
    return torch.cat(parts)
