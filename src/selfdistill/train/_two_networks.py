"""Methods that train two networks side by side.

FLOPs of an epoch, counted by torch's ``FlopCounterMode`` with ResNet-18 at 32 x 32, where a forward pass takes 0.334 of
a step, relative to cross-entropy of one network with as many epochs; beside them what the authors' code takes:

- co-teaching 2.00 (2.00), and 0.93 more for the training before it where the noise rate is not given;
- dividemix 6.00, of which 5.33 in the steps and 0.67 in the survey; 2.67 in the first epochs (12 f + 0.67, f the share
  of labels called right: 6.67 at one half, 10.3 at 0.8).

A fully connected network has dearer forward passes, 0.42 to 0.44 of a step: dividemix then takes 6.5 to 6.7.
"""

from __future__ import annotations

from selfdistill import losses, targets
from selfdistill.train._held_out_noise import held_out_noise
from selfdistill.train._li2020dividemix import divide_mix
from selfdistill.train._method import Context, Method
from selfdistill.train._settings import Settings

__all__ = ["TWO_NETWORKS"]

_MOST = 0.9  # a noise rate beyond this would leave next to nothing to learn from


def _rate_first(settings: Settings) -> str | None:
    """Name the training that the noise rate is estimated from, where the user does not know it."""
    return "early-stopping" if settings.noise_rate is None else None


def _co_teaching(context: Context) -> targets.SmallLoss:
    """Build co-teaching's targets; the share to forget rises over 10 of the paper's 200 epochs, and at least over 1."""
    rate = held_out_noise(context) if context.noise_rate is None else context.noise_rate
    ramp = max(1.0, context.epochs / 20)
    return targets.SmallLoss(context.labels, context.num_classes, noise_rate=min(rate, _MOST), ramp=ramp)


def _dividemix(context: Context) -> targets.Division:
    """Build DivideMix's targets; the warm-up is the longer of the two in the paper: one epoch in thirty was short."""
    return targets.Division(
        context.labels,
        context.num_classes,
        epochs=context.epochs,
        steps=context.steps,
        seed=context.seed,
        warm_up=30 / 300,
    )


TWO_NETWORKS: dict[str, Method] = {
    "co-teaching": Method(
        _co_teaching,
        losses.co_teaching,
        "two networks, each trained on the other's small-loss share of a batch (Han et al. 2018)",
        networks=2,
        first=_rate_first,
        takes=frozenset({"noise_rate"}),
    ),
    "dividemix": Method(
        _dividemix,
        losses.pair_cross_entropy,
        "two networks, labels divided by loss, semi-supervised mixing (DivideMix, Li et al. 2020); 6 times the cost",
        networks=2,
        objective=divide_mix,
        surveys=lambda epoch, epochs: True,
    ),
}
