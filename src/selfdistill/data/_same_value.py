"""The same value in two spellings: files of other formats, machines and hands write 1 as 1.0 and True as TRUE."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from decimal import Context, Decimal
from functools import lru_cache

UNSEEN = dict.fromkeys(map(ord, "\u200b\u2060\ufeff\u00ad\u200e\u200f"))
"""Characters without a width; those that join letters are parts of words and stay."""
_NUMBER = re.compile(r"[-+]?(0|[1-9][0-9]*)?(\.[0-9]*)?")
_MIDNIGHT = re.compile(r"(\d{4}-\d\d-\d\d)[ T]00:00:00(\.0+)?(Z|[-+]00:?00)?")
_TRUTH = {"true": "True", "false": "False"}


@lru_cache(4096)
def value_key(text: str) -> str:
    r"""Give one spelling to all spellings of a value.

    Alike are whole numbers and decimals of one value (1, +1, 1.0, 1.00), truth values in any case, a date and its
    midnight, composed and decomposed accents, and texts that differ in spaces at the ends, kinds and numbers of spaces
    within, or characters without a width. Case tells other texts apart, and so do leading zeros, which are those of
    codes.

    Args:
        text: A label or category.

    Returns:
        The spelling; not for display.

    Example:
        >>> [value_key(text) for text in ("+1.0", "0.50", "-0", "01", "TRUE", "cat\u200b ", "Cat")]
        ['1', '0.5', '0', '01', 'True', 'cat', 'Cat']
    """
    plain = " ".join(unicodedata.normalize("NFC", text.translate(UNSEEN)).replace("\u2212", "-").split())
    if truth := _TRUTH.get(plain.lower()):
        return truth
    if _NUMBER.fullmatch(plain) and any(map(str.isdigit, plain)):
        whole, _, part = plain.lstrip("+-").partition(".")
        number = (whole or "0") + ("." + part.rstrip("0") if part.strip("0") else "")
        return "-" + number if plain[0] == "-" and number != "0" else number
    found = _MIDNIGHT.fullmatch(plain)
    return found[1] if found else plain


class Places:
    """Where a value stands among known ones: spelled so, or else, where only one of them is the same value, there."""

    def __init__(self, names: Sequence[str]) -> None:
        self._exact = {name: place for place, name in enumerate(names)}
        self._keys: dict[str, int] = {}
        for place, name in enumerate(names):
            key = value_key(name)
            self._keys[key] = -1 if key in self._keys else place

    def __getitem__(self, name: str) -> int:
        """Find a value: its place; −1 where it is not known, or could be two."""
        place = self._exact.get(name)
        return self._keys.get(value_key(name), -1) if place is None else place


def _near_key(name: str) -> str:
    plain = value_key(unicodedata.normalize("NFKC", name)).casefold()
    try:
        return str(Decimal(plain).normalize(Context(prec=len(plain) + 1)))
    except ArithmeticError:
        return plain


def near_groups(names: Sequence[str]) -> list[list[int]]:
    """Find names that people hardly tell apart: the same value, or but for case, leading zeros, width of characters."""
    groups: dict[str, list[int]] = {}
    for place, name in enumerate(names):
        groups.setdefault(_near_key(name), []).append(place)
    return [group for group in groups.values() if len(group) > 1]


def hint(name: str, known: Sequence[str]) -> str:
    """Say which known value people hardly tell apart from one that is not known."""
    close = [other for other in known if _near_key(other) == _near_key(name)]
    return f"Is it {' or '.join(map(repr, close[:3]))}? " if close else ""
