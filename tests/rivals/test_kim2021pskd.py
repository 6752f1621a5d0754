"""PS-KD's targets, mixed by hand."""

from __future__ import annotations

import numpy as np
import torch

from selfdistill.rivals._method import Context
from selfdistill.rivals._table import RIVALS


def test_ps_kd_equals_the_previous_predictions_mixed_in_by_hand():
    """t = (1 - a) e_y + a p of the epoch before, a = 0.8 k / T in epoch k from 1; in the first, p is e_y."""
    rng = np.random.default_rng(0)
    labels, epochs = rng.integers(0, 3, 7), 5
    targets = RIVALS["ps-kd"].build(Context(torch.from_numpy(labels), 3, epochs, 10))
    given = np.eye(3)[labels]
    previous = given
    for k, p in enumerate(rng.dirichlet(np.ones(3), (epochs, 7)), 1):
        weight = 0.8 * k / epochs
        read = targets.read(torch.arange(7), torch.zeros(7, 3))
        np.testing.assert_allclose(read, (1 - weight) * given + weight * previous, rtol=1e-5, atol=1e-6)
        targets.write(torch.arange(7), torch.from_numpy(p).float())
        targets.end_epoch()
        previous = p
