"""State of each example spread over processes: bytes kept, bytes sent, and where it stops, measured and on paper.

    python -m benchmarks.sharded_state --measure
    python -m benchmarks.sharded_state --kept 3 2 --data DIR [--pairs]
    python -m benchmarks.sharded_state [--n 1000000000] [--classes 1000] [--top 5] [--processes 64] [--batch 1024]

- *copied*: each process keeps all rows.
- *own*: a process keeps the rows that its sampler draws, which then shuffles within them. Only sums travel. This is
  ``RobustTargets(..., shard=True)``.
- *asked*: a row lies with one process, and the sampler shuffles all. Each step asks for the rows of its batch, and
  sends predictions back. Not built but here, as `Asked`.

``--measure`` runs all three in processes of this machine that talk by gloo, and adds to
``benchmarks/records/sharded_state.parquet``: bytes of the tensors kept and sent, what the loopback device says of the
latter, time of the steps and of an epoch's end, and by how much the refined labels differ from those of *copied* with
the same draws. The network is a table of logits, so that nearly all of the time is that of the targets.

``--kept`` trains on 5,000 pictures of Fashion-MNIST with 40 % wrong labels, and keeps of each row the given label and
the likeliest others alone, so many in all, in sixteen bits; what is left is spread evenly. So do rows on paper. With
``--pairs`` an example is two of the pictures, and their classes together are one of 100; there are 10,000.

Otherwise the script reckons; the test holds what it reckons against what was measured. On paper the rows may hold the
likeliest ``top`` classes in sixteen bits (`targets._stores.TopK`), which no layout does today.
"""

from __future__ import annotations

import argparse
import itertools
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor

from benchmarks import training_stacks
from benchmarks.table import RECORDS, Table
from selfdistill import RobustTargets
from selfdistill._core.record import environment
from selfdistill.issues import compare_with_truth
from selfdistill.train._methods import METHODS

TABLE = Table(RECORDS / "sharded_state.parquet")

COUNT, RECORD, INDEX, TOLD = 4, 33, 8, 40
"""Bytes of a row: its count of writes, its record of training, its number; and of what an epoch's end tells of all."""


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


def row(classes: int, top: int | None) -> int:
    """Bytes of one row of probabilities; all in 32 bits, or the likeliest in sixteen."""
    return 4 * classes if top is None else top * (2 + (2 if classes < 2**15 else 4))


def reckon(layout: str, method: str, n: int, classes: int, top: int | None, processes: int, batch: int) -> Bytes:
    """Reckon a layout for ``"memory"`` or ``"selfdistill"``."""
    away, width, default = (processes - 1) / processes, row(classes, top), method == "selfdistill"
    rows = (5.5 if top is None else 6) if default else 2  # one of the default's is always in sixteen bits
    kept = n * (rows * width + COUNT + RECORD + (8 if default else 0))  # which has the labels once more
    buffers = TOLD + (4 * (classes**2 + classes) + 20 if default else 0)  # noise matrix and frequencies of the classes
    if layout == "copied":
        return Bytes(kept, 0.0, 2 * away * n * (width + COUNT))
    # asked for by number, answered with a memory (and a target), sent back as a prediction
    sent = batch * away * (INDEX + (3 if default else 2) * width) if layout == "asked" else 0.0
    return Bytes(kept / processes, sent, 2 * away * buffers)


def _size(*parts: Tensor) -> int:
    return sum(part.numel() * part.element_size() for part in parts)


class Asked:
    """Targets whose rows are asked for in each step, by examples that any process may draw."""

    def __init__(self, robust: RobustTargets, n: int) -> None:
        self.targets, self.loss_of = robust.targets, METHODS[robust.method].loss
        self.size, self.sent = -(-n // dist.get_world_size()), 0

    def _pass(self, rows: Tensor, out: Tensor, into: Tensor) -> Tensor:
        found = rows.new_empty(int(into.sum()), *rows.shape[1:])
        dist.all_to_all_single(found, rows.contiguous(), into.tolist(), out.tolist())
        self.sent += int(out.sum() - out[dist.get_rank()]) * _size(rows[:1])
        return found

    def loss(self, index: Tensor, logits: Tensor) -> Tensor:
        """Compute the loss of a batch."""
        owner = index // self.size
        order = owner.argsort(stable=True)
        out = torch.bincount(owner, minlength=dist.get_world_size())
        into = torch.empty_like(out)
        dist.all_to_all_single(into, out)
        asked = self._pass(index[order], out, into) - self.targets.shard.start
        target: Any = self.targets.read(asked)
        rows = target if isinstance(target, Tensor) else torch.cat([target.target, target.memory], 1)
        back = torch.empty(len(index), rows.shape[1])
        back[order] = self._pass(rows, into, out)
        if not isinstance(target, Tensor):
            target = target._replace(target=back[:, : logits.shape[1]], memory=back[:, logits.shape[1] :])
        value = self.loss_of(logits, back if isinstance(target, Tensor) else target).mean()
        self.targets.write(asked, self._pass(logits.detach().softmax(-1)[order], out, into))
        return value


def _loopback() -> int:
    """Bytes that the loopback device has sent."""
    (line,) = [line for line in Path("/proc/net/dev").read_text().splitlines() if line.strip().startswith("lo:")]
    return int(line.split()[9])


def _process(rank: int, job: dict[str, Any], file: str) -> None:
    """Train two epochs in one of the processes; the first writes what it found."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", f"file://{file}.meet", rank=rank, world_size=job["processes"])
    reduced, summed = [0], dist.all_reduce

    def all_reduce(value: Tensor) -> None:
        reduced[0] += int(2 * (1 - 1 / job["processes"]) * _size(value))  # a ring: each part goes round twice
        summed(value)

    dist.all_reduce = all_reduce  # type: ignore[assignment]
    n, k, batch, world = job["n"], job["classes"], job["batch"], job["processes"]
    labels = torch.randint(0, k, (n,), generator=torch.Generator().manual_seed(0))
    table = torch.randn(997, k, generator=torch.Generator().manual_seed(1))
    robust = RobustTargets(labels, k, job["method"], epochs=2, shard=job["layout"] != "copied")
    asked = Asked(robust, n) if job["layout"] == "asked" else None
    wall, cpu, ends, lo = [], [], [], 0
    for epoch in range(2):
        g = torch.Generator().manual_seed(epoch)
        if job["draws"] == "all":
            order = torch.randperm(n, generator=g)[rank::world]
        else:
            part = torch.arange(n).chunk(world)[rank]
            order = part[torch.randperm(len(part), generator=g)]
        dist.barrier()
        before = _loopback()
        for index in order.split(batch):
            logits = (
                table[(7 * index + epoch) % 997] + 3 * torch.nn.functional.one_hot(labels[index], k)
            ).requires_grad_()
            began = time.perf_counter(), time.process_time()
            (asked or robust).loss(index, logits).backward()
            wall.append(time.perf_counter() - began[0])
            cpu.append(time.process_time() - began[1])
        dist.barrier()
        lo += _loopback() - before
        reduced[0], at_end = 0, time.process_time()
        robust.end_epoch()
        ends.append((time.process_time() - at_end, reduced[0]))
    refined, steps = robust.refined(), len(wall)
    state = (*robust.targets.buffers(), *robust.dynamics.buffers())
    found = {
        "kept": _size(*(part for part in state if part.ndim)), "sent_per_step": (asked.sent if asked else 0) / steps,
        "loopback_per_step": lo / steps / world, "sent_at_end": ends[-1][1], "steps": 2 * [steps // 2],
        "wall_ms": _quartiles(wall[steps // 2 :]), "cpu_ms": _quartiles(cpu[steps // 2 :]),
        "end_cpu_s": ends[-1][0],
    }  # fmt: skip
    if rank == 0:
        torch.save((found, refined), file)
    dist.barrier()
    dist.destroy_process_group()


def _quartiles(seconds: list[float]) -> list[float]:
    return [round(1e3 * float(value), 3) for value in torch.tensor(seconds).quantile(torch.tensor([0.25, 0.5, 0.75]))]


def measure(method: str, processes: int, n: int, classes: int, batch: int) -> dict[str, dict[str, Any]]:
    """Run the layouts; each beside *copied* with the same draws."""
    job = {"method": method, "processes": processes, "n": n, "classes": classes, "batch": batch}
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        for draws, layout in (("own", "copied"), ("own", "own"), ("all", "copied"), ("all", "asked")):
            file, this = f"{folder}/{draws}-{layout}", {"draws": draws, "layout": layout}
            torch.multiprocessing.spawn(_process, (job | this, file), nprocs=processes)
            found[layout, draws] = torch.load(file)
    rows = {}
    for (layout, draws), (record, refined) in found.items():
        differs = float((refined - found["copied", draws][1]).abs().max())
        name = f"{method}-{processes}-{layout}" + ("-all" if (layout, draws) == ("copied", "all") else "")
        rows[name] = job | {"layout": layout, "draws": draws, "differs": differs} | record
    return rows


def keep_likeliest(rows: Tensor, labels: Tensor, top: int) -> None:
    """Keep ``top`` entries of each row, that of the given label among them, and spread the rest of its sum evenly."""
    best = rows.scatter(1, labels[:, None], float("inf")).topk(top, 1).indices
    value = rows.gather(1, best).half().to(rows.dtype)
    rest = (rows.sum(1, keepdim=True) - value.sum(1, keepdim=True)).clamp(min=0) / (rows.shape[1] - top)
    rows.copy_(rest.expand_as(rows).scatter(1, best, value))


def pairs(folder: Path, seed: int) -> dict[str, Tensor]:
    """Make 10,000 examples of 100 classes from two pictures each, and 2,000 to test with."""
    data, k = training_stacks.pictures(folder, seed, n=20_000, n_test=4_000), training_stacks.K
    found: dict[str, Tensor] = {}
    for x, y in (("x", "truth"), ("x_test", "y_test")):
        g = torch.Generator().manual_seed(0)
        first, second = torch.randperm(len(data[x]), generator=g).view(2, -1)
        found |= {x: torch.cat([data[x][first], data[x][second]], 1), y: k * data[y][first] + data[y][second]}
    return found | {"given": training_stacks.spoiled(found["truth"], k * k, seed)}


def trained(top: int, folder: Path, seed: int, *, in_pairs: bool) -> dict[str, Any]:
    """Train pictures with rows of ``top`` entries, in which predictions are noted too; 0 is all."""
    data = (pairs if in_pairs else training_stacks.pictures)(folder, seed)
    k = training_stacks.K ** (2 if in_pairs else 1)
    robust = RobustTargets(data["given"], k)
    commit = robust.targets.commit

    def committed(mean: Tensor, written: Tensor) -> None:
        own = dict(robust.targets.named_buffers())
        if top:
            keep_likeliest(mean, data["given"], top)
        commit(mean, written)
        for name in ("target", "fast", "slow", "value", "early"):
            if top:
                keep_likeliest(own[name], data["given"], top)

    vars(robust.targets)["commit"] = committed
    torch.manual_seed(100 + seed)
    net = training_stacks.loop(data, seed, robust, training_stacks.cnn(seed, channels=data["x"].shape[1], classes=k))
    found = compare_with_truth(robust.table(), data["truth"].numpy())
    accuracy = training_stacks.accuracy(net, data)
    return {"top": top or k, "classes": k, "seed": seed, "accuracy": accuracy, "labels": found}


def main() -> None:
    """Measure, or show the layouts on paper."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n", type=int, default=10**9)
    parser.add_argument("--classes", type=int, default=1000)
    parser.add_argument("--top", type=int, default=5)
    parser.add_argument("--processes", type=int, default=64)
    parser.add_argument("--batch", type=int, default=1024)
    parser.add_argument("--measure", action="store_true", help="20,480 examples, 100 classes, 256 in a step")
    parser.add_argument("--kept", type=int, nargs="+", default=[], help="entries that a row keeps in training")
    parser.add_argument("--pairs", action="store_true", help="two pictures an example, 100 classes")
    parser.add_argument("--data", type=Path)
    options = vars(parser.parse_args())
    about = environment("cpu")
    about = {name: about[name] for name in ("created", "commit", "versions", "hardware") if name in about}
    kept, data, in_pairs = (options.pop(name) for name in ("kept", "data", "pairs"))
    if kept:
        torch.set_num_threads(1)
        for top, seed in itertools.product([0, *kept], range(3)):
            record = trained(top, data, seed, in_pairs=in_pairs)
            TABLE.add({f"top-{record['top']}{'-of-100' if in_pairs else ''}-{seed}": record | about})
            print(record, flush=True)
        return
    if options.pop("measure"):
        for method in ("memory", "selfdistill"):
            for processes in (2, 4):
                rows = measure(method, processes, 20_480, 100, 256)
                TABLE.add({key: record | about for key, record in rows.items()})
                print(*rows.items(), sep="\n")
        return
    for method in ("memory", "selfdistill"):
        for layout in ("copied", "own", "asked"):
            found = reckon(layout, method, **options | ({"top": None} if layout == "copied" else {}))
            print(method, layout, *(f"{value:.3g}" for value in found))


if __name__ == "__main__":
    main()
