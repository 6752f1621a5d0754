"""``selfdistill refine``: what it says, and that wrong uses end in one line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from selfdistill.cli import main


@pytest.fixture
def cli(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def call(*arguments: object) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as left:
            main([str(a) for a in arguments])
        captured = capsys.readouterr()
        return int(left.value.code or 0), captured.out, captured.err

    rng = np.random.default_rng(0)
    truth = rng.integers(0, 2, 60)
    given = np.where(np.arange(60) < 8, 1 - truth, truth)
    table = pd.DataFrame({"x": truth * 6 + rng.normal(size=60), "z": rng.normal(size=60), "genre": given})
    table.assign(genre=np.array(["jazz", "pop"])[given]).to_csv("songs.csv", index=False)
    return call


def test_from_fit_to_a_clean_file(cli):
    assert cli("fit", "songs.csv", "--label", "genre", "--network", "mlp:8", "--out", "run")[0] == 0
    code, out, err = cli("refine", "run", "--drop", "--out", "clean.csv")
    assert (code, out) == (0, "")
    kept = len(pd.read_csv("clean.csv"))
    assert err.strip() == f"{kept} of 60 rows in clean.csv; {60 - kept} left out"
    code, _, err = cli("refine", "run", "--relabel", "--out", "refined.csv")
    assert code == 0
    assert "60 of 60 rows in refined.csv" in err
    assert "got another label" in err
    fit = ["fit", "refined.csv", "--label", "refined_label", "--ignore", "genre", "--network", "mlp:8", "--epochs", 2]
    assert cli(*fit, "--out", "again")[0] == 0
    assert cli("refine", "run", "--format", "aum", "--out", "aum.csv")[0] == 0
    for way in (["--drop", "--weight"], [], ["--drop", "--format", "aum"]):
        code, _, err = cli("refine", "run", *way, "--out", "x.csv")
        assert code == 2
        assert ("cannot be combined" if way else "no action was chosen") in err
        assert "Give one of --drop, --relabel, --weight and --format." in err
    code, _, err = cli("refine", "run", "--relabel", "--out", "songs.csv")
    assert code == 2
    assert err.startswith("error: --out songs.csv is the source itself, which is never changed.")
    assert not Path("x.csv").exists()


def test_a_folder_that_is_no_run_is_refused(cli):
    code, _, err = cli("refine", ".", "--drop", "--out", "x.csv")
    assert code == 2
    assert "is not a run directory" in err
