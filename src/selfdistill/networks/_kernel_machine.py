"""Kernel machine: kernels of an input with landmarks, or a forest as flat arrays, a linear map, and a calibration."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from selfdistill._core.errors import DataError, SettingError

KERNELS = ("linear", "relu1", "relu3", "rbf")
"""Kernels by name: dot product, ReLU network of infinite width with one or three hidden layers (its tangent kernel),
and Gaussian. All have a diagonal of 1."""
_RBF = 2.0  # exp(-2 |x - x'|^2) of unit rows: between 1 and exp(-8)
_CHUNK = 2**16  # entries that stay in the cache while they are computed
_DEEPEST = 64  # splits between a root and a leaf, at most


def unit_rows(inputs: Tensor, constant: float | Tensor) -> Tensor:
    """Put vectors on the unit sphere, with a constant coordinate that keeps their length in sight."""
    # Row x becomes `(x, c) / \sqrt{\|x\|^2 + c^2}`. With the root mean square of the norms as c both parts weigh
    # the same on average, and the kernels are those of a network with a bias.
    rows = torch.cat([inputs, torch.full_like(inputs[:, :1], float(constant))], 1)
    unit: Tensor = rows / rows.norm(dim=1, keepdim=True)
    return unit


def kernel_rows(name: str, rows: Tensor, landmarks: Tensor) -> Tensor:
    """Compute kernels of unit rows."""
    # With u the cosine: ``linear`` u; ``rbf`` `e^{-4 (1 - u)}`; ``relu1`` and ``relu3`` the tangent kernel of
    # `selfdistill.theory.relu_kernel` with depth 1 and 3, divided by depth + 1.
    if name not in KERNELS:
        raise SettingError(f"kernel {name!r} does not exist", f"Choose one of: {', '.join(KERNELS)}.")
    return of_cosines(name, rows @ landmarks.T)


def of_cosines(name: str, cosines: Tensor) -> Tensor:
    """Turn cosines into kernels, in their place unless they have a gradient."""
    if cosines.requires_grad:
        return _of_cosines(name, cosines)
    for part in torch.split(cosines, max(1, _CHUNK // max(1, cosines.shape[1]))):
        part.copy_(_of_cosines(name, part))
    return cosines


def _of_cosines(name: str, cosines: Tensor) -> Tensor:
    u = cosines.clamp(-1, 1)
    if name == "linear":
        return u
    if name == "rbf":
        return ((u - 1) * (2 * _RBF)).exp()
    # of a row with itself: what rounding leaves below 1 would count by its root, 1e-8 in 64 bit
    u = u.masked_fill(u > 1 - 16 * torch.finfo(u.dtype).eps, 1.0)
    depth, value = int(name.removeprefix("relu")), u
    for _ in range(depth):
        share = 1 - torch.arccos(u) / math.pi
        u = torch.addcmul((1 - u * u).sqrt() / math.pi, share, u)  # sin(angle) / pi + share * cos(angle)
        value = torch.addcmul(u, value, share)
        u = u.clamp(-1, 1)
    return value / (depth + 1)


class Trees(nn.Module):
    """Binary trees with axis-parallel splits: a row goes left where its column is at most the threshold."""

    # Splits and leaves are numbered through all trees. A number from 0 means a split, a negative one, ``~leaf``, a
    # leaf.

    column: Tensor  # column that a split looks at, int32 `[splits]`
    threshold: Tensor  # float32 `[splits]`
    below: Tensor  # where a split sends a row, left and right, int32 `[splits, 2]`; a child's number is above its own
    roots: Tensor  # int32 `[trees]`

    def __init__(self, splits: int, trees: int) -> None:
        super().__init__()
        self.register_buffer("column", torch.zeros(splits, dtype=torch.int32))
        self.register_buffer("threshold", torch.zeros(splits))
        self.register_buffer("below", torch.full((splits, 2), -1, dtype=torch.int32))
        self.register_buffer("roots", torch.full((trees,), -1, dtype=torch.int32))

    @property
    def leaves(self) -> int:
        """Number of leaves."""
        return len(self.column) + len(self.roots)

    def check(self, columns: int) -> None:
        """Refuse arrays that are no trees, such as those of a damaged file."""
        splits, below = len(self.column), self.below
        above = torch.arange(splits, device=below.device)[:, None]
        right = bool(((below > above) | (below < 0)).all()) and bool((self.roots < max(splits, 1)).all())
        inside = all(bool(((n < splits) & (n >= -self.leaves)).all()) for n in (below, self.roots))
        if not (right and inside and bool(((self.column >= 0) & (self.column < columns)).all())):
            raise DataError("the trees of this classifier are damaged", "Fit it again.")

    def forward(self, rows: Tensor) -> Tensor:
        """Find the leaves that rows end in."""
        at = self.roots.long().expand(len(rows), -1).clone()
        if not len(self.column):
            return ~at
        for _ in range(_DEEPEST):
            inside = at >= 0
            if not bool(inside.any()):
                return ~at
            split = at.clamp(min=0)
            right = rows.gather(1, self.column[split].long()) > self.threshold[split]
            at = torch.where(inside, self.below[split, right.long()].long(), at)
        if bool((at >= 0).any()):
            raise DataError(f"a tree of this classifier is deeper than {_DEEPEST} splits", "Fit it again.")
        return ~at


class KernelMachine(nn.Module):
    r"""Mixture of calibrated regressions, by one kernel or one forest: the classifier that the closed form leaves.

    .. math:: f_c(x) = a_c + k\bigl((x - s)\,t, L\bigr)\,C_c \quad\text{or}\quad
              f_c(x) = \frac1B \sum_b V_{c, \ell_b(x)}, \qquad
              p(x) = \sum_c w_c\,\mathrm{softmax}(f_c(x) B_c + b_c) .

    Args:
        in_features: Numbers per example.
        landmarks: Number of landmarks.
        num_classes: Number of logits.
        kernel: One of `KERNELS`.
        parts: Number of regressions by the kernel.
        forest: Splits, trees, and number of regressions by the forest, which come after the others.

    Example:
        >>> KernelMachine(4, 8, 3)(torch.zeros(5, 4)).shape
        torch.Size([5, 3])
    """

    shift: Tensor
    factor: Tensor
    constant: Tensor
    landmarks: Tensor
    coefficients: Tensor
    offset: Tensor
    calibration: Tensor
    bias: Tensor
    weights: Tensor
    leaves: Tensor

    def __init__(
        self,
        in_features: int,
        landmarks: int,
        num_classes: int,
        kernel: str = "relu1",
        parts: int = 1,
        forest: tuple[int, int, int] = (0, 0, 0),
    ) -> None:
        super().__init__()
        if kernel not in KERNELS:
            raise SettingError(f"kernel {kernel!r} does not exist", f"Choose one of: {', '.join(KERNELS)}.")
        self.kernel = kernel
        self.register_buffer("shift", torch.zeros(in_features))
        self.register_buffer("factor", torch.ones(in_features))
        self.register_buffer("constant", torch.ones(()))
        self.register_buffer("landmarks", torch.zeros(landmarks, in_features + 1))
        self.register_buffer("coefficients", torch.zeros(landmarks, parts, num_classes))
        self.register_buffer("offset", torch.zeros(parts, num_classes))
        if forest[2]:
            self.trees = Trees(*forest[:2])
            self.register_buffer("leaves", torch.zeros(forest[0] + forest[1], forest[2], num_classes))
        both = parts + forest[2]
        self.register_buffer("calibration", torch.zeros(both, num_classes, num_classes))
        self.register_buffer("bias", torch.zeros(both, num_classes))
        self.register_buffer("weights", torch.full((both,), 1 / both))

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False) -> Any:
        """Load the numbers, and refuse trees that are none."""
        found = super().load_state_dict(state_dict, strict, assign)
        if hasattr(self, "trees"):
            self.trees.check(len(self.shift))
        return found

    def rows(self, inputs: Tensor) -> Tensor:
        """Standardise inputs and put them on the unit sphere."""
        return unit_rows((inputs.flatten(1).to(self.shift.dtype) - self.shift) * self.factor, self.constant)

    def scores(self, inputs: Tensor) -> Tensor:
        """Give the regressions' values, before calibration."""
        kernels = kernel_rows(self.kernel, self.rows(inputs), self.landmarks)
        scores = self.offset + (kernels @ self.coefficients.flatten(1)).view(len(kernels), *self.offset.shape)
        if not hasattr(self, "trees"):
            return scores
        ends = self.trees(inputs.flatten(1).to(self.shift.dtype))
        grown = sum((self.leaves[at] for at in ends.T), start=scores.new_zeros(())) / ends.shape[1]
        return torch.cat([scores, grown], 1)

    def forward(self, inputs: Tensor) -> Tensor:
        """Compute log-probabilities, which serve as logits."""
        logits = torch.einsum("bpk,pkj->bpj", self.scores(inputs), self.calibration) + self.bias
        return torch.logsumexp(logits.log_softmax(-1) + self.weights.log()[:, None], 1)

    @property
    def spec(self) -> str:
        """Its specification for `selfdistill.networks.build`, such as ``"kernel:relu1-1500-2"``."""
        parts = f"kernel:{self.kernel}-{len(self.landmarks)}-{len(self.offset)}"
        if not hasattr(self, "trees"):
            return parts
        return f"{parts}-forest-{len(self.trees.column)}-{len(self.trees.roots)}-{self.leaves.shape[1]}"


def parse_kernel(spec: str) -> tuple[str, int, int, tuple[int, int, int]] | None:
    """Read a specification such as ``"kernel:relu1-1500-2"``, or ``"kernel:relu1-1500-2-forest-7000-100-1"``."""
    forest = r"(?:-forest-(\d{1,8})-(\d{1,4})-(\d{1,3}))?"
    found = re.fullmatch(rf"kernel:({'|'.join(KERNELS)})-(\d{{1,7}})-(\d{{1,3}}){forest}", spec.strip())
    if found is None:
        return None
    landmarks, parts, splits, trees, grown = (int(part or 0) for part in found.groups()[1:])
    if parts + grown < 1 or (found[4] is not None and trees * grown < 1):
        return None
    return found[1], landmarks, parts, (splits, trees, grown)
