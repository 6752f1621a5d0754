"""Pictures of a report: charts as SVG in the page's own colours, and a sheet of the most doubtful photos."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from markupsafe import Markup
from PIL import Image, ImageDraw, ImageFont

from selfdistill._core.errors import DataError
from selfdistill._core.wording import clean
from selfdistill.runs._examples import Examples
from selfdistill.runs._label_table import SavedLabelTable

_WIDTH, _HEIGHT = 440, 250
_LEFT, _RIGHT, _TOP, _BOTTOM = 46, 12, 12, 42
_BINS = 40
_CELL = 30
_NUMBERED = 12  # classes of which each cell of the matrix has its number
_NAME = 14  # letters of a class
_SIDE, _GAP, _LINE, _ACROSS = 128, 10, 17, 8
_PAPER, _GIVEN, _OTHER, _NONE = "#ffffff", "#b8480f", "#2a62a3", "#eceff3"


@dataclass(frozen=True)
class Line:
    """A curve: what it shows, its points, and its style: "right", "wrong" or "other"."""

    name: str
    x: Sequence[float]
    y: Sequence[float]
    style: str


def _picture(body: Sequence[Markup], width: float, height: float, says: str) -> Markup:
    head = Markup('<svg viewBox="0 0 {:.0f} {:.0f}" width="{:.0f}" height="{:.0f}" role="img" aria-label="{}">')
    return head.format(width, height, width, height, clean(says)) + Markup("").join(body) + Markup("</svg>")


def _text(x: float, y: float, text: str, kind: str) -> Markup:
    return Markup('<text x="{:.1f}" y="{:.1f}" class="{}">{}</text>').format(x, y, kind, text)


def _marked(x: float, text: str, y: float, *, at_end: bool) -> list[Markup]:
    """A vertical line with its name, which stands left of it at the end."""
    line = Markup('<line x1="{0:.1f}" x2="{0:.1f}" y1="{1}" y2="{2}" class="mark"/>')
    name = _text(x + (-5 if at_end else 5), y, text, "tick end" if at_end else "tick")
    return [line.format(x, _TOP, _HEIGHT - _BOTTOM), name]


def _ticks(high: float) -> list[float]:
    """Four or so round numbers from 0 to ``high``."""
    step = 10 ** np.floor(np.log10(max(high, 1e-9)))
    step *= next(factor for factor in (0.2, 0.25, 0.5, 1, 2) if high / (step * factor) <= 5)
    return [float(one) for one in np.arange(0, high + step * 1e-6, step)]


def _frame(high: float, x_name: str, marks: Sequence[tuple[float, str]], *, share: bool) -> list[Markup]:
    """Axes: lines at round heights, and marks below at pixels."""
    body = []
    for value in _ticks(high):
        y = _TOP + (1 - value / high) * (_HEIGHT - _TOP - _BOTTOM)
        body.append(
            Markup('<line x1="{}" x2="{}" y1="{:.1f}" y2="{:.1f}" class="grid"/>').format(_LEFT, _WIDTH - _RIGHT, y, y)
        )
        body.append(
            _text(_LEFT - 6, y + 4, f"{value:.0%}".replace("%", " %") if share else f"{value:,.4g}", "tick end")
        )
    body += [_text(x, _HEIGHT - _BOTTOM + 17, text, "tick middle") for x, text in marks]
    return [*body, _text((_LEFT + _WIDTH - _RIGHT) / 2, _HEIGHT - 6, x_name, "tick middle")]


def histogram(quality: np.ndarray, flagged: np.ndarray) -> Markup:
    """Draw how many labels have which quality: those that look wrong stand on the others."""
    edges = np.linspace(0, 1, _BINS + 1)
    wrong, right = (np.histogram(quality[mask], edges)[0] for mask in (flagged, ~flagged))
    inner, high = (_WIDTH - _LEFT - _RIGHT, _HEIGHT - _TOP - _BOTTOM), float(max((wrong + right).max(), 1))
    marks = [(_LEFT + inner[0] * one, f"{one:g}") for one in (0, 0.25, 0.5, 0.75, 1)]
    body = _frame(high, "label quality (low = doubtful)", marks, share=False)
    for place in range(_BINS):
        base = _HEIGHT - _BOTTOM
        for count, kind in ((right[place], "right"), (wrong[place], "wrong")):
            tall = count / high * inner[1]
            base -= tall
            if count:
                body.append(
                    Markup('<rect x="{:.1f}" y="{:.1f}" width="{:.1f}" height="{:.1f}" class="{}"/>').format(
                        _LEFT + place * inner[0] / _BINS + 0.5, base, inner[0] / _BINS - 1, tall, kind
                    )
                )
    if flagged.any():
        cut = float(quality[flagged].max())
        x = _LEFT + cut * inner[0]
        body += _marked(x, f"cut-off {cut:.2f}", _TOP + 12, at_end=cut > 0.6)
    return _picture(body, _WIDTH, _HEIGHT, f"Histogram of the label quality of {len(quality):,} labels")


def lines(
    curves: Sequence[Line], x_name: str, *, share: bool = True, log: bool = False, mark: tuple[float, str] | None = None
) -> Markup:
    """Draw curves, shares from 0 to 1 or values from 0 on."""
    low, last = min(min(c.x) for c in curves), max(max(c.x) for c in curves)
    high = 1.0 if share else max(max(c.y) for c in curves) * 1.05 or 1.0
    inner = (_WIDTH - _LEFT - _RIGHT, _HEIGHT - _TOP - _BOTTOM)

    def across(value: float) -> float:
        if log:
            return _LEFT + inner[0] * float(np.log(max(value, low) / low) / max(np.log(last / low), 1e-9))
        return _LEFT + inner[0] * (value - low) / max(last - low, 1e-9)

    marks = [10.0**k for k in range(7) if low <= 10**k <= last] if log else _whole(low, last)
    body = _frame(high, x_name, [(across(one), f"{one:,.0f}") for one in marks], share=share)
    if mark is not None:
        x = across(mark[0])
        body += _marked(x, mark[1], _HEIGHT - _BOTTOM - 6, at_end=x > 0.85 * _WIDTH)
    for curve in curves:
        points = " ".join(
            f"{across(x):.1f},{_TOP + (1 - min(max(y / high, 0), 1)) * inner[1]:.1f}"
            for x, y in zip(curve.x, curve.y, strict=True)
        )
        body.append(Markup('<polyline points="{}" class="curve {}"/>').format(points, curve.style))
    return _picture(body, _WIDTH, _HEIGHT, ", ".join(f"{c.name}: {c.y[-1]:.2f} at the end" for c in curves))


def _whole(low: float, last: float) -> list[float]:
    step = max(1, round((last - low) / 5))
    return [float(one) for one in np.arange(low, last + 0.5, step)]


def matrix(shares: np.ndarray, names: Sequence[str]) -> Markup:
    """Draw a noise matrix: rows are true classes, columns given ones; each cell the share of its row."""
    k = len(names)
    left = 24 + 7 * max(min(len(name), _NAME) for name in names)
    off = shares.copy()
    np.fill_diagonal(off, 0)
    most = max(float(off.max()), 1e-9)
    body = []
    for i, name in enumerate(names):
        middle = left + (i + 0.5) * _CELL
        body.append(_text(left - 6, left + (i + 0.5) * _CELL + 4, _short(name), "tick end"))
        turned = Markup('<text transform="translate({:.1f} {:.1f}) rotate(-60)" class="tick">{}</text>')
        body.append(turned.format(middle + 4, left - 6, _short(name)))
        for j in range(k):
            share, x, y = float(shares[i, j]), left + j * _CELL, left + i * _CELL
            dark = share if i == j else share / most
            body.append(
                Markup(
                    '<rect x="{}" y="{}" width="{}" height="{}" class="{}" fill-opacity="{:.2f}">'
                    "<title>{}</title></rect>"
                ).format(
                    x + 0.5, y + 0.5, _CELL - 1, _CELL - 1, "right" if i == j else "wrong", 0.06 + 0.84 * dark,
                    clean(f"truly {name}, given {names[j]}: {100 * share:.1f} %"),
                )
            )  # fmt: skip
            if k <= _NUMBERED and share >= 0.005:
                kind = "cell strong" if dark > 0.55 else "cell"
                body.append(_text(x + _CELL / 2, y + _CELL / 2 + 4, f"{100 * share:.0f}", kind))
    side = left + k * _CELL + 4
    return _picture(body, side, side, f"Noise matrix of {k} classes, in per cent of each true class")


def _short(name: str) -> str:
    name = clean(name)
    return name if len(name) <= _NAME else name[: _NAME - 1] + "…"


def sheet(found: SavedLabelTable, examples: Examples, rows: Sequence[int]) -> Image.Image:
    """Draw photos in lines of eight; one that cannot be read is a grey square."""
    across, tall = min(_ACROSS, len(rows)), _SIDE + 2 * _LINE + _GAP
    down = -(-len(rows) // _ACROSS)
    picture = Image.new("RGB", (across * (_SIDE + _GAP) + _GAP, down * tall + _GAP), _PAPER)
    draw, font = ImageDraw.Draw(picture), _font()
    for place, row in enumerate(rows):
        x, y = _GAP + place % _ACROSS * (_SIDE + _GAP), _GAP + place // _ACROSS * tall
        try:
            with Image.open(io.BytesIO(examples.thumbnail(row, _SIDE))) as photo:
                picture.paste(photo.convert("RGB"), (x + (_SIDE - photo.width) // 2, y + (_SIDE - photo.height) // 2))
        except DataError:
            draw.rectangle((x, y, x + _SIDE - 1, y + _SIDE - 1), fill=_NONE)
        draw.text((x, y + _SIDE + 1), _fitted(draw, str(found.given[row]), font), fill=_GIVEN, font=font)
        sure = "" if found.refined[row] != found.given[row] else " ?"
        other = _fitted(draw, f"→ {found.other[row]}{sure}", font)
        draw.text((x, y + _SIDE + 1 + _LINE), other, fill=_OTHER, font=font)
    return picture


@cache
def _font() -> ImageFont.FreeTypeFont:
    """The font that comes with matplotlib: it has arrows, and letters of many languages."""
    import matplotlib as mpl

    return ImageFont.truetype(str(Path(mpl.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"), 12)


def _fitted(draw: ImageDraw.ImageDraw, text: str, font: ImageFont.FreeTypeFont) -> str:
    """Cut a text to the width of a photo."""
    text = clean(text)[:60]
    while len(text) > 1 and draw.textlength(text, font) > _SIDE:
        text = text[:-2] + "…"
    return text
