"""What the commands print, where, and what they leave behind."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from selfdistill import __version__

pytestmark = pytest.mark.usefixtures("few_trees")

FEW = ["--epochs", "2", "--network", "mlp:4"]


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def songs() -> pd.DataFrame:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(60, 2))
    frame = pd.DataFrame(x.round(3), columns=["tempo", "loud"])
    frame["mood"] = np.where(x[:, 1] > 0, "glad", "sad")
    frame["genre"] = np.where(x[:, 0] > 0, "hip hop", "früher Jazz")
    frame["right"] = frame["genre"]
    frame.loc[:5, "genre"] = "hip hop"
    frame.loc[7, "tempo"] = np.nan
    frame.insert(0, "track", [f"t{i}" for i in range(60)])
    frame.to_csv("songs.csv", index=False)
    return frame


SONGS = ["songs.csv", "--label", "genre", "--id", "track", "--truth", "right"]


def python(*code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *code],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env=os.environ | {"OMP_NUM_THREADS": "1"} | environment,
    )


def test_help_and_version_load_no_torch():
    script = """
import sys
from selfdistill.cli import main
try:
    main(sys.argv[1:])
except SystemExit as left:
    assert not left.code, left.code
heavy = {"torch", "numpy", "pandas", "sklearn", "pyarrow"} & set(sys.modules)
assert not heavy, heavy
"""
    for arguments in (
        ["--help"],
        ["fit", "--help"],
        ["predict", "--help"],
        ["distill", "--help"],
        ["noise", "--help"],
        ["--version"],
    ):
        done = python("-c", script, *arguments)
        assert done.returncode == 0, done.stderr
    assert done.stdout == f"selfdistill {__version__}\n"


@pytest.mark.parametrize("command", ["fit", "predict", "review", "noise"])
def test_help_teaches(cli, command, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    code, out, _ = cli(command, "--help")
    assert code == 0
    assert "Examples:" in out
    assert f"selfdistill {command} " in out
    assert "[bold" not in out
    assert ('"selfdistill[review]"' in out) == (command == "review")
    assert max(map(len, out.splitlines())) <= 80
    flags = [line for line in out.splitlines() if "<bool>" in line]
    assert [line for line in flags if "--help" not in line] == []  # a flag takes no value


def test_without_arguments_it_shows_help(cli):
    code, out, err = cli()
    assert "Train once on labels you do not trust" in out + err
    assert code in {0, 2}


def test_fit_writes_a_run_directory_and_ends_with_a_verdict(cli, songs):
    code, out, err = cli("fit", *SONGS, *FEW)
    assert code == 0
    run = Path("runs/songs-001")
    assert {p.name for p in run.iterdir()} == {
        "model.safetensors",
        "run.json",
        "labels.parquet",
        "metrics.jsonl",
        "checkpoint",
    }
    assert "of 60 labels look" in out
    assert "1 missing feature value imputed" in out
    assert "Against the truth, known for 60 examples" in out
    assert f"Files in {run}" in out
    assert f"selfdistill predict {run} new.csv" in out
    assert "epoch 1/2  loss" in err
    assert "epoch 2/2  loss" in err
    assert "\x1b" not in out + err
    labels = pd.read_parquet(run / "labels.parquet")
    assert labels["id"].tolist() == songs["track"].tolist()
    assert labels["given_label"].tolist() == songs["genre"].tolist()


def test_the_command_it_names_shows_the_most_doubtful_labels(cli, songs):
    _, out, _ = cli("fit", *SONGS, *FEW)
    (line,) = [line for line in out.splitlines() if "The most doubtful ones:" in line]
    code, out, err = cli(*line.split("selfdistill ")[1].split())
    assert code == 0, err
    assert out.startswith("  1  ")
    assert "quality 0." in out


def cifar() -> tuple[str, np.ndarray]:
    rng = np.random.default_rng(0)
    Path("batches").mkdir()
    labels = []
    for name, n in (("data_batch_1", 12), ("data_batch_2", 9), ("test_batch", 4)):
        y = rng.integers(0, 3, n).astype(np.uint8)
        rows = np.concatenate([y[:, None], rng.integers(0, 256, (n, 3072)).astype(np.uint8)], 1)
        Path("batches", f"{name}.bin").write_bytes(rows.tobytes())
        labels += [y] if name.startswith("data") else []
    Path("batches", "batches.meta.txt").write_text("".join(f"animal {c}\n" for c in "abcdefghij"))
    return "batches", np.array([f"animal {'abc'[y]}" for y in np.concatenate(labels)])


def parquet() -> tuple[str, np.ndarray]:
    rng = np.random.default_rng(0)
    y = np.array(["ja", "nein"])[rng.integers(0, 2, 30)]
    pd.DataFrame({"x": rng.normal(size=30), "colour": pd.Categorical(y[::-1]), "label": y}).to_parquet("t.parquet")
    return "t.parquet", y


def arrays() -> tuple[str, np.ndarray]:
    y = np.arange(30) % 3
    np.savez("t.npz", X=np.random.default_rng(0).normal(size=(30, 4)).astype("float32"), y=y)
    return "t.npz", y.astype(str)


@pytest.mark.parametrize("make", [cifar, parquet, arrays])
def test_binary_formats_go_through_fit_and_predict(cli, make):
    source, labels = make()
    code, _, err = cli("fit", source, *FEW, "--out", "run")
    assert code == 0, err
    found = pd.read_parquet("run/labels.parquet")
    assert found["given_label"].astype(str).tolist() == labels.tolist()
    record = json.loads(Path("run/run.json").read_text())
    if source == "batches":
        assert len(record["curves"]["test_accuracy"]) == 2
    code, out, err = cli("predict", "run", source)
    assert code == 0, err
    assert len(out.splitlines()) == 1 + (4 if source == "batches" else len(labels))


def test_runs_are_numbered_and_out_is_obeyed(cli, songs):
    for _ in range(2):
        assert cli("fit", *SONGS, *FEW)[0] == 0
    assert cli("fit", *SONGS, *FEW, "--out", "here/there")[0] == 0
    assert Path("runs/songs-002/run.json").exists()
    assert Path("here/there/run.json").exists()


def test_json_prints_one_object_and_nothing_else(cli, songs):
    code, out, err = cli("fit", *SONGS, *FEW, "--test", "songs.csv", "--json")
    shown = json.loads(out)
    assert code == 0
    assert out.count("\n") == 1
    assert set(shown) == {"run", "result", "files", "warnings"}
    assert shown["run"] == "runs/songs-001"
    assert all(Path(file).is_file() for file in shown["files"].values())
    assert shown["result"]["test_accuracy"].keys() == {"last", "best", "best_epoch"}
    assert "test " in err


def test_the_same_command_gives_the_same_bytes(cli, songs):
    for name in ("a", "b"):
        assert cli("fit", *SONGS, *FEW, "--out", name)[0] == 0
    for name in ("labels.parquet", "model.safetensors"):
        assert Path("a", name).read_bytes() == Path("b", name).read_bytes()


def many_classes() -> str:
    return "\n".join(["x,label", *(f"{i * 0.37},class {i % 1000}" for i in range(2000))])


ODD = {
    "one feature": ("x,label\n" + "\n".join(f"{i * 0.37},{'ab'[i % 2]}" for i in range(20)), "Files in runs/odd-001"),
    "two examples of each class": ("x,z,label\n1,2,a\n2,3,a\n3,4,b\n4,5,b", "Files in runs/odd-001"),
    "a class with one example": ("x,label\n" + "\n".join(f"{i},a" for i in range(9)) + "\n9,b", "'b' has one example"),
    "a thousand classes": (many_classes(), "Files in runs/odd-001"),
    "a constant column": ("x,z,label\n1,7,a\n2,7,b\n3,7,a\n4,7,b", "constant"),
    "labels with spaces": ("x,label\n1,hip hop\n2,früher Jazz\n3,hip hop\n4,日本", "Files in runs/odd-001"),
    "missing values": ("x,z,label\n1,,a\n,3,b\n3,5,a\n4,6,b", "2 missing feature values imputed"),
    "a batch of one left over": (
        "x,label\n" + "\n".join(f"{i},{'ab'[i % 2]}" for i in range(17)),
        "Files in runs/odd-001",
    ),
}


@pytest.mark.parametrize("case", ODD)
def test_odd_but_legal_data_work(cli, case):
    text, shown = ODD[case]
    Path("odd.csv").write_text(text + "\n")
    code, out, err = cli("fit", "odd.csv", "--network", "mlp:4", "--epochs", "2", "--batch-size", "16")
    assert code == 0
    output = out + err
    assert shown in output
    table = pd.read_parquet("runs/odd-001/labels.parquet")
    distributions = np.stack(table["refined_distribution"])
    assert np.allclose(distributions.sum(1), 1, atol=1e-4)
    assert table["label_quality"].between(0, 1).all()
    assert cli("predict", "runs/odd-001", "odd.csv")[0] == 0


def test_drop_unlabelled_goes_on_and_counts_them(cli, songs):
    songs.loc[3, "genre"] = None
    songs.to_csv("songs.csv", index=False)
    code, out, _ = cli("fit", *SONGS, *FEW, "--drop-unlabelled")
    assert code == 0
    assert "1 row without a label left out" in out
    assert "of 59 labels look" in out


def test_skip_bad_goes_on_and_lists_them(cli):
    for i in range(8):
        file = Path("photos") / "ab"[i % 2] / f"{i}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((6, 6, 3), 30 * i, np.uint8)).save(file)
    Path("photos/a/4.png").write_bytes(b"not an image")
    code, out, err = cli("fit", "photos", *FEW, "--skip-bad")
    assert code == 0
    assert "1 unreadable image skipped" in out
    assert any(line.startswith("warning: ") and "4.png" in line for line in err.splitlines())
    assert "selfdistill predict runs/photos-001 NEW_FOLDER" in out
    code, out, err = cli("predict", "runs/photos-001", "photos")
    assert (code, out) == (2, "")
    assert "4.png" in err
    code, out, err = cli("predict", "runs/photos-001", "photos", "--skip-bad")
    assert code == 0
    assert out.count("\n") == 8
    assert "warning: 1 image cannot be read and is left out: photos/a/4.png" in err


def test_predict_prints_csv_and_tells_the_accuracy_on_stderr(cli, songs):
    cli("fit", *SONGS, *FEW, "--out", "run")
    code, out, err = cli("predict", "run", "songs.csv")
    assert code == 0
    Path("p.csv").write_text(out)
    found = pd.read_csv("p.csv")
    assert list(found) == ["id", "predicted_label", "confidence", "p_früher Jazz", "p_hip hop"]
    assert found["id"].tolist() == songs["track"].tolist()
    share = 100 * (found["predicted_label"] == songs["genre"]).mean()
    assert f"Agrees with {share:.1f} % of the 60 labels in songs.csv" in err


def test_predict_without_labels_says_nothing_of_accuracy_and_writes_files(cli, songs):
    cli("fit", *SONGS, *FEW, "--out", "run")
    songs.drop(columns=["genre", "right"]).to_csv("new.csv", index=False)
    for name in ("p.csv", "p.parquet"):
        code, out, err = cli("predict", "run", "new.csv", "--out", name)
        assert (code, out) == (0, "")
        assert err == f"60 predictions in {name}\n"
    text, binary = pd.read_csv("p.csv"), pd.read_parquet("p.parquet")
    assert text["predicted_label"].tolist() == binary["predicted_label"].tolist()
    assert np.allclose(text["p_hip hop"], binary["p_hip hop"], atol=1e-5)


def test_noise_writes_a_copy_and_prints_what_it_did(cli, songs):
    code, out, _ = cli(
        "noise", "songs.csv", "--out", "noisy.csv", "--label", "right", "--symmetric", "0.4", "--exclude-clean"
    )
    assert code == 0
    noisy = pd.read_csv("noisy.csv")
    changed = int((noisy["right"] != songs["right"]).sum())
    assert 0 < changed < 60
    assert out.splitlines()[-1].split() == ["all", "60", str(changed), f"{100 * changed / 60:.1f}", "%"]
    assert noisy["tempo"].equals(songs["tempo"])


def test_methods_are_listed(cli):
    code, out, _ = cli("methods")
    assert code == 0
    assert "cross-entropy" in out
    assert out.count("(default)") == 1


def test_a_reader_that_leaves_early_is_no_error(cli, songs):
    cli("fit", *SONGS, *FEW, "--out", "run")
    frame = pd.concat([songs.drop(columns=["genre", "right", "track"])] * 500)
    frame.to_csv("many.csv", index=False)
    done = subprocess.run(
        f"set -o pipefail; {sys.executable} -m selfdistill predict run many.csv | head -1",
        shell=True,
        capture_output=True,
        text=True,
        check=False,
        executable="/bin/bash",
    )
    assert done.stdout.startswith("id,predicted_label")
    assert (done.stderr, done.returncode) == ("", 0)


@pytest.mark.slow
def test_under_torchrun_one_process_speaks_and_one_run_is_written(songs):
    done = python("-m", "torch.distributed.run", "--nproc-per-node", "2", "-m", "selfdistill", "fit", *SONGS, *FEW)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("Files in runs/songs-001") == 1
    assert [p.name for p in Path("runs").iterdir()] == ["songs-001"]
