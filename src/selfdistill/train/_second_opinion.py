"""A network that agrees with nearly all labels says nothing of them: what a model says that has not seen them."""

from __future__ import annotations

from selfdistill import closed
from selfdistill._core.advice import Advice
from selfdistill.data._labelled import LabelledData
from selfdistill.issues import find_issues
from selfdistill.issues._reliability import Applicability, out_of_sample_trust
from selfdistill.issues._table import LabelTable
from selfdistill.train._fitted import Fitted

_FITS = 0.95  # agreement with the given labels from which a second opinion is asked
_MORE = 0.02  # share of labels that the other must expect wrong beyond those that look wrong
_ROWS = 50_000


def trust_of(data: LabelledData, fitted: Fitted, table: LabelTable) -> Applicability:
    """Say whether findings can be trusted; of a network that fits nearly all labels, with the closed form beside it."""
    # A network that agrees with 95 % of its training labels or more may have learned the wrong ones by heart. On
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
