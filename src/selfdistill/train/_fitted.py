"""What training leaves, with or without epochs, and whether it can be trusted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from selfdistill import closed
from selfdistill._core.advice import Advice
from selfdistill._core.settings import ResolvedSettings
from selfdistill.closed._refine import ClosedForm
from selfdistill.data._labelled import LabelledData
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


_FITS = 0.95  # agreement with the given labels from which a second opinion is asked
_MORE = 0.02  # share of labels that the other must expect wrong beyond those that look wrong
_ROWS = 50_000


def trust_of(data: LabelledData, fitted: Fitted, table: LabelTable) -> Applicability:
    """Say whether findings can be trusted; of a network that fits nearly all labels, with the closed form beside it."""
    # A network that agrees with 95 % of its training labels or more may have memorised the wrong ones. On
    # features and tables of at most 50,000 rows the closed form then says how many labels it expects to be wrong, out
    # of sample. Where that is twice what looks wrong, and 2 % of the labels more, the findings are not to be trusted.
    light = fitted.trust(table, data.classes)
    if fitted.closed is not None or data.inputs.ndim != 2:
        return light
    learned = light.evidence.agreement
    if light.verdict == "refuse":
        way = Advice("On features and tables {--method} kernel memorises nothing.")
        return Applicability("refuse", (), (*light.sentences, way), light.evidence)
    if learned < _FITS or len(data) > _ROWS:
        return light
    scaled = data.preprocess.scaled
    other = closed.refine_labels(data.inputs, data.labels, data.num_classes, standardise=not scaled)
    findings = find_issues(data.labels, other.posterior, quality=other.quality)
    expected, found = findings.noise.wrong / len(data), table.is_issue.mean()
    judged = out_of_sample_trust(findings, other.prior.numpy(), data.classes)
    if judged.verdict == "refuse" or expected < max(2 * found, found + _MORE):
        return light
    why = Advice(
        "Do not trust this: the network agrees with {learned:.1f} % of the labels and finds {found:,} wrong, but a "
        "model that has not seen them expects {wrong:,.0f}. The network memorised wrong labels. Use {--method} kernel.",
        learned=100 * learned,
        found=int(table.is_issue.sum()),
        wrong=findings.noise.wrong,
    )
    return Applicability("refuse", (), (why,), light.evidence)
