"""Stop at the epoch best on held-out noisy labels, and teach a student by it (Chen et al. 2021, arXiv 2012.04193).

*early-stopping*: where every class keeps more of its labels than it gives to any other, the classifier that agrees most
with noisy labels is the one that agrees most with the true ones (section 3). A tenth of each class is held out.

*nts* (noisy teacher and student, section 4): the teacher is that epoch. Its predictions are taken hard, in evaluation
mode and without augmentation; the student begins anew, does not see the held-out examples, which are the teacher's, and
is itself chosen by them, all as in the authors' code. Cost: two trainings on nine tenths of the examples.

Example:
    >>> best_on_held_out([{"held_out_accuracy": 0.5}, {"held_out_accuracy": 0.4}])
    False
"""

from __future__ import annotations

from selfdistill import losses, targets
from selfdistill._core.labels import one_hot
from selfdistill.rivals._method import Context, Curves, Method, given_labels

HELD_OUT = 0.1


def best_on_held_out(curves: Curves) -> bool:
    """Say whether the last epoch's ``held_out_accuracy`` is the best yet; of equal epochs the first is kept."""
    *earlier, last = (epoch["held_out_accuracy"] for epoch in curves)
    return not earlier or last > max(earlier)


def _student(context: Context) -> targets.FixedTargets:
    hard = context.required().probabilities.argmax(-1)
    return targets.FixedTargets(one_hot(hard, context.num_classes))


METHODS = {
    "early-stopping": Method(
        given_labels,
        losses.cross_entropy,
        "plain training; keeps the epoch best on a tenth of the noisy labels, held out (Chen et al. 2021)",
        held_out=HELD_OUT,
        keep=best_on_held_out,
        may_hold_out=True,
    ),
    "nts": Method(
        _student,
        losses.cross_entropy,
        "student of what early-stopping predicts, chosen as it is; two trainings (NTS, Chen et al. 2021)",
        first="early-stopping",
        held_out=HELD_OUT,
        keep=best_on_held_out,
    ),
}
