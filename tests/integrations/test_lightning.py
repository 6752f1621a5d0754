"""Robust targets under Lightning: what a plain loop gives, also resumed and by two processes."""

from __future__ import annotations

import os
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from selfdistill import RobustTargets, with_index
from selfdistill._core.errors import SettingError

pytest.importorskip("lightning")
pytestmark = [
    pytest.mark.filterwarnings("ignore"),  # Lightning's advice, and what its own imports warn of
]
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import lightning
    from lightning.pytorch.callbacks import ModelCheckpoint
    from lightning.pytorch.loggers import CSVLogger

    from selfdistill.integrations.lightning import SelfDistillCallback

N, K = 50, 3
G = torch.Generator().manual_seed(0)
Y = torch.randint(0, K, (N,), generator=G)
X = torch.randn(N, 4, generator=G) + torch.eye(K, 4)[Y]


class Net(lightning.LightningModule):
    def __init__(self, robust):
        super().__init__()
        self.robust = robust
        torch.manual_seed(0)
        self.net = nn.Linear(4, K)

    def training_step(self, batch, _):
        x, y, index = batch
        return self.robust.loss(index, self.net(x), y)

    def validation_step(self, batch, _):
        self.log("val_loss", nn.functional.cross_entropy(self.net(batch[0]), batch[1]))

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


class Shuffled(torch.utils.data.Sampler):
    """An order that depends on the epoch alone."""

    epoch = 0

    def __len__(self):
        return N

    def set_epoch(self, epoch):
        self.epoch = epoch

    def __iter__(self):
        return iter(torch.randperm(N, generator=torch.Generator().manual_seed(self.epoch)).tolist())


def data():
    loader = DataLoader(with_index(TensorDataset(X, Y)), 8, sampler=Shuffled(), drop_last=True)
    return loader, DataLoader(TensorDataset(X, Y), 25)


def trainer(folder, callback, epochs=4, **options):
    quiet = {"enable_progress_bar": False, "enable_model_summary": False, "accelerator": "cpu", "devices": 1}
    options = {"logger": CSVLogger(folder), "callbacks": [callback]} | quiet | options
    return lightning.Trainer(default_root_dir=folder, max_epochs=epochs, **options)


def fitted(folder, epochs=4, ckpt=None, **options):
    robust = RobustTargets(Y, K, steps=6)
    net, callback = Net(robust), SelfDistillCallback(robust)
    extra = options.pop("callbacks", [])
    run = trainer(folder, callback, epochs, callbacks=[callback, *extra], **options)
    run.fit(net, *data(), ckpt_path=ckpt)
    return net, callback, run


def plain_loop(epochs=4):
    robust = RobustTargets(Y, K, steps=6)
    net = Net(robust)
    optimizer = net.configure_optimizers()
    loader, _ = data()
    for epoch in range(epochs):
        loader.sampler.set_epoch(epoch)
        for batch in loader:
            optimizer.zero_grad()
            net.training_step(batch, 0).backward()
            optimizer.step()
        robust.end_epoch()
    return net


def equal(a, b):
    a, b = a.state_dict(), b.state_dict()
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


def test_it_gives_what_a_plain_loop_gives_and_logs_what_it_found(tmp_path):
    net, callback, run = fitted(tmp_path)
    twin = plain_loop()
    assert equal(net.robust, twin.robust)
    assert equal(net.net, twin.net)
    run.logger.save()
    lines = (tmp_path / "lightning_logs" / "version_0" / "metrics.csv").read_text()
    assert "refined_share" in lines.splitlines()[0]
    assert "label_issues" in lines.splitlines()[0]
    assert len(callback.label_issues) == N
    assert not [name for name, _ in net.named_modules() if "robust" in name]


@pytest.mark.parametrize("when", [{"every_n_epochs": 2}, {"monitor": "val_loss"}])
def test_a_checkpoint_goes_on_bit_for_bit(tmp_path, when):
    whole, _, _ = fitted(tmp_path / "whole")
    keep = ModelCheckpoint(tmp_path / "kept", save_top_k=-1, **when)
    fitted(tmp_path / "half", epochs=2, callbacks=[keep])
    saved = sorted((tmp_path / "kept").glob("*.ckpt"))
    assert saved
    again, _, _ = fitted(tmp_path / "again", ckpt=saved[0])
    assert equal(whole.net, again.net)
    assert equal(whole.robust, again.robust)


def test_a_checkpoint_in_the_middle_of_an_epoch_holds_what_is_staged(tmp_path):
    keep = ModelCheckpoint(tmp_path / "kept", every_n_train_steps=8)
    fitted(tmp_path / "half", epochs=2, callbacks=[keep])
    (state,) = (
        one
        for one in torch.load(keep.best_model_path, weights_only=True)["callbacks"].values()
        if "targets.target" in one
    )
    robust = RobustTargets(Y, K, steps=6)
    robust.load_state_dict(state)
    assert robust.targets.staged.count.sum() == 2 * 8  # two batches after the six of the first epoch


def test_an_epoch_that_max_steps_cuts_short_is_learned_from(tmp_path):
    net, callback, _ = fitted(tmp_path, max_steps=8)
    assert int(net.robust.targets.epoch) == 2
    assert net.robust.dynamics.seen.sum() > 0
    assert callback.label_issues is not None


def test_a_module_with_another_loss_is_found_out(tmp_path):
    callback = SelfDistillCallback(RobustTargets(Y, K))
    with pytest.raises(SettingError, match=r"no batch of this epoch went through the targets. Let training_step"):
        trainer(tmp_path, callback).fit(Net(RobustTargets(Y, K)), data()[0])
    with pytest.raises(SettingError, match=r"must be RobustTargets. Pass RobustTargets\(labels, K\)"):
        SelfDistillCallback(Net(None))


TWO = """
import sys, warnings
warnings.simplefilter("ignore")
sys.path.insert(0, sys.argv[1])
import torch, test_lightning as t
from lightning.pytorch.callbacks import ModelCheckpoint
if __name__ == "__main__":
    keep = ModelCheckpoint(sys.argv[2] + "/kept", every_n_train_steps=5)
    net, callback, run = t.fitted(sys.argv[2], 3, strategy="ddp", devices=2, callbacks=[keep])
    torch.save(net.robust.state_dict(), f"{sys.argv[2]}/out-{run.global_rank}")
    if run.global_rank == 0:
        torch.save(torch.load(keep.best_model_path)["callbacks"], sys.argv[2] + "/callbacks")
"""


@pytest.mark.slow
def test_two_processes_keep_the_same_targets_and_save_the_writes_of_both(tmp_path):
    script = tmp_path / "two.py"
    script.write_text(TWO)
    command = [sys.executable, str(script), str(Path(__file__).parent), str(tmp_path)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    first, second = (torch.load(tmp_path / f"out-{rank}") for rank in range(2))
    assert all(torch.equal(first[key], second[key]) for key in first)
    assert first["dynamics.seen"].sum() > 2 * N
    (state,) = [one for one in torch.load(tmp_path / "callbacks").values() if "method" in one]
    assert int(state["targets.staged.count"].sum()) == 2 * 2 * 8  # processes, steps of the second epoch, examples


SPREAD = """
import sys, warnings
warnings.simplefilter("ignore")
sys.path.insert(0, sys.argv[1])
import torch, test_lightning as t
import torch.distributed as dist
from lightning.pytorch.callbacks import ModelCheckpoint
dist.init_process_group("gloo")
robust = t.RobustTargets(t.Y, t.K, steps=5, shard=True)
order, loss, end = [[]], robust.loss, robust.end_epoch
robust.loss = lambda index, *rest: order[-1].append(index) or loss(index, *rest)
robust.end_epoch = lambda: order.append([]) or end()
own = torch.utils.data.Subset(t.with_index(t.TensorDataset(t.X, t.Y)), robust.rows)
callback, keep = t.SelfDistillCallback(robust), ModelCheckpoint(sys.argv[2] + "/kept", every_n_train_steps=13)
net = t.Net(robust)
run = t.trainer(
    sys.argv[2], callback, callbacks=[callback, keep], strategy="ddp", devices=2, use_distributed_sampler=False
)
run.fit(net, t.DataLoader(own, 5, shuffle=True))
out = net.net.state_dict(), order, robust.refined(), callback.label_issues
torch.save(out, f"{sys.argv[2]}/out-{run.global_rank}")
dist.barrier()
"""


@pytest.mark.slow
def test_state_spread_over_two_processes_ends_where_one_process_does(tmp_path, in_two_processes):
    outs = in_two_processes(SPREAD)
    net = Net(RobustTargets(Y, K, steps=5))
    optimizer = net.configure_optimizers()
    for number, epoch in enumerate(zip(*(out[1][:4] for out in outs), strict=True)):
        for step, both in enumerate(zip(*epoch, strict=True)):
            optimizer.zero_grad()
            sum(net.training_step((X[index], Y[index], index), 0) / 2 for index in both).backward()
            optimizer.step()
            if (number, step) == (2, 2):
                state = net.robust.state_dict()
                middle = {name: part.clone() for name, part in state.items()}
        net.robust.end_epoch()
    for weights, _, refined, found in outs:
        torch.testing.assert_close(weights, net.net.state_dict(), rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(refined, net.robust.refined(), rtol=1e-4, atol=1e-5)
        assert found.refined_label.tolist() == net.robust.label_issues().refined_label.tolist()
    (file,) = (tmp_path / "kept").glob("*.ckpt")  # in the middle of the third epoch
    (saved,) = [one for one in torch.load(file)["callbacks"].values() if "method" in one]
    RobustTargets(Y, K, steps=5).load_state_dict(saved)
    for name, part in middle.items():
        torch.testing.assert_close(saved[name], part, rtol=1e-4, atol=1e-5)
