"""The neural tangent kernel of a network: a linear operator, a matrix, and its leading eigenpairs."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property, partial
from typing import Any, TypeVar, final

import numpy as np
import torch
from scipy.sparse.linalg import LinearOperator
from torch import Tensor, nn

from selfdistill._core import dist
from selfdistill._core.errors import DataError, SettingError
from selfdistill._core.rows import checked_rows
from selfdistill.ntk._directions import Output
from selfdistill.ntk._eigenpairs import leading_pairs
from selfdistill.ntk._forecast import Cost, Plan, parse_bytes, progress_bar
from selfdistill.ntk._gram import Products, diagonal, explicit, gathered, share_of
from selfdistill.ntk._inputs import Inputs
from selfdistill.ntk._jacobian import Jacobian
from selfdistill.ntk._network import Mismatch, read_inputs, single_precision, unwrapped
from selfdistill.ntk._plan import Planner
from selfdistill.ntk._regression import Prediction, predict
from selfdistill.ntk._structure import Structure
from selfdistill.theory import Spectrum
from selfdistill.theory._leave_one_out import Criterion

_T = TypeVar("_T")
_BLOCK = 20  # vectors of the product that the plan tells the cost of


@final
class NTK:
    r"""Neural tangent kernel of a network on some examples, empirical, at its present weights.

    With :math:`v_{ir}` the directions of ``output`` (see the table) and :math:`f` the logits,

    .. math::

        K_{ij} = \sum_r \big\langle \nabla_\theta (v_{ir} \cdot f(x_i)),\;
        \nabla_\theta (v_{jr} \cdot f(x_j)) \big\rangle

    Nothing is divided: not by the classes (neural-tangents divides a trace by them), not by the examples. Parameters
    are those that require a gradient, or all where none does.

    ``"trace"`` sums over the C logits. ``"sum"`` takes their sum as the one output: cheap, C times less work, but it is
    the one direction that softmax cannot see. ``"centered"`` leaves that direction out: trace less sum / C.
    ``"fisher"`` weighs with softmax: directions :math:`\sqrt{p_r}(e_r - p)`, so that its trace is that of the Fisher
    matrix :math:`J^\top(\mathrm{diag}\,p - pp^\top)J`. ``"full"`` keeps all pairs of logits, row ``i C + c``;
    ``"fisher_full"`` all pairs of Fisher's directions: its eigenvalues are the Fisher matrix's.

    Layers with a rule (Linear, Conv1d and 2d, LayerNorm, GroupNorm, BatchNorm in evaluation mode, Embedding) are
    differentiated per sample from their inputs and the gradients at their outputs; for a Linear layer on vectors the
    gradient is never formed. All else, attention's own weights for instance, goes through `torch.func` per sample. Both
    are compared with autograd on three examples, each alone; where they differ, the next slower way is taken.

    Args:
        model: Any module that maps ``[n, ...]`` to logits ``[n, C]``, one example at a time; further axes are
            flattened. One with weights of 16 bit is copied to 32.
        inputs: Examples of the rows: a tensor or array ``[n, ...]``, a tuple of them passed by position, or a mapping
            passed by name, or as one dict where its names are no arguments.
        other: Examples of the columns; the same as the rows if left out.
        output: Which kernel.
        memory: Most bytes to use beside network and inputs: a number, or text such as ``"2GiB"``.
        parameters: Says by name which parameters count.
        rules: Whether layers' rules are used; without, everything goes through `torch.func`: slow, and a check.
        progress: Whether the cost and a bar are shown on stderr; if left out, on a terminal.

    Raises:
        SettingError: No parameters, layers in training mode that couple or randomise examples, an unknown output, or
            less memory than the least that works, which the error names.
        DataError: Weights, inputs or outputs that are not finite, a single example, outputs that are not ``[n, C]``, a
            network that fails, draws random numbers that matter, or lets examples change each other's outputs.

    Cost: see `plan`. Precision: that of the network; eigenpairs in float64.

    References:
        Jacot, Gabriel & Hongler (2018), arXiv 1806.07572, section 4. Novak, Sohl-Dickstein & Schoenholz (2022), arXiv
        2206.08720: layerwise contractions.

    Example:
        >>> model = nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 2))
        >>> kernel = NTK(model, torch.randn(5, 3))
        >>> kernel.shape, kernel.matrix().shape, (kernel @ torch.ones(5, 1)).shape
        ((5, 5), torch.Size([5, 5]), torch.Size([5, 1]))
    """

    @torch.inference_mode(False)  # there, nothing can be differentiated
    def __init__(
        self,
        model: nn.Module,
        inputs: Any,
        other: Any = None,
        *,
        output: Output = "trace",
        memory: int | str = "2GiB",
        parameters: Callable[[str], bool] | None = None,
        rules: bool = True,
        progress: bool | None = None,
    ) -> None:
        model = single_precision(unwrapped(model))
        self.inputs = read_inputs(model, inputs)
        self.symmetric = other is None or other is inputs
        self.other = self.inputs if self.symmetric else read_inputs(model, other, "other")
        if self.symmetric and len(self.inputs) < 2:
            raise DataError("the kernel of 1 example is a single number", "Give at least 2 examples.")
        self.memory, self.progress = parse_bytes(memory), progress
        probe = self.inputs if len(self.inputs) > 1 else self.other
        if len(probe) < 2:
            raise DataError("inputs and other hold 1 example each", "Give at least 2 in one of them.")
        self.structure = Structure(model, probe, output, parameters, rules=rules)
        self.directions = self.structure.directions
        self.jacobian = Jacobian(self.structure, self.directions)
        self._kept: Products | None = None

    # -- what it is ----------------------------------------------------------------------------------------------

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        each = 1 if self.directions.traced else self.directions.count
        return len(self.inputs) * each, len(self.other) * each

    @property
    def dtype(self) -> torch.dtype:
        """Data type of the network's outputs and of the matrix."""
        return self.structure.dtype

    @property
    def device(self) -> torch.device:
        """Where the network is."""
        return self.inputs.device

    @property
    def plan(self) -> Plan:
        """What each layer, the matrix and a product will cost; print it."""
        planner = self._planner()
        costs: list[Cost | None] = []
        for work in (planner.explicit, partial(planner.product, _BLOCK)):
            try:
                costs.append(work()[-1])
            except SettingError:
                costs.append(None)
        shape = (len(self.inputs), len(self.other))
        return Plan(self.directions.output, shape, planner.layer_plans(), costs[0], costs[1], _BLOCK, self.memory)

    def _planner(self) -> Planner:
        first, last = self._share()
        return Planner(
            self.structure,
            self.directions,
            len(self.inputs),
            len(self.other),
            self.memory,
            symmetric=self.symmetric,
            share=last - first,
            overhead=self._overhead,
        )

    def _retry_slower(self, work: Callable[[], _T], *, alike: bool = False) -> _T:
        """Do some work, anew the slow way where gradients are not those of examples alone; ``alike`` on every one."""
        while True:
            try:
                with torch.inference_mode(False):  # there, nothing can be differentiated
                    return work()
            except Mismatch as found:
                if dist.world() > 1 and not alike:  # the others may have found nothing
                    raise DataError(
                        "the network treats examples of a batch differently from each alone",
                        "Pass rules=False, or run it in one process.",
                    ) from None
                if found.names:
                    self.structure.demote(found.names)
                else:
                    self.structure.per_sample.slower()
                vars(self).pop("_overhead", None)
                self._kept = None

    @cached_property
    def _overhead(self) -> tuple[float, float]:
        with torch.no_grad():
            return self._retry_slower(lambda: self.jacobian.overhead(self.inputs), alike=True)

    def _share(self) -> tuple[int, int]:
        return share_of(len(self.inputs), dist.rank(), dist.world())

    # -- the matrix ----------------------------------------------------------------------------------------------

    @torch.no_grad()
    def matrix(self) -> Tensor:
        """Compute the kernel as a matrix.

        Returns:
            `shape`, in `dtype`, on `device`; exactly symmetric for one set of inputs. Over several processes each
            gets its own rows, `torch.distributed` world of n shared out evenly and in order.

        Raises:
            SettingError: It does not fit the memory; the error names the least that works.
        """  # noqa: DOC502 (raised by what is called)
        return self._retry_slower(self._matrix)

    def _matrix(self) -> Tensor:
        groups, chunk, cost = self._planner().explicit()
        first, last = self._share()
        examples = len(groups) * (last - first + (0 if self.symmetric else len(self.other)))
        forecast = f"{self.directions.output} kernel {self.shape[0]:,} x {self.shape[1]:,}: {cost}"
        with progress_bar(forecast, examples, self.progress) as tell:
            other = None if self.symmetric else self.other
            return explicit(self.jacobian, self.inputs, other, groups, chunk, (first, last), tell)

    # -- products ------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def matmat(self, block: Tensor | np.ndarray) -> Tensor:
        """Multiply a block of vectors, without the matrix.

        Args:
            block: ``[columns, b]``.

        Returns:
            ``[rows, b]``, in `dtype`, on `device`; the same on each process where there are several.

        Raises:
            DataError: Another number of rows.
            SettingError: Not even one vector fits the memory.
        """  # noqa: DOC502 (raised by what is called)
        vectors = checked_rows(block, self.shape[1], "the block").to(self.device, self.dtype)
        if vectors.ndim != 2:
            raise DataError(f"the block has shape {tuple(vectors.shape)}", "Give [columns, b], or use matvec.")
        return self._retry_slower(lambda: self._product(vectors))

    def _product(self, vectors: Tensor) -> Tensor:
        b = vectors.shape[1]
        try:
            groups, chunk, keep, cost = self._planner().product(b)
        except SettingError:
            if b == 1:
                raise
            half = b // 2
            return torch.cat([self.matmat(vectors[:, :half]), self.matmat(vectors[:, half:])], 1)
        work = self._kept if keep and self._kept is not None else None
        if work is None:
            work = Products(self.jacobian, self.inputs, self.other, groups, chunk, keep=keep)
        rows, columns = (share_of(len(one), dist.rank(), dist.world()) for one in (self.inputs, self.other))
        examples = len(groups) * (rows[1] - rows[0] + (0 if keep and self.symmetric else columns[1] - columns[0]))
        examples = 0 if work is self._kept else examples
        self._kept = work if keep else self._kept
        forecast = f"{self.directions.output} kernel times {b} vectors: {cost}"
        with progress_bar(forecast, examples, self.progress) as tell:
            return work(vectors, tell)

    def matvec(self, vector: Tensor | np.ndarray) -> Tensor:
        """Multiply one vector ``[columns]``; see `matmat`."""
        return self.matmat(torch.as_tensor(vector)[:, None])[:, 0]

    def __matmul__(self, block: Tensor) -> Tensor:
        """Multiply a vector or a block of them."""
        return self.matvec(block) if block.ndim == 1 else self.matmat(block)

    @property
    def T(self) -> NTK:  # noqa: N802 (torch's and numpy's name)
        """The transpose: rows and columns exchanged."""
        return self if self.symmetric else self._between(self.other, self.inputs)

    def _between(self, inputs: Inputs, other: Inputs) -> NTK:
        """Give the same network's kernel of other examples."""
        kernel: NTK = object.__new__(NTK)
        vars(kernel).update(vars(self))
        kernel.inputs, kernel.other, kernel.symmetric, kernel._kept = inputs, other, False, None
        return kernel

    def to_scipy(self) -> LinearOperator:
        """Wrap it for scipy, ``eigsh`` for instance.

        Returns:
            The operator on float64 arrays; arithmetic stays in `dtype`.

        Example:
            >>> model = nn.Linear(3, 1).double()
            >>> NTK(model, torch.eye(3).double()).to_scipy().matvec(np.ones(3))
            array([4., 4., 4.])
        """

        def times(kernel: NTK, block: np.ndarray) -> np.ndarray:
            return (kernel @ torch.as_tensor(block)).cpu().double().numpy()

        one, two = partial(times, self), partial(times, self.T)
        return LinearOperator(self.shape, matvec=one, matmat=one, rmatvec=two, rmatmat=two, dtype=np.float64)

    # -- eigenpairs ----------------------------------------------------------------------------------------------

    @torch.no_grad()
    def eigh(
        self, k: int | None = None, *, labels: Tensor | np.ndarray | None = None, tolerance: float = 1e-3, seed: int = 0
    ) -> Spectrum:
        """Find the k leading eigenpairs.

        Small kernels are decomposed densely in 64 bit. Else by block Krylov with full orthogonalisation, on the matrix
        where that is cheaper by the forecast, or on the operator; its start block holds the labels and random vectors.

        Args:
            k: How many pairs; all if left out.
            labels: ``[rows]`` or ``[rows, c]``, such as centred one-hot labels: resolved first.
            tolerance: Relative error of each eigenvalue; 0.1 is a quick look.
            seed: Of random vectors.

        Returns:
            The pairs, each with its residual: a bound on its error as a pair of the kernel that was computed.
            `Spectrum.rounding` says how far that may be from the exact one.

        Raises:
            SettingError: ``k`` outside 1 to n, a kernel between two sets, or too little memory.
            DataError: Labels of another length.
        """  # noqa: DOC502 (raised by what is called)
        n = self.shape[0]
        k = n if k is None else k
        if not self.symmetric:
            raise SettingError("a kernel between two sets of inputs has no eigenpairs", "Leave `other` out.")
        if not 1 <= k <= n:
            raise SettingError(f"k is {k}, but a kernel of {n} rows has 1 to {n} eigenpairs", "Ask for fewer.")
        given = None if labels is None else checked_rows(labels, n, "labels").double().reshape(n, -1)
        return leading_pairs(self, k, given, tolerance, seed)

    def predict(
        self, x: Any, labels: Tensor | np.ndarray, ridge: Criterion | float = "gcv", *, from_zero: bool = False
    ) -> Prediction:
        r"""Fit labels by the network linearised at its weights, with a ridge, and predict: no training, no step size.

        .. math:: f(x) = f_0(x) + K(x, X)\,(K(X, X) + cI)^{-1}\,(y - f_0(X))

        minimises :math:`\|f(X) - y\|^2 + c\,\|\theta - \theta_0\|^2` where ``output="full"``, or C is 1. ``"trace"``
        and ``"sum"`` fit each logit alone, by the kernel over C: the mean of the logits' own, as if the network were
        infinitely wide, and a cheap proxy for it.

        Args:
            x: Examples to predict, as for ``inputs``.
            labels: Of the kernel's examples: classes as whole numbers ``[n]``, fitted as one-hot rows, or numbers
                ``[n, C]``.
            ridge: The penalty c, in units of the kernel's eigenvalues; ``"loo"`` or ``"gcv"`` take that of least
                leave-one-out error, exact or approximate (`best_penalty`).
            from_zero: Whether :math:`f_0` counts as 0; else it is the network's own outputs.

        Returns:
            Predictions at ``x``, at each training example by the regression on all others (`leave_one_out`), and c.
            Cost: two kernels, with itself and with ``x``; for N rows ``9 N³`` FLOPs and ``24 N²`` bytes.

        Raises:
            SettingError: A kernel between two sets, of something else than the logits, or with too little memory; a
                ridge at which the regression is rounding.
            DataError: Labels of another shape or number; what examples raise.

        References:
            Lee et al. (2019), arXiv 1902.06720, section 2.2. Mohamadi, Bae & Sutherland (2023), arXiv 2206.12543 (sum).

        Example:
            >>> model, x = nn.Linear(3, 1).double(), torch.randn(9, 3, dtype=torch.float64)
            >>> found = NTK(model, x).predict(x[:2], x @ torch.ones(3, 1).double(), ridge=1e-9)
            >>> found.outputs.shape, bool((found.leave_one_out - x.sum(1, keepdim=True)).abs().max() < 1e-6)
            (torch.Size([2, 1]), True)
        """  # noqa: DOC502 (raised by what is called)
        return predict(self, x, labels, ridge, from_zero=from_zero)

    @torch.no_grad()
    def diagonal(self) -> Tensor:
        """Compute the diagonal: one sweep.

        Returns:
            float64 ``[rows]`` on the CPU, the same on each process.

        Raises:
            SettingError: A kernel between two sets.
        """
        if not self.symmetric:
            raise SettingError("a kernel between two sets of inputs has no diagonal", "Leave `other` out.")
        return self._retry_slower(self._diagonal)

    def _diagonal(self) -> Tensor:
        groups, chunk, *_ = self._planner().product(1)
        first, last = self._share()
        with progress_bar("diagonal", len(groups) * (last - first), self.progress) as tell:
            mine = diagonal(self.jacobian, self.inputs, groups, chunk, (first, last), tell)
        return self._gathered(mine[:, None])[:, 0].cpu()

    def _gathered(self, mine: Tensor) -> Tensor:
        """Put the rows of all processes together."""
        return gathered(mine, len(self.inputs), 1 if self.directions.traced else self.directions.count)
