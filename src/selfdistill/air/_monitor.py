"""A listener that measures the kernel while training goes on, and keeps its own cost within a share of training's."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import final

import torch
from torch import Tensor, nn

from selfdistill._core.errors import SettingError
from selfdistill._core.events import EpochDone, Event, RunStarted
from selfdistill._core.rng import torch_generator
from selfdistill.air._snapshot import Examples, Kernel, Snapshot, calibrated, snapshot
from selfdistill.theory import Spectrum

_PROBES = (16, 16, 8)  # the first looks are at one example of so many: to warm up, then to learn what all would cost
_WANTED = 5  # measurements that the size of the subset leaves room for
_LEAST = 50  # examples that it is not made smaller than for that


def choose_examples(labels: Tensor, count: int, seed: int = 0) -> Tensor:
    """Draw ``count`` positions, increasing, with each class in its share: any class of at least n / count is there."""
    if count < 2:
        raise SettingError(f"examples is {count}, but a kernel needs at least 2", "Give 1000, for instance.")
    n = len(labels)
    if count >= n:
        return torch.arange(n)
    mixed = torch.randperm(n, generator=torch_generator(seed, "air", "examples"))
    grouped = mixed[labels[mixed].argsort(stable=True)]  # classes side by side, each in a drawn order
    evenly = ((torch.arange(count, dtype=torch.float64) + 0.5) * n / count).long()
    return grouped[evenly].sort().values


@final
class AirMonitor:
    r"""Takes the kernel's spectrum on a fixed subset every few epochs.

    Measuring is put off until all measurements together, the next one's forecast included, are within ``budget`` of
    the training time so far:

    .. math:: \text{spent} + \text{forecast} \le \text{budget} \cdot \text{trained}

    The first forecast comes from looks at a sixteenth and an eighth of the subset after the first epoch, as a constant
    and a part that grows with the square of the examples. Where the whole run would not pay for five measurements, the
    subset is made smaller then, down to 50 examples, once for all. Later forecasts are the dearest measurement so far.
    The initial network is copied at the start and measured once that fits, so that drift and energies begin at
    initialisation.

    Args:
        model: The network that trains. It is copied, never changed.
        inputs: All training inputs, or those to measure on, ``[n, ...]``.
        labels: Given labels, int64 ``[n]``.
        kernel: Takes the spectrum; see `network_kernel`.
        classes: C; one more than the largest label if left out.
        clean: True labels, where known.
        every: Least number of epochs between two measurements.
        examples: Size of the subset at most, each class in its share.
        budget: Greatest share of the training time, in (0, 1].
        ranks: Numbers of leading directions.
        seed: Seed of the subset.
        now: Seconds, growing.

    Attributes:
        snapshots: What was measured so far.
        spent: Seconds of measuring.
        trained: Seconds of training.

    Raises:
        SettingError: ``every`` below 1 or a budget outside (0, 1].

    Example:
        >>> model, x, y, clock = nn.Linear(3, 2), torch.randn(40, 3), torch.arange(40) % 2, [0.0]
        >>> monitor = AirMonitor(model, x, y, lambda net, z: Spectrum.of(z @ z.T), every=2, now=lambda: clock[0])
        >>> monitor(RunStarted(epochs=4, first_epoch=0, examples=40, steps=1))
        >>> for epoch in range(4):
        ...     clock[0] += 60.0  # a minute of training; here measuring takes no time
        ...     monitor(EpochDone(epoch))
        >>> [found.name for found in monitor.snapshots]
        ['start', 'epoch 2', 'epoch 4']
    """

    def __init__(
        self,
        model: nn.Module,
        inputs: Tensor,
        labels: Tensor,
        kernel: Kernel,
        *,
        classes: int | None = None,
        clean: Tensor | None = None,
        every: int = 1,
        examples: int = 1000,
        budget: float = 0.10,
        ranks: Sequence[int] = (10, 100),
        seed: int = 0,
        now: Callable[[], float] = time.perf_counter,
    ) -> None:
        if every < 1:
            raise SettingError(f"every is {every}, but must be at least 1 epoch", "Leave it out.")
        if not 0 < budget <= 1:
            raise SettingError(f"budget is {budget}, but must be in (0, 1]", "Give 0.1 for a tenth of training time.")
        self._all = Examples(
            inputs, labels.cpu(), classes or int(labels.max()) + 1, None if clean is None else clean.cpu()
        )
        self._seed = seed
        self.examples = self._subset(examples)
        self.model, self.kernel, self.every, self.budget, self.ranks = model, kernel, every, budget, ranks
        self._now = now
        self.snapshots: list[Snapshot] = []
        self.spent = self.trained = 0.0
        self._dearest = 0.0
        self._first: Spectrum | None = None
        self._start: nn.Module | None = None
        self._resumed = now()
        self._next, self._name, self._begun_at, self._epochs = every, "start", 0, 0

    def __call__(self, event: Event) -> None:
        """Take an event of the loop."""
        if isinstance(event, RunStarted):
            self._start = copy.deepcopy(self.model)
            self._name = self._name if event.first_epoch == 0 else f"epoch {event.first_epoch}"
            self._begun_at, self._next = event.first_epoch, event.first_epoch + self.every
            self._epochs = event.epochs - event.first_epoch
            self._resumed = self._now()
        elif isinstance(event, EpochDone):
            self.trained += self._now() - self._resumed
            self._look(event.epoch + 1)
            self._resumed = self._now()

    @property
    def summary(self) -> str:
        """What was measured and what it cost, in a sentence."""
        share = 100 * self.spent / max(self.trained, 1e-9)
        if self.snapshots or not self._dearest:
            return f"{len(self.snapshots)} measurements in {self.spent:.1f} s, {share:.1f} % of the training time"
        return (
            f"nothing was measured: it would take about {self._dearest:.1f} s, and {100 * self.budget:g} % of the "
            f"{self.trained:.1f} s of training allow less; take fewer examples or a larger budget"
        )

    def _fits(self, forecast: float) -> bool:
        return self.spent + forecast <= self.budget * self.trained

    def _look(self, epoch: int) -> None:
        """Measure what is due and fits: a probe, then the start, then now."""
        if not self._dearest:
            self._forecast()
        if self._start is not None and self._fits(self._dearest):
            self._measure(self._name, self._start, self._begun_at)
            self._start = None
        if self._start is None and epoch >= self._next and self._fits(self._dearest):
            self._measure(f"epoch {epoch}", copy.deepcopy(self.model), epoch)
            self._next = epoch + self.every

    def _subset(self, count: int) -> Examples:
        whole = self._all
        at = choose_examples(whole.given, count, self._seed)
        clean = None if whole.clean is None else whole.clean[at]
        return Examples(whole.inputs[at], whole.given[at], whole.classes, clean)

    def _forecast(self) -> None:
        """Learn what a measurement costs, and take fewer examples where the run could not pay for some."""
        model, n, looks = copy.deepcopy(self.model).eval(), len(self.examples), []
        for part in _PROBES:
            few = self.examples.inputs[:: min(part, n // 2)]
            looks.append((len(few), self._timed(lambda few=few: self.kernel(model, few))))  # type: ignore[misc]
        (small, cheap), (large, dear) = looks[-2:]
        growth = max(dear - cheap, 0.0) / max(large**2 - small**2, 1)
        constant = max(dear - growth * large**2, 0.0)
        allowed = (self.budget * self.trained * self._epochs - self.spent) / _WANTED
        if self._epochs and constant + growth * n**2 > allowed and growth > 0:
            paid = int((max(allowed - constant, 0.0) / growth) ** 0.5)
            self.examples = self._subset(max(min(paid, n), min(_LEAST, n)))
        self._dearest = constant + growth * len(self.examples) ** 2

    def _timed(self, work: Callable[[], object]) -> float:
        started = self._now()
        work()
        seconds = max(self._now() - started, 1e-9)
        self.spent += seconds
        return seconds

    def _measure(self, name: str, model: nn.Module, epoch: int) -> None:
        def work() -> None:
            inputs = self.examples.inputs
            model.train(mode=False)
            twin = calibrated(model, inputs) if epoch == 0 else model
            with torch.random.fork_rng(devices=[]):
                spectrum = self.kernel(twin, inputs)
                moment = snapshot(name, twin, self.examples, spectrum, epoch=epoch, ranks=self.ranks, first=self._first)
            self._first = self._first or spectrum
            self.snapshots.append(moment)

        seconds = self._timed(work)
        self._dearest = max(self._dearest if len(self.snapshots) > 1 else 0.0, seconds)
        self.snapshots[-1] = replace(self.snapshots[-1], seconds=seconds)
