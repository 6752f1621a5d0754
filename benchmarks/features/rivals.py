"""Every rival by name: what it does, with which settings, and what data it is for.

A rival gets training inputs, given labels from 0 to K - 1, K, test inputs and a seed. It returns ``test_scores``
``[m, K]``, whose largest entry is the prediction, and, where it has them, ``quality`` ``[n]`` (low = bad), ``flagged``
(bool ``[n]``), ``expected_wrong`` (a number of labels) and ``refined`` (labels ``[n]``).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from benchmarks.features import estimators, linear, neighbours, trees
from benchmarks.features.data_sets import DataSet
from benchmarks.features.inputs import FORMS, form
from selfdistill._core.errors import SettingError

Found = dict[str, Any]
LARGE = 30_000_000  # a minute of scikit-learn's boosting
_SIX_FITS = 5_000_000
_NO_TEXTS = ("array", "table")
_PLAIN = {"iterations": 200}
_TUNED = {"iterations": 200, "strengths": [0.0001, 0.001, 0.01, 0.1, 1.0, 10.0]}


@dataclass(frozen=True)
class Rival:
    """A way to learn from labels that may be wrong.

    Attributes:
        run: The function.
        settings: Its settings, which the record keeps.
        forms: Forms of inputs that it is measured on.
        limit: Most rows times columns times classes; beyond it takes minutes.
    """

    run: Callable[..., Found]
    settings: dict[str, Any] = field(default_factory=dict)
    forms: tuple[str, ...] = FORMS
    limit: int | None = None

    def fits(self, data_set: DataSet) -> bool:
        """Whether it is measured on a data set."""
        if form(data_set.train) not in self.forms:
            return False
        shape = np.shape(data_set.train)
        return self.limit is None or len(shape) < 2 or shape[0] * shape[1] * data_set.num_classes <= self.limit


def _probe(method: str, **more: Any) -> Rival:
    """Make a linear probe; its weight decay did best on ten conditions of the development part."""
    return Rival(estimators.probe, {"method": method, "weight_decay": 0.02} | more)


def _own(method: str) -> Rival:
    return Rival(estimators.own, {"method": method})


RIVALS: dict[str, Rival] = {
    "kernel": _own("kernel"),
    "auto": _own("auto"),
    "network": _own("selfdistill"),
    "cleanlab, logistic": Rival(estimators.cleanlab, {"folds": 5} | _PLAIN),
    "cleanlab, tuned logistic": Rival(estimators.cleanlab, {"folds": 5} | _TUNED),
    "cleanlab, boosting": Rival(estimators.cleanlab, {"folds": 5}, _NO_TEXTS, _SIX_FITS),
    "kNN": Rival(neighbours.k_nearest, {"neighbours": 30}),
    "WANN": Rival(neighbours.adaptive, {"least": 11, "most": 51}),
    "probe, early stopping": _probe("early-stopping", epochs=100),
    "probe, ELR": _probe("elr"),
    "probe, GCE": _probe("gce"),
    "probe, SOP": _probe("sop"),
    "ridge, GCV": Rival(linear.ridge),
    "consensus": Rival(linear.consensus, _TUNED),
    "logistic": Rival(linear.logistic, _PLAIN),
    "tuned logistic": Rival(linear.logistic, _TUNED),
    "forest": Rival(trees.forest, {"trees": 100, "leaf": 1}),
    "forest, leaf 5": Rival(trees.forest, {"trees": 100, "leaf": 5}),
    "boosting": Rival(trees.boosting, {}, _NO_TEXTS, LARGE),
    "LightGBM": Rival(trees.light_boosting, {"folds": 5}, _NO_TEXTS, _SIX_FITS),
    "naive Bayes": Rival(trees.naive_bayes, {"folds": 5}, ("texts",)),
}
OURS = ("kernel", "auto", "network")


def rival(name: str) -> Rival:
    """Look a rival up."""
    if name not in RIVALS:
        raise SettingError(f"there is no rival {name!r}", f"Choose of: {'; '.join(RIVALS)}.")
    return RIVALS[name]


def answer(chosen: Rival, data_set: DataSet, given: np.ndarray, seed: int) -> Found:
    """Run a rival on labels of which some class may be absent."""
    present, codes = np.unique(given, return_inverse=True)
    found = chosen.run(data_set.train, codes, len(present), data_set.test, seed, **chosen.settings)
    found["predicted"] = present[np.asarray(found["test_scores"]).argmax(1)]
    if found.get("refined") is not None:
        found["refined"] = present[np.asarray(found["refined"])]
    return found
