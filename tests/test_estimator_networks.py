"""The estimator with networks of one's own: modules and functions that make them."""

import pickle
from functools import partial

import numpy as np
import pytest
import torch
from numpy.testing import assert_array_equal
from sklearn.base import clone
from torch import nn

from selfdistill import SelfDistillClassifier
from selfdistill._core.errors import SettingError


def blobs() -> tuple[np.ndarray, np.ndarray]:
    """Three clouds of two columns."""
    rng = np.random.default_rng(0)
    truth = rng.integers(3, size=240)
    return 5 * np.eye(3)[truth, :2] + rng.normal(size=(240, 2)), truth


class Pixels(nn.Module):
    """A network that notes what it is given."""

    def __init__(self, features: int = 2, classes: int = 3) -> None:
        super().__init__()
        self.layer = nn.Linear(features, classes)
        self.seen: list[torch.Tensor] = []

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.seen.append(x.detach().clone())
        return self.layer(x.float().flatten(1) / 10)


@pytest.mark.parametrize(("dtype", "inside"), [(np.float64, torch.float32), (np.int32, torch.int64)])
def test_an_own_module_is_copied_and_gets_the_numbers_as_given(dtype, inside):
    X, y = blobs()
    X = (10 * X + 100).astype(dtype)
    network = Pixels()
    before = [p.clone() for p in network.parameters()]
    clf = SelfDistillClassifier(network, epochs=2, batch_size=16, random_state=0).fit(X, y)
    assert clf.module_ is not network
    assert network.seen == []
    assert all(map(torch.equal, before, network.parameters()))
    assert not torch.equal(before[0], clf.module_.layer.weight)
    rows = {tuple(row) for row in torch.from_numpy(X).to(inside).tolist()}
    assert all(part.dtype == inside for part in clf.module_.seen)
    assert {tuple(row) for part in clf.module_.seen for row in part.tolist()} == rows
    assert isinstance(clone(clf).network, Pixels)


@pytest.mark.parametrize(
    "factory",
    [lambda shape, classes: nn.Linear(*shape, classes), lambda: nn.Linear(2, 3), Pixels, partial(nn.Linear, 2, 3)],
    ids=["shape and classes", "nothing", "class", "partial"],
)
def test_a_factory_is_seeded(factory):
    X, y = blobs()

    def fitted(random_state: int, elsewhere: int) -> SelfDistillClassifier:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(elsewhere)  # the state of the global generator must not matter
            return SelfDistillClassifier(factory, epochs=2, random_state=random_state).fit(X, y)

    one, two, other = fitted(0, 1), fitted(0, 2), fitted(1, 1)
    assert_array_equal(one.pred_probs_, two.pred_probs_)
    assert np.abs(one.pred_probs_ - other.pred_probs_).max() > 0


def test_own_networks_take_any_shape_without_augmentation():
    rng = np.random.default_rng(0)
    y = np.arange(40) % 2
    X = rng.normal(size=(40, 3, 32, 32)).astype(np.float32)
    clf = SelfDistillClassifier(Pixels(3072, 2), epochs=2, random_state=0).fit(X, y)
    given = {row.tobytes() for row in X}
    assert {row.numpy().tobytes() for part in clf.module_.seen for row in part} == given
    assert clf.predict(X).shape == (40,)
    sequences = rng.normal(size=(40, 5, 6, 2, 2))
    assert SelfDistillClassifier(Pixels(120, 2), epochs=1).fit(sequences, y).predict(sequences).shape == (40,)


@pytest.mark.parametrize(
    ("network", "text"),
    [
        (nn.Linear(5, 3), r"cannot take inputs of shape \[2, 2\]"),
        (nn.Linear(2, 4), r"returns shape \(2, 4\) for 2 examples, but must return \(2, 3\)"),
        (lambda a: nn.Linear(2, 3), "takes 1 arguments, but must take 2 or none"),
        (lambda: "mlp", "gives a str"),
        (7, "network is 7, which gives a int"),
        ("mpl", "Did you mean 'mlp'"),
    ],
)
def test_a_network_that_does_not_fit(network, text):
    X, y = blobs()
    with pytest.raises(SettingError, match=text):
        SelfDistillClassifier(network).fit(X, y)


@pytest.mark.parametrize("network", ["mlp:8", nn.Sequential(nn.Linear(2, 8), nn.Dropout(), nn.Linear(8, 3)), Pixels])
@pytest.mark.parametrize("random_state", [0, None])
def test_global_generators_are_left_alone(network, random_state):
    X, y = blobs()
    torch_before, numpy_before = torch.get_rng_state(), pickle.dumps(np.random.get_state())  # noqa: NPY002 (what is tested)
    clf = SelfDistillClassifier(network, epochs=1, random_state=random_state).fit(X, y)
    clf.predict(X)
    assert torch.equal(torch_before, torch.get_rng_state())
    assert numpy_before == pickle.dumps(np.random.get_state())  # noqa: NPY002
