"""Can findings of a model be trusted that has not seen the labels it judges? From these predictions alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from selfdistill.issues._applicability import Applicability, cut_name, listed, percent
from selfdistill.issues._table import LabelTable

__all__ = ["OutOfSampleEvidence", "out_of_sample_trust"]

_FEW = 5  # examples of a class, on average
_CHANCE = 2.0  # standard errors above the largest class's share
_OVERLAP = 0.3  # mean probability of either class for the other's examples, together
_LOST = 0.5  # share of a class's labels that are kept
_NOTHING = 0.005  # share of labels that look wrong and count as none


@dataclass(frozen=True)
class OutOfSampleEvidence:
    """What it is judged by.

    Attributes:
        agreement: Share of given labels that are predicted by a model that has not seen them.
        largest: Share of the largest class: what agrees without looking at the inputs.
        wrong: Expected share of wrong labels.
        confidence: Mean probability of the refined label.
        kept: For each given class, the share of its labels that the refined labels keep; 1 for a class without any.
        overlap: Pairs of classes, and the mean probability of either for the other's examples.
    """

    agreement: float
    largest: float
    wrong: float
    confidence: float
    kept: tuple[float, ...]
    overlap: tuple[tuple[int, int, float], ...]


def out_of_sample_trust(table: LabelTable, prior: np.ndarray, names: Sequence[str]) -> Applicability:
    """Say whether findings can be trusted that rest on predictions out of sample.

    1. *Too few.* There are fewer than five examples a class.
    2. *No better than chance.* Predictions agree with the given labels no more than the largest class does.
    3. *Except classes.* Refined labels keep less than half of a class's labels.

    Classes that overlap are named: a doubtful region is no error. Errors that follow from the inputs as right labels do
    cannot be seen.

    Args:
        table: The findings.
        prior: Probabilities of the true class that the row's own label has no part in, ``[n, K]``.
        names: Class names.

    Returns:
        The judgement.

    Example:
        >>> from selfdistill.issues import find_issues
        >>> given = np.tile([0, 1], 20)
        >>> prior = np.eye(2)[given] * 0.8 + 0.1
        >>> out_of_sample_trust(find_issues(given, prior), prior, ["cat", "dog"]).verdict
        'trust'
    """
    given, (n, k) = table.given, prior.shape
    counts = np.bincount(given, minlength=k)
    kept = np.bincount(given, weights=table.refined == given, minlength=k)
    e = OutOfSampleEvidence(
        agreement=float((prior.argmax(1) == given).mean()),
        largest=float(counts.max() / n),
        wrong=float(table.noise.wrong / n),
        confidence=float(table.confidence.mean()),
        kept=tuple(float(a / b) if b else 1.0 for a, b in zip(kept, counts, strict=True)),
        overlap=_overlap(prior, table.refined, k),
    )
    chance = _CHANCE * (e.largest * (1 - e.largest) / n) ** 0.5
    if n < _FEW * k:
        why = f"there are {n:,} examples of {k:,} classes, too few to tell wrong labels from rare ones"
        return Applicability("refuse", (), (f"Do not trust this: {why}. Collect more, or join classes.",), e)
    if e.agreement < e.largest + chance:
        why = (
            f"a model that has not seen a label predicts it in {percent(e.agreement)} of the cases, and the largest "
            f"class alone makes up {percent(e.largest)}. These inputs do not tell these labels"
        )
        return Applicability("refuse", (), (f"Do not trust this: {why}.",), e)
    lost = tuple(c for c, share in enumerate(e.kept) if share < _LOST)
    if lost:
        said = listed([cut_name(names[c]) for c in lost])
        why = "more than half of the labels given so look wrong. Look at some by hand, and at the classes they go to."
        return Applicability("except", lost, (f"Trust this, except for {said}: {why}", *_overlapping(e, names)), e)
    return Applicability("trust", (), (*_trusted(e), *_overlapping(e, names)), e)


def _overlap(prior: np.ndarray, refined: np.ndarray, k: int) -> tuple[tuple[int, int, float], ...]:
    sums = np.zeros((k, k))
    np.add.at(sums, refined, prior)
    means = sums / np.maximum(np.bincount(refined, minlength=k), 1)[:, None]
    both = np.triu(means + means.T, 1)
    pairs = np.argwhere(both > _OVERLAP)
    order = np.argsort(-both[pairs[:, 0], pairs[:, 1]], kind="stable")[:5]
    return tuple((int(a), int(b), float(both[a, b])) for a, b in pairs[order])


def _trusted(e: OutOfSampleEvidence) -> list[str]:
    said = [
        f"Trust this: each label was judged by a model that has not seen it. It agrees with {percent(e.agreement)} of "
        f"them, and expects {percent(e.wrong)} to be wrong."
    ]
    if e.wrong < _NOTHING:
        said.append(
            "Errors that follow from the inputs, such as those of labelling rules, cannot be seen in this way: look at "
            "some labels by hand."
        )
    return said


def _overlapping(e: OutOfSampleEvidence, names: Sequence[str]) -> list[str]:
    if not e.overlap:
        return []
    pairs = listed([f"{cut_name(names[a])} and {cut_name(names[b])}" for a, b, _ in e.overlap])
    return [f"These classes overlap: {pairs}. Doubt between them is not yet an error."]
