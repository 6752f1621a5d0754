"""The kept set against a twin that keeps a list, over surveys that come and go."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from selfdistill._core.errors import SettingError
from selfdistill.losses import truncated_cross_entropy
from selfdistill.targets import Truncated, refreshes


@given(st.integers(0, 10_000), st.lists(st.booleans(), min_size=1, max_size=6))
@settings(max_examples=30)
def test_equals_its_naive_twin(seed, surveys):
    """Algorithm 1, example by example in float64; a dropped example comes back when its label is believed again."""
    rng = np.random.default_rng(seed)
    n, k, q, cut = 9, 3, 0.7, 0.5
    y = rng.integers(0, k, n)
    targets, w = Truncated(torch.from_numpy(y), k), [1] * n
    for survey in surveys:
        seen, said = rng.dirichlet([0.5] * k, (2, n))
        targets.write(torch.arange(n), torch.from_numpy(seen))
        if survey:
            targets.survey(torch.from_numpy(said).float())
            for i in range(n):
                w[i] = int((1 - said[i][y[i]] ** q) / q < (1 - cut**q) / q)
        targets.end_epoch()
        z = rng.normal(0, 2, (n, k))
        got = truncated_cross_entropy(torch.from_numpy(z), *targets.read(torch.arange(n)))
        for i in range(n):
            p = np.exp(z[i, y[i]]) / np.exp(z[i]).sum()
            expected = (1 - p**q) / q if w[i] else (1 - cut**q) / q
            assert got[i].item() == pytest.approx(expected, rel=1e-9)


def test_a_survey_is_staged_until_the_epoch_ends_and_goes_through_state_dict():
    labels = torch.tensor([0, 1, 1])
    a, b = Truncated(labels, 2), Truncated(labels, 2)
    a.survey(torch.tensor([[0.9, 0.1], [0.9, 0.1], [0.5, 0.5]]))
    assert a.read(torch.arange(3)).kept.all()
    b.load_state_dict(a.state_dict())
    for targets in (a, b):
        targets.end_epoch()
        assert targets.read(torch.arange(3)).kept.tolist() == [True, False, False]
        targets.end_epoch()  # no survey: as it was
        assert targets.read(torch.arange(3)).kept.tolist() == [True, False, False]


def test_the_papers_epochs_as_shares():
    assert [e + 1 for e in range(150) if refreshes(e, 120)] == [*range(40, 120, 10)]
    for epochs in range(1, 200):
        when = [e for e in range(epochs) if refreshes(e, epochs)]
        assert len(when) == (8 if epochs >= 12 else len(when))
        assert all(epochs / 3 <= e + 1 < epochs for e in when)


def test_memory_is_as_stated():
    n, k = 100, 7
    bytes_of = sum(v.nbytes for v in Truncated(torch.zeros(n, dtype=torch.int64), k).state_dict().values())
    assert bytes_of == 8 * n * k + 21 * n


def test_a_threshold_out_of_range_is_named():
    with pytest.raises(SettingError, match=r"threshold is 1\.0, but must be in \[0, 1\)"):
        Truncated(torch.tensor([0]), 2, threshold=1.0)
