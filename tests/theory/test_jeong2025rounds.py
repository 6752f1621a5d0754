"""The count of rounds against the rounds themselves."""

from __future__ import annotations

import math

import pytest
import torch

from selfdistill._core.errors import SettingError
from selfdistill.theory import Spectrum, generations, rounds_to_clean

N, K, C, D, PENALTY = 100, 4, 0.4, 0.1, 5e-5


def given_labels():
    """Half of each class keeps its label; the others get 17, 17 and 16."""
    rows = []
    for k in range(K):
        others = [j for j in range(K) if j != k]
        rows += [k] * 50 + [others[0]] * 17 + [others[1]] * 17 + [others[2]] * 16
    return torch.tensor(rows)


def test_as_many_rounds_as_predicted():
    truth, given = torch.arange(K).repeat_interleave(N), given_labels()
    gram = torch.where(truth[:, None] == truth, C, D).double().fill_diagonal_(1)
    spectrum = Spectrum.of(gram)
    assert spectrum.values[[0, 1, 3, 4, -1]].tolist() == pytest.approx([70.6, 30.6, 30.6, 0.6, 0.6])
    y = torch.eye(K, dtype=torch.float64)[given]
    f = generations(spectrum, y, range(20), penalty=K**2 * N * PENALTY)
    right = (f.argmax(-1) == truth).all(1).nonzero()[0]
    assert int(right) + 1 == 12  # the first round is generation 0
    bound = rounds_to_clean(N, K, intra=C, inter=D, penalty=PENALTY, dominance=0.33)
    assert bound == pytest.approx(11.37, abs=0.005)
    assert math.ceil(bound) == 12


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"dominance": 0.0}, "dominance is 0.0, but must be above 0 and at most 1: right labels must outnumber"),
        ({"intra": 0.05}, "intra is 0.05, but must be between inter = 0.1 and 1"),
        ({"penalty": 0.0}, "penalty is 0.0, but must be above 0"),
        ({"classes": 1}, "classes is 1, but must be at least 2"),
        ({"per_class": 0}, "per_class is 0, but must be at least 1"),
    ],
)
def test_bad_settings_are_refused(change, words):
    fine = {"per_class": N, "classes": K, "intra": C, "inter": D, "penalty": PENALTY, "dominance": 0.3}
    with pytest.raises(SettingError, match=words):
        rounds_to_clean(**(fine | change))
