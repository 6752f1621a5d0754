"""A table with doubtful labels, from Python: the same run that `selfdistill fit wine.csv --label given` makes."""

import tempfile
from pathlib import Path

import numpy as np
from sklearn.datasets import load_wine

import selfdistill

folder = Path(tempfile.mkdtemp())
wine = load_wine(as_frame=True).frame
rng = np.random.default_rng(0)
wrong = rng.random(len(wine)) < 0.3
wine["given"] = np.where(wrong, (wine["target"] + rng.integers(1, 3, len(wine))) % 3, wine["target"])
wine.to_csv(folder / "wine.csv", index=False)

run = selfdistill.fit(folder / "wine.csv", label="given", truth="target", out=folder / "run")
print(run.report())

labels = run.labels.sort_values("label_quality")
print(labels[["id", "given_label", "refined_label", "label_quality"]].head())
