"""A run record in a dozen lines: what was found, where it lies, what to do next. Pure: record in, lines out."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path

from selfdistill._core.run_record import Closed, Result, RunRecord, Truth
from selfdistill._core.wording import clean, listed, quoted, short
from selfdistill.issues._reliability import count_is_open

_PAIRS = 5
_NAMES = 8
_ENDINGS = (".csv", ".tsv", ".csv.gz", ".tsv.gz", ".parquet", ".pq", ".npz", ".npy", ".safetensors")
_WIDTH = 116
_EXTRAS = {
    "photos": "has a pretrained network look at the photos, which finds far more errors",
    "texts": "has a pretrained network read the texts beside their words: some 5 points more accuracy",
}
_PER_CLASS = 5  # examples; with fewer the closed form is not trusted
_OFF = 0.2  # share of the most doubtful labels by which a run's own count of the wrong ones is off, on average
_COUNTS = {
    "missing_values": ("missing feature value imputed", "missing feature values imputed"),
    "dropped_unlabelled": ("row without a label left out", "rows without a label left out"),
    "skipped_bad": ("unreadable image skipped", "unreadable images skipped"),
    "constant_columns": ("constant column", "constant columns"),
}


def verdict(record: RunRecord, out: Path, *, labels: bool = True) -> list[str]:
    """Say what a finished run found, in lines; those that begin a part do not start with a space."""
    result = _result(record)
    blocks = [
        [*_suspects(record, result), *_trust(record)] if labels else [],
        [*_training(record, result), *_extra(record.data.extra)],
        _read(record.data.counts),
        _against_truth(result.truth if labels and record.comparison is None else None),
        _files(out),
        _next(out, record),
    ]
    return [line for block in blocks if block for line in ["", *block]][1:]


def _result(record: RunRecord) -> Result:
    assert record.result is not None  # a finished run has one
    return record.result


def _suspects(record: RunRecord, result: Result) -> list[str]:
    n, found = record.data.examples, result.label_issues
    verb = "looks" if found == 1 else "look"
    plausible = record.closed.plausible_wrong if record.closed and result.estimated_noise else None
    expected = result.estimated_noise.expected_wrong if result.estimated_noise else 0.0
    if not found and count_is_open(expected, plausible, n):
        lines = [f"Whether some of the {n:,} labels are wrong is not known"]
    elif not found:
        lines = [f"None of the {n:,} labels looks wrong"]
    else:
        first = f"{found:,} of {n:,} labels {verb} wrong ({_percent(found / n)})"
        lines = [first, *_pairs(result.confused, found, result.no_better_label)]
    if plausible:
        low, high = map(round, plausible)
        lines.append(f"  {expected:,.0f} expected to be wrong; {low:,} to {high:,} would fit about as well")
    if found > n / 2:
        lines.append("  More than half: look at some of them before you trust the refined labels.")
    if result.never_refined_to:
        lines.append(
            f"  No example was refined to: {_names(result.never_refined_to)}. Such classes need a look by hand."
        )
    return lines


def _trust(record: RunRecord) -> list[str]:
    """Say what the reliability check says; names of classes cannot write control sequences."""
    holds = still_holds(record)
    return [
        line
        for sentence in [*(record.trust.sentences if record.trust else ()), *([f"Still: {holds}"] if holds else [])]
        for line in textwrap.wrap(_cut(sentence, 1000), _WIDTH, initial_indent="  ", subsequent_indent="    ")
    ]


def still_holds(record: RunRecord) -> str:
    """Say what of findings that are not to be trusted can be used all the same; "" where the check trusts them."""
    # Measured in docs/decisions/0038-what-still-holds.md.
    trust, first = record.trust, record.result.most_doubtful if record.result else None
    if trust is None or trust.verdict != "refuse" or first is None:
        return ""
    if "largest" in trust.evidence:  # of the closed form
        few = record.data.examples < _PER_CLASS * len(record.data.classes)
        ranked = (
            "the ranking is useful, look at the labels of least label_quality first. How many are wrong is not known."
        )
        return ranked if few else "nothing about single labels holds, not even their ranking."
    count, wrong = first
    return (
        f"the ranking is useful. Look at the {count:,} labels of least label_quality first: by the run's own estimate, "
        f"about {wrong:,.0f} of them are wrong, give or take {_OFF * count:,.0f}."
    )


def _pairs(confused: Sequence[tuple[str, str, int]], found: int, kept: int) -> list[str]:
    """List pairs of labels; those that are doubted without a better one stand apart."""
    shown = confused if len(confused) == _PAIRS + 1 else confused[:_PAIRS]  # "other pairs" of one pair would tell less
    width = max(len(name) for pair in [*shown, ("given", "refined", 0)] for name in pair[:2])
    width = min(max(width, 7), 30)
    lines = [f"  {'given':<{width}}  ->  {'refined':<{width}}  {'count':>7}"]
    lines += [f"  {_cut(a, width):<{width}}  ->  {_cut(b, width):<{width}}  {count:>7,}" for a, b, count in shown]
    rest = found - kept - sum(count for _, _, count in shown)
    more = {"other pairs": rest, "no better label": kept}
    return [*lines[not shown :], *(f"  {name:<{2 * width + 6}}  {count:>7,}" for name, count in more.items() if count)]


def training_line(record: RunRecord) -> str:
    """Say in a line how a finished run was trained."""
    return _training(record, _result(record))[0]


def _training(record: RunRecord, result: Result) -> list[str]:
    s = record.settings
    if record.closed is not None:
        return _in_closed_form(record.closed, result)
    epochs = f"{s.epochs} epoch" + ("s" if s.epochs != 1 else "")
    lines = [f"Trained for {epochs} in {_seconds(result.seconds)} ({s.method}, {s.network}, {s.device})"]
    for name, value in result.accuracies.items():
        last, best, what = _percent(value.last), _percent(value.best), name.replace("_", "-").capitalize()
        lines.append(f"  {what} accuracy {last} after the last epoch (best: {best}, epoch {value.best_epoch + 1})")
    if result.soft_labels is not None and result.soft_labels.kind == "top-5":
        lines.append("  Refined probabilities of five classes were kept for each example: all did not fit on the disk")
    return lines


def _in_closed_form(c: Closed, result: Result) -> list[str]:
    rounds = f"{c.round} round" + ("s" if c.round != 1 else "")
    grown = sum(part.weight for part in c.mixture if part.source == "forest")
    forest = f", forest {_percent(grown)} of the mixture" if grown else ""
    lines = [
        f"Closed form in {_seconds(result.seconds)}: {rounds}, kernel {c.kernel}, {c.landmarks:,} landmarks"
        f"{forest}, {c.nats:.2f} nats for each unseen label"
    ]
    for name, value in result.accuracies.items():
        lines.append(f"  {name.replace('_', '-').capitalize()} accuracy {_percent(value.last)}")
    return lines


def _extra(extra: str | None) -> list[str]:
    """Say what a pretrained network would bring, where it could read the data and is not installed."""
    if extra not in _EXTRAS:
        return []
    return [f"  pip install 'selfdistill[{extra}]' {_EXTRAS[extra]}"]


def _read(counts: Mapping[str, int]) -> list[str]:
    lines = [
        f"  {value:,} {_COUNTS.get(name, 2 * (name.replace('_', ' '),))[value > 1]}"
        for name, value in counts.items()
        if value
    ]
    return ["In the data", *lines] if lines else []


def _against_truth(truth: Truth | None) -> list[str]:
    if truth is None:
        return []
    shares = {
        "Of the wrong labels, {} were set right": truth.wrong_set_right,
        "Of the right labels, {} were corrupted": truth.right_spoiled,
        "Of the labels that look wrong, {} are wrong (precision)": truth.flagged_precision,
        "Of the wrong labels, {} look wrong (recall)": truth.flagged_recall,
    }
    lines = [
        f"Against the truth, known for {truth.examples:,.0f} examples",
        f"  {_percent(truth.given_right)} of the given labels are right, "
        f"{_percent(truth.refined_right)} of the refined ones",
        *(f"  {text.format(_percent(share))}" for text, share in shares.items() if share is not None),
    ]
    if truth.auroc is not None and truth.average_precision is not None:
        lines.append(
            f"  Wrong labels found by low label_quality: AUROC {truth.auroc:.3f}, "
            f"average precision {truth.average_precision:.3f}"
        )
    return lines


def _files(out: Path) -> list[str]:
    return [
        f"Files in {out}",
        "  labels.parquet     one row per example: refined_label, label_quality, ...",
        "  model.safetensors  the classifier, with what it takes to read new data",
        "  run.json           settings, versions, curves and results",
    ]


def _next(out: Path, record: RunRecord) -> list[str]:
    source = record.data.source or "digits"
    ending = max((e for e in _ENDINGS if source.lower().endswith(e)), key=len, default="")
    new = source if source == "digits" else f"new{ending}" if ending else "NEW_DATA" if source == "-" else "NEW_FOLDER"
    own = [] if record.data.source else ["  Your own labels:         selfdistill fit DATA --label COLUMN"]
    return [
        "Next",
        f"  The most doubtful ones:  selfdistill show {quoted(out)}",
        f"  A page to send:          selfdistill report {quoted(out)}",
        f"  Review by keyboard:      selfdistill review {quoted(out)}",
        f"  Labels for new data:     selfdistill predict {quoted(out)} {new}",
        *own,
    ]


def comparison(record: RunRecord) -> list[str]:
    """Set a run beside plain training on the same noisy labels, where the truth is known: lines of a table."""
    plain, result = record.comparison, record.result
    own = None if result is None else result.accuracies.get("test")
    if plain is None or result is None or result.truth is None or own is None:
        return []
    truths, accuracies = (plain.truth, result.truth), (plain.test_accuracy, own)
    wrong = round((1 - plain.truth.given_right) * plain.truth.examples)
    rows: list[tuple[str, list[str]]] = [
        ("Test accuracy, last epoch", [_percent(one.last) for one in accuracies]),
        ("Test accuracy, best epoch (an oracle)", [_percent(one.best) for one in accuracies]),
        ("Training labels right, as given", [_percent(one.given_right) for one in truths]),
        ("Training labels right, refined", [_percent(one.refined_right) for one in truths]),
        (f"Wrong labels set right, of {wrong:,}", [f"{(one.wrong_set_right or 0) * wrong:,.0f}" for one in truths]),
        ("Labels that look wrong and are (precision)", [_share(one.flagged_precision) for one in truths]),
        ("Wrong labels that look wrong (recall)", [_share(one.flagged_recall) for one in truths]),
        ("Wrong labels found (AUROC)", ["-" if one.auroc is None else f"{one.auroc:.3f}" for one in truths]),
    ]
    heads = ("plain training", record.settings.method)
    first = max(len(name) for name, _ in rows)
    widths = [max(len(head), 8) for head in heads]
    title = " " * (first + 2) + "".join(f"  {head:>{w}}" for head, w in zip(heads, widths, strict=True))
    body = [
        f"  {name:<{first}}" + "".join(f"  {v:>{w}}" for v, w in zip(values, widths, strict=True))
        for name, values in rows
    ]
    return ["Improvement over plain training, on labels that training never saw", title, *body]


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def _share(share: float | None) -> str:
    return "-" if share is None else _percent(share)


def _seconds(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s" if seconds >= 1 else f"{seconds:.1f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h {minutes % 60} min"


def _cut(name: object, width: int) -> str:
    return short(clean(str(name)), width)


def _names(names: list[str]) -> str:
    return listed(names, _NAMES, show=lambda name: _cut(name, 30))
