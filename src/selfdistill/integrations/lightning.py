"""Robust targets in a Lightning training; needs the extra ``lightning``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from selfdistill._core.errors import SettingError
from selfdistill._core.shards import whole
from selfdistill.train._robust_targets import RobustTargets

try:
    from lightning.pytorch import Callback, LightningModule, Trainer
except ImportError as missing:
    raise ImportError(
        f"selfdistill.integrations.lightning needs lightning ({missing}): pip install 'selfdistill[lightning]'"
    ) from missing

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["SelfDistillCallback"]


class SelfDistillCallback(Callback):  # type: ignore[misc]  # untyped where lightning is absent
    """Ends the epochs of robust targets, saves them in the checkpoints and logs what they found.

    The module's ``training_step`` returns ``robust.loss(index, logits, labels)``; `selfdistill.with_index` gives the
    positions. After each epoch ``agreement``, ``changed_share`` and ``refined_share`` are logged, and at the end of
    training ``label_issues``, the number of labels that look wrong.

    Args:
        robust: The targets that the module's loss comes from.

    Attributes:
        label_issues: After training, the findings, see `RobustTargets.label_issues`.

    Example:
        >>> from selfdistill import RobustTargets
        >>> callback = SelfDistillCallback(RobustTargets([0, 1, 1], 2))
    """

    def __init__(self, robust: RobustTargets) -> None:
        if not isinstance(robust, RobustTargets):
            raise SettingError(f"robust is {robust!r}, but must be RobustTargets", "Pass RobustTargets(labels, K).")
        self.robust = robust
        self.label_issues: pd.DataFrame | None = None

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        """End the epoch with its last batch: before validation, and before what that may save."""
        if trainer.is_last_batch:
            self._end_epoch(pl_module)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """End an epoch that ``max_steps`` cut short."""
        if self.robust.targets.writes:
            self._end_epoch(pl_module)

    def _end_epoch(self, module: LightningModule) -> None:
        if not self.robust.targets.writes:
            raise SettingError(
                "no batch of this epoch went through the targets",
                "Let training_step return robust.loss(index, logits), of the same RobustTargets.",
            )
        module.log_dict(self.robust.end_epoch(), on_step=False, on_epoch=True, sync_dist=True)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Keep the findings, and log how many labels look wrong."""
        self.label_issues = self.robust.label_issues()
        for logger in trainer.loggers:
            logger.log_metrics({"label_issues": float(self.label_issues.is_label_issue.sum())}, trainer.global_step)

    def state_dict(self) -> dict[str, Any]:
        """Return all state; Lightning calls it in all processes."""
        self.robust.gather()
        return dict(whole(self.robust.state_dict()))

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Put the state of a checkpoint back."""
        self.robust.load_state_dict(state_dict)
