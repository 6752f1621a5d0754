"""The page of what is read, made of the corpus.

python -m tests.corpus.page > docs/what-is-read.md
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from tests.corpus.all_cases import CASES
from tests.corpus.case import Case

__all__ = ["page"]

_TEXT = (".csv", ".tsv", ".psv", ".txt", ".json", ".jsonl", ".ndjson")
_HEAD = """# What is read

One example of each kind of data, with the command that reads it. `python -m tests.corpus.page >
docs/what-is-read.md` writes this page from the {count:,} files that the tests read, {refused:,} of which must be
refused in one line. More errors, and what to do: [bad-input.md](bad-input.md).

All commands take all formats: `fit`, `predict`, `noise`, `air` and `distill` read them, `refine` writes a copy.
Copies of CSV, Parquet and arrays keep their format; those of other tables are Parquet or CSV (in UTF-8), by the
ending of `--out`.
"""
_TAIL = """
## Rules

- **The separator** is the one that splits the header and most rows into equally many fields; among several, the one
  that gives most fields. Spaces are tried last. `sep=;` on the first line is obeyed.
- **A title** is a line of one cell above a header of words; it is skipped, and a note says so. Lines that begin
  with `#` and have a different number of fields than the rows are comments. Empty lines and lines of separators alone
  are ignored.
- **The encoding** is UTF-8 if the bytes are valid, otherwise it is detected by
  [chardet](https://chardet.readthedocs.io), and a note shows a word; `--encoding` overrides. UTF-16 and UTF-32
  are recognised by their mark.
- **A part of a file** is named after `::`: a sheet, a table, a split, a file of a zip archive. Without it there must
  be only one, except for a zip archive of images, which is read as a folder.
- **Arrays** are recognised by their names, in any case, with `train` and `test` before or after; validation parts
  are not read. `--inputs` and `--label` override. Objects are never read: they are pickles, which could run code.
  One-hot labels become the numbers of their columns.
- **`datasets:NAME`** (`datasets:imdb`, `datasets:OWNER/NAME:CONFIG`, `...::SPLIT`) loads a data set with the library
  `datasets`, from its cache or the hub, without running its code. It is trained on the split `train` and tested on
  `test`; `refine` reads it again. It needs `pip install 'selfdistill[hf]'`.
- **Standard input** (`-`) and pipes are read once, to a temporary file:
  `cat songs.csv | selfdistill fit - --label genre`. The first bytes show the format. `refine` needs a file.
- **Several annotators** (`--annotator COLUMN`, repeated): the label is the majority vote, gaps allowed. A tie goes
  to those who agree more often with the majority of other rows. Votes are not features. The closed form learns from
  all of them. In Python, `SelfDistillClassifier().fit(X, shares, votes=counts)` takes each row's shares
  and number of votes instead.
- **Ordered classes** (low, middle, high) are treated as unordered: every error counts alike.
- **Positive and unlabelled** data are refused; the error says how to write them as two classes.
- **Several labels for one example** (multi-label) are refused: train on a yes/no column for each.

Workbooks need `pip install 'selfdistill[excel]'` (python-calamine), saved data sets `pip install 'selfdistill[hf]'`
(datasets). Why these libraries: [decision 28](decisions/0028-formats.md).
"""


def _lines(case: Case) -> str:
    """The first lines of a text file, as they stand in it."""
    if not case.source.endswith(_TEXT) or "/" in case.source or "::" in case.source:
        return ""
    with tempfile.TemporaryDirectory() as name:
        case.make(Path(name))
        try:
            text = (Path(name) / case.source).read_bytes().decode()
        except UnicodeDecodeError:
            return ""
    head = text.splitlines()[:3]
    if len(head) == 1:
        head = [head[0] if len(head[0]) <= 60 else head[0][:60] + " ..."]
    return " ⏎ ".join(line[:60].strip("\n").replace("\t", "→") for line in head)


def _cell(text: str) -> str:
    return "`" + text.replace("|", "\\|") + "`" if text else ""


def page() -> str:
    """Write the page."""
    out = [_HEAD.format(count=len(CASES), refused=sum(bool(case.error) for case in CASES))]
    for group in dict.fromkeys(case.group for case in CASES):
        shown = [case for case in CASES if case.group == group and case.shown]
        refused = [case for case in CASES if case.group == group and case.error]
        out.append(f"\n## {group}\n")
        texts = [_lines(case) for case in shown]
        wide = any(texts)
        out.append("| what | command |" + (" first lines |" if wide else ""))
        out.append("|---|---|" + ("---|" if wide else ""))
        for case, text in zip(shown, texts, strict=True):
            out.append(f"| {case.name} | `{case.command()}` |" + (f" {_cell(text)} |" if wide else ""))
        if refused:
            out += ["\n| refused | what the line says |", "|---|---|"]
            out += [f"| {case.name} | {_cell(case.error)} |" for case in refused]
    return "\n".join(out) + "\n" + _TAIL


if __name__ == "__main__":
    print(page(), end="")
