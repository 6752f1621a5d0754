"""Every command of docs/encoders.md runs, in the order of the page, with encoders that need no weights."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

PAGE = (Path(__file__).parents[1] / "docs" / "encoders.md").read_text(encoding="utf-8")


def tiny_network(folder):
    """Save a network that can be fine-tuned, with the image processor that belongs to it."""
    transformers = pytest.importorskip("transformers")
    sizes = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8}
    config = transformers.ViTConfig(image_size=16, patch_size=8, **sizes)
    transformers.ViTForImageClassification(config).save_pretrained(folder)
    about = {"image_processor_type": "ViTImageProcessor", "size": {"height": 16, "width": 16}}
    (folder / "preprocessor_config.json").write_text(json.dumps(about))


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
    tiny_network(tmp_path / "FOLDER")
    steps = re.findall(r"^    (selfdistill [^\n]*)$|^```python\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    assert sum(bool(command) for command, _ in steps) >= 7
    for command, code in steps:
        if code:
            exec(compile(code, "docs/encoders.md", "exec"), {})
            continue
        exit_code, _, err = cli(*shlex.split(command)[1:])
        assert exit_code == 0, f"{command}\n{err}"
    assert pd.read_csv("predicted.csv")["predicted_label"].tolist() == ["dog"]
    assert len([*(tmp_path / "photos_refined").rglob("*.jpg")]) == 24
    assert len(pd.read_parquet("features")) == 24
