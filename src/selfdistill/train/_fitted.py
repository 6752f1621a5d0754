"""What training leaves, with or without epochs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from selfdistill._core.settings import ResolvedSettings
from selfdistill.closed._refine import ClosedForm
from selfdistill.issues import find_issues, label_table
from selfdistill.issues._reliability import Applicability, applicability, out_of_sample_trust
from selfdistill.issues._table import LabelTable
from selfdistill.issues._toneva2019forgetting import LearningDynamics
from selfdistill.targets import Posterior, Targets


@dataclass(frozen=True, eq=False)
class Fitted:
    """What training leaves."""

    model: nn.Module  # the trained network, in evaluation mode, on the run's device
    targets: Targets[Any] | None  # the per-sample state at the end; `None` in closed form
    dynamics: LearningDynamics  # what each example went through; nothing, in closed form
    settings: ResolvedSettings  # the settings as resolved
    curves: list[dict[str, float]]  # metrics of each epoch; one line in closed form
    warnings: list[str]  # sentences for the user
    # epochs done when the weights were as they are now; `None` for methods that choose no epoch
    kept_epoch: int | None = None
    closed: ClosedForm | None = None  # what the closed form found; `None` where a network was trained

    @property
    def refined(self) -> Tensor:
        """Refined distributions, ``[n, K]``: those of the targets, or what the closed form found."""
        if self.closed is not None:
            return self.closed.posterior
        assert self.targets is not None
        return self.targets.refined()

    @property
    def counts(self) -> Tensor | None:
        """Expected counts ``[clean, given]`` that the targets estimated beside their posterior, where they do."""
        return self.targets.counts() if isinstance(self.targets, Posterior) else None

    def table(self, soft: Any = None) -> LabelTable:
        """Make the findings of refined distributions ``[n, K]``, as they are kept or those of the targets."""
        soft = self.refined if soft is None else soft
        if self.closed is not None:
            return find_issues(self.dynamics.labels, soft, quality=self.closed.quality)
        return label_table(soft, self.dynamics, counts=self.counts)

    def trust(self, table: LabelTable, names: Sequence[str]) -> Applicability:
        """Judge the findings by predictions out of sample in closed form, else by how training went."""
        if self.closed is not None:
            return out_of_sample_trust(table, self.closed.prior.numpy(), names, self.closed.plausible_wrong)
        return applicability(table, self.dynamics, [epoch["refined_share"] for epoch in self.curves], names)
