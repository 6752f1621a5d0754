"""A layer that follows one of the teacher's: hints, and attention transfer."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor
from torch.linalg import vector_norm
from torch.nn.functional import normalize

from selfdistill.losses._cross_entropy import at_least_single


def hint(
    student: Float[Tensor, "b *d"],  # noqa: UP037, F821 (jaxtyping's string)
    teacher: Float[Tensor, "b *d"],  # noqa: UP037, F821
) -> Float[Tensor, " b"]:
    """Half the squared distance between two layers' outputs."""
    # \tfrac{1}{2} \lVert u_h - r(v_g) \rVert^2
    # Romero, Ballas, Kahou, Chassang, Gatta & Bengio (2015), ICLR, arXiv 1412.6550, eq. 3. There the student's lower
    # half is trained by this first and then the whole by distillation; as a term beside it, it is trained at once.
    apart = at_least_single(student) - at_least_single(teacher)
    return 0.5 * apart.square().flatten(1).sum(-1)


def attention_transfer(student: Float[Tensor, "b c h w"], teacher: Float[Tensor, "b d h w"]) -> Float[Tensor, " b"]:
    """Half the distance between two layers' maps of activity."""
    # \tfrac{1}{2} \left\lVert \frac{Q_S}{\lVert Q_S \rVert_2} - \frac{Q_T}{\lVert Q_T \rVert_2} \right\rVert_2,
    # \qquad Q = \mathrm{vec}\Big(\sum_c A_c^2\Big)
    # The number of channels may differ, the size of the image not.
    # Zagoruyko & Komodakis (2017), ICLR, arXiv 1612.03928, eq. 2 with p = 2; its β is the weight of the term. The
    # authors' code takes the mean of the squares instead of the norm.
    apart: Tensor = vector_norm(_map(student) - _map(teacher), dim=-1)
    return 0.5 * apart


def _map(layer: Tensor) -> Tensor:
    return normalize(at_least_single(layer).square().sum(1).flatten(1), dim=-1)
