"""Draws the pictures of the review page and the report, from made-up tickets and scikit-learn's digits, in Chromium.

python docs/screenshots.py [--chromium /usr/bin/chromium]
"""

from __future__ import annotations

import argparse
import io
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image
from playwright.sync_api import sync_playwright
from sklearn.datasets import load_digits

from selfdistill import fit, load

PICTURES = Path(__file__).parent / "pictures"
FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]
COLOURS = 96
WAIT = 120  # seconds
DESK, PHONE, PAPER = (1200, 720), (390, 844), (1240, 2100)
TICKETS = {
    "account": [
        "I cannot log in to my account",
        "Reset my password, please",
        "My user name is gone",
        "Change my email",
    ],
    "billing": [
        "I was charged twice",
        "The invoice is wrong",
        "Where is my receipt",
        "Your price on the bill is too high",
    ],
    "delivery": ["My parcel has not arrived", "The courier left it outside", "Tracking shows nothing", "It is late"],
    "returns": [
        "Refund me, it is faulty",
        "I send it back",
        "It arrived broken, refund please",
        "Exchange it for another",
    ],
}
ENDS = ["", "This is urgent.", "Thank you.", "I have waited for days.", "Please call me.", "It is about a gift card."]


def tickets(folder: Path) -> Path:
    """Fit tickets, a seventh of them with another label."""
    rng, names = np.random.default_rng(0), list(TICKETS)
    truth = rng.integers(len(names), size=600)
    given = np.where(rng.random(600) < 0.15, rng.integers(len(names), size=600), truth)
    texts = [f"{rng.choice(TICKETS[names[c]])}. {rng.choice(ENDS)} {rng.choice(ENDS)}".strip() for c in truth]
    minutes = np.where(rng.random(600) < 0.02, 240, rng.integers(2, 20, 600))
    channel = rng.choice(["email", "phone", "chat"], 600)
    table = pd.DataFrame({"text": texts, "channel": channel, "minutes": minutes, "queue": np.array(names)[given]})
    table.to_csv(folder / "tickets.csv", index=False)
    return fit(
        folder / "tickets.csv", out=folder / "tickets", label="queue", text=("text",), encoder="none", say=None
    ).folder


def digits(folder: Path) -> Path:
    """Fit digits as photos, a tenth of them with another label."""
    rng, found = np.random.default_rng(0), load_digits()
    for i, (image, digit) in enumerate(zip(found.images[:600], found.target, strict=False)):
        name = rng.integers(10) if rng.random() < 0.1 else digit
        (folder / "photos" / str(name)).mkdir(parents=True, exist_ok=True)
        picture = Image.fromarray((255 - 15.9 * image).astype(np.uint8))
        picture.resize((32, 32)).save(folder / "photos" / str(name) / f"{i:03}.png")
    return fit(folder / "photos", out=folder / "digits", method="kernel", encoder="none", say=None).folder


def save(page: Any, name: str) -> None:
    """Write what is seen in few colours."""
    with Image.open(io.BytesIO(page.screenshot())) as picture:
        small = picture.convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE)
    small.save(PICTURES / f"{name}.png", optimize=True)
    sys.stdout.write(f"{name}.png {(PICTURES / f'{name}.png').stat().st_size / 1000:.0f} kB\n")


def until(page: Any, expression: str) -> None:
    """Wait for an expression."""
    started = time.monotonic()
    while not page.evaluate(expression):
        if time.monotonic() > started + WAIT:
            raise SystemExit(f"after {WAIT} s this did not hold: {expression}")
        time.sleep(0.05)


def opened(browser: Any, url: str, scheme: str, size: tuple[int, int], scale: float = 1) -> Any:
    """Open a page as a person with these settings sees it."""
    viewport = {"width": size[0], "height": size[1]}
    page = browser.new_page(color_scheme=scheme, viewport=viewport, device_scale_factor=scale)
    page.goto(url)
    return page


def review(browser: Any, run: Path, take: Any) -> None:
    """Start a review, and take its pictures."""
    command = [sys.executable, "-m", "selfdistill", "review", str(run), "--no-browser"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as server:
        assert server.stderr is not None
        url = next(found[0] for line in server.stderr if (found := re.search(r"http://\S+", line)))
        take(browser, url)
        server.terminate()


def of_tickets(browser: Any, url: str) -> None:
    """Decide on a few tickets, and show one: light, dark, and on a phone."""
    page = opened(browser, url, "light", DESK)
    until(page, "Number.isInteger(state.learned) && state.clusters > 0")
    page.evaluate("(async () => { for (let i = 0; i < 24; i += 1) await queue(ACTIONS.accept); })()")
    until(page, "state.learned === state.version && document.querySelectorAll('#shown mark').length > 2")
    save(page, "review")
    for name, size in (("review-dark", DESK), ("review-phone", PHONE)):
        page = opened(browser, url, "dark", size)
        until(page, "document.querySelectorAll('#shown mark').length > 2")
        save(page, name)


def of_digits(browser: Any, url: str) -> None:
    """Show the grid."""
    page = opened(browser, url, "light", DESK, 0.7)
    until(page, "Number.isInteger(state.learned)")
    page.keyboard.press("b")
    until(page, "document.querySelectorAll('.tile').length === 20")
    until(page, "[...document.querySelectorAll('.tile img')].every((one) => one.complete && one.naturalWidth)")
    save(page, "review-grid")
    page.evaluate("(async () => { for (let i = 0; i < 12; i += 1) await queue(ACTIONS.accept); })()")
    until(page, "state.decided === 12")


def main() -> None:
    """Draw all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--chromium", default="/usr/bin/chromium")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as play:
        browser = play.chromium.launch(executable_path=options.chromium, args=FLAGS)
        review(browser, tickets(Path(folder)), of_tickets)
        run = digits(Path(folder))
        review(browser, run, of_digits)
        report = load(run).report().save(Path(folder) / "report.html")
        save(opened(browser, report.as_uri(), "light", PAPER, 0.5), "report")
        save(opened(browser, report.as_uri(), "dark", PHONE), "report-phone")


if __name__ == "__main__":
    main()
