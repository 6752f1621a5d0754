"""Commands that read a run directory, for those tests that damage one; the runs are those of the fixture `runs`."""

from __future__ import annotations

COMMANDS = (
    ["fit", "--resume", "stopped"],
    ["fit", "--resume", "run"],
    ["predict", "run", "t.csv", "--out", "p.csv", "--force"],
    ["refine", "run", "--drop", "--out", "r.csv"],
    ["distill", "run", "--epochs", "1", "--student", "mlp:2", "--out", "s"],
    ["distill", "--resume", "learning"],
    ["report", "run", "--out", "page.html", "--force"],
    ["air", "run", "--examples", "10", "--out", "air", "--force"],
    ["fit", "--resume", "unfinished"],
    ["fit", "--resume", "closed"],
    ["predict", "closed", "t.csv", "--out", "p.csv", "--force"],
    ["refine", "closed", "--drop", "--out", "r.csv"],
    ["distill", "closed", "--epochs", "1", "--student", "mlp:2", "--out", "s"],
    ["report", "closed", "--out", "page.html", "--force"],
    ["air", "closed", "--force"],
)
RUNS = {"run", "stopped", "learning", "unfinished", "closed"}
