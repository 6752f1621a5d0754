"""Which words of a text speak for its suggested label, and which for the given one: each is left out in turn."""

from __future__ import annotations

import re
from collections.abc import Mapping

import numpy as np
import pyarrow as pa
import torch

from selfdistill.runs._model_file import Model

Piece = tuple[str, float]
"""A part of a text, and by how much it raises the log-odds of the suggested label; 0 where that is little."""
_WORD = re.compile(r"\w+")
_PARTS = 64  # of a text that are left out, one after the other; of long texts a part has several words
_MARKED = 6
_LEAST = 0.1  # change of the log-odds
_SHARE = 0.25  # of the largest change


def weighed(model: Model, row: pa.Table, texts: Mapping[str, str], given: int, other: int) -> list[Piece]:
    """Weigh the words of one example: without a word, how much lower are the odds of one class against another?"""
    # The pieces together are the text as it is shown; the up to six that change the odds most have their change, above
    # 0 where they speak for ``other``. Cost: one prediction for each of at most 64 parts.
    parts = _parts(texts)
    if not parts:
        return _pieces(texts, {})
    columns = {name: [text] * (len(parts) + 1) for name, text in texts.items()}
    for place, (name, start, end) in enumerate(parts, 1):
        columns[name][place] = texts[name][:start] + texts[name][end:]
    odds = _odds(model, row, columns, given, other)
    change = odds[0] - odds[1:]
    least = max(_LEAST, _SHARE * float(np.abs(change).max()))
    most = [i for i in np.argsort(-np.abs(change), kind="stable")[:_MARKED] if abs(change[i]) >= least]
    return _pieces(texts, {parts[i]: float(change[i]) for i in most})


def _parts(texts: Mapping[str, str]) -> list[tuple[str, int, int]]:
    """Column, start and end of each word, or of several words together where there are many."""
    words = {name: [found.span() for found in _WORD.finditer(text)] for name, text in texts.items()}
    step = max(1, -(-sum(map(len, words.values())) // _PARTS))
    return [
        (name, spans[i][0], spans[min(i + step, len(spans)) - 1][1])
        for name, spans in words.items()
        for i in range(0, len(spans), step)
    ]


def _odds(model: Model, row: pa.Table, columns: Mapping[str, list[str]], given: int, other: int) -> np.ndarray:
    """Log-odds of ``other`` against ``given`` with each text in the place of the row's own."""
    table = pa.concat_tables([row] * len(next(iter(columns.values()))))
    for name, cells in columns.items():
        table = table.set_column(table.column_names.index(name), name, pa.array(cells, pa.large_string()))
    with torch.inference_mode():
        logits = model.network(model.preprocess.apply(table)).double()
    return np.asarray(logits[:, other] - logits[:, given])


def _pieces(texts: Mapping[str, str], marked: Mapping[tuple[str, int, int], float]) -> list[Piece]:
    pieces: list[Piece] = []
    for name, text in texts.items():
        at = 0
        if len(texts) > 1:
            pieces.append((f"{name}: ", 0.0))
        for _, start, end in sorted(one for one in marked if one[0] == name):
            pieces += [(text[at:start], 0.0), (text[start:end], marked[name, start, end])]
            at = end
        pieces += [(text[at:], 0.0), ("\n", 0.0)]
    return [piece for piece in pieces[:-1] if piece[0]]
