from __future__ import annotations

import pytest
import torch

from selfdistill._core.errors import RunError
from selfdistill.train import _checkpoint as checkpoint


def save(folder, step):
    model = torch.nn.Linear(2, 2)
    torch.nn.init.constant_(model.weight, step)
    return checkpoint.save(folder, step, {"model": model}, {"epoch": step})


def load(path):
    model = torch.nn.Linear(2, 2)
    counters = checkpoint.load(path, {"model": model}, torch.device("cpu"))
    return model.weight[0, 0].item(), counters["epoch"]


def latest(folder):
    """The newest that is whole, and what is wrong with those after it."""
    wrong = []
    for path, problem in checkpoint.newest(folder):
        if problem is None:
            return path, wrong
        wrong.append(f"{path.name} {problem}")
    return None, wrong


def test_two_are_kept_and_the_newest_is_found(tmp_path):
    for step in (1, 2, 30):
        save(tmp_path, step)
    assert sorted(p.name for p in tmp_path.iterdir()) == [f"step-{s:09d}.{e}" for s in (2, 30) for e in ("json", "pt")]
    path, damaged = latest(tmp_path)
    assert load(path) == (30, 30)
    assert damaged == []


@pytest.mark.parametrize("how", ["cut", "flipped", "no digest", "half digest"])
def test_a_damaged_one_is_named_and_the_one_before_it_used(tmp_path, how):
    save(tmp_path, 1)
    newest = save(tmp_path, 2)
    content = newest.read_bytes()
    if how == "cut":
        newest.write_bytes(content[:-7])
    elif how == "flipped":
        newest.write_bytes(content[:500] + bytes([content[500] ^ 1]) + content[501:])
    elif how == "no digest":
        newest.with_suffix(".json").unlink()
    else:
        newest.with_suffix(".json").write_text('{"sha256": ')
    path, damaged = latest(tmp_path)
    assert load(path) == (1, 1)
    assert "step-000000002.pt" in damaged[0]


def test_none_where_there_is_none(tmp_path):
    assert latest(tmp_path / "checkpoint") == (None, [])


def test_code_in_a_checkpoint_is_refused(tmp_path):
    class Evil:
        def __reduce__(self):
            return (print, ("run!",))

    torch.save({"counters": {}, "parts": {"model": Evil()}}, tmp_path / "step-000000001.pt")
    with pytest.raises(Exception, match=r"[Ww]eights.only|does not fit"):
        checkpoint.load(tmp_path / "step-000000001.pt", {"model": torch.nn.Linear(2, 2)}, torch.device("cpu"))


def test_another_network_is_refused_with_the_way_out(tmp_path):
    path = save(tmp_path, 1)
    with pytest.raises(RunError, match=r"does not fit this run.*Resume with the settings"):
        checkpoint.load(path, {"model": torch.nn.Linear(3, 2)}, torch.device("cpu"))
