"""Methods with other hyper-parameters than those of their papers: what tuning on development data chooses among."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from inspect import signature

from torch import Tensor

from selfdistill import losses, targets
from selfdistill._core.errors import SettingError
from selfdistill._core.settings import VISIT_STEPS
from selfdistill.rivals import Method, huang2020sat, liu2020elr, liu2022sop, lu2022selc, wang2019sce
from selfdistill.rivals._method import Context
from selfdistill.targets._posterior import PosteriorTarget
from selfdistill.train._methods import method as train_method


def _gce(method: Method, *, q: float) -> Method:
    return replace(method, loss=partial(losses.generalized_cross_entropy, q=q))


def _sce(method: Method, *, alpha: float = 0.1, beta: float = 1.0) -> Method:
    return replace(method, loss=partial(wang2019sce.symmetric_cross_entropy, alpha=alpha, beta=beta))


def _elr(method: Method, *, strength: float = 3.0, momentum: float = 0.7) -> Method:
    return replace(
        method,
        build=lambda c: liu2020elr.EarlyLearning(c.labels, c.num_classes, momentum=momentum),
        loss=partial(liu2020elr.early_learning_regularized, strength=strength),
    )


def _sat(method: Method, *, start: float) -> Method:
    return replace(
        method, build=lambda c: huang2020sat.SelfAdaptive(c.labels, c.num_classes, start=round(start * c.epochs))
    )


def _selc(method: Method, *, start: float) -> Method:
    return replace(
        method, build=lambda c: lu2022selc.SelfEnsemble(c.labels, c.num_classes, start=round(start * c.epochs))
    )


def _sop(method: Method, *, rate: float) -> Method:
    return replace(
        method,
        build=lambda c: liu2022sop.SparseNoise(
            c.labels, c.num_classes, epochs=c.epochs, seed=c.seed, rate_u=rate, rate_v=rate
        ),
    )


def _selfdistill(
    method: Method,
    *,
    noise_step: float = 0.2,
    settled: float = 0.35,
    unsettled: float = 0.5,
    strength: float = 2.0,
    full_from: float = 0.8,
    reverse: float = 0.0,
    fading: float = 0.0,
) -> Method:
    """Vary the default."""

    def loss(logits: Tensor, anchored: PosteriorTarget) -> Tensor:
        back = wang2019sce.symmetric_cross_entropy(logits, anchored.target, alpha=0.0, beta=1.0)
        weight = reverse + fading * (1 - anchored.strength / (strength / 2)).clamp(min=0)
        return losses.anchored_cross_entropy(logits, anchored) + weight * back

    def build(c: Context) -> targets.Posterior:
        return targets.Posterior(
            c.labels,
            c.num_classes,
            noise_step=noise_step,
            settled=settled,
            unsettled=unsettled,
            strength=strength,
            full_from=full_from,
            stretch=max(1.0, VISIT_STEPS / c.steps),
        )

    return replace(method, build=build, loss=loss if reverse or fading else method.loss)


_VARIANTS: dict[str, Callable[..., Method]] = {
    "selfdistill": _selfdistill,
    "gce": _gce,
    "sce": _sce,
    "elr": _elr,
    "sat": _sat,
    "selc": _selc,
    "sop": _sop,
}


def check(method: str, numbers: Mapping[str, float]) -> None:
    """Refuse numbers that a method does not have."""
    if method not in _VARIANTS:
        raise SettingError(f"method {method!r} is not varied here", f"Choose of {', '.join(_VARIANTS)}.")
    known = [name for name in signature(_VARIANTS[method]).parameters if name != "method"]
    for name, value in numbers.items():
        if name not in known:
            raise SettingError(f"method {method!r} has no {name!r}", f"Choose of {', '.join(known)}.")
        if type(value) not in {int, float}:
            raise SettingError(f"{name} of method {method!r} is {value!r}", "Give a number.")


def variant(method: str, numbers: Mapping[str, float]) -> Method:
    """Build a method with other hyper-parameters than its paper's.

    Args:
        method: Name of a method.
        numbers: See `check`.

    Returns:
        The method.

    Raises:
        SettingError: See `check`.

    Example:
        >>> variant("gce", {"q": 0.9}).loss.keywords
        {'q': 0.9}
    """
    check(method, numbers)
    return _VARIANTS[method](train_method(method), **numbers)
