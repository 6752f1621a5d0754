from __future__ import annotations

import torch

from selfdistill._core.rng import derive, drawing_from, numpy_generator, torch_generator


def test_pinned_so_that_old_runs_can_be_repeated():
    assert derive(0, "shuffle", 0) == 4626013114233434044


def test_purposes_do_not_collide():
    seeds = {derive(s, p, e) for s in range(20) for p in ("shuffle", "augment") for e in range(50)}
    assert len(seeds) == 2000
    assert derive(1, "a", "b") != derive(1, "ab")
    assert all(0 <= s < 2**63 for s in seeds)


def test_generators_are_fresh_and_do_not_touch_the_global_state():
    before = torch.get_rng_state()
    assert torch.equal(
        torch.rand(3, generator=torch_generator(1, "x")), torch.rand(3, generator=torch_generator(1, "x"))
    )
    assert numpy_generator(1, "x").random() == numpy_generator(1, "x").random()
    assert torch.equal(before, torch.get_rng_state())


def test_weights_are_drawn_from_a_generator_as_from_the_global_one_with_its_state():
    with drawing_from(torch.Generator().manual_seed(0)):
        one = torch.nn.Linear(2, 2)
    before = torch.get_rng_state()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        other = torch.nn.Linear(2, 2)
    assert torch.equal(one.weight, other.weight)
    assert torch.equal(one.bias, other.bias)
    assert torch.equal(torch.get_rng_state(), before)
