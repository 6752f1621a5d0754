"""What a step of training costs with robust targets beside the same step with plain loss, in processor time.

    python -m benchmarks.training_steps --data DIR

Data, networks and stacks are those of `benchmarks.training_stacks`, whose table takes the records. Single steps of a
loop are taken in turn, of three networks; then all that a stack does in a step, of two trainings in threads that take
their steps in turn. Each run measures anew.
"""

from __future__ import annotations

import argparse
import ctypes
import threading
import time
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch
from torch import nn
from torch.optim.optimizer import register_optimizer_step_post_hook

from benchmarks import training_stacks as stacks
from selfdistill import RobustTargets

NETWORKS = ("cnn", "cnn-wide", "transformer")


def step_ratios(network: str, folder: Path, pairs: int = 390) -> dict[str, Any]:
    """Take steps with plain loss and with robust targets in turn, in processor time; two networks change roles."""
    data = stacks.questions(folder, 0) if network == "transformer" else stacks.pictures(folder, 0)
    x = torch.tensor(data["tokens"]) if network == "transformer" else data["x"]
    y, k = data["given"], 6 if network == "transformer" else stacks.K
    width = 48 if network == "cnn-wide" else 16
    nets = [stacks.bert(0, k).train() if network == "transformer" else stacks.cnn(0, width) for _ in range(2)]
    optimizers, robust = [stacks.sgd(net) for net in nets], RobustTargets(y, k)
    order = torch.randperm(len(y), generator=torch.Generator().manual_seed(0)).split(stacks.BATCH)[:-1]

    def step(which: int, epoch: int, index: torch.Tensor) -> float:
        net, optimizer = nets[(which + epoch) % 2], optimizers[(which + epoch) % 2]  # where they lie in memory counts
        began = time.process_time()
        logits = net(x[index])
        logits = logits.logits if network == "transformer" else logits
        loss = robust.loss(index, logits, y[index]) if which else nn.functional.cross_entropy(logits, y[index])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return time.process_time() - began

    took, ends = [], []
    for at in range(pairs):
        pair = {
            which: step(which, at // len(order), order[at % len(order)]) for which in ((0, 1) if at % 2 else (1, 0))
        }
        took.append([pair[0], pair[1]])
        if at % len(order) == len(order) - 1:
            began = time.process_time()
            robust.end_epoch()
            ends.append(time.process_time() - began)
    plain, with_ours = np.array(took[len(order) :]).T  # the first epoch warms up
    end = 1e3 * float(np.median(ends)) / len(order)
    extra = 1e3 * (with_ours - plain) + end
    ratios = 1 + extra / (1e3 * np.median(plain))
    return {
        "network": network, "pairs": len(plain), "plain_ms": 1e3 * float(np.median(plain)),
        "extra_ms": np.quantile(extra, [0.25, 0.5, 0.75]).round(3).tolist(), "end_ms_per_step": end,
        "quartiles": np.quantile(ratios, [0.25, 0.5, 0.75]).round(3).tolist(),
    }  # fmt: skip


def in_turn(train: Any, data: dict[str, Any], k: int, first: int, epochs: int) -> list[np.ndarray]:
    """Train with plain loss (0) and robust targets (1) in two threads that take their steps in turn; give seconds."""
    turns, me = [threading.Semaphore(number == first) for number in range(2)], threading.local()
    clocks: list[list[float]] = [[], []]
    ended = [False, False]

    def pass_on(*_: Any) -> None:
        clocks[me.number].append(time.thread_time())
        turns[1 - me.number].release()
        if not ended[1 - me.number]:
            turns[me.number].acquire()
        clocks[me.number].append(time.thread_time())

    def work(number: int) -> None:
        me.number = number
        turns[number].acquire()
        try:
            train(data, 0, RobustTargets(data["given"], k) if number else None)
        finally:
            ended[number] = True
            turns[1 - number].release()

    hook = register_optimizer_step_post_hook(pass_on)
    threads = [threading.Thread(target=work, args=(number,)) for number in (first, 1 - first)]
    with mock.patch.object(stacks, "EPOCHS", epochs):
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    hook.remove()
    return [np.array(clock[2::2]) - np.array(clock[1:-1:2]) for clock in clocks]  # from a step's end to the next one's


def whole_steps(stack: str, folder: Path, runs: int = 8, epochs: int = 3) -> dict[str, Any]:
    """Compare all that a stack does in a step, over some trainings."""
    if hasattr(libc := ctypes.CDLL(None), "mallopt"):
        libc.mallopt(-8, 1)  # M_ARENA_MAX: with a heap for each thread, where a network lies counts more than the loss
    read, train, _ = stacks.STACKS[stack]
    data, k = read(folder, 0), 6 if stack == "trainer" else stacks.K
    found, ends = [], []
    for run in range(runs):
        took = in_turn(train, data, k, run % 2, epochs)
        steps = len(took[0]) // epochs + 1
        plain, ours = (part[steps - 1 :].reshape(-1, steps) for part in took)  # a row begins after an epoch's end
        ends.append(float(np.median((ours - plain)[:, 0])) / steps)
        found.append((np.median(plain[:, 1:]), np.median((ours - plain)[:, 1:]) + ends[-1]))
    base, extra = 1e3 * np.array(found).T
    return {
        "network": stack, "pairs": runs * plain.size, "plain_ms": float(np.median(base)),
        "extra_ms": np.quantile(extra, [0, 0.5, 1]).round(3).tolist(), "end_ms_per_step": 1e3 * float(np.median(ends)),
        "range": np.quantile(1 + extra / base, [0, 0.5, 1]).round(3).tolist(),
    }  # fmt: skip


def main() -> None:
    """Measure all networks and stacks."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    folder = parser.parse_args().data
    stacks.quietly()
    for network in NETWORKS:
        stacks.keep(f"overhead-{network}", step_ratios(network, folder))
    for stack in stacks.STACKS:
        stacks.keep(f"overhead-stack-{stack}", whole_steps(stack, folder))


if __name__ == "__main__":
    main()
