"""Advice that fits whoever asked: a way out that names an option is no way out where there is no such option."""

from __future__ import annotations

import re
from collections.abc import Collection

__all__ = ["fit_advice"]

_FLAG = re.compile(r"--([a-z][a-z-]*[a-z])")
_SENTENCE = re.compile(r"(?<=[.?!]) (?=[A-Z])")
_CLAUSE = re.compile(r"(, or |; )")


def fit_advice(text: str, options: Collection[str], *, dashes: bool = True) -> str:
    """Leave out the alternatives of a text that name an option which is not there.

    Alternatives are parted by ", or ", ";" and the ends of sentences; one that gives a whole command
    (``selfdistill fit --resume RUN``) stays.

    Args:
        text: Sentences such as "Fill them in, or leave them out with --drop-unlabelled."
        options: Names of the options that are there, with underscores.
        dashes: Whether they are written ``--like-this``; else ``like_this``, as arguments in Python.

    Returns:
        What is left; "" if nothing is.

    Example:
        >>> fit_advice("Fill it in, or leave it out with --skip-bad. Or choose --device cpu.", {"device"}, dashes=False)
        'Fill it in. Or choose device cpu.'
    """
    sentences = [_fit_sentence(sentence, options) for sentence in _SENTENCE.split(text)]
    said = " ".join(sentence for sentence in sentences if sentence)
    return said if dashes else _FLAG.sub(lambda found: _name(found.group(1)), said)


def _fit_sentence(sentence: str, options: Collection[str]) -> str:
    parts = _CLAUSE.split(sentence)
    kept: list[str] = []
    for joint, clause in zip(["", *parts[1::2]], parts[::2], strict=True):
        if "selfdistill " in clause or all(_name(flag) in options for flag in _FLAG.findall(clause)):
            kept += [joint if kept else "", clause]
    said = "".join(kept)
    if len(kept) == 2 * len(parts[::2]) or not said:
        return said
    said = said[:1].upper() + said[1:] if sentence[:1].isupper() else said
    return said if said[-1] in ".?!" else said + "."


def _name(flag: str) -> str:
    return flag.replace("-", "_")
