"""A network that memorised wrong labels is found out by a model that has not seen them."""

from __future__ import annotations

import numpy as np

from selfdistill.data._source import from_arrays
from selfdistill.train import Settings
from selfdistill.train._fit import fit
from selfdistill.train._fitted import trust_of


def features(rate, n=400, d=400, seed=0):
    """Many columns, so that a network fits every label: ten of them tell the class."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(3, size=n)
    x = rng.normal(size=(n, d))
    x[:, :12] += 1.5 * np.eye(3)[truth][:, np.arange(12) % 3]
    given = np.where(rng.random(n) < rate, (truth + rng.integers(1, 3, size=n)) % 3, truth)
    return from_arrays(x, np.array(["a", "b", "c"])[given])


def judged(data, **settings):
    wanted = Settings(network="mlp:128", method="cross-entropy", epochs=40, **settings)
    fitted = fit(data, wanted.resolve(len(data), "cpu"))
    return fitted, trust_of(data, fitted, fitted.table())


def test_silence_of_a_network_that_fits_all_is_no_trust():
    fitted, light = judged(features(0.3))
    assert fitted.curves[-1]["agreement"] > 0.97
    assert fitted.trust(fitted.table(), ["a", "b", "c"]).evidence.agreement > 0.97
    assert light.verdict == "refuse"
    assert "--method kernel" in light.sentences[-1]


def test_clean_labels_are_not_called_wrong():
    fitted, light = judged(features(0.0))
    assert fitted.curves[-1]["agreement"] > 0.97
    assert "memorised wrong labels" not in light.sentences[0]
