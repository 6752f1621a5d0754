"""Every method by name: our own, and the rivals."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from typing import Any

from selfdistill import losses, targets
from selfdistill._core.advice import Advice, Flag
from selfdistill._core.errors import SettingError
from selfdistill._core.settings import VISIT_STEPS, ResolvedSettings, Settings
from selfdistill.rivals import Method
from selfdistill.rivals._method import Context, given_labels, matched, never
from selfdistill.rivals._table import RIVALS
from selfdistill.targets._base import Memory
from selfdistill.targets._dong2019selfdistill import authors_loss, sequential


def _stretch(context: Context) -> float:
    """By what epochs of so few steps that a visit teaches little are lengthened."""
    return max(1.0, VISIT_STEPS / context.steps)


def _progress(progress: float) -> float:
    return progress


def _authors(number: int) -> Method:
    return Method(
        lambda c: authors_loss(number, c.labels, c.num_classes),
        losses.cross_entropy,
        f"the authors' loss {number} (Dong et al. 2019)",
        whole_batches=number in {3, 5},  # weighed by the batch's agreement with the given labels
    )


_OWN = {
    "selfdistill": Method(
        lambda c: targets.Posterior(c.labels, c.num_classes, stretch=_stretch(c)),
        losses.anchored_cross_entropy,
        "previous epochs' predictions through a noise matrix learned on the way",
    ),
    "cross-entropy": Method(
        given_labels,
        losses.cross_entropy,
        "plain training on the given labels",
        may_hold_out=True,
    ),
    "memory": Method(
        lambda c: Memory(c.labels, c.num_classes, epochs=c.epochs, hardness=_progress),
        losses.cross_entropy,
        "average of each example's predictions, its reading turned from soft to hard",
    ),
    "dong-sequential": Method(
        lambda c: sequential(c.labels, c.num_classes, epochs=c.epochs, early=5 * _stretch(c)),
        losses.cross_entropy,
        "taught by the previous epoch's hard predictions, given labels fading from epoch 5 on (Dong et al. 2019)",
    ),
} | {f"dong-{number}": _authors(number) for number in range(1, 6)}

WITHOUT_EPOCHS = {
    "auto": "kernel for features and tables, for images the better one",
    "kernel": "self-distillation in closed form on features, without epochs",
}
"""What is no training: how the method is chosen, and the closed form."""
METHODS: dict[str, Method] = _OWN | RIVALS


def method(name: str, known: Sequence[str] = (*WITHOUT_EPOCHS, *METHODS)) -> Method:
    """Look a method of `METHODS` up; an unknown name is refused with the nearest of those that are known, and all."""
    if name not in METHODS:
        near = difflib.get_close_matches(name.lower(), known, n=1)
        hint = f"Did you mean {near[0]}? " if near else ""
        raise SettingError(f"method {name!r} does not exist", f"{hint}Choose one of: {', '.join(known)}.")
    return METHODS[name]


def method_of(settings: Settings | ResolvedSettings) -> Method:
    """Look up the method that settings name, and refuse what it cannot use."""
    # That is a noise rate or matrix that it does not take, held-out examples where it needs all, or a pair of networks.
    name, network = settings.method or "selfdistill", settings.network or "auto"
    found = method(name)
    if settings.held_out is not None and not found.may_hold_out:
        able = ", ".join(name for name, other in METHODS.items() if other.may_hold_out)
        raise SettingError(
            Advice(
                "method {name!r} learns from all examples and holds none out, but {--held-out} is {share:g}",
                name=name,
                share=settings.held_out,
            ),
            Advice("Leave {--held-out} out", "choose another {--method}: {able}.", able=able),
        )
    for option in ("noise_rate", "noise_matrix"):
        if getattr(settings, option) is not None and option not in found.takes:
            takers = ", ".join(one for one, other in METHODS.items() if option in other.takes) or "none"
            problem = Advice("method {name!r} takes no {option}", name=name, option=Flag(option))
            raise SettingError(problem, f"Leave it out, or choose a method that takes it: {takers}.")
    if (settings.accumulate or 1) > 1 and (whole := _whole(name)):
        raise SettingError(
            Advice(
                "method {whole!r} looks at each batch as a whole, but {--accumulate} is {parts}",
                whole=whole,
                parts=settings.accumulate,
            ),
            Advice("Leave {--accumulate} out", "choose another {--method}."),
        )
    if network.strip().startswith("2*") and found.networks == 1:
        raise SettingError(
            f"network {network!r} is a pair, but method {name!r} trains one network",
            "Leave the 2* out.",
        )
    return found


def _whole(name: str | None) -> str | None:
    """Name the method of a training that looks at batches as a whole: this one, or the one that comes first."""
    if name is None:
        return None
    return name if METHODS[name].whole_batches else _whole(METHODS[name].first)


class NotedContext(Context):
    """Notes what a method asks."""

    def __getattribute__(self, name: str) -> Any:
        if name in {"epochs", "steps"}:
            self.asked.add(name)
        return super().__getattribute__(name)

    @property
    def asked(self) -> set[str]:
        """Names of what was asked."""
        found: set[str] = vars(self).setdefault("_asked", set())
        return found


def target_method(name: str) -> Method:
    """Look a method up that is nothing but a target and a loss."""
    able = [one for one, found in METHODS.items() if is_target(found)]
    if name in WITHOUT_EPOCHS or (name in METHODS and name not in able):
        why = "needs more than a loss (such as a second network)"
        why = {"kernel": "trains no network", "auto": "chooses between methods"}.get(name, why)
        raise SettingError(
            f"method {name!r} {why}, so it cannot be used in your own loop", f"Choose one of: {', '.join(able)}."
        )
    return method(name, able)


def is_target(found: Method) -> bool:
    alone = found.networks == 1 and found.first is None and found.keep is None and found.objective is matched
    return alone and found.needs_train_predictions is never
