"""From features in any file to a copy with refined labels: fit, predict and refine on each form."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load_file, save_file

from selfdistill.cli import main

pytestmark = pytest.mark.usefixtures("few_trees")

RNG = np.random.default_rng(0)
TRUTH = RNG.integers(0, 2, 120)
GIVEN = np.where(np.arange(120) < 12, 1 - TRUTH, TRUTH)
X = (RNG.normal(size=(120, 5)) + 3 * TRUTH[:, None]).astype(np.float32)
WORDS = np.array(["jazz", "pop"])[GIVEN]


@pytest.fixture
def cli(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def call(*arguments: object) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as left:
            main([str(a) for a in arguments])
        captured = capsys.readouterr()
        return int(left.value.code or 0), captured.out, captured.err

    return call


def write_npz():
    np.savez("e.npz", embeddings=X, y=WORDS)
    return ["e.npz", "--label", "y"], "r.npz"


def write_named():
    np.savez("e.npz", X=X[:, :1], clip=X.astype(np.float16), y=WORDS)
    return ["e.npz", "--inputs", "clip"], "r.npz"


def write_npy():
    np.save("e.npy", X)
    pd.DataFrame({"genre": WORDS}).to_csv("labels.csv", index=False)
    return ["e.npy", "--labels", "labels.csv"], "r.npz"


def write_parquet():
    lists = pa.FixedSizeListArray.from_arrays(pa.array(X.reshape(-1)), 5)
    pq.write_table(pa.table({"emb": lists, "genre": WORDS}), "e.parquet")
    return ["e.parquet", "--label", "genre"], "r.parquet"


def write_safetensors():
    save_file({"embeddings": torch.from_numpy(X), "labels": torch.from_numpy(GIVEN)}, "e.safetensors")
    return ["e.safetensors"], "r.safetensors"


def labels_in(name: str) -> list[str]:
    if name.endswith(".parquet"):
        return pd.read_parquet(name)["refined_label"].tolist()
    if name.endswith(".npz"):
        with np.load(name) as file:
            return file["refined_label"].tolist()
    return [("jazz", "pop")[k] for k in load_file(name)["refined_label"].tolist()]


@pytest.mark.parametrize("write", [write_npz, write_named, write_npy, write_parquet, write_safetensors])
def test_fit_predict_refine(cli, write):
    source, copy = write()
    code, _, err = cli("fit", *source, "--out", "run")
    assert code == 0, err
    code, out, err = cli("predict", "run", source[0])
    assert code == 0, err
    right = np.array(["jazz", "pop"])[TRUTH]
    predicted = pd.read_csv(pd.io.common.StringIO(out))["predicted_label"].astype(str).to_numpy()
    predicted = np.array([("jazz", "pop")[int(one)] if one.isdigit() else one for one in predicted])
    assert (predicted == right).mean() > 0.95
    code, _, err = cli("refine", "run", "--relabel", "--out", copy)
    assert code == 0, err
    assert (np.array(labels_in(copy)) == right).mean() > 0.95
    assert (right == WORDS).mean() < 0.95
    name = ["--ignore", "genre"] if copy.endswith(".parquet") else source[1:3] if "--inputs" in source else []
    assert cli("fit", copy, "--label", "refined_label", *name, "--out", "again")[0] == 0


def test_the_run_ends_with_a_call_that_works(cli):
    source, _ = write_npy()
    code, out, err = cli("fit", *source, "--out", "run")
    assert code == 0, err
    assert "selfdistill predict run new.npy" in out


def test_labels_are_asked_for(cli):
    write_npy()
    code, _, err = cli("fit", "e.npy")
    assert code == 2
    assert (
        "e.npy has no labels: an npy file holds one array. Did you mean --labels labels.csv? Give them with --labels"
        in err
    )


def test_a_noisy_copy_of_an_npy_file(cli):
    write_npy()
    command = ["noise", "e.npy", "--labels", "labels.csv", "--out", "n.npz", "--symmetric", 0.4, "--exclude-clean"]
    code, out, err = cli(*command)
    assert code == 0, err
    assert "all" in out
    with np.load("n.npz") as file:
        assert (file["truth"] == WORDS).all()
