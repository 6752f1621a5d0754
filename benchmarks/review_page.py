"""How long the page of a review takes with 100,000 examples: to its address, its first card, a key, and a search.

    python -m benchmarks.review_page [RUN] [--rows N]
    python -m benchmarks.review_page --learning [--rows N]

The second measures the CPU seconds that a decision takes to be learned on N rows of 64 columns and ten classes with
1,500 landmarks, without a page. The first makes a run on N rows of seven columns and 20 classes with 60 landmarks,
unless RUN names one, starts `selfdistill review --no-learn` in a process of its own, and opens the page in Debian's
Chromium, twice. Wall-clock seconds, so that other work on the machine counts, and CPU seconds of the server; requests
and bytes are counted by the browser.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

FLAGS = ("--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking")
LIMIT = 60  # seconds
SHOWN = "document.querySelector('#shown')?.children.length > 0"


def make_run(folder: Path, rows: int) -> Path:
    """Fit a table of made-up numbers."""
    from selfdistill.runs._run import fit

    rng = np.random.default_rng(0)
    truth = rng.integers(20, size=rows)
    table = pd.DataFrame((1.5 * rng.normal(size=(20, 6))[truth] + rng.normal(size=(rows, 6))).round(4))
    table.columns = [f"column {i}" for i in range(6)]
    table["kind"] = rng.choice(["red", "green", "blue"], rows)
    given = np.where(rng.random(rows) < 0.2, rng.integers(20, size=rows), truth)
    table["label"] = np.char.add("class ", given.astype(str))
    table.to_csv(folder / "rows.csv", index=False)
    return fit(folder / "rows.csv", out=folder / "run", method="kernel", landmarks=60, say=None).folder


def until(page: Any, expression: str) -> None:
    """Wait for an expression: the page's own policy forbids Playwright to do so."""
    started = time.perf_counter()
    while not page.evaluate(expression):
        time.sleep(0.005)
        if time.perf_counter() > started + LIMIT:
            raise SystemExit(f"after {LIMIT} s this did not hold: {expression} ")


def cpu_seconds(process: subprocess.Popen[str]) -> float:
    """CPU time that a process took so far."""
    fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def first_card(browser: Any, url: str, server: subprocess.Popen[str]) -> tuple[Any, dict[str, Any]]:
    """Open the page until its first card is there, content included."""
    page, finished, cpu = browser.new_page(), [], cpu_seconds(server)

    def keep(request: Any) -> None:
        finished.append(request)

    page.on("requestfinished", keep)
    started = time.perf_counter()
    page.goto(url, wait_until="commit")
    until(page, SHOWN)
    seconds = round(time.perf_counter() - started, 2)
    page.remove_listener("requestfinished", keep)
    size = sum(asked.sizes()["responseBodySize"] for asked in finished)
    cpu = round(cpu_seconds(server) - cpu, 2)
    return page, {"first_card": seconds, "cpu_of_server": cpu, "requests": len(finished), "bytes": size}


def timed(page: Any, do: str, done: str) -> float:
    """Seconds from an act to its end."""
    started = time.perf_counter()
    page.evaluate(do)
    until(page, done)
    return round(time.perf_counter() - started, 2)


def measure(run: Path) -> dict[str, Any]:
    """Start the review, and open its page."""
    from playwright.sync_api import sync_playwright

    with tempfile.TemporaryDirectory() as folder, sync_playwright() as play:
        browser = play.chromium.launch(executable_path="/usr/bin/chromium", args=list(FLAGS))
        browser.new_page().goto("about:blank")  # the browser itself is there
        command = [sys.executable, "-m", "selfdistill", "review", str(run), "--no-browser", "--no-learn"]
        started = time.perf_counter()
        server = subprocess.Popen([*command, "--decisions", f"{folder}/d.jsonl"], stderr=subprocess.PIPE, text=True)
        assert server.stderr is not None
        try:
            url = next(found[0] for line in server.stderr if (found := re.search(r"http://\S+", line)))
            found: dict[str, Any] = {"address": round(time.perf_counter() - started, 2), "cpu": cpu_seconds(server)}
            page, found["once"] = first_card(browser, url, server)
            _, found["again"] = first_card(browser, url, server)
            found["key"] = timed(page, "work.then(() => queue(ACTIONS.accept))", "state.decided === 1")
            search = "$('search').value = '%s'; queue(afresh)"
            found["search"] = [
                timed(page, search % words, f"state.left === {left}") for words, left in expected_counts(run)
            ]
        finally:
            server.terminate()
            server.wait(30)
    return found


def expected_counts(run: Path) -> list[tuple[str, int]]:
    """Two searches, and how many rows but the first, which is decided, hold them."""
    table = pd.read_csv(run.parent / "rows.csv", dtype=str)
    names = pd.read_parquet(run / "labels.parquet", columns=["suggested_label", "label_quality", "id"])
    first = names["label_quality"].to_numpy().argmin()
    found = []
    for words in ("-0.77", "green"):
        held = names["id"].astype(str).str.contains(words, regex=False).to_numpy()
        for column in table.columns:
            held = held | table[column].str.contains(words, regex=False).to_numpy()
        held[first] = False
        found.append((words, int(held.sum())))
    return found


def learning(rows: int) -> dict[str, Any]:
    """Learn from decisions as the page does, without it; CPU seconds."""
    import torch

    from selfdistill.closed._given import Given
    from selfdistill.closed._prepare import ClosedOptions, prepare
    from selfdistill.closed._settle import settle
    from selfdistill.closed._settler import Settler

    rng, k = np.random.default_rng(0), 10
    truth, decided = rng.integers(k, size=rows), np.full(rows, -1)
    inputs = 0.6 * rng.normal(size=(k, 64))[truth] + rng.normal(size=(rows, 64))
    given = np.where(rng.random(rows) < 0.2, rng.integers(k, size=rows), truth)
    made = prepare(torch.from_numpy(inputs.astype(np.float32)), Given(given, k), ClosedOptions())
    settler, quality, found = Settler(made), np.zeros(rows), {}
    for name, links in [("first", True), *((f"decision {i}", False) for i in range(1, 6)), ("anew", True)]:
        if name.startswith("decision"):
            worst = np.where(decided < 0, quality, 2).argmin()
            decided[worst] = truth[worst]
        started = time.process_time()
        _, quality = settler.settle(decided, links=links)
        found[name] = round(time.process_time() - started, 2)
    started = time.process_time()
    plain = settle(made, decided).quality
    found |= {"passes of a run": round(time.process_time() - started, 2), "gap": float(np.abs(plain - quality).max())}
    return found


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", nargs="?", type=Path)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--learning", action="store_true")
    options = parser.parse_args()
    if options.learning:
        print(json.dumps(learning(options.rows), indent=1))
        return
    with tempfile.TemporaryDirectory() as folder:
        print(json.dumps(measure(options.run or make_run(Path(folder), options.rows)), indent=1))


if __name__ == "__main__":
    main()
