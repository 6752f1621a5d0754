"""Words for people: advice that fits whoever asked, and names that cannot act on a terminal or a shell."""

from __future__ import annotations

import itertools
import re
import shlex
import unicodedata
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

__all__ = ["clean", "cleaned", "fit_advice", "quoted"]

_ACTS = {
    "Cc",
    "Cf",
    "Cs",
    "Zl",
    "Zp",
}  # what moves the cursor, turns the direction, breaks the line or is half a letter
_JOINERS = "\u200c\u200d"  # parts of words and of emoji

_FLAG = re.compile(r"--([a-z][a-z-]*[a-z])")
_SENTENCE = re.compile(r"(?<=[.?!]) (?=[A-Z])")
_CLAUSE = re.compile(r"(, or |; )")
_WORD = re.compile(r"""(?<= )'[^']*'(?:"'"'[^']*')*""")  # as `quoted` writes it


def clean(text: str, keep: str = "") -> str:
    r"""Write characters that act instead of being seen as their numbers: all that is printed goes through here.

    Args:
        text: What may hold a stranger's words: names of classes, of files, of columns.
        keep: Characters that stay, such as the ends of our own lines.

    Returns:
        The text, with ``\u001b`` and the like, as JSON writes them.

    Example:
        >>> clean("a \x1b[31mred\u202e")
        'a \\u001b[31mred\\u202e'
    """
    if text.isprintable():
        return text
    return "".join(
        c if c in keep or c in _JOINERS or unicodedata.category(c) not in _ACTS else _numbered(c) for c in text
    )


def _numbered(char: str) -> str:
    pairs = char.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{pairs[i : i + 2].hex()}" for i in range(0, len(pairs), 2))


def cleaned(value: Any) -> Any:
    """Do the same to every text in a record."""
    if isinstance(value, str):
        return clean(value)
    if isinstance(value, Mapping):
        return {clean(str(name)): cleaned(one) for name, one in value.items()}
    return [cleaned(one) for one in value] if isinstance(value, list | tuple) else value


def quoted(path: Path | str) -> str:
    """Write a path for a command that a user may copy into a shell: nothing in it is run.

    Args:
        path: A path or any other word.

    Returns:
        The word, in quotation marks where it needs them.

    Example:
        >>> quoted("runs/a-001"), quoted("$(reboot)")
        ('runs/a-001', "'$(reboot)'")
    """
    return shlex.quote(str(path))


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
    words = _WORD.findall(text)  # a stranger's, which part no clauses and name no options
    sentences = [_fit_sentence(sentence, options) for sentence in _SENTENCE.split(_WORD.sub(_hidden(), text))]
    said = " ".join(sentence for sentence in sentences if sentence)
    said = said if dashes else _FLAG.sub(lambda found: _name(found.group(1)), said)
    return re.sub(r"\x00(\d+)\x00", lambda found: words[int(found.group(1))], said)


def _hidden() -> Callable[[re.Match[str]], str]:
    count = itertools.count()
    return lambda found: f"\0{next(count)}\0"


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
