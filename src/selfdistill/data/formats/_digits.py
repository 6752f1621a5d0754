"""The handwritten digits of scikit-learn, which need no file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from selfdistill.data._options import ReadOptions
from selfdistill.data._source import Source

if TYPE_CHECKING:
    from selfdistill.data._preprocess import Preprocess


def digits_source(path: Path, options: ReadOptions, part: str, preprocess: Preprocess | None) -> Source | None:
    """Read them."""
    if part == "test":
        return None
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    images = images.reshape(-1, 8, 8).astype(np.uint8)
    return Source("digits", "image", images, labels, truth=labels)
