"""Whether findings can be trusted: from a run alone, or from predictions of a model that has not seen the labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from scipy.special import betaincinv

from selfdistill._core.wording import listed, short
from selfdistill.issues._table import LabelTable
from selfdistill.issues._toneva2019forgetting import LearningDynamics

_TAILS = (0.025, 0.975)
_EARLY = 4  # epochs after which a network has learned what is common and memorised nothing
_TAKEN_BACK = 0.175  # share of the labels: good development runs 0.166 at most, nearly all that memorised 0.184 or more
_UNSURE = 0.9  # mean confidence: good runs 0.96 or more, weak networks and too short runs 0.81 or less
_NOT_HELD = 0.2  # of one class: large classes of good runs 0.17 at most, classes mostly wrong 0.47 or more
_FITS_ALL = 0.98  # agreement with the given labels from which next to nothing can be doubted
_FEW = 0.005  # share of the labels, doubted, that counts as next to nothing
_NAMES, _LONGEST = 8, 30  # classes that are named, and their letters
_PER_CLASS = 5  # examples of a class, on average
_CHANCE = 2.0  # standard errors above the largest class's share
_OVERLAP = 0.3  # mean probability of either class for the other's examples, together
_LOST = 0.5  # share of a class's labels that are kept
_OPEN, _OPEN_SHARE = 2.5, 0.02  # labels that may be wrong, and their share: fewer are as good as none
_NOTHING = 0.005  # share of labels that look wrong and count as none


@dataclass(frozen=True)
class Interval:
    """A number, and 95 % of what it may be."""

    value: float
    low: float
    high: float


def precision(wrong: int, total: int) -> Interval:
    """Estimate a share from a count: Beta posterior with Jeffreys' prior."""
    a, b = wrong + 0.5, total - wrong + 0.5
    low, high = betaincinv(a, b, np.array(_TAILS))
    return Interval(a / (a + b), float(low), float(high))


@dataclass(frozen=True)
class Evidence:
    """What the reliability check looks at; all of it comes from one run."""

    early_epoch: int  # epochs done when ``doubted_early`` was measured: 4, less where the run is short
    doubted_early: float  # share of labels that the refined labels of that epoch did not keep
    doubted_last: float  # the same at the end
    agreement: float  # share of labels that the network's last predictions in training agree with
    confidence: float  # mean probability of the refined label
    kept: tuple[float, ...]  # by given class, the share of labels that the refined ones keep; 1 for one without any
    predicted: tuple[float, ...]  # the same for the network's last predictions


@dataclass(frozen=True)
class Applicability:
    """What the reliability check found."""

    verdict: Literal["trust", "except", "refuse"]  # "except": trust it but for ``classes``
    classes: tuple[int, ...]  # positions of the classes that are not to be trusted, where the rest is
    sentences: tuple[str, ...]  # why, for a reader; the first begins with the verdict
    evidence: Any  # what it was judged by, a dataclass

    def as_dict(self, names: Sequence[str]) -> dict[str, Any]:
        """Return it as JSON-able values, classes by name."""
        evidence = asdict(self.evidence)
        return {
            "verdict": self.verdict,
            "classes": [names[i] for i in self.classes],
            "sentences": list(self.sentences),
            "evidence": {k: list(v) if isinstance(v, tuple) else v for k, v in evidence.items()},
        }


def applicability(
    table: LabelTable, dynamics: LearningDynamics, refined_share: Sequence[float], names: Sequence[str]
) -> Applicability:
    """Say whether a run's findings can be trusted. Cost: one pass over the table."""
    # A network learns what many examples have in common before it memorises single examples. Only in between can
    # wrong labels be told from right ones, and a run shows whether there was such a time. (1) Taken back: doubts that
    # it had after 4 epochs are gone at the end: ``doubted_early - doubted_last`` is above 0.175. It memorised these
    # labels, or it learns slowly. (2) Unsure: the mean confidence of the refined labels is below 0.9:
    # a network too weak, a training too short, or nothing to learn. (3) Except classes: in a class, the refined labels
    # keep more than the network itself predicts, by more than 0.2: only the noise matrix speaks for these labels. So it
    # is where most of a true class is called something else. What it cannot see: errors that follow from the inputs as
    # well as right labels do, such as those of labelling rules. Numbers and misses:
    # docs/decisions/0009-reliability-check.md.
    given, k = table.given, table.distribution.shape[1]
    counts = np.bincount(given, minlength=k)
    learned = dynamics.learned.cpu().numpy()
    kept = table.refined == given
    early = min(_EARLY, max(1, len(refined_share) // 2))
    evidence = Evidence(
        early_epoch=early,
        doubted_early=float(refined_share[early - 1]),
        doubted_last=float(1 - kept.mean()),
        agreement=float(learned.mean()),
        confidence=float(table.confidence.mean()),
        kept=_shares(kept, given, counts),
        predicted=_shares(learned, given, counts),
    )
    return judge(evidence, names)


def _shares(marked: np.ndarray, given: np.ndarray, counts: np.ndarray) -> tuple[float, ...]:
    """For each class the share of its examples that is marked."""
    marks = np.bincount(given, weights=marked, minlength=len(counts))
    return tuple(float(a / b) if b else 1.0 for a, b in zip(marks, counts, strict=True))


def judge(evidence: Evidence, names: Sequence[str]) -> Applicability:
    """Apply the rules of `applicability` to evidence that is there already, such as that of a run record."""
    e = evidence
    reasons = []
    if e.doubted_early - e.doubted_last > _TAKEN_BACK:
        reasons.append(
            f"{_history(e)}. Early doubts vanished: the network memorised these labels, wrong ones with right ones, or "
            "learns slowly. More examples help, or another network."
        )
    if e.confidence < _UNSURE:
        reasons.append(
            f"by its own estimate, {percent(e.confidence)} of the refined labels are right. The network is too weak, "
            "it was trained too briefly, or these labels do not follow from these inputs."
        )
    if reasons:
        return Applicability("refuse", (), ("Do not trust this: " + " Also, ".join(reasons),), e)
    classes = tuple(c for c, (a, b) in enumerate(zip(e.kept, e.predicted, strict=True)) if a - b > _NOT_HELD)
    if classes:
        named = _named(names, classes)
        why = (
            "the network itself calls many of these examples something else. Look at them by hand, and at the classes "
        )
        why += "that they are mistaken for."
        return Applicability("except", classes, (f"Trust this, except for {named}: {why}",), e)
    return Applicability("trust", (), _trust(e), e)


def _trust(e: Evidence) -> tuple[str, ...]:
    if e.doubted_last <= _FEW and e.agreement >= _FITS_ALL:
        doubts = "none" if not e.doubted_last else "almost none"
        return (
            f"Nothing speaks against these labels: the network agrees with {percent(e.agreement)} of them in training "
            f"and doubts {doubts}.",
            "But errors that follow from the inputs (labels made by rules), and any errors under a network that fits "
            "everything, cannot be seen in this way: look at some labels by hand.",
        )
    return (f"Trust this: {_history(e)}. So it did not memorise wrong labels.",)


def _history(e: Evidence) -> str:
    epochs = f"{e.early_epoch} epoch" + ("s" if e.early_epoch != 1 else "")
    return (
        f"after {epochs} the network doubted {percent(e.doubted_early)} of the labels, at the end "
        f"{percent(e.doubted_last)}"
    )


def _named(names: Sequence[str], classes: Sequence[int]) -> str:
    return listed(classes, _NAMES, show=lambda c: short(names[c], _LONGEST))


def percent(share: float) -> str:
    """Write a share in per cent."""
    return f"{100 * share:.1f} %"


@dataclass(frozen=True)
class OutOfSampleEvidence:
    """What it is judged by."""

    agreement: float  # share of given labels that are predicted by a model that has not seen them
    largest: float  # share of the largest class: what agrees without looking at the inputs
    wrong: float  # expected share of wrong labels
    confidence: float  # mean probability of the refined label
    kept: tuple[float, ...]  # by given class, the share of labels that the refined ones keep; 1 for one without any
    overlap: tuple[tuple[int, int, float], ...]  # pairs of classes, mean probability of either for the other's examples


def count_is_open(expected: float, plausible: Sequence[float] | None, n: int) -> bool:
    """Say whether no wrong label, or twice as many as are expected of ``n``, would fit about as well."""
    if not plausible or plausible[1] < max(_OPEN, _OPEN_SHARE * n):
        return False
    return round(plausible[0]) == 0 or plausible[1] >= 2 * expected


def out_of_sample_trust(
    table: LabelTable, prior: np.ndarray, names: Sequence[str], plausible: Sequence[float] | None = None
) -> Applicability:
    """Say whether findings can be trusted that rest on predictions out of sample."""
    # (1) Too few: there are fewer than five examples a class. (2) No better than chance: predictions agree with the
    # given labels no more than the largest class does. (3) Except classes: refined labels keep less than half of a
    # class's labels. Where no wrong label, or twice as many as are expected, would fit about as well (``plausible``),
    # the ranking is to be trusted and the count is not: so it is with few examples. Classes that overlap are named: a
    # doubtful region is no error. ``prior`` are probabilities of the true class that the row's own label has no part
    # in, ``[n, K]``.
    given, (n, k) = table.given, prior.shape
    counts = np.bincount(given, minlength=k)
    e = OutOfSampleEvidence(
        agreement=float((prior.argmax(1) == given).mean()),
        largest=float(counts.max() / n),
        wrong=float(table.noise.wrong / n),
        confidence=float(table.confidence.mean()),
        kept=_shares(table.refined == given, given, counts),
        overlap=_overlap(prior, table.refined, k),
    )
    chance = _CHANCE * (e.largest * (1 - e.largest) / n) ** 0.5
    if n < _PER_CLASS * k:
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
        named = _named(names, lost)
        why = "more than half of the labels given so look wrong. Look at some by hand, and at the classes they go to."
        return Applicability("except", lost, (f"Trust this, except for {named}: {why}", *_overlapping(e, names)), e)
    sentences = _ranked(e, plausible) if plausible and count_is_open(table.noise.wrong, plausible, n) else _trusted(e)
    return Applicability("trust", (), (*sentences, *_overlapping(e, names)), e)


def _overlap(prior: np.ndarray, refined: np.ndarray, k: int) -> tuple[tuple[int, int, float], ...]:
    sums = np.zeros((k, k))
    np.add.at(sums, refined, prior)
    means = sums / np.maximum(np.bincount(refined, minlength=k), 1)[:, None]
    both = np.triu(means + means.T, 1)
    pairs = np.argwhere(both > _OVERLAP)
    order = np.argsort(-both[pairs[:, 0], pairs[:, 1]], kind="stable")[:5]
    return tuple((int(a), int(b), float(both[a, b])) for a, b in pairs[order])


def _ranked(e: OutOfSampleEvidence, plausible: Sequence[float]) -> list[str]:
    low, high = map(round, plausible)
    return [
        f"Trust the ranking, not the count: each label was judged by a model that has not seen it. It agrees with "
        f"{percent(e.agreement)} of them, which {low:,} to {high:,} wrong labels explain about as well. Look at the "
        f"{high:,} labels of least label_quality first."
    ]


def _trusted(e: OutOfSampleEvidence) -> list[str]:
    sentences = [
        f"Trust this: each label was judged by a model that has not seen it. It agrees with {percent(e.agreement)} of "
        f"them, and expects {percent(e.wrong)} to be wrong."
    ]
    if e.wrong < _NOTHING:
        sentences.append(
            "Errors that follow from the inputs, such as those of labelling rules, cannot be seen in this way: look at "
            "some labels by hand."
        )
    return sentences


def _overlapping(e: OutOfSampleEvidence, names: Sequence[str]) -> list[str]:
    if not e.overlap:
        return []
    pairs = listed(
        [f"{short(names[a], _LONGEST)} and {short(names[b], _LONGEST)}" for a, b, _ in e.overlap], _NAMES, show=str
    )
    return [f"These classes overlap: {pairs}. Doubt between them is not yet an error."]
