"""State of each example spread over processes, on paper: bytes kept, bytes sent, and where it stops.

    python -m benchmarks.sharded_state [--n 1000000000] [--classes 1000] [--top 5] [--processes 64] [--batch 1024]

Nothing of this is built: each process keeps the state of all examples. The script reckons what two layouts would take,
and `simulate` counts it: it passes real rows between processes that are lists, with a small n, and adds up the bytes of
the tensors. The test holds one against the other.

- *own*: a process keeps the rows that its sampler draws, which then shuffles within them. Only sums travel.
- *hash*: row i lies with process i mod P, and the sampler shuffles all. Each step asks for rows and sends them back.

State of a row, with the likeliest ``top`` classes in sixteen bits (`targets._stores.TopK`): the memory, the epoch's
predictions so far, their count, the given label, and the record of training, 33 bytes. That is what ``"memory"`` and
``"elr"`` need; the default keeps two memories.
"""

from __future__ import annotations

import argparse
from typing import NamedTuple

import torch
from torch import Tensor

from selfdistill.issues._toneva2019forgetting import LearningDynamics
from selfdistill.targets._stores import TopK

COUNT, LABEL, RECORD, INDEX = 4, 8, 33, 8


class Bytes(NamedTuple):
    """What a layout takes.

    Attributes:
        kept: By one process.
        sent: By one process in a step.
        sent_at_end: By one process at the end of an epoch.
    """

    kept: float
    sent: float
    sent_at_end: float


def row(classes: int, top: int) -> int:
    """Bytes of one row of probabilities."""
    return top * (2 + (2 if classes < 2**15 else 4))


def reckon(layout: str, n: int, classes: int, top: int, processes: int, batch: int, memories: int = 1) -> Bytes:
    """Reckon a layout; ``"copied"`` is what is built, with all classes in 32 bits."""
    away = (processes - 1) / processes
    if layout == "copied":
        whole = 4 * n * classes * (1 + memories)
        return Bytes(whole + n * (COUNT + LABEL + RECORD), 0.0, 2 * away * 4 * n * (classes + 1))
    kept = n / processes * ((1 + memories) * row(classes, top) + COUNT + LABEL + RECORD)
    sums = 2 * away * 4 * (classes**2 + classes)  # an all-reduce of the noise matrix and the classes' frequencies
    if layout == "own":
        return Bytes(kept, 0.0, sums)
    # asked for by number, answered with memories and label, sent back as number and prediction
    return Bytes(kept, batch * away * (INDEX + memories * row(classes, top) + LABEL + INDEX + row(classes, top)), sums)


def simulate(layout: str, n: int, classes: int, top: int, processes: int, batch: int) -> Bytes:
    """Count the bytes of one memory's tensors in an epoch of processes that are lists."""
    g = torch.Generator().manual_seed(0)
    labels = torch.randint(0, classes, (n,), generator=g)
    if layout == "own":
        held = list(torch.arange(n).view(processes, -1))
    else:
        held = [torch.arange(n)[rank::processes] for rank in range(processes)]
    stores = [[TopK(labels[rows], classes, k=top) for _ in range(2)] for rows in held]
    records = [LearningDynamics(labels[rows]) for rows in held]
    kept = [
        sum(_size(store.value, store.classes) for store in pair) + _size(torch.zeros(len(rows)), labels[rows])
        + sum(_size(part) for part in record.buffers() if part.ndim) for rows, pair, record in
        zip(held, stores, records, strict=True)
    ]  # fmt: skip
    sent, steps = 0, n // processes // batch
    order = torch.randperm(n, generator=g)
    for step in range(steps):
        for rank in range(processes):
            if layout == "own":
                continue  # its rows are here
            index = order[rank::processes][step * batch : (step + 1) * batch]
            for owner in range(processes):
                asked = index[index % processes == owner]
                at = asked // processes
                if owner == rank:
                    continue
                memory = stores[owner][0]
                sent += _size(asked) + _size(memory.value[at], memory.classes[at], memory.labels[at])
                said = torch.rand(len(at), classes, generator=g).softmax(-1)
                stores[owner][1].write(at, said)
                sent += _size(asked) + _size(stores[owner][1].value[at], stores[owner][1].classes[at])
    joint = [torch.zeros(classes, classes + 1) for _ in range(processes)]
    at_end = 2 * (processes - 1) * _size(joint[0])  # a ring: each part goes round twice
    return Bytes(max(kept), sent / processes / steps, at_end / processes)


def _size(*parts: Tensor) -> int:
    return sum(part.numel() * part.element_size() for part in parts)


def main() -> None:
    """Show both layouts beside what is built."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n", type=int, default=10**9)
    parser.add_argument("--classes", type=int, default=1000)
    parser.add_argument("--top", type=int, default=5)
    parser.add_argument("--processes", type=int, default=64)
    parser.add_argument("--batch", type=int, default=1024)
    options = parser.parse_args()
    for layout in ("copied", "own", "hash"):
        for memories in (1, 2):
            found = reckon(layout, memories=memories, **vars(options))
            print(layout, memories, *(f"{value:.3g}" for value in found))


if __name__ == "__main__":
    main()
