"""A method's targets, its loss and its findings in one object, for a training loop that someone else wrote."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, final

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map_only

from selfdistill._core.dist import rank, world
from selfdistill._core.errors import DataError, ReliabilityWarning, RunError, SettingError
from selfdistill._core.labels import WHOLE, checked_labels
from selfdistill._core.row_blocks import in_files, row_blocks
from selfdistill._core.settings import VISIT_STEPS
from selfdistill.issues import LabelTable, label_table
from selfdistill.issues._frame import issue_frame
from selfdistill.issues._reliability import Applicability, applicability
from selfdistill.issues._toneva2019forgetting import LearningDynamics
from selfdistill.rivals import Method
from selfdistill.rivals._method import Context, matched, never
from selfdistill.targets import Posterior, Targets
from selfdistill.targets._base import LOOKS
from selfdistill.train._methods import METHODS, WITHOUT_EPOCHS, method

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["RobustTargets"]

_SHARES = 8
"""Epochs whose share of refined labels a state holds: `applicability` looks at none later, and all states are alike."""


@final
class RobustTargets:
    """Robust training in a loop of your own: two calls, one in each step and one after each epoch.

    `loss` takes the place of the loss, `end_epoch` follows each pass over the data. It is no ``nn.Module``, so that a
    module may hold it without taking it for a part of itself; it moves to the device of the logits by itself.

    Memory: what ``docs/methods.md`` says of the method, on the device of the logits: ``22 n K`` bytes for the default;
    and 45 bytes per example. With ``folder`` the former lie in files there, and the numbers are the same.

    Args:
        labels: Given labels, whole numbers from 0 to K - 1, ``[n]``: a tensor, an array or a list, in the order that
            the positions in ``index`` count.
        num_classes: K.
        method: One of `selfdistill.train.METHODS` that needs one network and one training.
        epochs: Epochs of the training; needed by methods with a schedule, such as ``"sop"``.
        steps: Optimizer's steps per epoch; needed below 18, where one epoch teaches little and the default's schedule
            is lengthened.
        seed: Of methods that draw, such as ``"sop"``.
        folder: Where the state of each example lies during training, in files without a name that are gone with the
            process; left out, in memory. It then stays beside the CPU, whatever the device of the logits.

    Raises:
        DataError: Labels of another kind, or outside of the classes; no such folder.
        SettingError: A method that does not exist or is no target, that needs ``epochs``, or that keeps more than
            files hold.
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
        folder: Path | str | None = None,
    ) -> None:
        if folder is not None and not (isinstance(folder, str | Path) and Path(folder).is_dir()):
            raise DataError(f"folder is {str(folder)!r}, which is no folder", "Make one, with room for the state.")
        for name, value in (("num_classes", num_classes), ("epochs", epochs), ("steps", steps)):
            least = 2 if name == "num_classes" else 1
            if value is not None and value < least:
                raise SettingError(f"{name} is {value}, but must be at least {least}", "Pass a larger number.")
        given = checked_labels(labels, num_classes).cpu()
        asked = _Context(given, num_classes, epochs or 1, steps or VISIT_STEPS, seed)
        self.method, self.num_classes = method, num_classes
        with in_files(folder):
            self.targets: Targets[Any] = _target_method(method).build(asked)
        if folder is not None and not self.targets.in_blocks:
            raise SettingError(f"method {method!r} keeps its state in memory", "Leave folder out, or take 'elr'.")
        self._in_files = folder is not None
        if epochs is None and "epochs" in asked.asked:
            raise SettingError(f"method {method!r} follows a schedule over the epochs", "Pass epochs, their number.")
        self.dynamics = LearningDynamics(given)
        self._steps_matter = steps is None and "steps" in asked.asked
        self._shares: list[float] = []
        self._gathered = 0

    def __repr__(self) -> str:
        n, epochs = len(self.labels), len(self._shares)
        return f"RobustTargets({n:,} labels of {self.num_classes:,} classes, {self.method!r}, {epochs} epochs done)"

    @property
    def labels(self) -> Tensor:
        """Given labels, int64 ``[n]``."""
        return self.dynamics.labels

    def to(self, device: Any) -> RobustTargets:
        """Move all state to a device, but for what lies in files; `loss` does so by itself."""
        if self._in_files:
            return self
        self.targets.to(device)
        self.dynamics.to(device)
        return self

    def loss(
        self,
        index: Any,
        logits: Tensor,
        labels: Tensor | None = None,
        *,
        reduction: Literal["mean", "none"] = "mean",
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
            A scalar, or ``[b]``; float32 where logits are of half precision.

        Raises:
            SettingError: Another number of classes or rows, logits without a gradient, or positions in the batch.
            DataError: An index outside of the examples, or labels that are not the ones given.
        """  # noqa: DOC502 (raised by what is called)
        if self.labels.device != logits.device:
            self.to(logits.device)
        index = torch.as_tensor(index)
        if index.dtype not in WHOLE:
            raise SettingError(f"index is {index.dtype}, but positions are whole numbers", "Pass index.long().")
        index = index.to(self.labels.device, torch.int64)
        if not torch.compiler.is_compiling():
            self._check(index, logits, labels)
        said = logits.detach().to(index.device)
        target = self.targets.read(index, said)
        if index.device != logits.device:
            target = tree_map_only(Tensor, lambda part: part.to(logits.device), target)
        values: Tensor = method(self.method).loss(logits, target)
        self.targets.write(index, said.float().softmax(-1))
        return values.mean() if reduction == "mean" else values

    def _check(self, index: Tensor, logits: Tensor, labels: Tensor | None) -> None:
        """Refuse what cannot be a batch of these examples in training."""
        n, k = len(self.labels), self.num_classes
        if logits.ndim != 2 or logits.shape[1] != k or index.shape != logits.shape[:1]:
            raise SettingError(
                f"logits have shape {list(logits.shape)} and index {list(index.shape)}, but there are {k} classes",
                f"Pass logits [b, {k}] and index [b]; another number of classes needs another num_classes.",
            )
        if not logits.requires_grad:
            raise SettingError(
                "the logits have no gradient, but loss is for steps of training, which it notes",
                "For a validation loss take torch.nn.functional.cross_entropy.",
            )
        looks = self.targets.writes < LOOKS
        if (looks or not index.is_cuda) and (int(index.min()) < 0 or int(index.max()) >= n):  # on CUDA each look waits
            raise DataError(
                f"index goes from {int(index.min())} to {int(index.max())}, but there are {n:,} labels, 0 to {n - 1}",
                "index is the position in the training set whose labels were given.",
            )
        if looks and labels is not None and not torch.equal(labels.to(index), self.labels[index]):
            at = int((labels.to(index) != self.labels[index]).nonzero()[0])
            raise DataError(
                f"example {int(index[at])} has the label {int(labels[at])} in the batch, but "
                f"{int(self.labels[index[at]])} in the labels that were given",
                "Give the labels in the order and with the numbers of the data set that index counts.",
            )

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
        if self._steps_matter and not self._shares and steps < VISIT_STEPS:
            warnings.warn(
                f"An epoch has {steps} steps, in which little is learned. Pass steps={steps} to RobustTargets, which "
                "then takes more epochs.",
                UserWarning,
                stacklevel=2,
            )
        seen = int(written.sum())
        differs = [
            self.targets.refined(rows).argmax(-1) != self.labels[rows] for rows in row_blocks(*self.targets.value.shape)
        ]
        self._shares.append(torch.cat(differs).float().mean().item())
        return {
            "agreement": self.dynamics.learned[written].float().mean().item(),
            "changed_share": self.dynamics.changed.item() / seen,
            "refined_share": self._shares[-1],
        }

    def refined(self) -> Tensor:
        """Return the refined label distributions, float32 ``[n, K]``, rows sum to 1."""
        return self.targets.refined()

    def table(self) -> LabelTable:
        """Give the findings as arrays.

        Returns:
            One row per example, in the order of the labels.

        Raises:
            SettingError: No epoch has ended yet.
        """
        if not self._shares:
            raise SettingError("no epoch has ended yet, so nothing is known of the labels", "Call end_epoch first.")
        counts = self.targets.counts() if isinstance(self.targets, Posterior) else None
        soft = _Rows(self.targets) if self._in_files else self.refined()
        return label_table(soft, self.dynamics, counts=counts)

    def label_issues(self, classes: Sequence[Any] | None = None) -> pd.DataFrame:
        """Give the findings on each example; with a warning where they should not be trusted.

        Args:
            classes: Values or names of the classes, ``[K]``; 0 to K - 1 if left out.

        Returns:
            One row per example, in the order of the labels; the columns of `SelfDistillClassifier.get_label_issues`.

        Raises:
            SettingError: No epoch has ended yet.
        """  # noqa: DOC502 (raised by what is called)
        table, names = self.table(), self._names(classes)
        unseen = int((self.dynamics.seen == 0).sum())
        if unseen:
            warnings.warn(
                f"{unseen:,} of {len(self.labels):,} examples were never seen in training: of their labels nothing is "
                "known.",
                UserWarning,
                stacklevel=2,
            )
        trust = applicability(table, self.dynamics, self._shares, [str(name) for name in names])
        if trust.verdict != "trust":
            warnings.warn(" ".join(trust.sentences), ReliabilityWarning, stacklevel=2)
        return issue_frame(table, names)

    def trust(self, classes: Sequence[Any] | None = None) -> Applicability:
        """Say whether the findings can be trusted: ``verdict``, ``classes`` and ``sentences``; arguments as above."""
        return applicability(self.table(), self.dynamics, self._shares, [str(name) for name in self._names(classes)])

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
            Flat names to tensors, as ``safetensors`` and ``torch.load(weights_only=True)`` take them.

        Raises:
            SettingError: Several processes have staged something each.
        """
        if world() > 1 and self.targets.writes != self._gathered:
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
            state |= {f"{name}.{key}": value for key, value in part.state_dict().items()}
        return state

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Put a state back; training goes on as if it had never stopped.

        Args:
            state: What `state_dict` returned; with several processes the same in each.

        Raises:
            RunError: It is of another method, of other labels, or damaged.
        """
        own = self._state()
        said = bytes(state["method"].tolist()).decode() if "method" in state else "none"
        if said != self.method:
            raise RunError(f"the state is of method {said!r}, but this is {self.method!r}", "Pass the same method.")
        for name in own.keys() | state.keys():
            if name != "refined_shares" and (
                name not in state or name not in own or own[name].shape != state[name].shape
            ):
                raise RunError(f"the state does not fit: {name}", "Load the state of as many examples and classes.")
        if not torch.equal(state["dynamics.labels"].to(self.labels), self.labels):
            raise RunError("the state is of other labels", "Give the labels of that training, in the same order.")
        for name, part in self._parts().items():
            part.load_state_dict({key.partition(".")[2]: v for key, v in state.items() if key.startswith(f"{name}.")})
        epochs = int(self.dynamics.epoch)
        self._shares = (state["refined_shares"].tolist() + [-1.0] * epochs)[:epochs]
        if rank() > 0:
            self.targets.staged.clear()

    def _parts(self) -> dict[str, nn.Module]:
        return {"targets": self.targets, "dynamics": self.dynamics}


class _Rows:
    """Refined distributions that are read in blocks."""

    def __init__(self, targets: Targets[Any]) -> None:
        self.targets, self.shape = targets, targets.value.shape

    def __getitem__(self, rows: slice) -> np.ndarray:
        return self.targets.refined(rows).numpy()


class _Context(Context):
    """Notes what a method asks."""

    def __getattribute__(self, name: str) -> Any:
        if name in {"epochs", "steps"}:
            self.asked.add(name)
        return super().__getattribute__(name)

    @property
    def asked(self) -> set[str]:
        """Names of what was asked."""
        found: set[str] = vars(self).setdefault("_asked", set())
        return found


def _target_method(name: str) -> Method:
    """Look a method up that is nothing but a target and a loss."""
    able = [one for one, found in METHODS.items() if _is_target(found)]
    if name in WITHOUT_EPOCHS or (name in METHODS and name not in able):
        raise SettingError(
            f"method {name!r} is more than a target and a loss, and cannot be put into a loop",
            f"Choose one of: {', '.join(able)}.",
        )
    return method(name, able)


def _is_target(found: Method) -> bool:
    alone = found.networks == 1 and found.first is None and found.keep is None and found.objective is matched
    return alone and found.needs_train_predictions is never
