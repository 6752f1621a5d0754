"""A run in closed form: which data get it by default, what it takes, and what it leaves."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from threadpoolctl import threadpool_limits
from torch import Tensor

from selfdistill import closed
from selfdistill._core.advice import Advice, Flag
from selfdistill._core.dist import rank
from selfdistill._core.errors import SettingError
from selfdistill._core.events import EpochDone, Listener, RunStarted, Stage
from selfdistill._core.settings import ResolvedSettings, Settings
from selfdistill.closed._given import check_given
from selfdistill.closed._prepare import ClosedOptions, Prepared, prepare
from selfdistill.closed._refine import ClosedForm
from selfdistill.closed._rounds import Candidate
from selfdistill.data._labelled import LabelledData
from selfdistill.issues._toneva2019forgetting import LearningDynamics
from selfdistill.train._fitted import Fitted
from selfdistill.train._loop import predict_probabilities
from selfdistill.train._runtime import TorchRuntime, threads_for

CLOSED = "kernel"
"""The method without epochs."""
AUTO = "auto"
"""The method that the data choose."""
_OF_NETWORKS = (
    "network",
    "epochs",
    "batch_size",
    "lr",
    "lr_warmup",
    "augment",
    "keep_epochs",
    "held_out",
    "noise_rate",
    "noise_matrix",
    "compile",
    "accumulate",
    "ema",
)
OF_CLOSED = ("kernel", "landmarks", "rounds")
"""Settings of the closed form alone."""
_FEW_ROWS = 4_000
_SHOWN = 200  # eigendirections that the record holds, the last standing for the rest


def takes_vectors(settings: Settings) -> bool:
    """Say whether vectors will be taken in closed form, before they are read."""
    named = any(map(settings.asks, _OF_NETWORKS))
    return settings.method == CLOSED or (settings.method == AUTO and not named)


def check_closed(settings: Settings) -> None:
    """Refuse settings of training with the closed form, and those of the closed form with training."""
    of_closed, of_network = (next(filter(settings.asks, names), None) for names in (OF_CLOSED, _OF_NETWORKS))
    if settings.method == AUTO:
        if of_closed and of_network:
            flags = {"one": Flag(of_closed), "other": Flag(of_network)}
            raise SettingError(
                Advice("{one} is for the closed form, {other} for a network", **flags),
                Advice("Leave {one} out", "{other}.", **flags),
            )
        return
    closed_form = settings.method == CLOSED
    name = of_network if closed_form else of_closed
    if name is not None:
        why = "trains no network" if closed_form else "trains a network"
        named = {"method": settings.method or "selfdistill", "option": Flag(name), "value": getattr(settings, name)}
        other = "selfdistill" if closed_form else CLOSED
        raise SettingError(
            Advice("method {method!r} {why}, and {option} is {value!r}", why=why, **named),
            Advice("Leave {option} out", "choose {--method} {other}.", option=Flag(name), other=other),
        )


def fit_closed(
    data: LabelledData,
    settings: ResolvedSettings,
    evaluations: Mapping[str, tuple[Tensor, Tensor]],
    tell: Listener,
) -> Fitted:
    """Refine labels in closed form."""
    began = time.perf_counter()
    tell(RunStarted(1, 0, len(data), 1))
    labels, votes = _labels_of(data)
    with closed_threads(len(data)):
        found = closed.refine_labels(
            data.rows,
            labels,
            data.num_classes,
            settled=data.settled,
            sample_weight=data.weights,
            votes=votes,
            **_settings_of(data, settings),
            tell=lambda text: tell(Stage(text)) if rank() == 0 else None,
        )
    refined = found.posterior.argmax(1)
    last = {
        "loss": found.nats,
        "agreement": (found.prior.argmax(1) == data.labels).float().mean().item(),
        "refined_share": (refined != data.labels).float().mean().item(),
        "seconds": time.perf_counter() - began,
    }
    for name, (inputs, labels) in evaluations.items():
        predicted = predict_probabilities(found.machine, inputs, TorchRuntime("cpu")).argmax(-1)
        last[f"{name}_accuracy"] = (predicted == labels).float().mean().item()
    tell(EpochDone(0, last))
    return Fitted(found.machine, None, LearningDynamics(data.labels), settings, [last], _conflicts(data), None, found)


@contextmanager
def closed_threads(rows: int) -> Generator[None]:
    """One thread for few rows, of torch and of NumPy: on two, matrices of a thousand rows wait for each other."""
    if rows > _FEW_ROWS or "OMP_NUM_THREADS" in os.environ:
        yield
        return
    with threads_for(1, 1), threadpool_limits(limits=1, user_api="blas"):
        yield


def _settings_of(data: LabelledData, settings: ResolvedSettings) -> dict[str, Any]:
    of_closed = {name: getattr(settings, name) for name in OF_CLOSED}
    return of_closed | {"standardise": not data.preprocess.scaled}


def _labels_of(data: LabelledData) -> tuple[Tensor, Tensor | None]:
    """Give labels, or distributions and of how many votes they are made."""
    return (data.labels, None) if data.distributions is None else (data.distributions, data.votes)


def prepare_closed(data: LabelledData, settings: ResolvedSettings) -> Prepared:
    """Choose and factorise as the run with these settings did, so that labels can be settled."""
    labels, votes = _labels_of(data)
    given = check_given(labels, data.num_classes, data.weights, data.settled, votes)
    return prepare(data.rows, given, ClosedOptions(**_settings_of(data, settings)))


def _conflicts(data: LabelledData) -> list[str]:
    """Name rows that are equal in all inputs but have different labels: not all of them can be right."""
    keys, labels = _keys(data), data.labels.numpy()
    order = np.argsort(keys, kind="stable")
    starts = np.flatnonzero(np.r_[True, np.diff(keys[order]) != 0])
    first = np.empty(len(keys), np.int64)  # the first row with the same key
    first[order] = order[np.repeat(starts, np.diff(np.r_[starts, len(keys)]))]
    doubtful = np.flatnonzero(labels != labels[first])
    pairs = [(int(first[i]), int(i)) for i in doubtful]
    twins = [pair for pair in pairs if torch.equal(*(data.rows[row : row + 1] for row in pair))]
    if not twins:
        return []
    j, i = twins[0]
    names = [data.classes[int(data.labels[one])] for one in (j, i)]
    many = "example is" if len(twins) == 1 else "examples are"
    return [
        f"{len(twins):,} {many} equal to an earlier one but with another label, such as {data.ids[i]!r} "
        f"({names[1]!r}) to {data.ids[j]!r} ({names[0]!r}): not both can be right."
    ]


def _keys(data: LabelledData) -> np.ndarray:
    """Compute a number for each row that is equal for equal rows, and hardly ever for others; uint64 ``[n]``."""
    rows, n = data.rows, len(data)
    d = math.prod(rows.shape[1:])
    factors = np.random.default_rng(0).integers(2**63, size=d, dtype=np.uint64) | np.uint64(1)
    keys, step = np.empty(n, np.uint64), max(1, 2**21 // d)
    for start in range(0, n, step):
        part = rows[start : start + step].flatten(1).float().numpy().view(np.uint32)
        keys[start : start + step] = (part * factors).sum(1, dtype=np.uint64)
    return keys


def describe_closed(found: ClosedForm, k: int) -> dict[str, Any]:
    """Put what was chosen, what was tried, and what was learned first into JSON-able values."""
    best = found.choice.best
    return {
        "kernel": found.kernel,
        "kernels_tried": {name: error for name, error in found.kernels.items() if math.isfinite(error)},
        "landmarks": len(found.machine.landmarks),
        **_named(best),
        "ridges": [c.ridge / found.scale for c in found.choice.chains[found.choice.chosen]],
        "nats": best.nats,
        "plausible_wrong": list(found.plausible_wrong),
        "tried": [{**_named(c), "nats": c.nats, "wrong": c.wrong} for c in found.choice.tried],
        "mixture": [
            {**_named(chain[-1]), "weight": w}
            for chain, w in zip(found.choice.chains, found.choice.weights, strict=True)
        ],
        "noise_matrix": found.noise_matrix.round(4).tolist() if k <= 64 else None,
        "spectrum": _spectrum(found),
    }


def _named(candidate: Candidate) -> dict[str, Any]:
    form = candidate.form
    return {"source": candidate.source, "noise": form.noise, "confusion": form.confusion, "round": candidate.round}


def _spectrum(found: ClosedForm) -> dict[str, Any]:
    """Eigenvalues and energies of up to 200 directions, with a share learned at the ridge of each round."""
    shown = min(_SHOWN, len(found.eigenvalues))
    parts = {"eigenvalue": found.eigenvalues, "given": found.given_energy, "refined": found.refined_energy}
    first = next(c.ridge for c in found.choice.tried if c.source == "kernel" and c.round == 1)
    return {
        "directions": len(found.eigenvalues),
        "stop": int((found.eigenvalues > first).sum()),
        "scale": found.scale,
        "ridge": first,
        **{name: [float(f"{v:.6g}") for v in part[:shown].tolist()] for name, part in parts.items()},
        "rest": {name: float(part[shown:].sum()) for name, part in parts.items() if name != "eigenvalue"},
    }
