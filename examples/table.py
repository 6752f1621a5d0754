"""A table with doubtful labels, from Python: the same run that `selfdistill fit songs.csv` makes."""

import tempfile
from pathlib import Path

import pandas as pd
from sklearn.datasets import load_wine

from selfdistill.data import ReadOptions
from selfdistill.runs import FitRequest, comparison, noisy_copy, start, verdict
from selfdistill.train import Settings

folder = Path(tempfile.mkdtemp())
wine = load_wine(as_frame=True)
wine.frame.to_csv(folder / "wine.csv", index=False)
label = ReadOptions(label="target")
noisy_copy(str(folder / "wine.csv"), folder / "noisy.csv", symmetric=0.3, include_clean=False, read=label)

read = ReadOptions(label="target", truth="target_before_noise")
record, run = start(FitRequest(str(folder / "noisy.csv"), read=read, settings=Settings(epochs=30), out=folder / "run"))
print("\n".join([*verdict(record, run), *comparison(record)]))

labels = pd.read_parquet(run / "labels.parquet")
print(labels.sort_values("label_quality")[["id", "given_label", "refined_label", "label_quality"]].head())
