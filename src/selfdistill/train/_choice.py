"""What ``"auto"`` means: the closed form for vectors; for images what explains labels better that it has not seen."""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from scipy.optimize import minimize_scalar
from torch import Tensor

from selfdistill._core.advice import Advice
from selfdistill._core.dist import world
from selfdistill._core.events import EpochDone, Event, Listener, Stage
from selfdistill._core.labels import held_out
from selfdistill._core.settings import Settings
from selfdistill.data._labelled import LabelledData
from selfdistill.train._closed import AUTO, CLOSED, OF_CLOSED, takes_vectors
from selfdistill.train._fit import fit
from selfdistill.train._fitted import Fitted
from selfdistill.train._loop import predict_probabilities
from selfdistill.train._runtime import TorchRuntime

_NETWORK = "selfdistill"
_MOST = 5_000  # images; more get a network
_UNSEEN = 0.2  # share of the images on which a network is judged


def choose_method(
    settings: Settings, data: LabelledData, device: str = "cpu", tell: Listener = lambda event: None
) -> tuple[str, str | None]:
    """Choose what ``"auto"`` means: the closed form for features and tables; for images a network, if it is better."""
    # Settings of training, such as epochs, ask for a network; ``kernel``, ``landmarks`` and ``rounds`` for the closed
    # form. Of up to 5,000 images both are tried: the closed form, each image without itself, and a network that is
    # trained on four fifths of them and judged by the last fifth. The one that explains the given labels better is
    # taken. Why it is so, and by which numbers, stands in ``docs/decisions/0017-which-method-by-itself.md``.
    if settings.method != AUTO:
        return settings.method or _NETWORK, None
    if not takes_vectors(settings):
        return _NETWORK, None
    if any(map(settings.asks, OF_CLOSED)):
        return CLOSED, None
    if data.inputs.ndim == 2:
        return CLOSED, Advice(
            "method: kernel, the closed form for features and tables ({--method} selfdistill trains a network)"
        )
    if data.distributions is not None:
        return CLOSED, "method: kernel, which takes label distributions"
    seen, unseen = held_out(data.labels, _UNSEEN, settings.seed or 0)
    if len(data) > _MOST or world() > 1 or not len(unseen) or bool((data.inputs == data.inputs[:1]).all()):
        return _NETWORK, Advice("method: selfdistill, which trains a network on images ({--method} kernel trains none)")
    tell(Stage("kernel or network: trying the kernel"))
    kernel = fit(data, replace(settings, method=CLOSED).resolve(len(data), "cpu")).curves[-1]["loss"]
    part = _rows(data, seen)
    resolved = replace(settings, method=_NETWORK).resolve(len(part), device)
    fitted = fit(part, resolved, tell=_progress(resolved.epochs, tell))
    network = _nats(fitted, data.inputs[unseen], data.labels[unseen])
    chosen, other = (CLOSED, _NETWORK) if kernel <= network else (_NETWORK, CLOSED)
    better, worse = sorted((kernel, network))
    name = {CLOSED: "kernel", _NETWORK: "network"}
    return chosen, Advice(
        "method: {chosen}, since of labels it has not seen the {first} explains each with {better:.2f} nats, "
        "the {second} with {worse:.2f} ({--method} {other} takes the other)",
        chosen=chosen,
        other=other,
        first=name[chosen],
        second=name[other],
        better=better,
        worse=worse,
    )


def _rows(data: LabelledData, some: Tensor | None) -> LabelledData:
    weights = None if data.weights is None else data.weights[some]
    return replace(
        data, inputs=data.inputs[some], labels=data.labels[some], ids=data.ids[some], truth=None, weights=weights
    )


def _progress(epochs: int, tell: Listener) -> Listener:
    def hear(event: Event) -> None:
        if isinstance(event, EpochDone):
            tell(Stage(f"kernel or network: trying the network, epoch {event.epoch + 1} of {epochs}"))

    return hear


def _nats(fitted: Fitted, inputs: Tensor, given: Tensor) -> float:
    """Say how badly a network explains given labels that it has not seen, nats per label, at its best temperature."""
    runtime = TorchRuntime(fitted.settings.device, fitted.settings.precision)
    clean = predict_probabilities(fitted.model, inputs, runtime).double().clamp(min=1e-12)
    to_given = torch.from_numpy(fitted.table().noise.noise_matrix).double()[:, given].T

    def loss(log_sharpness: float) -> float:
        sharp = (math.exp(log_sharpness) * clean.log()).softmax(1)
        return float(-(sharp * to_given).sum(1).clamp(min=1e-12).log().mean())

    return min(loss(0.0), float(minimize_scalar(loss, bounds=(-3, 1), method="bounded").fun))
