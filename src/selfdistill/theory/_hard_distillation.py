"""Self-distillation through hard labels, step by step and exact, at the cost of the few labels that may change."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import final

import numpy as np
import torch
from scipy.special import softmax
from torch import Tensor

from selfdistill._core.errors import DataError, SettingError
from selfdistill.theory._spectrum import Spectrum, amounts, eigenvalues, start_rows, steady_lr, target_rows

_SLACK = 1e-9  # of margins: far above rounding of outputs and of the sum of movements, far below margins that matter


@final
class HardLabels:
    """One-hot predictions of ``F = V state``, of which only those are computed anew that may have changed."""

    # Row i of F is v_i times the state with |v_i| = 1, so a step with column norms d1 >= d2 >= ... changes the
    # difference of two outputs by at most d1 + d2. An example with margin m (largest output less the second) keeps its
    # label until these sums add up to m.

    def __init__(self, vectors: np.ndarray, outputs: np.ndarray, given: np.ndarray) -> None:
        self.vectors, self.given = vectors, given
        self.classes = outputs.argmax(1)
        self.coefficients = vectors.T @ np.eye(outputs.shape[1])[self.classes]
        self.agreement = float((self.classes == given).mean())
        self.total = 0.0
        self.until = _margins(outputs)
        self.rows_evaluated = self.flips = 0

    def add_step(self, step: np.ndarray) -> None:
        """Take note of a step of the state, ``[n, C]``."""
        norms = np.sqrt(np.einsum("ij,ij->j", step, step))
        first, second = np.partition(norms, -2)[-2:]
        self.total += float(first + second)

    def update(self, state: np.ndarray) -> None:
        """Bring labels and their coefficients up to date with the state, ``[n, C]``."""
        rows = np.flatnonzero(self.until <= self.total)
        if not len(rows):
            return
        part = self.vectors if len(rows) == len(self.vectors) else self.vectors[rows]
        outputs = part @ state
        self.rows_evaluated += len(rows)
        self.until[rows] = self.total + _margins(outputs)
        found, old = outputs.argmax(1), self.classes[rows]
        changed = np.flatnonzero(found != old)
        if not len(changed):
            return
        self.flips += len(changed)
        difference = np.zeros((len(changed), state.shape[1]))
        order = np.arange(len(changed))
        difference[order, found[changed]] = 1
        difference[order, old[changed]] = -1
        self.coefficients += part[changed].T @ difference
        self.classes[rows] = found
        self.agreement = float((self.classes == self.given).mean())


@final
class SoftLabels:
    """Softmax of outputs over a temperature; all of them are computed anew each time."""

    def __init__(self, vectors: np.ndarray, outputs: np.ndarray, given: np.ndarray, temperature: float) -> None:
        self.vectors, self.given, self.temperature = vectors, given, temperature
        self.classes = outputs.argmax(1)
        self.rows_evaluated = self.flips = 0
        self._read(outputs)

    def add_step(self, step: np.ndarray) -> None:
        """Take note of a step; there is nothing to note here."""

    def update(self, state: np.ndarray) -> None:
        """Bring labels and their coefficients up to date with the state, ``[n, C]``."""
        self.rows_evaluated += len(self.vectors)
        self._read(self.vectors @ state)

    def _read(self, outputs: np.ndarray) -> None:
        found = outputs.argmax(1)
        self.flips += int((found != self.classes).sum())
        self.classes = found
        self.coefficients = self.vectors.T @ softmax(outputs / self.temperature, axis=1)
        self.agreement = float((found == self.given).mean())


def _margins(outputs: np.ndarray) -> np.ndarray:
    """Largest output of each row less the second, less what rounding may hide."""
    top = np.partition(outputs, -2, axis=1)[:, -2:]
    margins: np.ndarray = (top[:, 1] - top[:, 0]) * (1 - _SLACK) - _SLACK * np.abs(outputs).max()
    return margins


OwnWeight = float | Tensor | Callable[[int, float], float]


@dataclass(frozen=True, eq=False)
class HardTrace:
    """What happened in a run of `hard_distillation`."""

    steps: Tensor  # that outputs were kept of, int64 ``[T]``
    outputs: Tensor  # after those steps, float64 ``[T, n, C]``
    own_weight: Tensor  # weight of the own prediction in each step, float64 ``[S]``
    agreement: Tensor  # share of examples predicted as given, before each step, float64 ``[S]``
    rows_evaluated: int  # outputs computed to know the labels, in rows of C; the plain recursion computes ``n S``
    flips: int  # how often the label of an example changed

    @property
    def predictions(self) -> Tensor:
        """The classes predicted after the kept steps, int64 ``[T, n]``."""
        return torch.from_numpy(self.outputs.numpy().argmax(-1))

    @property
    def share_evaluated(self) -> float:
        """Rows evaluated, as a share of those of the plain recursion."""
        return self.rows_evaluated / (self.outputs.shape[1] * len(self.own_weight))


def hard_distillation(
    spectrum: Spectrum,
    targets: Tensor,
    lr: float,
    steps: int,
    own_weight: OwnWeight,
    *,
    record: Sequence[int] | None = None,
    temperature: float = 0.0,
    flow: bool = False,
    start: Tensor | None = None,
) -> HardTrace:
    r"""Train towards the given labels mixed with one's own present predictions, made hard.

    .. math::

        F_k = F_{k-1} + \eta K \bigl((1 - a_k)\,Y + a_k\, h(F_{k-1}) - F_{k-1}\bigr), \qquad
        h(F)_i = e_{\arg\max_c F_{ic}}

    Not a change of time: once the predictions are right and stay so, while :math:`a_k \to 1`, the outputs go to the
    truth (see `settled_distillation`). On ties the first class is taken.

    The recursion is exact, but done in the eigenbasis, where a step costs ``O(n C)``. An output moves by no more than
    the norm of the step, so the label of an example is looked at again only when the steps since then add up to its
    margin; the plain recursion spends ``2 n² C`` FLOPs a step on all of them.

    Args:
        spectrum: Of K, complete; units as in `gradient_flow`.
        targets: Y, one-hot or other values per class, ``[n, C]``, C at least 2. For labels of -1 and 1 give the columns
            ``(1 - y) / 2`` and ``(1 + y) / 2``; the second output less the first is the binary one.
        lr: η; without ``flow`` at most 2 over the largest eigenvalue.
        steps: S, at least 1.
        own_weight: a in [0, 1]: a number, a list ``[S]``, or a function of the step, counted from 1, and the agreement,
            the share of examples that are predicted as given before the step.
        record: After which steps to keep the outputs, 0 to S, rising; the last if left out.
        temperature: Above 0, h is softmax(F / temperature), and every step costs ``4 n² C`` FLOPs.
        flow: Follow the differential equation over each interval ``lr`` exactly, with the target of its start, instead
            of one step.
        start: F₀, ``[n, C]``; 0 if left out.

    Returns:
        The trace. Memory: ``8 n C`` bytes per kept step and a copy of the eigenvectors.

    Raises:
        DataError: Targets without classes.

    References:
        The targets are those of Dong, Hou, Lu & Zhang (2019), arXiv 1910.01255, in the kernel regime; the recursion in
        the eigenbasis is ours.

    Example:
        >>> kernel = Spectrum.of(torch.tensor([[1.0, 0.9, 0.9], [0.9, 1.0, 0.9], [0.9, 0.9, 1.0]]))
        >>> given = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])  # the last one is wrong
        >>> trace = hard_distillation(kernel, given, 0.3, 2000, lambda step, agreement: min(step / 20, 1))
        >>> trace.outputs[-1].round(decimals=2).abs()
        tensor([[1., 0.],
                [1., 0.],
                [1., 0.]], dtype=torch.float64)
    """
    values = eigenvalues(spectrum)
    goal = target_rows(spectrum, targets)
    if goal.ndim != 2 or goal.shape[1] < 2:
        raise DataError(
            f"targets have shape {tuple(goal.shape)}, but hard labels need [n, C] with C at least 2",
            "For labels of -1 and 1 give the columns (1 - y) / 2 and (1 + y) / 2.",
        )
    kept = _kept_steps(record, steps)
    weight = _weights(own_weight, steps)
    softness = float(amounts(temperature, "temperature"))
    rate = _held(values, lr) if flow else values * steady_lr(values, lr)
    begin, vectors = start_rows(spectrum, start, goal).cpu().numpy(), spectrum.vectors.cpu().numpy()
    given = goal.cpu().numpy().argmax(1)
    labels = SoftLabels(vectors, begin, given, softness) if softness else HardLabels(vectors, begin, given)
    return _run(vectors, rate.cpu().numpy()[:, None], goal.cpu().numpy(), begin, labels, weight, steps, kept)


def _held(values: Tensor, interval: float) -> Tensor:
    """Share of the way to a target that is held for an interval of time."""
    return -torch.expm1(-values * float(amounts(interval, "lr", positive=True)))


def _run(
    vectors: np.ndarray,
    rate: np.ndarray,
    goal: np.ndarray,
    begin: np.ndarray,
    labels: HardLabels | SoftLabels,
    weight: Callable[[int, float], float],
    steps: int,
    kept: list[int],
) -> HardTrace:
    """Iterate the coefficients, ask for labels before each step."""
    given, state = vectors.T @ goal, vectors.T @ begin
    weights, agreement, outputs = np.empty(steps), np.empty(steps), []
    if kept[0] == 0:
        outputs.append(begin)
    wanted = set(kept)
    for k in range(1, steps + 1):
        if k > 1:
            labels.update(state)
        agreement[k - 1] = labels.agreement
        a = weights[k - 1] = weight(k, labels.agreement)
        move = (1 - a) * given
        move += a * labels.coefficients
        move -= state
        move *= rate
        state += move
        labels.add_step(move)
        if k in wanted:
            outputs.append(vectors @ state)
    return HardTrace(
        torch.tensor(kept),
        torch.from_numpy(np.stack(outputs)),
        torch.from_numpy(weights),
        torch.from_numpy(agreement),
        labels.rows_evaluated,
        labels.flips,
    )


def _kept_steps(record: Sequence[int] | None, steps: int) -> list[int]:
    if int(steps) != steps or steps < 1:
        raise SettingError(f"steps is {steps}, but must be a whole number of at least 1", "Take at least one step.")
    steps_kept = [steps] if record is None else [int(k) for k in record]
    if not steps_kept or steps_kept != sorted(set(steps_kept)) or steps_kept[0] < 0 or steps_kept[-1] > steps:
        raise SettingError(
            f"record has {len(steps_kept)} steps{f' from {steps_kept[0]} to {steps_kept[-1]}' if steps_kept else ''}, "
            f"but must rise from 0 or more to {steps} or less",
            "Sort it, and list no step twice.",
        )
    return steps_kept


def _weights(own_weight: OwnWeight, steps: int) -> Callable[[int, float], float]:
    """Make a function of any form of weights, one that checks what comes out."""
    if callable(own_weight):
        raw: Callable[[int, float], float] = own_weight
    else:
        listed = torch.as_tensor(own_weight).detach().double().cpu()
        if listed.ndim > 1 or (listed.ndim == 1 and len(listed) != steps):
            raise SettingError(
                f"own_weight has shape {tuple(listed.shape)}, but must be one number or [{steps}]",
                "Give one for each step.",
            )
        fixed = listed.expand(steps).tolist()
        raw = lambda step, agreement: fixed[step - 1]

    def checked(step: int, agreement: float) -> float:
        value = float(raw(step, agreement))
        if not 0 <= value <= 1:
            raise SettingError(
                f"own_weight is {value:g} in step {step}, but must be in [0, 1]", "It is a share of the target."
            )
        return value

    return checked
