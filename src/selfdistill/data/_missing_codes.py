"""Numbers that stand for missing values, such as -9999 in measurements and 999 in surveys."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from selfdistill._core.wording import quoted
from selfdistill.data._options import ReadOptions

NINES = np.array(
    [-99.0, *(sign * (10.0**n - 1) / part for n in range(3, 10) for part in (1, 10)[: n - 2] for sign in (-1, 1))]
)
"""-99, and 999, 9999, ... with both signs, also with one decimal: 999.9."""
_SHOWN = 10  # columns that are named
_LONE = 5.0  # ranges of the other values, between them and a code that stands once


def find_codes(numbers: np.ndarray) -> list[float]:
    """Find the values of a column that stand for missing ones: nines at its end, far from all other values."""
    # Far: farther than the others are from each other (five times as far, where the value stands only once), or below 0
    # where no other value is.
    known = numbers[np.isfinite(numbers)]
    found = []
    for end in (np.min, np.max):
        if not len(known):
            break
        code = float(end(known))
        if code not in NINES:
            continue
        others = known[known != code]
        if len(np.unique(others)) < 2:
            continue
        low, high = float(others.min()), float(others.max())
        gap = low - code if code < low else code - high
        times = len(known) - len(others)
        if gap > (1.0 if times > 1 else _LONE) * (high - low) or (code < 0 <= low and times > 1):
            found.append(code)
            known = others
    return found


def choose_codes(columns: Mapping[str, np.ndarray], options: ReadOptions) -> tuple[dict[str, list[float]], list[str]]:
    """Find the values that stand for missing ones in the columns that the user does not call numeric."""
    found = {name: find_codes(column) for name, column in columns.items() if name not in options.numeric}
    found = {name: codes for name, codes in found.items() if codes}
    said = []
    for name, codes in list(found.items())[:_SHOWN]:
        values = " and ".join(f"{code:.15g} ({int((columns[name] == code).sum()):,} rows)" for code in codes)
        said.append(
            f"column {name!r}: {values}, far from all other numbers, count{'s' * (len(codes) == 1)} as missing; "
            f"--numeric {quoted(name)} to take all as they stand."
        )
    if len(found) > _SHOWN:
        said.append(f"so it is in {len(found) - _SHOWN:,} more columns.")
    return found, said
