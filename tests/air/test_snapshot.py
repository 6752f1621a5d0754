"""What is measured of a network at one moment."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from selfdistill._core.errors import DataError
from selfdistill.air import (
    Examples,
    calibrated,
    captured,
    centred,
    kernel_alignment,
    network_kernel,
    noise_part,
    one_hot,
    outputs_of,
    snapshot,
)
from selfdistill.ntk import NTK
from selfdistill.theory import Spectrum


@pytest.fixture
def world():
    g = torch.Generator().manual_seed(0)
    clean = torch.arange(40) % 2
    x = torch.randn(40, 5, generator=g) + 2 * clean[:, None]
    given = clean.clone()
    given[:8] = 1 - given[:8]
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(5, 16), nn.ReLU(), nn.Linear(16, 2)), Examples(x, given, 2, clean)


def test_a_snapshot_holds_the_measures(world):
    model, examples = world
    first = network_kernel()(model, examples.inputs)
    torch.testing.assert_close(first.values, Spectrum.of(NTK(model, examples.inputs).matrix()).values)
    with torch.no_grad():
        model[0].weight.add_(0.3)
    second = network_kernel()(model, examples.inputs)
    found = snapshot("later", model, examples, second, epoch=3, ranks=(2, 5, 40), first=first)
    assert found.ranks == (2, 5)
    expected = captured(second, centred(one_hot(examples.clean, 2)), [2, 5]).low.tolist()
    assert found.energy["clean"] == pytest.approx(expected)
    noise = centred(noise_part(examples.given, examples.clean, 2))
    assert found.energy["noise"] == pytest.approx(captured(second, noise, [2, 5]).low.tolist())
    assert found.drift == pytest.approx(1 - float(kernel_alignment(first, second).low))
    assert len(found.overlap) == 2
    guess = model(examples.inputs).argmax(1)
    assert found.agreement == pytest.approx(float((guess == examples.given).double().mean()))
    assert found.accuracy == pytest.approx(float((guess == examples.clean).double().mean()))


def test_without_clean_labels_and_with_missing_pairs(world):
    model, examples = world
    bare = Examples(examples.inputs, examples.given, 2)
    found = snapshot("part", model, bare, network_kernel(rank=3)(model, bare.inputs), ranks=(2, 5))
    assert set(found.energy) == {"given"}
    assert found.accuracy is None
    assert found.drift is None
    assert found.energy["given"][1][1] == 1  # beyond the pairs at hand: up to all of it
    assert found.chance[1] == -1
    assert "noise" not in Examples(examples.inputs, examples.given, 2, examples.given).parts()


def test_statistics_of_batch_norm_are_those_of_the_inputs():
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4, momentum=0.2), nn.ReLU(), nn.Dropout(), nn.Linear(4, 2))
    x = torch.randn(600, 3) * 5 + 2
    twin = calibrated(model, x)
    torch.testing.assert_close(twin[1].running_mean, model[0](x).mean(0), atol=0.25, rtol=0)
    assert model[1].running_mean.abs().max() == 0
    assert not twin.training
    assert not any(m.training for m in twin.modules())
    assert twin[1].momentum == 0.2  # noqa: RUF069
    assert model.training
    assert outputs_of(twin, x).sum(1).allclose(torch.ones(600).double())


def test_what_is_refused(world):
    model, examples = world
    with pytest.raises(DataError, match="1 example: a kernel needs at least 2"):
        Examples(examples.inputs[:1], examples.given[:1], 2)
    with pytest.raises(DataError, match="3 clean labels for 40 examples"):
        Examples(examples.inputs, examples.given, 2, examples.given[:3])
    with pytest.raises(DataError, match=r"outputs have shape \(40, 1, 2\)"):
        outputs_of(nn.Sequential(model, nn.Unflatten(1, (1, 2))), examples.inputs)
