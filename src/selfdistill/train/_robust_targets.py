"""A method's targets, its loss and its findings in one object, for a training loop that someone else wrote."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, final

import numpy as np
import torch
from torch import Tensor, nn
from torch.compiler import is_compiling

from selfdistill._core.dist import rank, world
from selfdistill._core.errors import DataError, ReliabilityWarning, RunError, SettingError
from selfdistill._core.labels import checked_labels
from selfdistill._core.row_blocks import in_files, row_blocks
from selfdistill._core.settings import VISIT_STEPS
from selfdistill._core.shards import over_processes, shard_of
from selfdistill.issues import label_table
from selfdistill.issues._reliability import Applicability, applicability
from selfdistill.issues._table import LabelTable, count_issues, issue_frame
from selfdistill.issues._toneva2019forgetting import LearningDynamics
from selfdistill.losses._cross_entropy import refuse_graph
from selfdistill.targets import Posterior, Targets
from selfdistill.targets._base import LOOKS
from selfdistill.train._loop_checks import agrees_by_chance, check_batch, check_rows, odd_visits, positions
from selfdistill.train._methods import NotedContext, method, target_method
from selfdistill.train._robust_step import in_arrays, in_torch

if TYPE_CHECKING:
    import pandas as pd

CHANCE_AFTER = 3
"""Epochs after which predictions that agree with the labels by chance alone are warned of."""
_SHARES = 8
"""Epochs whose share of refined labels a state holds: `applicability` looks at none later, and all states are alike."""


@final
class RobustTargets:
    """Robust training in a loop of your own: two calls, one in each step and one after each epoch.

    `loss` takes the place of the loss, `end_epoch` follows each pass over the data. It is no ``nn.Module``, so that a
    module may hold it without taking it for a part of itself; it moves to the device of the logits.

    Memory: what ``docs/methods.md`` says of the method, on the device of the logits: ``22 n K`` bytes for the default;
    and 45 bytes per example. With ``folder`` the former lie in files there, and the numbers are the same.

    Args:
        labels: Given labels, whole numbers from 0 to K - 1, ``[n]``: a tensor, an array or a list, in the order that
            the positions in ``index`` count.
        num_classes: K.
        method: One that `selfdistill methods` lists and that needs one network and one training.
        epochs: Epochs of the training; needed by methods with a schedule, such as ``"sop"``.
        steps: Optimizer's steps per epoch; needed below 18, where one epoch teaches little and the default's schedule
            is lengthened.
        seed: Of methods that draw, such as ``"sop"``.
        shard: With several processes, whether each keeps the state of its own share of the examples alone, `rows`, and
            draws from these. Then ``[n]`` and ``[n, K]`` of the state are a process's own, and what asks for the whole,
            `refined` and the findings, must be called in all.
        folder: Where the state of each example lies during training, in files without a name that are gone with the
            process; left out, in memory. It then stays beside the CPU, whatever the device of the logits.

    Raises:
        DataError: Labels of another kind, or outside of the classes; no such folder.
        SettingError: A method that does not exist or is no target, that needs ``epochs``, or that keeps more than
            files or shares hold; fewer examples than processes.
        ResourceError: The folder has no room.

    Example:
        >>> robust = RobustTargets([0, 1, 1], num_classes=2, steps=18)
        >>> net = torch.nn.Linear(1, 2)
        >>> loss = robust.loss(torch.tensor([2, 0]), net(torch.zeros(2, 1)))
        >>> loss.backward()
        >>> sorted(robust.end_epoch())
        ['agreement', 'changed_share', 'refined_share']
        >>> robust.refined().shape
        torch.Size([3, 2])
    """

    def __init__(
        self,
        labels: Any,
        num_classes: int,
        method: str = "selfdistill",
        *,
        epochs: int | None = None,
        steps: int | None = None,
        seed: int = 0,
        shard: bool = False,
        folder: Path | str | None = None,
    ) -> None:
        if folder is not None and not (isinstance(folder, str | Path) and Path(folder).is_dir()):
            raise DataError(f"folder is {str(folder)!r}, which is no folder", "Make one, with room for the state.")
        for name, value in (("num_classes", num_classes), ("epochs", epochs), ("steps", steps)):
            least = 2 if name == "num_classes" else 1
            if value is not None and value < least:
                raise SettingError(f"{name} is {value}, but must be at least {least}", "Pass a larger number.")
        whole = labels if isinstance(labels, Tensor) else np.asarray(labels)
        self._shard = shard_of(whole.shape[0] if whole.ndim else 1, shard)
        own = whole[self._shard.start : self._shard.stop] if shard else whole
        given = checked_labels(own, num_classes, self._shard.start).cpu()
        asked = NotedContext(given, num_classes, epochs or 1, steps or VISIT_STEPS, seed)
        self.method, self.num_classes = method, num_classes
        with in_files(folder), over_processes(self._shard):
            self.targets: Targets[Any] = target_method(method).build(asked)
        asked_for = "shard" if shard else "folder" if folder is not None else None
        if asked_for and not self.targets.in_blocks:
            raise SettingError(f"method {method!r} keeps its state in memory", f"Leave {asked_for} out, or take 'elr'.")
        self._in_files = folder is not None
        if epochs is None and "epochs" in asked.asked:
            raise SettingError(f"method {method!r} follows a schedule over the epochs", "Pass epochs, their number.")
        self.dynamics = LearningDynamics(given)
        self._steps_matter = steps is None and "steps" in asked.asked
        self._shares: list[float] = []
        self._gathered, self._device = 0, given.device

    def __repr__(self) -> str:
        n, epochs = self._shard.n, len(self._shares)
        return f"RobustTargets({n:,} labels of {self.num_classes:,} classes, {self.method!r}, {epochs} epochs done)"

    @property
    def labels(self) -> Tensor:
        """Given labels, int64 ``[n]``."""
        return self.dynamics.labels

    @property
    def rows(self) -> np.ndarray:
        """Positions of the examples that this process keeps, int64: all, or with ``shard`` its share of them.

        All processes get as many: where there are fewer for one, it gets some of its own twice. Draw from these:
        ``DataLoader(Subset(with_index(data), robust.rows), shuffle=True)``.
        """
        n, start, stop = self._shard
        return np.resize(np.arange(start, stop), -(-n // world()) if self._shard.spread else n)

    def to(self, device: Any) -> RobustTargets:
        """Move all state to a device, but for what lies in files; `loss` does so automatically."""
        if self._in_files:
            return self
        self.targets.to(device)
        self._device = self.dynamics.to(device).labels.device
        return self

    def loss(
        self, index: Any, logits: Tensor, labels: Tensor | None = None, *, reduction: Literal["mean", "none"] = "mean"
    ) -> Tensor:
        """Compute the method's loss of one batch in training, and note what the network says.

        Args:
            index: Each example's position in the training set, whole numbers ``[b]``; `selfdistill.with_index` gives
                them.
            logits: Network outputs ``[b, K]`` with a gradient, in any precision.
            labels: The batch's labels as the data set gave them, ``[b]``. They change nothing: the first batches of
                each epoch are compared with the labels given above, which shows an index that is wrong.
            reduction: ``"mean"`` of the batch, or ``"none"``.

        Returns:
            A scalar, or ``[b]``; float32 where logits are of half precision. With the default method and
            distillation it has first derivatives only: a backward pass with ``create_graph=True`` is refused, in
            small batches on a CPU by the first steps of each epoch.

        Raises:
            SettingError: Another number of classes or rows, logits without a gradient, or positions in the batch.
            DataError: An index outside of the examples, or labels that are not the ones given.
        """  # noqa: DOC502 (raised by what is called)
        if self._shard.start:
            index = positions(index, self._device) - self._shard.start
        if self._device != logits.device:
            self.to(logits.device)
        targets, found, mean, traced = self.targets, None, reduction == "mean", is_compiling()
        if not traced and targets.writes >= LOOKS and (found := in_arrays(targets, index, logits, mean=mean)):
            targets.note(index, found[1])
            return found[0]
        index = positions(index, self._device)
        if not traced:
            check_batch(index, logits, self.num_classes)
            check_rows(index, labels, self.labels, self._shard, looks=targets.writes < LOOKS)
            if found := in_arrays(targets, index, logits, mean=mean):  # later steps do without: a hook takes 40 µs
                found[0].register_hook(refuse_graph)  # type: ignore[no-untyped-call]
        value: Tensor
        value, p = found or in_torch(targets, method(self.method).loss, index, logits, mean=mean)
        targets.note(index, p, sure=False)
        return value

    def end_epoch(self) -> dict[str, float]:
        """Learn from the epoch that ends; with several processes call it in each.

        Returns:
            Shares of the examples: ``agreement``, whose prediction is the given label; ``changed_share``, whose
            prediction is another than in the epoch before; ``refined_share``, whose refined label is another than the
            given one. The first two are of the examples that were seen.

        Raises:
            SettingError: No `loss` since the last one, or predictions that are no numbers.
        """
        steps = self.targets.writes
        mean, written = self.targets.end_epoch()
        self._gathered = 0
        if not bool(torch.isfinite(mean.sum(-1)).all()):
            raise SettingError(f"the predictions of epoch {len(self._shares) + 1} are no numbers", "Lower the rate.")
        self.dynamics.update(mean, written)
        total = self._shard.total
        for problem in self._odd(steps, written):
            warnings.warn(problem, UserWarning, stacklevel=2)
        differs = torch.zeros_like(self.dynamics.changed)
        for rows in row_blocks(*self.targets.value.shape):
            differs += (self.targets.refined(rows).argmax(-1) != self.labels[rows]).sum()
        learned = (self.dynamics.learned & written).sum()
        total(self.dynamics.changed)
        counts = total(torch.stack([learned, differs, written.sum()])).tolist()
        self._shares.append(counts[1] / self._shard.n)
        return {
            "agreement": counts[0] / counts[2],
            "changed_share": self.dynamics.changed.item() / counts[2],
            "refined_share": self._shares[-1],
        }

    def _odd(self, steps: int, written: Tensor) -> Iterator[str]:
        """Say what looks like a mistake in the epoch that ends."""
        epochs, visits = len(self._shares), self.targets.staged.visits
        if self._steps_matter and not epochs and steps < VISIT_STEPS:
            yield (
                f"An epoch has {steps} steps, in which little is learned. Pass steps={steps} to RobustTargets, which "
                "then takes more epochs."
            )
        problem = None if epochs else odd_visits(written, visits, visits // max(steps, 1), self._shard)
        if epochs + 1 == CHANCE_AFTER:
            predicted = self.dynamics.predicted[written].long()
            problem = agrees_by_chance(predicted, self.labels[written], self.num_classes, self._shard)
        if problem:
            yield problem

    def refined(self) -> Tensor:
        """Return the refined label distributions, float32 ``[n, K]``, rows sum to 1; with ``shard``, in every process.

        ``robust.targets.refined()`` gives those of `rows` alone, without waiting for other processes.
        """
        return self._shard.block(self.targets.refined())

    def table(self) -> LabelTable:
        """Give the findings as arrays.

        Returns:
            One row per example, in the order of the labels.

        Raises:
            SettingError: No epoch has ended yet.
        """  # noqa: DOC502 (raised by what is called)
        self._ended()
        return self._table(self._whole())

    def _ended(self) -> None:
        if not self._shares:
            raise SettingError("no epoch has ended yet, so nothing is known of the labels", "Call end_epoch first.")

    def _table(self, dynamics: LearningDynamics) -> LabelTable:
        soft, counts = self._soft()
        return label_table(soft, dynamics, counts=counts)

    def _count_issues(self) -> int:
        """Count the labels that look wrong; after each epoch, sooner than `table` says which."""
        self._ended()
        return count_issues(self._shard.block(self.labels), *self._soft())

    def _soft(self) -> tuple[Any, Tensor | None]:
        """Give refined distributions of all examples, and what the early epochs expect."""
        counts = self.targets.counts() if isinstance(self.targets, Posterior) else None
        return _Rows(self.targets) if self._in_files or self._shard.spread else self.refined(), counts

    def _whole(self) -> LearningDynamics:
        """Give the record of training of all examples."""
        if not self._shard.spread:
            return self.dynamics
        found = LearningDynamics(self._shard.block(self.labels))
        for name, own in self.dynamics.named_buffers():
            getattr(found, name).copy_(self._shard.block(own) if own.ndim else own)
        return found

    def label_issues(self, classes: Sequence[Any] | None = None) -> pd.DataFrame:
        """Give the findings on each example; with a warning where they should not be trusted.

        Args:
            classes: Values or names of the classes, ``[K]``; 0 to K - 1 if left out.

        Returns:
            One row per example, in the order of the labels; the columns of `SelfDistillClassifier.get_label_issues`.

        Raises:
            SettingError: No epoch has ended yet.
        """  # noqa: DOC502 (raised by what is called)
        self._ended()
        dynamics, names = self._whole(), self._names(classes)
        table = self._table(dynamics)
        if unseen := int((dynamics.seen == 0).sum()):
            warnings.warn(
                f"{unseen:,} of {self._shard.n:,} examples were never seen in training: of their labels nothing is "
                "known.",
                UserWarning,
                stacklevel=2,
            )
        trust = applicability(table, dynamics, self._shares, [str(name) for name in names])
        if trust.verdict != "trust":
            warnings.warn(" ".join(trust.sentences), ReliabilityWarning, stacklevel=2)
        return issue_frame(table, names)

    def trust(self, classes: Sequence[Any] | None = None) -> Applicability:
        """Say whether the findings can be trusted: ``verdict``, ``classes`` and ``sentences``; arguments as above."""
        self._ended()
        dynamics, names = self._whole(), [str(name) for name in self._names(classes)]
        return applicability(self._table(dynamics), dynamics, self._shares, names)

    def _names(self, classes: Sequence[Any] | None) -> np.ndarray:
        if classes is None:
            return np.arange(self.num_classes)
        if len(classes) != self.num_classes:
            raise SettingError(
                f"{len(classes)} classes are named, but there are {self.num_classes}", "Name each class, in order."
            )
        return np.asarray(classes)

    def gather(self) -> None:
        """Bring what is staged to the first process; call it in all before one saves in the middle of an epoch."""
        self.targets.staged.gather()
        self._gathered = self.targets.writes

    def state_dict(self) -> dict[str, Tensor]:
        """Return all state as tensors, with what is staged in this process; see `gather` for several processes.

        Returns:
            Flat names to tensors, as ``safetensors`` and ``torch.load(weights_only=True)`` take them. With ``shard``
            those of rows are of torch's kind for tensors that lie in several processes: save and load them with
            ``torch.distributed.checkpoint``, also in the middle of an epoch; any number of processes may load them.

        Raises:
            SettingError: Several processes have staged something each.
        """
        if world() > 1 and not self._shard.spread and self.targets.writes != self._gathered:
            raise SettingError(
                f"{world()} processes have staged batches of their own in this epoch",
                "Call gather() in all of them first, or save after end_epoch.",
            )
        return self._state()

    def _state(self) -> dict[str, Tensor]:
        state = {"method": torch.tensor(list(self.method.encode()), dtype=torch.uint8)}
        shares = self._shares[:_SHARES] + [-1.0] * (_SHARES - len(self._shares))
        state["refined_shares"] = torch.tensor(shares, dtype=torch.float64)
        for name, part in self._parts().items():
            common = self.targets.common if part is self.targets else frozenset()
            for key, value in part.state_dict().items():
                spread = self._shard.spread and value.ndim and len(value) == len(self.labels) and key not in common
                state[f"{name}.{key}"] = self._shard.as_distributed(value) if spread else value
        return state

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Put a state back; training goes on as if it had never stopped.

        Args:
            state: What `state_dict` returned; with several processes the same in each.

        Raises:
            RunError: It is of another method, of other labels, or damaged.
        """
        own = self._state()
        saved = bytes(state["method"].tolist()).decode() if "method" in state else "none"
        if saved != self.method:
            raise RunError(f"the state is of method {saved!r}, but this is {self.method!r}", "Pass the same method.")
        for name in own.keys() | state.keys():
            if name != "refined_shares" and (
                name not in state or name not in own or own[name].shape != state[name].shape
            ):
                raise RunError(f"the state does not fit: {name}", "Load the state of as many examples and classes.")
        local = {
            name: self._shard.local(value) if hasattr(own[name], "to_local") else value for name, value in state.items()
        }
        if not torch.equal(local["dynamics.labels"].to(self.labels), self.labels):
            raise RunError("the state is of other labels", "Give the labels of that training, in the same order.")
        for name, part in self._parts().items():
            part.load_state_dict({key.partition(".")[2]: v for key, v in local.items() if key.startswith(f"{name}.")})
        epochs = int(self.dynamics.epoch)
        self._shares = (state["refined_shares"].tolist() + [-1.0] * epochs)[:epochs]
        if rank() > 0 and not self._shard.spread:
            self.targets.staged.clear()

    def _parts(self) -> dict[str, nn.Module]:
        return {"targets": self.targets, "dynamics": self.dynamics}


class _Rows:
    """Refined distributions that are read in blocks; where they lie in several processes, by all at once."""

    def __init__(self, targets: Targets[Any]) -> None:
        self.targets, self.shape = targets, (targets.shard.n, targets.value.shape[1])

    def __getitem__(self, rows: slice) -> np.ndarray:
        shard = self.targets.shard
        return (shard.block(self.targets.refined(), rows) if shard.spread else self.targets.refined(rows)).cpu().numpy()
