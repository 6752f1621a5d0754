"""Layers that follow the teacher's: the training is that of a loop written out; shapes and names that do not fit."""

from __future__ import annotations

from collections import OrderedDict

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import kl_div

from selfdistill._core.errors import SettingError
from selfdistill.data._source import from_arrays
from selfdistill.distill import Distiller, FeaturePair
from selfdistill.train import Settings

N = 40
IMAGES = np.random.default_rng(0).integers(0, 256, (N, 1, 8, 8)).astype(np.uint8)
LABELS = np.arange(N) % 2
SETTINGS = Settings(epochs=4, batch_size=N, lr=0.02, weight_decay=0.0, momentum=0.0)


class Small(nn.Module):
    def __init__(self, channels, seed, padding=1, inplace=False):
        super().__init__()
        torch.manual_seed(seed)
        parts = {"conv": nn.Conv2d(1, channels, 3, padding=padding), "act": nn.ReLU(inplace), "flat": nn.Flatten()}
        self.body = nn.Sequential(OrderedDict(parts))
        self.head = nn.LazyLinear(2)
        self(torch.zeros(1, 1, 8, 8))

    def forward(self, x):
        return self.head(self.body(x.float() / 255))


@pytest.fixture(scope="module")
def examples():
    return from_arrays(IMAGES, LABELS)


def attention(layer):
    q = (layer**2).sum(1).flatten(1)
    return q / q.norm(dim=1, keepdim=True)


TERMS = {
    "attention": lambda s, t: 0.5 * (attention(s) - attention(t)).norm(dim=1).mean(),
    "hint": lambda s, t: 0.5 * ((s - t) ** 2).flatten(1).sum(1).mean(),
    "own": lambda s, t: (s.mean(1) - t.mean(1)).abs().amax((1, 2)).mean(),
}
OWN = lambda s, t: (s.mean(1) - t.mean(1)).abs().amax((1, 2))


@pytest.mark.parametrize(("name", "weight", "channels"), [("attention", 20.0, 5), ("hint", 0.5, 3), ("own", 2.0, 5)])
def test_the_student_is_that_of_a_loop_with_the_term_in_it(examples, name, weight, channels):
    teacher, student = Small(channels, 1).eval(), Small(3, 2)
    pair = FeaturePair("body.act", "body.act", OWN if name == "own" else name, weight)
    with_it = Distiller(student, settings=SETTINGS, features=[pair]).fit(teacher, examples)
    without = Distiller(student, settings=SETTINGS).fit(teacher, examples)
    assert isinstance(with_it.model, Small)
    assert not with_it.model.body.act._forward_hooks
    assert not teacher.body.act._forward_hooks

    slow = Small(3, 2)
    optimizer = torch.optim.SGD(slow.parameters(), lr=0.02)
    rise = max(with_it.settings.lr_warmup, 2 / 5)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.02, 5, pct_start=rise, cycle_momentum=False)
    y = torch.eye(2)[torch.tensor(LABELS)]
    for _ in range(4):
        z, v = slow(examples.inputs), teacher(examples.inputs).detach()
        soft = 16 * kl_div((z / 4).log_softmax(-1), (v / 4).softmax(-1), reduction="batchmean")
        s, t = (net.body.act(net.body.conv(examples.inputs.float() / 255)) for net in (slow, teacher))
        loss = 0.9 * soft - 0.1 * (y * z.log_softmax(-1)).sum(-1).mean() + weight * TERMS[name](s, t.detach())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    for (label, a), b in zip(with_it.model.state_dict().items(), slow.state_dict().values(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=2e-4, msg=label)
    apart = [(a - b).abs().max() for a, b in zip(with_it.model.parameters(), without.model.parameters(), strict=True)]
    assert max(apart) > 1e-2


@pytest.mark.parametrize(
    ("student", "teacher", "layers", "regressor"),
    [
        (Small(3, 2), Small(5, 1, padding=0), ("body.act", "body.act"), nn.Conv2d(3, 5, (3, 3))),
        (Small(3, 2), Small(5, 1), ("body.act", "body.act"), nn.Conv2d(3, 5, (1, 1))),
        (Small(3, 2), Small(5, 1), ("body", "body"), nn.Linear(192, 320)),
    ],
    ids=["smaller images", "more channels", "vectors"],
)
def test_a_hint_of_another_shape_is_reached_by_a_regressor_that_learns(examples, student, teacher, layers, regressor):
    from selfdistill.distill._features import FeatureStudent

    pair = FeaturePair(*layers, "hint", 1.0)
    made, again = (FeatureStudent(student, teacher, [pair], examples.inputs[:2], 0) for _ in range(2))
    assert repr(made.regressors[0]) == repr(regressor)
    torch.testing.assert_close(made.regressors[0].weight, again.regressors[0].weight)
    assert {name.split(".")[0] for name, _ in made.named_parameters()} == {"student", "regressors"}
    fitted = Distiller(student, settings=SETTINGS, features=[FeaturePair(*layers, "hint", 1e-3)]).fit(teacher, examples)
    assert fitted.curves[-1]["loss"] < fitted.curves[0]["loss"]


def test_a_layer_is_followed_as_it_was_before_the_next_wrote_over_it(examples):
    pairs = [FeaturePair("body.conv", "body.conv", "hint", 0.5)]
    one, two = (
        Distiller(Small(3, 2, inplace=inplace), settings=SETTINGS, features=pairs).fit(
            Small(3, 1, inplace=inplace), examples
        )
        for inplace in (False, True)
    )
    for a, b in zip(one.model.parameters(), two.model.parameters(), strict=True):
        torch.testing.assert_close(a, b)


def test_the_teacher_is_as_it_was(examples):
    teacher = Small(5, 1)
    before = {name: value.clone() for name, value in teacher.state_dict().items()}
    Distiller(Small(3, 2), settings=SETTINGS, features=[FeaturePair("body.act", "body.act", "attention")]).fit(
        teacher, examples
    )
    assert all(torch.equal(value, before[name]) for name, value in teacher.state_dict().items())
    assert not any(p.grad is not None for p in teacher.parameters())


def test_a_student_by_its_name(examples):
    pairs = [FeaturePair("network.hidden.0", "head", "hint", 1e-2)]
    fitted = Distiller("mlp:6", settings=SETTINGS, features=pairs).fit(Small(5, 1), examples)
    assert sum(p.numel() for p in fitted.model.parameters()) == 64 * 6 + 6 + 6 * 2 + 2


WRONG = {
    "no loss": (lambda: FeaturePair("a", "b", "mse"), "the loss of a layer is 'mse'. Choose one of hint, attention"),
    "no layer": (
        lambda: [FeaturePair("body.atc", "body.act")],
        r"the student has no layer 'body.atc'. It has 'body.act'",
    ),
    "no layer of the teacher": (
        lambda: [FeaturePair("body.act", "x")],
        "the teacher has no layer 'x'. It has 'body', ",
    ),
    "no maps": (lambda: [FeaturePair("head", "head", "attention")], "whose maps cannot be compared"),
    "no way": (
        lambda: [FeaturePair("head", "body.act")],
        r"give \[2\] and \[5, 8, 8\], of which the first cannot become",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_cannot_be_compared_is_refused(examples, name):
    make, words = WRONG[name]
    with pytest.raises(SettingError, match=words):
        Distiller(Small(3, 2), settings=SETTINGS, features=make()).fit(Small(5, 1), examples)


def test_features_want_one_network_to_one_student_in_memory(examples, tmp_path):
    pairs = [FeaturePair("body.act", "body.act", "attention")]
    for given, more in ((np.zeros((N, 2)), {}), ([Small(5, 1)] * 2, {}), (Small(5, 1), {"generations": 2})):
        with pytest.raises(
            SettingError, match="features are followed from one network to one student, on the same inp"
        ):
            Distiller(Small(3, 2), settings=SETTINGS, features=pairs, **more).fit(given, examples)
    with pytest.raises(SettingError, match=r"features are followed in memory only. Use Distiller.fit"):
        Distiller("mlp:4", settings=SETTINGS, features=pairs).teach(Small(5, 1), examples, tmp_path / "run")
    with pytest.raises(SettingError, match="features are not followed in a compiled network"):
        Distiller(Small(3, 2), settings=Settings(epochs=1, compile=True), features=pairs).fit(Small(5, 1), examples)
