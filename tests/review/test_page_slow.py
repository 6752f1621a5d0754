"""The page in a real browser, by name: learning, kills, missing photos, a thousand classes."""

import json
import signal
import urllib.request
from pathlib import Path

import numpy as np
import pytest
from tests.review.browser import NAMES, SHOW, Server, choose, decided, opened, press, until

from selfdistill.runs._run import fit

pytestmark = pytest.mark.slow


def test_it_learns_while_one_goes_on(texts, browser, tmp_path):
    server = Server(texts, "--decisions", tmp_path / "d.jsonl")
    page = opened(browser, server.url)
    until(page, "state.learned !== null")
    press(page, "Enter", "Enter")
    until(page, "state.learned === state.version")
    assert "Learned from all decisions" in page.text_content("#learning")
    assert "wrong labels left: about" in page.text_content("#counts")
    press(page, "x")  # keeps a label that is most likely another
    until(page, "state.learned === state.version")
    press(page, "Backspace")
    assert page.evaluate("card().likely[0] === card().given")
    until(page, "card().likely[0] !== card().given")  # what was held is forgotten
    until(page, "document.querySelectorAll('#view optgroup').length === 2")
    press(page, "v")
    page.wait_for_selector("#typing[open]")
    for _ in range(page.evaluate("document.querySelectorAll('#view option').length") - 1):
        page.keyboard.press("ArrowDown")  # the last one is a cluster
    page.keyboard.press("Enter")
    until(page, "document.querySelector('#view').value.includes('cluster')")
    page.evaluate("work")
    assert page.evaluate("state.left") <= page.evaluate("state.flagged")
    page.context.close()
    server.stop()


def test_a_kill_loses_no_decision(texts, browser, tmp_path):
    path = tmp_path / "d.jsonl"
    server = Server(texts, "--decisions", path)
    page = opened(browser, server.url)
    press(page, "1", "2", "n", "3")
    server.stop(signal.SIGKILL)
    lines = decided(path)
    assert [line["kind"] for line in lines] == ["label", "label", "unsure", "label"]
    press(page, "1")
    assert "does not answer" in page.text_content("#notice")
    page.context.close()
    again = Server(texts, "--decisions", path)
    page = opened(browser, again.url)
    assert page.evaluate("[state.decided, state.unsure, state.version]") == [3, 1, 4]
    page.context.close()
    again.stop()
    assert decided(path) == lines


def test_photos_and_missing_ones(photos, browser, tmp_path):
    server = Server(photos, "--decisions", tmp_path / "d.jsonl", "--no-learn")
    page = opened(browser, server.url)
    names = page.evaluate(NAMES)
    for name in ("red/02.png", "red/00.png", "blue/01.png"):
        page.evaluate(SHOW, names.index(name))
        if name == "red/02.png":
            until(page, "document.querySelector('#shown img')?.naturalWidth > 0")
        else:
            page.wait_for_selector("#shown .missing")
    press(page, "b")
    until(page, "[...document.querySelectorAll('.tile img')].every((one) => one.complete)")
    press(page, "a", "a")
    assert page.is_visible("#end")
    assert page.evaluate("state.decided") == 24
    press(page, "u", "u")
    assert page.evaluate("state.decided") == 0
    assert page.title() == "Review run"
    page.context.close()
    server.stop()


def test_ctrl_c_says_where_the_decisions_are(texts, tmp_path):
    server = Server(texts, "--decisions", tmp_path / "d.jsonl", "--no-learn")
    urllib.request.urlopen(server.url).close()  # it answers at once
    server.process.send_signal(signal.SIGINT)
    with server.process.stderr as left:
        output = left.read()
    server.process.wait(60)
    assert "0 labels decided, in" in output
    assert "Traceback" not in output
    assert Path(tmp_path / "d.jsonl").exists()


def test_ctrl_c_while_it_learns_ends_in_order(tmp_path):
    rng = np.random.default_rng(0)
    truth = np.arange(4000) % 40  # learning takes longer than it takes to end
    inputs = rng.normal(size=(40, 30))[truth] + rng.normal(size=(4000, 30))
    np.savez(tmp_path / "d.npz", X=inputs.astype(np.float32), y=np.array([f"class {c}" for c in truth]))
    fit(tmp_path / "d.npz", label="y", rounds=1, out=tmp_path / "run", say=None)
    server = Server(tmp_path / "run")
    urllib.request.urlopen(server.url + "groups").close()  # so that learning begins
    for version in range(5):
        body = json.dumps({"version": version, "kind": "label", "rows": [version], "labels": [0]}).encode()
        headers = {"Origin": server.url.rsplit("/", 2)[0], "Content-Type": "application/json"}
        urllib.request.urlopen(urllib.request.Request(server.url + "decide", body, headers)).close()
    server.process.send_signal(signal.SIGINT)
    with server.process.stderr as left:
        lines = left.read().splitlines()
    assert server.process.wait(60) == 130
    journal = tmp_path / "run.decisions.jsonl"
    assert lines[-2:] == [f"5 labels decided, in {journal}", "Stopped."]
    assert len(decided(journal)) == 5


def test_a_thousand_classes(browser, tmp_path):
    rng = np.random.default_rng(0)
    truth = np.arange(3000) % 1000
    inputs = rng.normal(size=(1000, 30))[truth] * 2 + rng.normal(size=(3000, 30))
    given = np.where(rng.random(3000) < 0.1, rng.integers(1000, size=3000), truth)
    np.savez(
        tmp_path / "many.npz", X=inputs.astype(np.float32), y=np.array([f"class {c:03}" for c in range(1000)])[given]
    )
    fit(tmp_path / "many.npz", label="y", landmarks=100, rounds=1, out=tmp_path / "run", say=None)
    server = Server(tmp_path / "run", "--no-learn")
    page = opened(browser, server.url)
    assert page.locator("#choices li").count() == 9
    press(page, "2")
    assert decided(tmp_path / "run.decisions.jsonl")[0]["labels"][0].startswith("class ")
    choose(page, "s 777", "class 777")
    until(page, "state.decided === 2")
    assert decided(tmp_path / "run.decisions.jsonl")[1]["labels"] == ["class 777"]
    page.context.close()
    server.stop()
