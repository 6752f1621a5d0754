"""What ``selfdistill distill`` prints, where, and what it leaves behind."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def teacher(cli) -> Path:
    Path("songs.csv").write_text("a,b,kind\n" + "".join(f"{i % 7},{i % 5},{'xy'[i % 7 > 3]}\n" for i in range(70)))
    options = [
        "--method",
        "cross-entropy",
        "--network",
        "mlp:8",
        "--epochs",
        3,
        "--keep-epochs",
        "all",
        "--held-out",
        0.2,
    ]
    assert cli("fit", "songs.csv", "--label", "kind", *options)[0] == 0
    return Path("runs/songs-001")


FEW = ["--student", "mlp:4", "--epochs", "2"]


def test_help_teaches(cli, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    code, out, _ = cli("distill", "--help")
    assert code == 0
    assert "Examples:" in out
    assert "selfdistill distill runs/photos-001 --student mlp:32" in out
    assert "--keep-epochs all" in out
    assert max(map(len, out.splitlines())) <= 80


def test_it_says_who_taught_and_how_it_was_chosen(cli, teacher):
    code, out, err = cli("distill", teacher, *FEW, "--choose", "label-wave")
    assert code == 0, err
    assert "Learning from runs/songs-001 after epoch" in err
    assert (out + err).count("Teacher: runs/songs-001 after epoch") == 1
    assert "chosen by label-wave from 3 epochs" in out
    assert "held out" in out
    assert "Student: mlp:4, hinton (temperature 4, weight 0.9)" in out
    assert "Files in runs/songs-student-001" in out
    assert "look wrong" not in out
    assert "epoch 2/2  loss" in err
    assert cli("predict", "runs/songs-student-001", "songs.csv")[0] == 0
    assert cli("refine", "runs/songs-student-001", "--drop", "--out", "clean.csv")[0] == 0
    assert cli("air", "runs/songs-student-001", "--examples", 20)[0] == 0


def test_json_prints_one_object(cli, teacher):
    code, out, err = cli("distill", teacher, *FEW, "--json", "--objective", "top-2", "--top-k", 1, "--store", "soft.st")
    assert code == 0, err
    shown = json.loads(out)
    assert set(shown) == {"run", "result", "distillation", "files", "warnings"}
    assert shown["distillation"]["soft_labels"]["kind"] == "top-1 float16 logits"
    code, _, err = cli("distill", "soft.st", "songs.csv", "--label", "kind", *FEW, "--out", "second")
    assert code == 0, err


def test_several_teachers_and_an_array_of_what_one_said(cli, teacher):
    rng = np.random.default_rng(0)
    np.save("logits.npy", rng.dirichlet([1.0, 1.0], 70))
    few = [*FEW, "--objective", "dkd", "--beta", "2", "--json"]
    code, out, err = cli("distill", teacher, *few, "--with", "logits.npy", "--with", teacher, "--out", "one")
    assert code == 0, err
    found = json.loads(out)["distillation"]
    assert found["teacher"]["name"] == f"{teacher} + logits.npy + {teacher}"
    assert (found["asked"]["teacher"], found["asked"]["also"]) == (str(teacher), ["logits.npy", str(teacher)])
    assert found["numbers"] == {"temperature": 4.0, "alpha": 1.0, "beta": 2.0}
    assert cli("distill", "--resume", "one")[0] == 0
    code, _, err = cli("distill", "--resume", "one", "--with", "logits.npy")
    assert code == 2
    assert "was started with also = ['logits.npy'," in err
    code, _, err = cli("distill", "logits.npy", "songs.csv", "--label", "kind", *FEW, "--objective", "standardised")
    assert code == 0, err
    code, _, err = cli("distill", "logits.npy", *FEW)
    assert code == 2
    assert "logits.npy does not say where its data lie. Name them: selfdistill distill logits.npy DATA." in err


WRONG = {
    ("--temperature", "0"): "temperature is 0.0, but must be finite and above 0",
    ("--temperature", "-1"): "temperature is -1.0, but must be finite and above 0",
    ("--objective", "refinery", "--weight", "0.5"): "objective 'refinery' takes no --weight. Leave --weight out",
    ("--alpha", "1"): "objective 'hinton' takes no --alpha. Leave --alpha out, or choose another --objective: dkd",
    ("--with", "nowhere"): "nowhere is not a run directory",
    ("--with", "few.csv"): "is damaged, cut short or holds no soft labels",
    ("--objective", "best"): "objective 'best' does not exist",
    ("--generations", "0"): "generations is 0, but must be a whole number of at least 1. Leave --generations out",
    ("--choose", "best"): "choose 'best' is unknown",
    ("--student", "cnn"): "network 'cnn' needs images, but each example is a vector of 2 numbers",
    ("--store", "songs.csv"): "--store songs.csv exists already",
    ("--store", "no/soft"): "--store no/soft: the folder no does not exist",
    ("--out", "runs/songs-001"): "runs/songs-001 already holds a run",
}


@pytest.mark.parametrize("wrong", WRONG)
def test_bad_input_is_one_line_and_leaves_nothing(cli, teacher, wrong):
    Path("few.csv").write_text("x,y\n1,2\n")
    before = sorted(Path.cwd().rglob("*"))
    code, out, err = cli("distill", teacher, *FEW, *wrong)
    assert (code, out) == (2, "")
    assert WRONG[wrong] in err
    assert len([line for line in err.splitlines() if line.startswith("error")]) == 1
    assert sorted(Path.cwd().rglob("*")) == before


def test_no_teacher_nothing_there_and_a_broken_store(cli, teacher):
    for arguments, words in (
        ([], "no teacher was named"),
        (["nowhere"], "nowhere is not a run directory"),
        (["songs.csv", "songs.csv"], "is damaged, cut short or holds no soft labels"),
    ):
        code, _, err = cli("distill", *arguments, *FEW)
        assert code == 2
        assert words in err


def test_fit_says_what_it_keeps(cli):
    code, _, err = cli("fit", "--keep-epochs", "some")
    assert code == 2
    assert "--keep-epochs is 'some', but must be 'all' or a whole number above 0" in err
    code, _, err = cli("fit", "--held-out", "0.1")
    assert code == 2
    assert "Leave --held-out out, or choose another --method: cross-entropy" in err


def test_an_option_is_named_as_it_is_written(cli, teacher):
    code, _, err = cli("distill", teacher, "--top-k", 0, "--out", "s")
    assert code == 2
    assert err.splitlines()[-1] == ("error: --top-k is 0, but must be a whole number of at least 1. Leave --top-k out.")
