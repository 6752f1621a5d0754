"""Weights from files of several makers, and the measures along them."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from selfdistill._core.errors import DataError
from selfdistill.air import Examples, along_checkpoints, network_kernel, read_state


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
    told, kept = [], []
    found = along_checkpoints(
        model,
        [("start", before), ("later", tmp_path / "later.pt")],
        Examples(x, labels, 2),
        network_kernel(),
        ranks=(3,),
        tell=told.append,
        keep=lambda name, spectrum: kept.append((name, spectrum.size)),
    )
    assert [one.name for one in found] == ["start", "later"] == [one.name for one in told]
    assert kept == [("start", 20), ("later", 20)]
    assert found[0].drift is None
    assert found[1].drift == pytest.approx(0, abs=1e-6)  # the kernel of a linear map does not move
    assert found[1].overlap == pytest.approx([1.0])
    assert torch.equal(model.weight, before["weight"])


def test_what_is_refused(tmp_path: Path):
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
