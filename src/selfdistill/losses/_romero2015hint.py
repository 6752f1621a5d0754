"""A layer that follows one of the teacher's (Romero et al. 2015)."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from selfdistill.losses._precision import at_least_single

__all__ = ["hint"]


def hint(
    student: Float[Tensor, "b *d"],  # noqa: UP037, F821 (jaxtyping's string)
    teacher: Float[Tensor, "b *d"],  # noqa: UP037, F821
) -> Float[Tensor, " b"]:
    r"""Half the squared distance between two layers' outputs.

    .. math:: \tfrac{1}{2} \lVert u_h - r(v_g) \rVert^2

    Args:
        student: What the student's layer gives, after the regressor r where its shape is another, ``[b, ...]``.
        teacher: What the teacher's layer gives, of the same shape.

    Returns:
        One value per example.

    References:
        Romero, Ballas, Kahou, Chassang, Gatta & Bengio (2015), ICLR, arXiv 1412.6550, eq. 3. There the student's lower
        half is trained by this first and then the whole by distillation; as a term beside it, it is trained at once.

    Example:
        >>> import torch
        >>> hint(torch.tensor([[3.0, 4.0]]), torch.zeros(1, 2)).item()
        12.5
    """
    apart = at_least_single(student) - at_least_single(teacher)
    return 0.5 * apart.square().flatten(1).sum(-1)
