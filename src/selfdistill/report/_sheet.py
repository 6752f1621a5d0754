"""A sheet of small photos, each with its given label and the likeliest other one."""

from __future__ import annotations

import io
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from selfdistill._core.errors import DataError
from selfdistill._core.wording import clean
from selfdistill.runs._examples import Examples
from selfdistill.runs._label_table import SavedLabelTable

_SIDE, _GAP, _LINE, _ACROSS = 128, 10, 17, 8
_PAPER, _INK, _WRONG, _RIGHT, _NONE = "#ffffff", "#5b6475", "#b8480f", "#2a62a3", "#eceff3"


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
        draw.text((x, y + _SIDE + 1), _fitted(draw, str(found.given[row]), font), fill=_WRONG, font=font)
        sure = "" if found.refined[row] != found.given[row] else " ?"
        other = _fitted(draw, f"→ {found.other[row]}{sure}", font)
        draw.text((x, y + _SIDE + 1 + _LINE), other, fill=_RIGHT, font=font)
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
