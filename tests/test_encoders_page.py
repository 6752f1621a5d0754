"""Every command of docs/encoders.md runs, in the order of the page, with encoders that need no weights."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

PAGE = (Path(__file__).parents[1] / "docs" / "encoders.md").read_text(encoding="utf-8")


def test_the_page_runs(tmp_path, encoders, monkeypatch, cli):
    monkeypatch.delenv("SELFDISTILL_ENCODER")
    rng = np.random.default_rng(0)
    rows = []
    for row in range(24):
        place = tmp_path / "photos" / ("cat", "dog")[row % 2] / f"{row}.jpg"
        place.parent.mkdir(parents=True, exist_ok=True)
        low = 120 * (row % 2)
        Image.fromarray(rng.integers(low, low + 130, (40, 30 + row, 3), np.uint8)).save(place)
        rows.append((str(place.relative_to(tmp_path)), row % 2, ("a fine day", "such bad luck")[row % 2] + f" {row}"))
    frame = pd.DataFrame(rows, columns=["path", "y", "text"])
    frame[["path", "y"]].to_csv("table.csv", index=False)
    frame[["text", "y"]].rename(columns={"y": "stars"}).to_csv("reviews.csv", index=False)
    (tmp_path / "new_photos").mkdir()
    Image.new("RGB", (50, 40), (200, 210, 220)).save(tmp_path / "new_photos" / "light.png")
    steps = re.findall(r"^    (selfdistill [^\n]*)$|^```python\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    assert sum(bool(command) for command, _ in steps) >= 7
    for command, code in steps:
        if code:
            exec(compile(code, "docs/encoders.md", "exec"), {})
            continue
        exit_code, _, told = cli(*shlex.split(command)[1:])
        assert exit_code == 0, f"{command}\n{told}"
    assert pd.read_csv("predicted.csv")["predicted_label"].tolist() == ["dog"]
    assert len([*(tmp_path / "photos_refined").rglob("*.jpg")]) == 24
    assert len(pd.read_parquet("features")) == 24
