"""Every command and every piece of code of docs/how-to.md runs, in the order of the page."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

PAGE = (Path(__file__).parents[1] / "docs" / "how-to.md").read_text(encoding="utf-8")


def write_data(folder: Path) -> None:
    rng = np.random.default_rng(0)
    X = rng.normal(size=(90, 4)).round(3)
    genre = np.array(["folk", "jazz", "rock"])[np.digitize(X[:, 0] + X[:, 1], [-0.7, 0.7])]
    given = np.where(rng.random(90) < 0.15, rng.permutation(genre), genre)
    songs = pd.DataFrame(X, columns=["tempo", "loud", "length", "year"]).assign(genre=given)
    songs[:60].to_csv(folder / "songs.csv", index=False)
    songs[:60].assign(right=np.where(np.arange(60) < 40, genre[:60], None)).to_csv(folder / "checked.csv", index=False)
    songs[60:].assign(genre=genre[60:]).to_csv(folder / "trusted.csv", index=False)
    songs[60:].drop(columns="genre").to_csv(folder / "new.csv", index=False)
    songs[:60].to_csv(folder / "european.csv", index=False, sep=";", decimal=",")
    np.savez(folder / "embeddings.npz", X=X.astype(np.float32), y=given)
    np.save(folder / "embeddings.npy", X.astype(np.float32))
    pd.DataFrame({"label": given}).to_csv(folder / "labels.csv", index=False)
    votes = pd.DataFrame({name: np.where(rng.random(90) < 0.3, None, genre) for name in ("ann", "bob", "eve")})
    pd.concat([songs.drop(columns="genre"), votes], axis=1)[votes.notna().any(axis=1)].to_csv(
        folder / "votes.csv", index=False
    )
    words = {"folk": "the invoice is wrong", "jazz": "my parcel never came", "rock": "the app does not start"}
    texts = [
        f"{words[name]} {word}" for name, word in zip(genre, rng.choice(["again", "today", "please"], 90), strict=True)
    ]
    pd.DataFrame({"message": texts, "team": given}).to_csv(folder / "tickets.csv", index=False)
    for name in ("cat", "dog"):
        (folder / "photos" / name).mkdir(parents=True)
        for i in range(8):
            grey = rng.integers(128, size=(8, 8), dtype=np.uint8) + (100 if name == "cat" else 0)
            Image.fromarray(grey).save(folder / "photos" / name / f"{i}.png")


def test_the_page_runs(tmp_path, monkeypatch, cli):
    write_data(tmp_path)
    monkeypatch.chdir(tmp_path)
    steps = re.findall(r"^    (selfdistill [^\n]*)$|^```python\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    assert sum(bool(command) for command, _ in steps) >= 20
    for command, code in steps:
        if code:
            exec(compile(code, "docs/how-to.md", "exec"), {})
            continue
        exit_code, _, err = cli(*shlex.split(command)[1:])
        assert exit_code == 0, f"{command}\n{err}"
    assert len(pd.read_csv("clean.csv")) <= 60
    assert set(pd.read_csv("predicted.csv").predicted_label) <= {"folk", "jazz", "rock"}
    assert len(re.findall(r"^### ", PAGE, re.MULTILINE)) >= 20
