"""Robust targets in skorch: what a plain loop gives, also after a pickle; splits, dictionaries, scikit-learn."""

from __future__ import annotations

import pickle
import subprocess
import sys
import warnings

import numpy as np
import pytest
import torch
from torch import nn

from selfdistill import RobustTargets
from selfdistill._core.errors import DataError

pytest.importorskip("skorch")
pytestmark = [pytest.mark.filterwarnings("ignore")]  # of skorch and what it imports
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from sklearn.base import clone
    from sklearn.model_selection import GridSearchCV
    from skorch import NeuralNetClassifier
    from skorch.dataset import Dataset, ValidSplit
    from torch.utils.data import BatchSampler, SequentialSampler, default_collate

    from selfdistill.integrations.skorch import SelfDistillNet

N, K = 60, 3
G = torch.Generator().manual_seed(0)
Y = torch.randint(0, K, (N,), generator=G).numpy()
X = (torch.randn(N, 4, generator=G) + 2 * torch.eye(K, 4)[torch.from_numpy(Y)]).numpy()


class Linear(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, K)

    def forward(self, x):
        return self.layer(x)


def net(**options):
    torch.manual_seed(0)
    return SelfDistillNet(Linear, **({"max_epochs": 4, "batch_size": 16, "lr": 0.1, "verbose": 0} | options))


def equal(a, b):
    a, b = a.state_dict(), b.state_dict()
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


def test_it_gives_what_a_plain_loop_gives_and_writes_its_history(capsys):
    run = net(verbose=1).fit(X, Y)
    torch.manual_seed(0)
    layer, robust = nn.Linear(4, K), RobustTargets(Y, K, steps=4)
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.1)
    for _ in range(4):
        for index in torch.arange(N).split(16):  # skorch shuffles only if told
            optimizer.zero_grad()
            robust.loss(index, layer(torch.from_numpy(X)[index])).backward()
            optimizer.step()
        robust.end_epoch()
    for key, value in robust.state_dict().items():
        torch.testing.assert_close(run.robust_.state_dict()[key], value, rtol=1e-5, atol=1e-6)
    assert run.history[-1, "label_issues"] == run.get_label_issues().is_label_issue.sum()
    assert "refined_share" in capsys.readouterr().out
    np.testing.assert_allclose(run.predict_proba(X).sum(1), 1, rtol=1e-5)  # probabilities of logits
    assert run.score(X, Y) > 0.8


def test_a_pickle_goes_on_bit_for_bit():
    whole, half = net(iterator_train__shuffle=True), net(iterator_train__shuffle=True, max_epochs=2)
    torch.manual_seed(1)
    whole.fit(X, Y)
    torch.manual_seed(1)
    half.fit(X, Y)
    state = torch.get_rng_state()
    half = pickle.loads(pickle.dumps(half))
    torch.set_rng_state(state)
    half.partial_fit(X, Y)
    assert equal(whole.module_, half.module_)
    assert equal(whole.robust_, half.robust_)
    assert len(half.history) == 4
    before = half.robust_
    half.fit(X, Y)  # anew
    assert half.robust_ is not before


def test_a_validation_part_is_not_trained_on_and_rows_keep_their_positions():
    run = net(train_split=ValidSplit(5, stratified=True)).fit(X, Y)
    found = run.get_label_issues()
    assert len(found) == len(run.rows_) == 48
    np.testing.assert_array_equal(found.given_class, Y[found.index])
    assert {"valid_loss", "valid_acc"} <= set(run.history[-1])


PROCESSES = """
import sys
import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DistributedSampler
from selfdistill.integrations.skorch import SelfDistillNet

g = torch.Generator().manual_seed(0)
x, y = torch.randn(64, 4, generator=g), torch.randint(0, 3, (64,), generator=g)
torch.manual_seed(0)
module, world, rank, options = nn.Linear(4, 3), 1, 0, {}
if "TORCHELASTIC_RUN_ID" in __import__("os").environ:
    dist.init_process_group("gloo")
    world, rank = dist.get_world_size(), dist.get_rank()
    module = DistributedDataParallel(module)
    options = {"iterator_train__sampler": DistributedSampler(range(len(x)), shuffle=False)}
net = SelfDistillNet(module, max_epochs=4, batch_size=16 // world, lr=0.1, verbose=0, **options)
net.fit(x.numpy(), y.numpy())
torch.save(net.robust_.state_dict(), f"{sys.argv[1]}/{world}-{rank}")
"""


@pytest.mark.slow
def test_two_processes_end_where_one_does(tmp_path):
    (tmp_path / "script.py").write_text(PROCESSES)
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    for before in ([], launcher):
        command = [sys.executable, *before, str(tmp_path / "script.py"), str(tmp_path)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
        assert done.returncode == 0, done.stderr
    one, first, second = (torch.load(tmp_path / name) for name in ("1-0", "2-0", "2-1"))
    assert all(torch.equal(first[name], second[name]) for name in first)
    for name, value in one.items():
        torch.testing.assert_close(first[name], value, rtol=1e-4, atol=1e-5)


def test_dictionaries_and_other_methods():
    a = net(method="sop").fit({"x": X}, Y)
    b = net(method="sop").fit(X, Y)
    assert equal(a.robust_, b.robust_)
    np.testing.assert_allclose(a.predict_proba({"x": X}), b.predict_proba(X))


class Rows(Dataset):
    """Gives some rows at once."""

    def __getitems__(self, rows):
        return [(self.X[row], self.y[row]) for row in rows]


def seen_by(examples):
    """Collate what a plain net would collate, and nothing else."""
    assert all(isinstance(x, np.ndarray) and x.shape == (4,) for x, _ in examples)
    return default_collate(examples)


def no_loader(data, batch_size):
    return [default_collate([data[i] for i in part]) for part in np.array_split(np.arange(N), range(16, N, 16))]


@pytest.mark.parametrize(
    "options",
    [
        {"iterator_train__collate_fn": seen_by},
        {"dataset": Rows},
        {"iterator_train__num_workers": 2, "iterator_train__collate_fn": seen_by},
        {"iterator_train__batch_size": None, "iterator_train__sampler": BatchSampler(SequentialSampler(Y), 16, False)},
        {"iterator_train": no_loader},
    ],
    ids=["collate", "rows", "workers", "batches of a sampler", "no loader"],
)
def test_however_batches_are_made_the_numbers_are_right(options):
    assert equal(net(**options).fit(X, Y).robust_, net().fit(X, Y).robust_)


def fetching(kind, size):
    """Count the calls of one batch."""
    run = kind(Linear, criterion=nn.CrossEntropyLoss, batch_size=size, train_split=None, verbose=0, max_epochs=1)
    batches = iter(run.fit(X, Y).get_iterator(run.get_split_datasets(X, Y)[0], training=True))
    calls = []
    sys.setprofile(lambda _, event, __: calls.append(event))
    try:
        next(batches)
    finally:
        sys.setprofile(None)
    return sum(event in {"call", "c_call"} for event in calls)


def test_to_number_a_batch_takes_no_longer_for_more_examples():
    small, large = (fetching(SelfDistillNet, size) - fetching(NeuralNetClassifier, size) for size in (8, 32))
    assert small == large < 30, (small, large)


def test_scikit_learns_tools_take_it():
    assert clone(net(method="elr")).method == "elr"
    search = GridSearchCV(net(max_epochs=2), {"method": ["selfdistill", "cross-entropy"], "lr": [0.1]}, cv=2).fit(X, Y)
    assert search.best_estimator_.method in {"selfdistill", "cross-entropy"}


def test_labels_from_one_are_refused():
    with pytest.raises(DataError, match=r"Labels that start from 1: pass labels - 1"):
        net().fit(X, Y + 1)
