"""Reports in a real browser: nothing runs, nothing is fetched, nothing is wider than the screen."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from selfdistill.runs._run import fit

pytest.importorskip("playwright", reason="pip install playwright")
CHROMIUM = Path("/usr/bin/chromium")
FLAGS = "--headless --no-sandbox --disable-gpu --no-first-run --disable-background-networking"
HOSTILE = ["<script>document.title='bad'</script>", '"><img src=x onerror="document.title=1">', "שלום " * 20, "y" * 300]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    if not CHROMIUM.exists():
        pytest.skip(f"{CHROMIUM} is not installed")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as play:
        opened = play.chromium.launch(executable_path=str(CHROMIUM), args=FLAGS.split())
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def page_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("page")
    rng = np.random.default_rng(0)
    codes = rng.integers(0, 4, 80)
    table = pd.DataFrame({"size of <b>": codes + rng.normal(size=80), "w" * 200: rng.normal(size=80)})
    table["label"] = np.array(HOSTILE, object)[np.where(rng.random(80) < 0.2, (codes + 1) % 4, codes)]
    table.to_csv(folder / "t.csv", index=False)
    run = fit(folder / "t.csv", label="label", out=folder / "run", method="memory", epochs=5, network="mlp:8", say=None)
    return run.report().save(folder / "report.html")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1280])
def test_nothing_runs_is_fetched_or_is_wider_than_the_screen(browser: Any, page_file: Path, width: int, scheme: str):
    page = browser.new_page(viewport={"width": width, "height": 800}, color_scheme=scheme)
    fetched, messages = [], []
    page.on("request", lambda request: fetched.append(request.url))
    page.on("console", lambda message: messages.append(message.text))
    page.goto(page_file.as_uri())
    assert page.title() == "Label report: t.csv"
    assert page.evaluate("document.documentElement.scrollWidth") == width
    assert [url for url in fetched if not url.startswith("data:")] == [page_file.as_uri()]
    assert messages == []
    light = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (light == "rgb(246, 247, 249)") == (scheme == "light")
    page.close()


def test_colours_have_the_contrast_that_people_need(browser: Any, page_file: Path):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="pip install axe-playwright-python")
    for scheme in ("light", "dark"):
        page = browser.new_page(viewport={"width": 1280, "height": 800}, color_scheme=scheme, bypass_csp=True)
        page.goto(page_file.as_uri())
        found = axe.Axe().run(page).response["violations"]
        serious = [(one["id"], one["nodes"][0]["html"]) for one in found if one["impact"] in {"serious", "critical"}]
        assert serious == []
        page.close()


def test_paper_is_dark_on_white_and_no_wider_than_its_sheet(browser: Any, page_file: Path):
    page = browser.new_page(viewport={"width": 700, "height": 900}, color_scheme="dark")
    page.goto(page_file.as_uri())
    page.emulate_media(media="print")
    paper = page.evaluate("[getComputedStyle(document.body).backgroundColor, getComputedStyle(document.body).color]")
    ink = [sum(map(int, re.findall(r"\d+", one)[:3])) for one in paper]
    assert ink[0] > 720 > 200 > ink[1]
    assert page.evaluate("document.documentElement.scrollWidth") <= 700
    assert page.pdf(format="A4").startswith(b"%PDF")
    page.close()
