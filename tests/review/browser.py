"""The page in Debian's Chromium: a server in a process of its own, and what the tests do with pages."""

import json
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytest.importorskip("playwright", reason="pip install playwright")
pytest.importorskip("uvicorn", reason="the extra `review` is not installed")
CHROMIUM = Path("/usr/bin/chromium")
if not CHROMIUM.exists():
    pytest.skip("there is no /usr/bin/chromium: apt-get install chromium", allow_module_level=True)

FLAGS = (
    "--headless --no-sandbox --disable-gpu --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync"
)
SHOW = """async (row) => {
    cards.set(row, await ask("card/" + row)); trail.push(row); at = trail.length - 1; grid = false; await show();
}"""
NAMES = "Promise.all([...Array(24).keys()].map((row) => ask('card/' + row).then((card) => card.name)))"
UNDO = """async () => {
    take(await ask("state"));
    for (let found = {rows: [0]}; found.rows.length; take(found)) found = await ask("undo", {version: state.version});
}"""
WAIT = 20_000  # milliseconds; other work may be on the machine


class Server:
    """``selfdistill review`` in a process of its own."""

    def __init__(self, run, *arguments):
        command = [sys.executable, "-m", "selfdistill", "review", str(run), "--no-browser", *map(str, arguments)]
        self.process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        messages = []
        for line in self.process.stderr:
            messages.append(line)
            if found := re.search(r"http://\S+", line):
                self.url = found[0]
                return
        raise AssertionError("".join(messages))

    def stop(self, how=signal.SIGINT):
        self.process.send_signal(how)
        self.process.wait(60)
        self.process.stderr.close()


def opened(browser, url, **more):
    context = browser.new_context(**more)
    page = context.new_page()
    page.set_default_timeout(WAIT)
    page.problems = []
    page.on("pageerror", lambda error: page.problems.append(str(error)))
    page.on("console", lambda message: message.type == "error" and page.problems.append(message.text))
    page.goto(url)
    page.wait_for_selector("body[data-ready]")
    return page


def press(page, *keys):
    for key in keys:
        page.keyboard.press(key)
    page.evaluate("work")  # until all actions are done


def until(page, expression):
    """Wait for an expression; the page's own policy forbids Playwright to do so."""
    started = time.monotonic()
    while not page.evaluate(expression):
        assert time.monotonic() < started + WAIT / 1000, expression
        time.sleep(0.03)


def row(page):
    return int(page.evaluate("document.body.dataset.row"))


def decided(server_or_path):
    lines = Path(server_or_path).read_text().splitlines()[1:]
    return [json.loads(line) for line in lines]


def journal_of(server):
    return Path(server.process.args[server.process.args.index("--decisions") + 1])


def choose(page, typed, shown):
    """Choose a class by typing a part of its name."""
    press(page, "/")
    page.wait_for_selector("#typing[open]")
    page.keyboard.type(typed)
    assert page.text_content("#found li[aria-selected=true]") == shown
    page.keyboard.press("Enter")
