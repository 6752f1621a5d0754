"""Attention transfer: where in the image a layer is active (Zagoruyko & Komodakis 2017)."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor
from torch.linalg import vector_norm
from torch.nn.functional import normalize

from selfdistill.losses._precision import at_least_single

__all__ = ["attention_transfer"]


def attention_transfer(student: Float[Tensor, "b c h w"], teacher: Float[Tensor, "b d h w"]) -> Float[Tensor, " b"]:
    r"""Half the distance between two layers' maps of activity.

    .. math:: \tfrac{1}{2} \left\lVert \frac{Q_S}{\lVert Q_S \rVert_2} - \frac{Q_T}{\lVert Q_T \rVert_2} \right\rVert_2,
        \qquad Q = \mathrm{vec}\Big(\sum_c A_c^2\Big)

    The number of channels may differ, the size of the image not.

    Args:
        student: What the student's layer gives, ``[b, c, h, w]``.
        teacher: What the teacher's layer gives, ``[b, d, h, w]``.

    Returns:
        One value per example, in [0, 0.71].

    References:
        Zagoruyko & Komodakis (2017), ICLR, arXiv 1612.03928, eq. 2 with p = 2; its β is the weight of the term. The
        authors' code takes the mean of the squares instead of the norm.

    Example:
        >>> import torch
        >>> a = torch.tensor([[[[1.0, 0.0]]]])
        >>> attention_transfer(a, 5 * a).item(), round(attention_transfer(a, a.flip(-1)).item(), 4)
        (0.0, 0.7071)
    """
    apart: Tensor = vector_norm(_map(student) - _map(teacher), dim=-1)
    return 0.5 * apart


def _map(layer: Tensor) -> Tensor:
    return normalize(at_least_single(layer).square().sum(1).flatten(1), dim=-1)
