"""What a training step of each method costs beside cross-entropy: alternating epochs, paired ratios.

    python -m benchmarks.step_cost [--rounds 20] [--steps 78] [--threads 1]

Writes ``benchmarks/records/step_cost.json``. A round times an epoch of each method in turn, its end included, so that
the machine's drift hits all alike; the ratio of a method is the median over the rounds.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import torch

from selfdistill._core.files import write_json
from selfdistill._core.record import environment
from selfdistill.networks._build import build
from selfdistill.train._methods import METHODS

RECORD = Path(__file__).parent / "records" / "step_cost.json"
BATCH, EXAMPLES, CLASSES, SHAPE = 128, 10_000, 10, (1, 28, 28)


class Trainer:
    """A network, its optimizer and a method's targets, stepped by hand as the loop does."""

    def __init__(self, name: str, network: str) -> None:
        self.method = METHODS[name]
        labels = torch.randint(0, CLASSES, (EXAMPLES,), generator=torch.Generator().manual_seed(0))
        self.targets = self.method.build(labels, CLASSES, 40, EXAMPLES // BATCH)
        self.net = build(network, SHAPE, CLASSES, seed=0, stats=([128.0], [90.0]))
        self.optimizer = torch.optim.SGD(self.net.parameters(), 1e-3, momentum=0.9, nesterov=True, fused=True)

    def block(self, inputs: torch.Tensor, index: torch.Tensor, steps: int) -> float:
        """Run an epoch of some steps, its end included, and return seconds."""
        started = time.perf_counter()
        for _ in range(steps):
            logits = self.net(inputs)
            loss = self.method.loss(logits, self.targets.read(index, logits.detach())).mean()
            loss.backward()
            self.optimizer.step()
            self.optimizer.zero_grad()
            self.targets.write(index, logits.detach().softmax(-1))
        self.targets.end_epoch()
        return time.perf_counter() - started


def measure(network: str, rounds: int, steps: int) -> dict[str, Any]:
    """Measure all methods on one network."""
    g = torch.Generator().manual_seed(1)
    inputs = torch.randint(0, 256, (BATCH, *SHAPE), dtype=torch.uint8, generator=g)
    index = torch.randperm(EXAMPLES, generator=g)[:BATCH]
    trainers = {name: Trainer(name, network) for name in ("cross-entropy", "selfdistill", "memory", "dong-3")}
    ratios: dict[str, list[float]] = {name: [] for name in trainers}
    for number in range(rounds + 2):
        seconds = {name: trainer.block(inputs, index, steps) for name, trainer in trainers.items()}
        if number >= 2:  # two rounds to warm up
            for name, value in seconds.items():
                ratios[name].append(value / seconds["cross-entropy"])
    summary = {}
    for name, values in ratios.items():
        ordered = sorted(values)
        quarter = len(ordered) // 4
        summary[name] = {"median": ordered[len(ordered) // 2], "quartiles": [ordered[quarter], ordered[-quarter - 1]]}
    return {"summary": summary, "ratios": ratios}


def main() -> None:
    """Parse the command line, measure, write the record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--steps", type=int, default=EXAMPLES // BATCH)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    found = {network: measure(network, arguments.rounds, arguments.steps) for network in ("mlp", "cnn")}
    write_json(RECORD, {"schema": 1, "batch": BATCH, **vars(arguments), "networks": found} | environment("cpu"))
    for network, result in found.items():
        for name, values in result["summary"].items():
            low, high = values["quartiles"]
            print(f"{network:9} {name:14} {values['median']:.3f}  (quartiles {low:.3f} to {high:.3f})")


if __name__ == "__main__":
    main()
