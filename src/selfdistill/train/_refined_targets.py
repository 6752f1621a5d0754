"""Methods that change the targets by what the network says."""

from __future__ import annotations

from selfdistill import losses, targets
from selfdistill.train._chen2021holdout import best_on_held_out
from selfdistill.train._method import Before, Context, Method

__all__ = ["REFINED_TARGETS"]

_SAT_START = 60 / 200  # epochs on the given labels, as a share: Huang et al. 2020
_SELC_START = 30 / 200  # Lu & He 2022: their code's estimate for CIFAR-10 at 40 and at 60 %
_PSKD_WEIGHT = 0.8  # weight of the previous prediction in the last epoch: Kim et al. 2021


def _before(context: Context) -> Before:
    assert context.before is not None  # the method asks for a training that comes first
    return context.before


def _previous_prediction(context: Context) -> targets.SelfDistillation:
    r"""Build the targets of PS-KD (Kim et al. 2021, arXiv 2006.12000).

    In epoch k of T, counted from 1, :math:`t = (1 - \alpha_k)\, e_y + \alpha_k\, p^{(k-1)}` with
    :math:`\alpha_k = 0.8\, k / T`, and :math:`p^{(0)} = e_y`. The authors keep the predictions of the training pass,
    as here. Cost: that of cross-entropy. Memory: ``8 n K`` bytes.

    Returns:
        The targets.
    """

    def given(progress: float) -> float:
        return 1.0 - _PSKD_WEIGHT * min(progress + 1.0 / context.epochs, 1.0)

    return targets.SelfDistillation(
        context.labels,
        context.num_classes,
        own="previous",
        function=targets.identity,
        given_weight=given,
        epochs=context.epochs,
    )


def _taught(context: Context) -> targets.Fixed:
    """Build the targets of a student: what its teacher holds each example for.

    Chen et al. 2021, arXiv 2012.04193: the teacher is the epoch of plain training that was best on held-out noisy
    labels. Its predictions are taken hard, in evaluation mode and without augmentation; the student begins anew, does
    not see the held-out examples, which are the teacher's, and is itself chosen by them, all as in the authors' code.
    It holds out a tenth of CIFAR's training set, as here. Cost: two trainings of nine tenths of the examples.

    Returns:
        The targets.
    """
    hard = _before(context).probabilities.argmax(-1)
    return targets.Fixed(targets.one_hot(hard, context.num_classes))


REFINED_TARGETS: dict[str, Method] = {
    "elr": Method(
        lambda c: targets.EarlyLearning(c.labels, c.num_classes),
        losses.early_learning_regularized,
        "plain training, pulled to an average of each example's predictions (ELR, Liu et al. 2020)",
    ),
    "sat": Method(
        lambda c: targets.SelfAdaptive(c.labels, c.num_classes, start=round(_SAT_START * c.epochs)),
        losses.weighted_cross_entropy,
        "averaged predictions, sure ones weighted more, after 3/10 of the epochs (self-adaptive, Huang et al. 2020)",
    ),
    "selc": Method(
        lambda c: targets.SelfEnsemble(c.labels, c.num_classes, start=round(_SELC_START * c.epochs)),
        losses.cross_entropy,
        "averaged predictions after 3/20 of the epochs (SELC, Lu & He 2022)",
    ),
    "sop": Method(
        lambda c: targets.SparseNoise(c.labels, c.num_classes, epochs=c.epochs, seed=c.seed),
        losses.shifted_cross_entropy,
        "each label's noise learned beside the network, as something sparse (SOP, Liu et al. 2022)",
    ),
    "ps-kd": Method(
        _previous_prediction,
        losses.cross_entropy,
        "given label mixed with the previous epoch's prediction, more of it each epoch (PS-KD, Kim et al. 2021)",
    ),
    "joint-optimization-labels": Method(
        lambda c: targets.JointLabels(c.labels, c.num_classes, epochs=c.epochs),
        losses.joint_optimization,
        "labels made anew from the last epochs' predictions (first step of Tanaka et al. 2018)",
    ),
    "joint-optimization": Method(
        lambda c: targets.Fixed(_before(c).refined),
        losses.cross_entropy,
        "plain training on the labels that joint-optimization-labels made; two trainings (Tanaka et al. 2018)",
        first=lambda settings: "joint-optimization-labels",
    ),
    "nts": Method(
        _taught,
        losses.cross_entropy,
        "student of what early-stopping predicts, chosen as it is; two trainings (NTS, Chen et al. 2021)",
        first=lambda settings: "early-stopping",
        held_out=0.1,
        keep=best_on_held_out,
    ),
}
