"""Labels of joint optimisation against a list of all predictions."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from selfdistill._core.errors import SettingError
from selfdistill.targets import JointLabels

N, K = 8, 3


@pytest.mark.parametrize(("epochs", "begin", "width"), [(20, 7, 1), (60, 21, 3), (40, 14, 2), (1, 1, 1), (200, 70, 10)])
def test_equals_a_list_of_all_predictions(epochs, begin, width):
    rng = np.random.default_rng(0)
    labels = rng.integers(0, K, N)
    history = rng.dirichlet(np.ones(K), (epochs, N))
    targets = JointLabels(torch.from_numpy(labels), K, epochs=epochs)
    for k, p in enumerate(torch.from_numpy(history).float()):
        expected = history[k - width : k].mean(0) if k >= begin else np.eye(K)[labels]
        np.testing.assert_allclose(targets.read(torch.arange(N)).target, expected, rtol=1e-4, atol=1e-6)
        for index in torch.from_numpy(rng.permutation(N)).split(3):
            targets.write(index, p[index])
        targets.end_epoch()
    np.testing.assert_allclose(targets.refined(), history[-width:].mean(0), rtol=1e-4, atol=1e-6)


def test_the_prior_is_that_of_the_given_labels():
    targets = JointLabels(torch.tensor([2, 0, 2, 2]), 4, epochs=1)
    assert targets.read(torch.tensor([0])).prior.tolist() == [0.25, 0.0, 0.75, 0.0]


def test_an_example_that_is_not_written_keeps_its_label():
    targets = JointLabels(torch.tensor([0, 1]), 2, epochs=1)
    targets.write(torch.tensor([0]), torch.tensor([[0.25, 0.75]]))
    targets.end_epoch()
    assert targets.refined().tolist() == [[0.25, 0.75], [0.0, 1.0]]


@pytest.mark.parametrize(
    ("kwargs", "words"),
    [
        ({"epochs": 0}, "epochs is 0"),
        ({"epochs": 9, "begin": 2.0}, "begin is 2.0"),
        ({"epochs": 9, "window": -1}, "window"),
    ],
)
def test_errors(kwargs, words):
    with pytest.raises(SettingError, match=words):
        JointLabels(torch.tensor([0]), 2, **kwargs)
