"""What is measured of a network at one moment and along checkpoints."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from selfdistill._core.errors import DataError, SettingError
from selfdistill.air import _snapshot, along_checkpoints, calibrated, captured, network_kernel, noise_part
from selfdistill.air._measures import centred, kernel_alignment, one_hot
from selfdistill.air._snapshot import Examples, outputs_of, read_state, snapshot

# -- snapshot ----------------------------------------------------------------------------------------------------------
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
    expected = captured(second, centred(one_hot(examples.clean, 2)), [2, 5]).tolist()
    assert found.energy["clean"] == pytest.approx(expected)
    noise = centred(noise_part(examples.given, examples.clean, 2))
    assert found.energy["noise"] == pytest.approx(captured(second, noise, [2, 5]).tolist())
    assert found.drift == pytest.approx(1 - kernel_alignment(first, second))
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
    assert found.ranks == (2,)  # five directions are not at hand
    assert len(found.energy["given"]) == len(found.chance) == 1
    assert "noise" not in Examples(examples.inputs, examples.given, 2, examples.given).parts()


def test_statistics_of_batch_norm_are_those_of_the_inputs():
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4, momentum=0.2), nn.ReLU(), nn.Dropout(), nn.Linear(4, 2))
    x = torch.randn(600, 3) * 5 + 2
    twin = calibrated(model, x)
    torch.testing.assert_close(twin[1].running_mean, model[0](x).mean(0), atol=1e-4, rtol=0)
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


# -- network kernel ----------------------------------------------------------------------------------------------------


def test_dense_for_few_examples_and_leading_pairs_for_many(monkeypatch):
    model, x = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 3)), torch.randn(30, 4)
    dense = network_kernel("centered")(model, x)
    assert dense.complete
    assert float(dense.trace) == pytest.approx(float(NTK(model, x, output="centered").matrix().trace()), rel=1e-5)
    assert len(network_kernel("centered", rank=7)(model, x).values) == 7
    monkeypatch.setattr(_snapshot, "DENSE", 10)
    leading = network_kernel("centered", rank=5, labels=torch.randn(30, 3))(model, x)
    torch.testing.assert_close(leading.values, dense.values[:5], rtol=1e-3, atol=0)


def test_an_unknown_output_is_refused():
    with pytest.raises(SettingError, match="output is 'both'"):
        network_kernel("both")(nn.Linear(2, 2), torch.zeros(3, 2))


# -- checkpoints -------------------------------------------------------------------------------------------------------


class Stranger:
    """Anything that is no plain data."""


def test_files_of_several_makers(tmp_path: Path):
    state = nn.Linear(3, 2).state_dict()
    forms = {"plain": state, "model": {"model": state, "epoch": 3}, "lit": {"state_dict": state, "loops": {}},
             "run": {"counters": {"epoch": 1}, "parts": {"model": state, "optimizer": {"state": {}}}}}  # fmt: skip
    for name, form in forms.items():
        torch.save(form, tmp_path / f"{name}.pt")
        found = read_state(tmp_path / f"{name}.pt")
        assert set(found) == {"weight", "bias"}
        torch.testing.assert_close(found["weight"], state["weight"])
    save_file(
        {f"network.{k}": v for k, v in state.items()} | {"preprocess.x": torch.ones(1)}, tmp_path / "m.safetensors"
    )
    assert set(read_state(tmp_path / "m.safetensors")) == {"weight", "bias"}


def test_measures_along_checkpoints(tmp_path: Path):
    torch.manual_seed(0)
    model, x, labels = nn.Linear(3, 2), torch.randn(20, 3), torch.arange(20) % 2
    before = {k: v.clone() for k, v in model.state_dict().items()}
    torch.save({k: v + 1 for k, v in before.items()}, tmp_path / "later.pt")
    calls, kept = [], []
    found = along_checkpoints(
        model,
        [("start", before), ("later", tmp_path / "later.pt")],
        Examples(x, labels, 2),
        network_kernel(),
        ranks=(3,),
        tell=calls.append,
        keep=lambda name, spectrum: kept.append((name, spectrum.size)),
    )
    assert [one.name for one in found] == ["start", "later"] == [one.name for one in calls]
    assert kept == [("start", 20), ("later", 20)]
    assert found[0].drift is None
    assert found[1].drift == pytest.approx(0, abs=1e-6)  # the kernel of a linear map does not move
    assert found[1].overlap == pytest.approx([1.0])
    assert torch.equal(model.weight, before["weight"])


def test_what_is_refused_checkpoints(tmp_path: Path):
    examples = Examples(torch.randn(4, 3), torch.arange(4) % 2, 2)
    with pytest.raises(DataError, match=r"none\.pt does not exist"):
        read_state(tmp_path / "none.pt")
    torch.save(Stranger(), tmp_path / "code.pt")
    with pytest.raises(DataError, match=r"code\.pt is not readable as data"):
        read_state(tmp_path / "code.pt")
    torch.save({"epoch": 3}, tmp_path / "empty.pt")
    with pytest.raises(DataError, match=r"empty\.pt holds no weights"):
        read_state(tmp_path / "empty.pt")
    with pytest.raises(DataError, match="checkpoint 'a' does not fit the network"):
        along_checkpoints(nn.Linear(3, 2), [("a", nn.Linear(4, 2).state_dict())], examples, network_kernel())
    with pytest.raises(DataError, match="no checkpoints were given"):
        along_checkpoints(nn.Linear(3, 2), [], examples, network_kernel())
