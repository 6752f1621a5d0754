"""A teacher's targets obey the protocol, turn to the next view each epoch, and are never differentiated."""

from __future__ import annotations

import torch

from selfdistill.targets import SoftLogits, Targets, Taught

N, K, V = 12, 3, 2


def make():
    g = torch.Generator().manual_seed(0)
    labels, z = torch.randint(0, K, (N,), generator=g), torch.randn(V, N, K, generator=g)
    store = SoftLogits(V, N, K)
    for view in range(V):
        store.write(view, slice(0, N), z[view])
    return labels, z, Taught(labels, store, lambda given, teacher: (given, teacher.softmax(-1)))


def test_it_reads_given_labels_beside_the_teacher_of_this_epochs_view():
    labels, z, targets = make()
    assert isinstance(targets, Targets)
    index = torch.tensor([3, 0, 7])
    for epoch in range(5):
        given, taught = targets.read(index, torch.randn(3, K, requires_grad=True))
        assert given.argmax(-1).tolist() == labels[index].tolist()
        torch.testing.assert_close(taught, z[epoch % V][index].softmax(-1), atol=2e-3, rtol=0)
        assert not taught.requires_grad
        targets.write(torch.arange(N), torch.full((N, K), 1 / K))
        mean, written = targets.end_epoch()
        assert written.all()
        torch.testing.assert_close(targets.refined(), mean)


def test_the_state_goes_through_state_dict_with_the_epoch_but_without_the_store():
    _, _, a = make()
    _, _, b = make()
    a.write(torch.tensor([1]), torch.tensor([[0.5, 0.25, 0.25]]))
    a.end_epoch()
    assert not any("store" in name for name in a.state_dict())
    b.load_state_dict(a.state_dict())
    assert b.view == a.view == 1
    assert torch.equal(a.refined(), b.refined())
