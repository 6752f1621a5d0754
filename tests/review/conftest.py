"""Finished runs to review: texts with awkward labels, photos of which one is gone, and many classes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from selfdistill.review._session import Session
from selfdistill.runs._run import fit

collect_ignore = ["browser.py"]  # it holds no tests, and skips those that import it where there is no browser
AWKWARD = ["<script>document.title='owned'</script>", "say \"dog\" & 'cat'", "שלום עולם", "fox"]
_WORDS = [["meow", "purr"], ["bark", "bone"], ["red", "sly"], ["tag", "web"]]


def _texts(folder: Path) -> Path:
    rng = np.random.default_rng(0)
    truth = rng.integers(4, size=120)
    given = np.where(rng.random(120) < 0.25, rng.integers(4, size=120), truth)
    texts = [" ".join(rng.choice([*_WORDS[c], "the", "of"], 8)) + f" <b>{i}</b>" for i, c in enumerate(truth)]
    texts[0] += " long" * 2000
    frame = pd.DataFrame({"text": texts, "label": np.array(AWKWARD)[given], "truth_of_test": truth})
    frame.drop(columns="truth_of_test").to_csv(folder / "texts.csv", index=False)
    np.save(folder / "truth.npy", np.array([sorted(AWKWARD).index(AWKWARD[c]) for c in truth]))
    return folder / "texts.csv"


@pytest.fixture(scope="session")
def texts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on 120 texts in closed form."""
    folder = tmp_path_factory.mktemp("texts")
    fit(_texts(folder), out=folder / "run", label="label", method="kernel", encoder="none", say=None)
    return folder / "run"


@pytest.fixture(scope="session")
def network(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of a network on 80 vectors, of which some lie in pairs."""
    folder, rng = tmp_path_factory.mktemp("network"), np.random.default_rng(0)
    truth = rng.integers(4, size=80)
    inputs = 2 * np.eye(4)[truth] @ rng.normal(size=(4, 6)) + 0.3 * rng.normal(size=(80, 6))
    given = np.where(rng.random(80) < 0.4, (truth + 1) % 4, truth)
    np.save(folder / "truth.npy", truth)
    np.savez(folder / "data.npz", X=inputs.astype(np.float32), y=given)
    fit(folder / "data.npz", out=folder / "run", method="selfdistill", network="mlp:16", epochs=6, say=None)
    return folder / "run"


@pytest.fixture(scope="session")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on 24 photos in closed form, of which one was deleted and one damaged afterwards."""
    folder, rng = tmp_path_factory.mktemp("photos"), np.random.default_rng(0)
    for i in range(24):
        place = folder / "data" / ("blue" if i % 2 else "red")
        place.mkdir(parents=True, exist_ok=True)
        pixels = rng.integers(0, 60, (32, 32, 3)).astype(np.uint8)
        pixels[..., 2 if i % 2 else 0] += 150
        Image.fromarray(pixels).save(place / f"{i:02}.png")
    fit(folder / "data", out=folder / "run", method="kernel", encoder="none", say=None)
    (folder / "data" / "red" / "00.png").unlink()
    (folder / "data" / "blue" / "01.png").write_bytes(b"<svg onload='document.title=1'/>")
    return folder / "run"


@pytest.fixture
def opened(tmp_path: Path) -> Callable[..., Session]:
    """Open sessions with a journal of their own, and close them."""
    sessions: list[Session] = []

    def make(run: Path, **more: object) -> Session:
        more.setdefault("decisions", tmp_path / "d.jsonl")
        sessions.append(Session(run, **more))  # type: ignore[arg-type]
        sessions[-1].shown.set()  # there is no page to wait for
        return sessions[-1]

    yield make
    for session in sessions:
        if not session._closed:
            session.close()


@pytest.fixture(scope="module")
def browser():
    """Chromium."""
    from playwright.sync_api import sync_playwright
    from tests.review.browser import CHROMIUM, FLAGS

    with sync_playwright() as play:
        opened = play.chromium.launch(executable_path=str(CHROMIUM), args=FLAGS.split())
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def server(texts, tmp_path_factory):
    """A review of texts in a process of its own."""
    from tests.review.browser import Server

    made = Server(texts, "--decisions", tmp_path_factory.mktemp("page") / "d.jsonl", "--no-learn")
    yield made
    made.stop()


@pytest.fixture
def page(browser, server):
    """Its page; what was decided is undone at the end."""
    from tests.review.browser import UNDO, opened

    found = opened(browser, server.url)
    yield found
    found.evaluate(UNDO)
    found.context.close()
