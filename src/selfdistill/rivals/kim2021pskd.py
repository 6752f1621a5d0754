r"""Progressive self-knowledge distillation, PS-KD (Kim et al. 2021, arXiv 2006.12000).

In epoch k of T, counted from 1,

.. math:: t = (1 - \alpha_k)\, e_y + \alpha_k\, p^{(k-1)}, \qquad \alpha_k = 0.8\, k / T, \qquad p^{(0)} = e_y

The authors keep the predictions of the training pass, as here. Cost: that of cross-entropy. Memory: ``8 n K`` bytes.
"""

from __future__ import annotations

from functools import partial

from selfdistill import losses, targets
from selfdistill.rivals._method import Context, Method
from selfdistill.targets._dong2019selfdistill import identity

_LAST_WEIGHT = 0.8  # of the previous prediction, in the last epoch


def _given_weight(epochs: int, progress: float) -> float:
    return 1.0 - _LAST_WEIGHT * min(progress + 1.0 / epochs, 1.0)


def _previous_prediction(context: Context) -> targets.SelfDistillation:
    return targets.SelfDistillation(
        context.labels,
        context.num_classes,
        own="previous",
        function=identity,
        given_weight=partial(_given_weight, context.epochs),
        epochs=context.epochs,
    )


METHODS = {
    "ps-kd": Method(
        _previous_prediction,
        losses.cross_entropy,
        "given label mixed with the previous epoch's prediction, more of it each epoch (PS-KD, Kim et al. 2021)",
    ),
}
