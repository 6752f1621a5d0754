"""Plain training that keeps the weights of one epoch, chosen without clean labels."""

from __future__ import annotations

from selfdistill import losses, targets
from selfdistill.train._chen2021holdout import best_on_held_out
from selfdistill.train._method import Context, Method
from selfdistill.train._yuan2024labelwave import first_trough

__all__ = ["CHOSEN_EPOCHS"]


def _given(context: Context) -> targets.Given:
    return targets.Given(context.labels, context.num_classes)


CHOSEN_EPOCHS: dict[str, Method] = {
    "early-stopping": Method(
        _given,
        losses.cross_entropy,
        "plain training; keeps the epoch best on a tenth of the noisy labels, held out (Chen et al. 2021)",
        held_out=0.1,
        keep=best_on_held_out,
        may_hold_out=True,
    ),
    "label-wave": Method(
        _given,
        losses.cross_entropy,
        "plain training; keeps the epoch where predictions first change least (Label Wave, Yuan et al. 2024)",
        keep=first_trough,
        may_hold_out=True,
    ),
}
