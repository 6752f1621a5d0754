"""Mistakes that would pass in silence are refused or warned of at once, each with the way out."""

from __future__ import annotations

import inspect
import pickle

import numpy as np
import pytest
import torch
from torch import nn

from selfdistill import RobustTargets, losses
from selfdistill._core.errors import DataError, RunError, SettingError
from selfdistill.targets import Posterior
from selfdistill.targets._base import GivenLabels, Memory

LABELS = torch.arange(30) % 3
X = torch.randn(30, 2, generator=torch.Generator().manual_seed(0))


def three(k=3):
    torch.manual_seed(0)
    return nn.Linear(2, k), RobustTargets(LABELS, 3, steps=18)


def soft(rows, k=3):
    return torch.full((rows, k), 1 / k)


def test_logits_in_the_place_of_probabilities():
    logits = 5 * torch.randn(4, 3, generator=torch.Generator().manual_seed(0))
    for targets in (Memory(LABELS, 3), Posterior(LABELS, 3), GivenLabels(LABELS, 3)):
        for wrong in (logits, logits.log_softmax(-1), logits.softmax(-1) - 1 / 3, LABELS[:12].view(4, 3)):
            with pytest.raises(
                SettingError, match=r"but must be probabilities. Write logits.softmax\(-1\), not the log"
            ):
                targets.write(torch.arange(4), wrong)
        for _ in range(4):  # later writes are looked at when the epoch ends
            targets.write(torch.arange(4, 8), soft(4).half())
        targets.write(torch.arange(8, 12), logits)
        with pytest.raises(SettingError, match=r"must be probabilities"):
            targets.end_epoch()


def test_an_epoch_that_never_ends():
    net, robust = three()
    for part in torch.randperm(30, generator=torch.Generator().manual_seed(0)).split(10) * 2:
        robust.loss(part, net(X[part]))
    again = torch.arange(10, 20)
    robust.loss(again, net(X[:10]))
    with pytest.warns(UserWarning, match=r"80 predictions were written .* 30 examples. Call end_epoch\(\)") as warned:
        robust.loss(again, net(X[:10]))
    assert len(warned) == 1
    assert warned[0].filename == __file__


def test_no_write_and_no_loss():
    for targets in (Memory(LABELS, 3), RobustTargets(LABELS, 3)):
        with pytest.raises(SettingError, match=r"nothing was written since the last one. Call write \(or the loss of"):
            targets.end_epoch()


def test_positions_in_the_batch():
    net, robust = three()
    robust.loss(torch.arange(8), net(X[:8]))
    robust.loss(torch.arange(8), net(X[:8]))
    with pytest.raises(SettingError, match=r"had the index 0 to 7, but there are 30 .* see with_index"):
        robust.loss(torch.arange(8), net(X[:8]))
    for _ in range(5):
        robust = RobustTargets(LABELS, 3, "elr")
        robust.loss(torch.arange(30), net(X))  # all at once are in the right place
        robust.end_epoch()


def test_labels_that_do_not_fit_the_index():
    net, robust = three()
    robust.loss(torch.tensor([3, 4]), net(X[:2]), LABELS[3:5])
    with pytest.raises(DataError, match=r"example 5 has the label 0 in the batch, but 2 in the labels that were given"):
        robust.loss(torch.tensor([4, 5]), net(X[:2]), LABELS[[4, 6]])
    with pytest.raises(DataError, match=r"index goes from 2 to 30, but there are 30 labels, 0 to 29"):
        robust.loss(torch.tensor([2, 30]), net(X[:2]))


def test_an_index_that_is_no_position():
    net, robust = three()
    for wrong in (torch.tensor([0.0, 1.0]), torch.tensor([True, False])):
        with pytest.raises(SettingError, match=r"but positions are whole numbers. Pass index.long"):
            robust.loss(wrong, net(X[:2]))
    robust.loss([4, 5], net(X[:2]))
    robust.loss(np.array([6, 7], np.int32), net(X[:2]))


def test_another_number_of_classes():
    net, robust = three(4)
    with pytest.raises(SettingError, match=r"logits have shape \[5, 4\] and index \[5\], but there are 3 classes"):
        robust.loss(torch.arange(5), net(X[:5]))
    with pytest.raises(SettingError, match=r"index \[4\], but there are 3"):
        robust.loss(torch.arange(4), nn.Linear(2, 3)(X[:5]))
    with pytest.raises(SettingError, match=r"predictions of shape \[5, 4\] were written for 5 examples of 3 classes"):
        Memory(LABELS, 3).write(torch.arange(5), soft(5, 4))


@pytest.mark.parametrize("make", [RobustTargets, Memory, GivenLabels])
def test_labels_of_every_kind(make):
    for fine in (LABELS.numpy(), LABELS.tolist(), LABELS.numpy().astype(np.uint8), LABELS.int()):
        refined = make(fine, 3).refined()
        assert torch.equal(refined, torch.eye(3)[LABELS])
    with pytest.raises(DataError, match=r"example 2 is 3, .* 0 to 2. Labels that start from 1: pass labels - 1"):
        make(LABELS + 1, 3)
    with pytest.raises(DataError, match=r"example 0 is -1, .* leave out examples without a label"):
        make(LABELS - 1, 3)
    with pytest.raises(DataError, match=r"such as .*'a'.*, but must be whole numbers.* numpy.unique"):
        make(["a", "b"], 2)
    for wrong in (LABELS.float(), torch.eye(3), [], [True, False]):
        with pytest.raises(DataError, match=r"must be whole numbers, one per example"):
            make(wrong, 3)


def test_a_loss_that_belongs_to_another_target():
    y, index, z = torch.tensor([0, 1, 1, 0]), torch.arange(4), torch.zeros(4, 2)
    of_posterior, of_memory = Posterior(y, 2).read(index), Memory(y, 2).read(index)  # four rows unpack as four things
    for loss, target in [
        (losses.cross_entropy, of_posterior),
        (losses.cross_entropy, y),
        (losses.generalized_cross_entropy, of_posterior),
        (losses.generalized_cross_entropy, y),
        (losses.anchored_cross_entropy, of_memory),
        (losses.anchored_cross_entropy, (z, z)),
    ]:
        with pytest.raises(SettingError, match=r"RobustTargets, which has both"):
            inspect.unwrap(loss)(z, target)  # as users call it, without the checks of shapes that tests put around


def test_a_validation_loss_is_not_written_down():
    net, robust = three()
    with pytest.raises(SettingError, match=r"have no gradient.* For a validation loss"), torch.no_grad():
        robust.loss(torch.arange(4), net(X[:4]))


def test_predictions_that_are_no_numbers():
    net, robust = three()
    robust.loss(torch.arange(4), net(X[:4] * torch.nan))
    with pytest.raises(SettingError, match=r"the predictions of epoch 1 are no numbers"):
        robust.end_epoch()


def test_a_state_of_something_else():
    net, robust = three()
    robust.loss(torch.arange(30), net(X))
    robust.end_epoch()
    state = robust.state_dict()
    with pytest.raises(RunError, match=r"of method 'selfdistill', but this is 'elr'"):
        RobustTargets(LABELS, 3, "elr").load_state_dict(state)
    with pytest.raises(RunError, match=r"the state is of other labels"):
        RobustTargets(LABELS.flip(0), 3).load_state_dict(state)
    with pytest.raises(RunError, match=r"the state does not fit: \w+\.\w+"):
        RobustTargets(LABELS[:20], 3).load_state_dict(state)
    with pytest.raises(RunError, match=r"does not fit: targets.value"):
        robust.load_state_dict({key: value for key, value in state.items() if key != "targets.value"})


def test_findings_before_an_epoch_has_ended_or_of_other_classes():
    net, robust = three()
    with pytest.raises(SettingError, match=r"no epoch has ended yet"):
        robust.label_issues()
    robust.loss(torch.arange(30), net(X))
    robust.end_epoch()
    with pytest.raises(SettingError, match=r"2 classes are named, but there are 3"):
        robust.label_issues(["a", "b"])


def test_targets_pickle():
    for targets in (Memory(LABELS, 3), Posterior(LABELS, 3), RobustTargets(LABELS, 3, "dong-sequential", epochs=5)):
        assert torch.equal(pickle.loads(pickle.dumps(targets)).refined(), targets.refined())


def epochs_of(index_of, n=120, labels=None, epochs=1, batch=10):
    """Give the warnings of a loop with that index, in shuffled order, without its labels."""
    labels = torch.arange(n) % 3 if labels is None else labels
    robust, net = RobustTargets(labels, 3, "elr"), 5 * torch.eye(3)
    for epoch in range(epochs):
        order = torch.randperm(n, generator=torch.Generator().manual_seed(epoch))
        for at in order.split(batch):
            robust.loss(index_of(at), net[labels[at]].requires_grad_())
        robust.end_epoch()


def test_an_index_that_is_always_the_same():
    with pytest.warns(
        UserWarning, match=r"noted 120 predictions, but of 1 of the 120 examples only. index is"
    ) as warned:
        epochs_of(torch.zeros_like, epochs=2)
    assert len(warned) == 1
    assert warned[0].filename == __file__
    with pytest.warns(UserWarning, match=r"of 10 of the 120 examples only"):
        epochs_of(lambda at: at % 10)


def test_an_index_of_a_part():
    labels = torch.arange(240) % 3
    for offset, seen in ((0, "0 to 119"), (120, "120 to 239"), (60, "60 to 179")):
        robust = RobustTargets(labels, 3, "elr")
        for at in torch.randperm(120, generator=torch.Generator().manual_seed(0)).split(11)[:-1]:  # drop_last
            robust.loss(at + offset, torch.zeros(len(at), 3).requires_grad_())
        with pytest.warns(
            UserWarning, match=r"saw only the examples \d+ to \d+ of 240. .* before it is split"
        ) as warned:
            robust.end_epoch()
        low, high = (int(x) for x in seen.split(" to "))
        found = [int(x) for x in str(warned[0].message).split("examples ")[1].split(" of")[0].split(" to ")]
        assert low <= found[0] <= low + 10
        assert high - 10 <= found[1] <= high


def test_a_shifted_index_without_labels():
    labels = torch.randint(0, 3, (300,), generator=torch.Generator().manual_seed(0))
    with pytest.warns(UserWarning, match=r"agrees with 3\d\.\d % of the labels, no more than by chance.*in the order"):
        epochs_of(lambda at: (at + 7) % 300, 300, labels, epochs=3)


def test_loops_that_are_right_are_not_warned_of():
    epochs_of(lambda at: at, epochs=4)
    epochs_of(lambda at: at, epochs=4, batch=7)
    for drawn in (
        torch.randint(0, 120, (120,), generator=torch.Generator().manual_seed(0)),  # with replacement
        torch.arange(120).repeat(2),  # each example twice
        torch.randperm(120, generator=torch.Generator().manual_seed(0))[:80],  # a part at random
        torch.arange(113),  # in order, the last batch dropped
        torch.cat([torch.arange(0, 120, 12).repeat(12), torch.arange(120)]),  # a rare class drawn often
    ):
        robust = RobustTargets(torch.arange(120) % 3, 3, "elr")
        for at in drawn.split(10):
            robust.loss(at, torch.zeros(len(at), 3).requires_grad_())
        robust.end_epoch()
