"""A data set in a few words."""

from __future__ import annotations

from selfdistill._core.wording import clean
from selfdistill.data._labelled import LabelledData
from selfdistill.data._labels import short

_COUNTS = {
    "missing_values": "missing values imputed",
    "constant_columns": "constant columns",
    "dropped_unlabelled": "rows without a label left out",
    "skipped_bad": "unreadable images left out",
}


def describe(data: LabelledData) -> str:
    """Say what was read, in two or three short lines; the warnings are not among them.

    Args:
        data: The data set.

    Returns:
        Lines without a final newline.

    Example:
        >>> from selfdistill.data import from_arrays
        >>> print(describe(from_arrays([[1.0], [2.0]], ["b", "a"])))
        2 examples, 1 number
        2 classes: a, b
    """
    lines = [f"{len(data):,} examples, {data.preprocess.facts()}"]
    shown = ", ".join(clean(short(name)) for name in data.classes[:10]) + (", ..." if data.num_classes > 10 else "")
    lines.append(f"{data.num_classes:,} classes: {shown}")
    counts = [f"{_COUNTS.get(name, name)}: {count:,}" for name, count in data.counts.items() if count]
    if data.truth is not None:
        known = data.truth >= 0
        if known.any():
            wrong = (data.truth != data.labels)[known].double().mean().item()
            counts.append(f"true labels known for {int(known.sum()):,}: {100 * wrong:.1f} % of the given ones differ")
    return "\n".join([*lines, *(["; ".join(counts)] if counts else [])])
