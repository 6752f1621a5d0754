"""Reports: the page read by an HTML parser, its numbers compared with pandas, hostile data seen as text."""

from __future__ import annotations

import base64
import html
import io
import json
import re
from collections import Counter
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from scipy.stats import beta

from selfdistill._core.errors import DataError
from selfdistill._core.read_options import ReadOptions
from selfdistill.cli import main
from selfdistill.report._content import Subject, content
from selfdistill.report._report import Report
from selfdistill.runs._decision_files import Decisions
from selfdistill.runs._decisions import Journal
from selfdistill.runs._label_table import SavedLabelTable
from selfdistill.runs._refine import decided_table
from selfdistill.runs._run import fit, load

pytestmark = pytest.mark.usefixtures("few_trees")

SHORT = {"method": "memory", "network": "linear", "epochs": 2, "augment": "none", "say": None}
HOSTILE = ["<script>alert(1)</script>", '"quo\'te" & <b>', "שלום עולם", "up\u202edown", "{{ 7 * 7 }}"]
VOID = {"meta", "img", "line", "rect", "polyline", "br"}


class Page(HTMLParser):
    """What stands in a page: tags, attributes, and the text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: Counter[str] = Counter()
        self.links: list[str] = []
        self.handlers: list[str] = []
        self.open: list[str] = []
        self.words = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags[tag] += 1
        self.links += [value or "" for name, value in attrs if name in {"src", "href", "srcset", "action"}]
        self.handlers += [name for name, _ in attrs if name.startswith("on")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] != "style":
            self.words += data


def page(report: Report) -> Page:
    found = Page(report.html)
    assert not found.open, "a tag that is never closed"
    assert not found.handlers
    assert not set(found.tags) & {"script", "iframe", "object", "embed", "link", "b"}
    assert all(re.match(r"data:image/(png|jpeg);base64,", link) for link in found.links)
    assert "http:" not in report.html.replace("http-equiv", "")
    assert "https:" not in report.html
    assert "url(" not in report.html
    return found


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def findings(n: int, classes: list[str], seed: int = 0) -> SavedLabelTable:
    rng = np.random.default_rng(seed)
    names = np.array(classes, object)
    given, other = rng.integers(0, len(classes), (2, n))
    other = np.where(other == given, (given + 1) % len(classes), other)
    p_given = rng.random(n).astype(np.float32)
    wrong = p_given < 0.3
    return SavedLabelTable(
        source="",
        options=ReadOptions(),
        classes=tuple(classes),
        ids=np.array([f"row {i}" for i in range(n)], object),
        given=names[given],
        refined=names[np.where(p_given < 0.2, other, given)],
        confidence=np.maximum(p_given, 1 - p_given),
        quality=p_given,
        is_issue=wrong,
        p_given=p_given,
        p_other=1 - p_given,
        other=names[other],
        first_learned=np.where(wrong, -1, 0).astype(np.int32),
    )


def subject(found: SavedLabelTable, **more: object) -> Subject:
    return Subject("data", found, "refuse", ("Do not trust this: it is noise.",), "nothing.", {}, **more)


def test_the_numbers_are_those_of_the_table():
    found = findings(500, ["a", "b", "c"])
    shown = content(subject(found))
    frame = pd.DataFrame({"given": found.given, "other": found.other, "wrong": found.is_issue, "q": found.quality})
    assert (shown["n"], shown["flagged"]) == (500, frame["wrong"].sum())
    assert [card.name for card in shown["doubtful"]] == [f"row {i}" for i in frame.sort_values("q").index[:20]]
    pairs = frame[frame["wrong"]].value_counts(["given", "other"]).to_dict()
    assert {(one["given"], one["other"]): one["count"] for one in shown["pairs"]} == pairs
    for name, count, wrong, share in shown["by_class"]["rows"]:
        part = frame[frame["given"] == name]
        assert (count, wrong, share) == (len(part), part["wrong"].sum(), pytest.approx(part["wrong"].mean()))
    assert shown["unknown"] == ((found.quality >= 0.2) & found.is_issue).sum()
    assert sum(card.better for card in shown["doubtful"]) == (np.sort(found.quality)[:20] < 0.2).sum()


def test_the_second_best_label_stands_where_no_better_one_is_known():
    found = findings(300, ["a", "b", "c"])
    kept = np.flatnonzero(found.is_issue & (found.refined == found.given))
    assert len(kept) > 10
    words = page(Report(subject(replace(found, quality=np.where(np.isin(range(300), kept), 0, 1.0))))).words
    for row in kept[:20]:
        assert re.search(rf"{found.given[row]}\s*→\s*{found.other[row]} \?\s*{found.ids[row]} ", words)


def test_what_was_reviewed_is_counted_and_takes_the_place_of_what_was_found():
    found = findings(500, ["a", "b", "c"])
    flagged = np.flatnonzero(found.is_issue)
    labels = {int(row): str(found.other[row]) for row in flagged[:12]}  # wrong indeed
    labels |= {int(row): str(found.given[row]) for row in flagged[12:15]}  # right
    right = np.flatnonzero(~found.is_issue)
    labels |= {int(right[0]): str(found.other[right[0]])}  # wrong, and not flagged
    decisions = Decisions(labels, frozenset({int(right[1])}))
    about = subject(decided_table(found, decisions), decisions=decisions, flagged=found.is_issue)
    shown = content(about)
    reviewed, share = shown["reviewed"], beta(12.5, 3.5)
    assert (reviewed["count"], reviewed["wrong"], reviewed["unsure"]) == (16, 13, 1)
    assert (reviewed["seen"], reviewed["hits"]) == (15, 12)
    assert (reviewed["precision"].low, reviewed["precision"].high) == pytest.approx(
        (share.ppf(0.025), share.ppf(0.975))
    )
    assert shown["flagged"] == len(flagged) - 3 + 2  # one more that is wrong, one that nobody can say
    names = {f"row {row}" for row in [*labels, int(right[1])]}
    assert not names & {card.name for card in shown["doubtful"]}
    assert [card.name for card in shown["doubtful"]] == [
        f"row {row}" for row in np.argsort(found.quality, kind="stable") if f"row {row}" not in names
    ][:20]
    words = page(Report(about)).words
    assert "Reviewed: 16 labels, of which 13 were wrong; nobody can say for 1 more" in words
    assert re.search(r"Of 15 flagged labels that were looked at, 12 were wrong: 78.1 % \(5\d.\d % to 9\d.\d %", words)
    assert content(subject(found))["reviewed"] == {}


def test_a_run_takes_the_decisions_beside_it_and_not_those_of_another(capsys: pytest.CaptureFixture[str]):
    pd.DataFrame({"x": np.arange(40) / 7, "label": ["a", "b"] * 20}).to_csv("t.csv", index=False)
    run = fit("t.csv", label="label", out="run", **SHORT)
    assert "Reviewed: " not in page(run.report()).words
    for number, words in ((run.record.id, "Reviewed: 2 labels, of which 1 were"), ("another", "label report")):
        made = Journal(Path("run.decisions.jsonl"), number, run.labels["id"].tolist(), ["a", "b"])
        made.add("label", [0, 1], ["b", "b"])
        made.add("unsure", [2])
        made.close()
        report = run.report()
        assert words in page(report).words
        assert ("--decisions run.decisions.jsonl" in page(report).words) == (number != "another")
        with pytest.raises(SystemExit):
            main(["show", "run", "--first", "40"])
        captured, left = capsys.readouterr(), 40 if number == "another" else 37
        assert captured.out.count("quality") == left
        assert ("note: 2 that were reviewed and 1 that nobody can say are left out" in captured.err) == (left == 37)
        Path("run.decisions.jsonl").unlink()


def test_hostile_names_and_texts_are_seen_and_not_obeyed():
    texts = [f"{word} {word} {i}" for i in range(8) for word in HOSTILE]
    texts[0] += "x" * 10_000
    table = pd.DataFrame({"text": texts, "label": [HOSTILE[i % 5] for i in range(40)]})
    table.to_csv("<img src=x onerror=alert(1)>.csv", index=False)
    run = fit("<img src=x onerror=alert(1)>.csv", label="label", text=("text",), out="run", **SHORT)
    report = run.report()
    found = page(report)
    for name in HOSTILE:
        assert name.replace("\u202e", "\\u202e") in found.words
    assert "<img src=x onerror=alert(1)>.csv" in found.words
    assert "\u202e" not in report.html
    assert len(report.html) < 300_000  # long texts are cut


def test_long_texts_are_cut_with_their_length():
    texts = [f"{'word ' * 2_000}{i}" for i in range(40)]
    pd.DataFrame({"text": texts, "label": ["a", "b"] * 20}).to_csv("t.csv", index=False)
    run = fit("t.csv", text=("text",), out="run", **SHORT)
    assert len(run.report().html) < 100_000
    assert page(run.report()).words.count(" characters)") >= 12


def test_a_thousand_classes_and_none_that_is_wrong():
    found = findings(5000, [f"class {i} of a long name that would not fit" for i in range(1000)])
    report = Report(subject(found))
    assert len(report.html) < 1_000_000
    assert "The 25 classes of 1,000" in page(report).words
    right = replace(found, is_issue=np.zeros(5000, bool))
    assert "of 5,000 labels look wrong (0.0 %)" in page(Report(subject(right))).words


def photos(folder: str, n: int, side: int) -> None:
    rng = np.random.default_rng(0)
    for i in range(n):
        target = Path(folder) / ("cat" if i % 2 else "dog")
        target.mkdir(parents=True, exist_ok=True)
        small = rng.integers(0, 256, (12, 16, 3)).astype(np.uint8)
        Image.fromarray(small).resize((side, side * 3 // 4), Image.Resampling.BICUBIC).save(target / f"{i}.jpg")


def test_a_hundred_photos_take_less_than_three_megabytes_and_missing_ones_are_named():
    photos("photos", 120, 320)
    run = fit("photos", out="run", image_size=8, **SHORT)
    name = run.labels.sort_values("label_quality", kind="stable")["id"].iloc[0]
    (Path("photos") / name).unlink()
    out = run.report("report.html").save("again.html")
    text = out.read_text(encoding="utf-8")
    assert text == Path("report.html").read_text(encoding="utf-8")
    found = page(Report.of_run("run"))
    assert found.tags["img"] >= 24 - 1
    assert "not readable" in found.words
    assert text.count("not readable") >= 1
    assert len(text) / max(found.tags["img"], 1) * 100 < 3_000_000
    for link in found.links:
        with Image.open(io.BytesIO(base64.b64decode(link.partition(",")[2]))) as image:
            assert max(image.size) == 160


def test_without_the_data_the_names_are_left():
    photos("photos", 20, 32)
    fit("photos", out="run", **SHORT)
    Path("photos").rename("elsewhere")
    words = page(load("run").report()).words
    assert "photos does not exist" in words
    assert "cat/" in words


def test_a_sheet_of_photos_has_each_photo_in_its_place():
    for i, name in enumerate(("red", "lime", "blue", "white") * 5):
        folder = Path("photos") / ("a" if i % 3 else "b")
        folder.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (32, 32), name).save(folder / f"{i:02}_{name}.png")
    run = fit("photos", out="run", **SHORT)
    report = run.report()
    with Image.open(report.gallery("sheet.png", most=12)) as sheet:
        assert sheet.size == (8 * 138 + 10, 2 * 172 + 10)
        names = run.labels.sort_values("label_quality", kind="stable")["id"].tolist()
        for place, name in enumerate(names[:12]):
            middle = (10 + place % 8 * 138 + 64, 10 + place // 8 * 172 + 64)
            wanted = Image.new("RGB", (1, 1), name.split("_")[1].split(".")[0]).getpixel((0, 0))
            assert np.abs(np.array(sheet.getpixel(middle)) - wanted).max() < 6
    with pytest.raises(DataError, match=r"does not end in \.png.*sheet\.png"):
        report.gallery("sheet.jpg")
    with pytest.raises(DataError, match="folder nowhere does not exist"):
        report.save("nowhere/report.html")


def test_a_notebook_shows_the_page_in_a_frame_without_rights():
    pd.DataFrame({"x": np.arange(40) / 7, "label": ["a", "b"] * 20}).to_csv("t.csv", index=False)
    run = fit("t.csv", out="run", **SHORT)
    shown = run._repr_html_()
    assert shown == run.report()._repr_html_()
    frame = Page(shown)
    assert frame.tags == {"iframe": 1}
    assert " sandbox " in shown
    held = html.unescape(re.search(r'srcdoc="([^"]*)"', shown)[1])
    assert held == run.report().html
    assert " of the 40 labels look" in str(run.report()) or " of 40 labels look" in str(run.report())


def test_each_kind_of_run_has_what_it_learned_first(runs: Path):
    for name, words in (("run", "were by then"), ("closed", "directions of the kernel hold")):
        report = Report.of_run(runs / name)
        found = page(report)
        record = json.loads((runs / name / "run.json").read_text())
        assert words in found.words or record["result"]["label_issues"] == 0
        assert found.tags["svg"] >= 2
        for word in ("What to do next", "How to cite", "arXiv 1910.01255", record["data"]["fingerprint"]):
            assert word in found.words
        assert all(version in found.words for version in record["versions"].values())
