"""The commands and the Python of docs/distill.md run as they stand, and the student beats its teacher's last epoch."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest

from selfdistill.cli import main

PAGE = Path(__file__).parents[1] / "docs" / "distill.md"


def test_the_tutorial_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```(sh|python)\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert [kind for kind, _ in blocks] == ["sh", "sh", "python", "sh", "python", "python"]
    names: dict[str, object] = {}
    for kind, text in blocks:
        if kind == "python":
            exec(compile(text, str(PAGE), "exec"), names)
            continue
        for line in text.splitlines():
            word, *arguments = shlex.split(line)
            assert word == "selfdistill"
            with pytest.raises(SystemExit) as left:
                main(arguments)
            assert not left.value.code, line
    assert "2410 ('0', '1'" in capsys.readouterr().out
    teacher, student = (
        json.loads(Path("runs", name, "run.json").read_text()) for name in ("digits-001", "digits-student-001")
    )
    accuracy = student["result"]["test_accuracy"]["last"]
    assert accuracy > teacher["result"]["test_accuracy"]["last"] + 0.03
    assert accuracy > 0.92
    assert Path("runs/digits-student-001/model.safetensors").stat().st_size < 12_000
    assert names["record"].result.accuracies["test"].last > 0.5
    assert len(names["fitted"].curves) == 5
