"""Images per second of `fit` beside a bare loop on the same tensors, and beside a DataLoader with worker processes.

python -m benchmarks.science throughput [--device cuda] [--networks ..] [--repetitions 7] [--seconds 2]
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.utils.data import DataLoader, TensorDataset
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.science import records
from benchmarks.science.cell import commit
from benchmarks.science.cost import CLASSES, images
from selfdistill._core.errors import SettingError
from selfdistill._core.events import BatchDone, EpochDone, Event
from selfdistill._core.files import write_json
from selfdistill._core.record import environment
from selfdistill.data._labelled import LabelledData
from selfdistill.networks._build import build
from selfdistill.train import Settings
from selfdistill.train._fit import fit as train_fit
from selfdistill.train._runtime import TorchRuntime
from selfdistill.train._settings import resolve_device

BATCH = 128
CASES = {
    "mlp on Fashion-MNIST's shape": ("mlp:512,512", (1, 28, 28)),
    "cnn on Fashion-MNIST's shape": ("cnn", (1, 28, 28)),
    "cnn on CIFAR's shape": ("cnn", (3, 32, 32)),
    "resnet20 on CIFAR's shape": ("resnet20", (3, 32, 32)),
}
_EPOCHS = 3  # of a fit: the first warms up, the others are timed
_LEAST = 4  # steps per epoch
_MOST = 60_000  # images: enough for a GPU
_WORKERS = min(os.cpu_count() or 1, 8)

Clocks = tuple[float, float]  # seconds by the clock, and of the CPU
Block = Callable[[], tuple[Clocks, Clocks | None]]  # images per second, and of the bare loop where it ran in turn


def now() -> Clocks:
    """Read both clocks."""
    return time.perf_counter(), time.process_time()


def rates(images: int, started: Clocks, ended: Clocks) -> Clocks:
    """Images per second, by both clocks."""
    return images / (ended[0] - started[0]), images / max(ended[1] - started[1], 1e-9)


class Bare:
    """A network and its optimizer, stepped on batches that lie ready."""

    def __init__(self, part: LabelledData, settings: Settings) -> None:
        self.runtime = TorchRuntime(settings.device, settings.precision)
        shape = tuple(part.inputs.shape[1:])
        made = build(settings.network, shape, CLASSES, seed=0, stats=part.preprocess.stats)
        self.net = self.runtime.prepare(made)
        self.optimizer = torch.optim.SGD(
            self.net.parameters(), 1e-3, momentum=0.9, nesterov=True, weight_decay=5e-4, fused=True
        )
        self.net.train()
        self.inputs, self.labels = part.inputs.to(self.runtime.device), part.labels.to(self.runtime.device)

    def step(self, inputs: Tensor, labels: Tensor) -> None:
        """Forward, backward, step."""
        with self.runtime.autocast():
            logits = self.net(inputs)
        functional.cross_entropy(logits, labels).backward()  # type: ignore[no-untyped-call]  # torch's
        self.optimizer.step()
        self.optimizer.zero_grad()

    def epoch(self) -> None:
        """Step over all batches, in order."""
        for start in range(0, len(self.labels), BATCH):
            self.ready(start)

    def ready(self, start: int) -> None:
        """Step on a batch that lies ready."""
        self.step(self.inputs[start : start + BATCH], self.labels[start : start + BATCH])

    def sync(self) -> None:
        """Wait for the device."""
        if self.runtime.device.type == "cuda":
            torch.cuda.synchronize()

    def block(self) -> Clocks:
        """Images per second by both clocks, over as many epochs as are timed of a fit."""
        self.step(self.inputs[:BATCH], self.labels[:BATCH])
        self.sync()
        started = now()
        for _ in range(_EPOCHS - 1):
            self.epoch()
        self.sync()
        return rates(len(self.labels) * (_EPOCHS - 1), started, now())


class Loaded(Bare):
    """The same under a DataLoader with worker processes, which stay alive between epochs."""

    def __init__(self, part: LabelledData, settings: Settings) -> None:
        super().__init__(part, settings)
        self.loader = DataLoader(
            TensorDataset(part.inputs.cpu(), part.labels.cpu()),
            BATCH,
            shuffle=True,
            num_workers=_WORKERS,
            persistent_workers=True,
            pin_memory=self.runtime.device.type == "cuda",
        )

    def epoch(self) -> None:
        """Step over what the loader gives."""
        for inputs, labels in self.loader:
            device = self.runtime.device
            self.step(inputs.to(device, non_blocking=True), labels.to(device, non_blocking=True))


class Turns:
    """Listens to a fit, and takes a bare step after each of its steps: what else the machine does slows both alike.

    Attributes:
        fit: Seconds in the fit by both clocks, from the end of its first epoch to the end of its last.
        bare: Seconds in bare steps by both clocks, over the same time.
        images: Images of each.
    """

    def __init__(self, bare: Bare) -> None:
        self.fit, self.bare, self.images = [0.0, 0.0], [0.0, 0.0], 0
        self._loop = bare
        self._since: Clocks | None = None

    def __call__(self, event: Event) -> None:
        """Take the time since the last event for the fit's, then a bare step after a step."""
        if not isinstance(event, BatchDone | EpochDone):
            return
        started = now()
        if self._since is not None:
            _add(self.fit, self._since, started)
        if isinstance(event, BatchDone):
            self._loop.ready((event.step - 1) * BATCH)
            if self._since is not None:
                _add(self.bare, started, now())
                self.images += event.examples
        if self._since is not None or isinstance(event, EpochDone):
            self._since = now()

    def rates(self) -> tuple[Clocks, Clocks]:
        """Images per second of the fit and of the bare loop, by both clocks."""
        fit, bare = ((self.images / spent[0], self.images / max(spent[1], 1e-9)) for spent in (self.fit, self.bare))
        return fit, bare


def _add(spent: list[float], started: Clocks, ended: Clocks) -> None:
    for i in range(2):
        spent[i] += ended[i] - started[i]


def in_turn(part: LabelledData, settings: Settings, bare: Bare) -> tuple[Clocks, Clocks]:
    """Images per second of a fit and of the bare loop, a step of each in turn."""
    turns = Turns(bare)
    train_fit(part, settings, tell=turns)
    return turns.rates()


def fit_block(part: LabelledData, settings: Settings) -> Clocks:
    """Images per second of a fit: whole epochs, their ends included, without the first."""
    ends: list[Clocks] = []

    def tell(event: Event) -> None:
        if isinstance(event, EpochDone):
            ends.append(now())  # the epoch's metrics have waited for the device

    train_fit(part, settings, tell=tell)
    return rates(len(part) * (len(ends) - 1), ends[0], ends[-1])


def runners(part: LabelledData, network: str, device: str) -> dict[str, Block]:
    """Make what is timed, by name."""

    def settings(method: str, augment: str) -> Settings:
        asked = Settings(method=method, network=network, epochs=_EPOCHS, batch_size=BATCH, lr=1e-3, augment=augment)
        return asked.resolve(len(part), device)

    plain = settings("cross-entropy", "none")
    bare, loaded = Bare(part, plain), Loaded(part, plain)
    loaded.epoch()  # starts the workers

    def fit(method: str, augment: str) -> Block:
        chosen = settings(method, augment)
        if device.startswith("cuda"):  # steps overlap there: whole epochs, and the bare loop before or after
            return lambda: (fit_block(part, chosen), None)
        return lambda: in_turn(part, chosen, bare)

    found: dict[str, Block] = {
        "bare": lambda: (bare.block(), None),
        "fit, cross-entropy": fit("cross-entropy", "none"),
        "fit, default": fit("selfdistill", "none"),
        f"DataLoader, {_WORKERS} workers": lambda: (loaded.block(), None),
    }
    if part.inputs.shape[1] == 3:  # grey images are not augmented by themselves
        found["fit, default, augmented"] = fit("selfdistill", "auto")
    return found


def measure(network: str, shape: tuple[int, ...], device: str, repetitions: int, seconds: float) -> dict[str, Any]:
    """Time one network on one shape, all in turn, and in another order each time."""
    few = images(shape, BATCH * _LEAST)
    precision = "bf16" if device.startswith("cuda") else "fp32"
    trial = Bare(few, Settings(network=network, device=device, precision=precision))
    trial.block()
    steps = trial.block()[0] * seconds / (_EPOCHS - 1) / BATCH
    part = images(shape, BATCH * int(min(max(steps, _LEAST), _MOST // BATCH)))
    timed = runners(part, network, device)
    speeds: dict[str, list[Clocks]] = {name: [] for name in timed}
    beside: dict[str, list[Clocks]] = {name: [] for name in timed}  # the bare loop, in turn with it or in its round
    for number in range(repetitions + 1):
        names = [*timed]
        taken = {name: timed[name]() for name in names[number % len(names) :] + names[: number % len(names)]}
        for name, (speed, its) in taken.items() if number else ():  # the first round warms up
            speeds[name].append(speed)
            beside[name].append(its or taken["bare"][0])
    pairs = {name: [*zip(speeds[name], beside[name], strict=True)] for name in timed}
    return {
        "network": network,
        "shape": _words(shape),
        "images": len(part),
        "flops_per_image": flops_per_image(trial),
        "limit_flops": limit(device),
        "commit": commit(),
        "images_per_second": {name: [wall for wall, _ in found] for name, found in speeds.items()},
        "images_per_cpu_second": {name: [cpu for _, cpu in found] for name, found in speeds.items()},
        "over_bare": {name: [mine[0] / its[0] for mine, its in found] for name, found in pairs.items()},
        "over_bare_by_cpu": {name: [mine[1] / its[1] for mine, its in found] for name, found in pairs.items()},
    }


def flops_per_image(bare: Bare) -> float:
    """Count a step's FLOPs per image."""
    counter = FlopCounterMode(display=False)
    with counter:
        bare.step(bare.inputs[:BATCH], bare.labels[:BATCH])
    return counter.get_total_flops() / BATCH


def limit(device: str, tries: int = 10) -> float:
    """Measure what the device can do: FLOP/s of the fastest of some large matrix products, in the run's precision."""
    cuda = device.startswith("cuda")
    n, kind = (8192, torch.bfloat16) if cuda else (1024, torch.float32)
    a = torch.randn(n, n, device=device, dtype=kind)
    best = float("inf")
    for _ in range(tries):
        started = time.perf_counter()
        a @ a
        if cuda:
            torch.cuda.synchronize()
        best = min(best, time.perf_counter() - started)
    return 2 * n**3 / best


def run(
    names: Sequence[str] | None, device: str, repetitions: int, seconds: float, store: Path = records.RECORDS
) -> Path:
    """Measure, and write the record."""
    device = resolve_device(device)
    for name in names or ():
        if name not in {network for network, _ in CASES.values()}:
            raise SettingError(f"network {name!r} is not timed here", "Choose of mlp:512,512, cnn and resnet20.")
    if "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(1)
    path = store / f"throughput-{device.partition(':')[0]}.json"
    record = {
        "schema": records.SCHEMA,
        "device": device,
        "precision": "bf16" if device.startswith("cuda") else "fp32",
        "batch": BATCH,
        "workers": _WORKERS,
        **environment(device),
    }
    before = kept(path, record)
    cases = []
    for title, (network, shape) in CASES.items():
        if names and network not in names:
            cases += [case for case in before if (case["network"], case["shape"]) == (network, _words(shape))]
            continue
        cases.append(measure(network, shape, device, repetitions, seconds))
        means = {key: f"{sum(v) / len(v):,.0f}" for key, v in cases[-1]["images_per_second"].items()}
        print(title, means, file=sys.stderr, flush=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, record | {"cases": cases})
    return path


def kept(path: Path, record: dict[str, Any]) -> list[dict[str, Any]]:
    """Find what may stay beside new measurements: the cases of a record that differs in nothing but its date."""
    if not path.exists():
        return []
    before = records.read_file(path)
    same = all(before.get(key) == value for key, value in record.items() if key != "created")
    return list(before["cases"]) if same else []


def _words(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape))
