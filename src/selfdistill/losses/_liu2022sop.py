"""The loss of sparse over-parameterisation (Liu et al. 2022, arXiv 2202.14026)."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from selfdistill.losses._precision import at_least_single

__all__ = ["SOP_FLOOR", "shifted_cross_entropy"]

SOP_FLOOR = 1e-4  # the authors' least probability after the shift, before and after normalising


def shifted_cross_entropy(
    logits: Float[Tensor, "b k"], shifted: tuple[Float[Tensor, "b k"], Float[Tensor, "b k"]]
) -> Float[Tensor, " b"]:
    r"""Cross-entropy between a label and the prediction with the label's own noise added to it.

    .. math:: -\sum_c t_c \log \varphi(p + s)_c, \qquad p = \mathrm{softmax}(z), \qquad
        \varphi(r) = \max\left(\frac{\max(r, \varepsilon)}{\sum_c \max(r_c, \varepsilon)},
        \varepsilon\right), \quad \varepsilon = 10^{-4}

    With s = 0 it is cross-entropy, but that probabilities under 1e-4 are lifted to it and pull no further. Where s has
    explained a label away, the network is hardly pulled to it.

    Args:
        logits: Network outputs z, ``[b, K]``.
        shifted: Given labels t as distributions ``[b, K]``; their noise s ``[b, K]`` in [-1, 1], see
            ``targets.SparseNoise``. Neither is differentiated.

    Returns:
        One value per example, in [0, log 1e4], in nats.

    References:
        Liu et al. (2022), arXiv 2202.14026; the clamps from the authors' published loss.

    Example:
        >>> import torch
        >>> t = torch.tensor([[1.0, 0.0]])
        >>> round(shifted_cross_entropy(torch.zeros(1, 2), (t, 0.5 * t)).exp().item(), 4)  # 1 / (1 / 1.5)
        1.5
    """
    target, shift = shifted
    raised = (at_least_single(logits).softmax(-1) + shift.detach()).clamp(min=SOP_FLOOR)
    prediction = (raised / raised.sum(-1, keepdim=True)).clamp(min=SOP_FLOOR)
    return -(target.detach() * prediction.log()).sum(-1)
