"""The page in a real browser: by keyboard, with hostile data, light and dark."""

import re

import pytest
from tests.review.browser import SHOW, choose, decided, journal_of, opened, press, row, until


def test_the_first_card_needs_five_answers_and_few_bytes(browser, server):
    page = browser.new_page()
    asked = []
    page.on("request", lambda request: asked.append(request.url.removeprefix(server.url)))
    page.goto(server.url, wait_until="commit")
    until(page, "document.querySelector('#shown')?.children.length > 0")
    first = asked[: 1 + max(i for i, one in enumerate(asked) if one.startswith("content/"))]
    before = [one for one in first if not one.startswith("data:")]
    assert [re.sub(r"\d+", "0", one) for one in before[:5]] in (
        ["", "page.css", "page.js", "start", "content/0"],
        ["", "page.js", "page.css", "start", "content/0"],
    )
    weight = page.evaluate("performance.getEntriesByType('resource').map((one) => one.transferSize)")
    assert sum(weight) < 120_000
    page.close()


def test_fifty_cards_by_keyboard_and_all_the_way_back(page, server):
    before = len(decided(journal_of(server)))
    keys = ["Enter", " ", "1", "x", "3", "n", "s", "Enter", "2", "4"]
    rows = []
    for i in range(50):
        rows.append(row(page))
        press(page, keys[i % 10])
    assert len(set(rows)) == 50
    lines = decided(journal_of(server))[before:]
    assert [line["rows"] for line in lines] == [[one] for one in rows]
    assert {line["kind"] for line in lines} == {"label", "unsure", "skip"}
    assert page.evaluate("[state.decided, state.unsure, state.skipped]") == [40, 5, 5]
    classes = page.evaluate("classes")
    for line, key in zip(lines, keys * 5, strict=True):
        card = page.evaluate(f"fetch('card/{line['rows'][0]}').then((answer) => answer.json())")
        if key.isdigit():
            assert line["labels"] == [classes[int(key) - 1]]
        if key in " x":
            assert line["labels"] == [classes[card["given"]]]
    back = []
    for _ in range(50):
        press(page, "u")
        back.append(row(page))
    assert back == rows[::-1]
    assert page.evaluate("[state.decided, state.unsure, state.skipped]") == [0, 0, 0]
    press(page, "Backspace")
    assert "Nothing is left to undo" in page.text_content("#notice")
    assert page.problems == []


def test_moving_decides_nothing_and_a_reload_goes_on(page):
    first = row(page)
    press(page, "ArrowRight", "ArrowRight")
    assert row(page) != first
    press(page, "ArrowLeft", "ArrowLeft")
    assert (row(page), page.evaluate("state.version === 0 || state.decided === 0")) == (first, True)
    press(page, "Enter")
    second = row(page)
    page.reload()
    page.wait_for_selector("body[data-ready]")
    assert page.evaluate("state.decided") == 1
    assert row(page) != first
    assert page.evaluate(f"cards.get({second}) !== undefined")
    press(page, "u")
    assert row(page) == first


def test_labels_are_shown_as_text_whatever_they_hold(page):
    assert page.title() == "Review run"
    shown = page.evaluate("[...document.querySelectorAll('#choices bdi')].map((one) => one.textContent)")
    assert "<script>document.title='owned'</script>" in shown
    assert "שלום עולם" in shown
    assert page.evaluate("document.querySelectorAll('#choices script, #shown b, #shown script').length") == 0
    assert page.evaluate("getComputedStyle(document.querySelector('#choices bdi')).unicodeBidi").startswith("isolate")
    page.fill("#search", "id that nobody has")
    page.wait_for_selector("#end:not([hidden])")
    page.fill("#search", "")
    page.wait_for_selector("#one:not([hidden])")
    assert page.problems == []


def test_a_text_of_ten_thousand_characters_stays_in_its_place(page):
    page.evaluate(
        "trail.push(0), at = trail.length - 1, ask('card/0').then((card) => { cards.set(0, card); return show(); })"
    )
    until(page, "document.querySelector('#shown .text')?.textContent.length > 10000")
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert page.evaluate("document.querySelector('#shown').clientHeight <= innerHeight")
    assert page.evaluate("document.querySelector('#choices').getBoundingClientRect().bottom <= innerHeight")


def test_a_class_can_be_typed(page):
    first = row(page)
    choose(page, "fo", "fox")
    until(page, "state.decided === 1")
    press(page, "ArrowLeft")
    assert row(page) == first
    assert page.text_content("#stage") in {"decided: fox", "kept"}


def test_words_are_found_and_one_goes_on_by_keyboard(page):
    press(page, "f")
    assert page.evaluate("document.activeElement.id") == "search"
    page.keyboard.type("MEOW")
    until(page, "state.left > 0 && state.left < state.examples")
    left = page.evaluate("state.left")
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") != "search"
    until(page, "document.querySelector('#shown .text')?.textContent.includes('meow')")
    press(page, "Enter")
    assert page.evaluate("state.decided") == 1
    press(page, "ArrowRight")
    assert page.evaluate("state.left") == left - 1
    assert page.problems == []


def test_a_pair_of_labels_is_chosen_by_keyboard(page):
    press(page, "v")
    page.wait_for_selector("#typing[open]")
    page.keyboard.type("\u2192")
    name = page.text_content("#found li[aria-selected=true]")
    page.keyboard.press("Enter")
    until(page, "document.querySelector('#view').value !== ''")
    page.evaluate("work")
    left = page.evaluate("state.left")
    assert name.endswith(f"({left})")
    pair = page.evaluate("[card().given, card().suggested]")
    assert page.evaluate("JSON.parse(document.querySelector('#view').value)") == {
        "given": pair[0],
        "suggested": pair[1],
    }
    press(page, *["Enter"] * left)
    assert page.is_visible("#end")
    press(page, "v")
    page.wait_for_selector("#typing[open]")
    page.keyboard.press("Enter")  # the first: most doubtful first
    until(page, "document.querySelector('#view').value === ''")
    page.evaluate("work")
    assert page.is_visible("#one")


def test_words_that_count_are_marked_as_text(page):
    page.evaluate(SHOW, 2)
    until(page, "document.querySelectorAll('#shown mark').length > 2")
    whole = page.evaluate("ask('content/2').then((found) => found.text)")
    assert page.text_content("#shown .text") == whole
    assert "<b>" in whole  # as text:
    assert page.evaluate("document.querySelectorAll('#shown b, #shown script').length") == 0
    words = page.evaluate(
        "[...document.querySelectorAll('#shown .text mark')].map((one) => [one.textContent, one.className])"
    )
    assert {word for word, _ in words} <= set(re.findall(r"\w+", whole))
    assert {name for _, name in words} <= {"for", "against"}
    classes, card = page.evaluate("[classes, card()]")
    assert classes[card["given"]] in page.text_content("#shown .legend")
    assert page.problems == []


def test_a_card_has_one_set_of_probabilities(page):
    shown = page.text_content("#labels")
    classes, card = page.evaluate("[classes, card()]")
    for code in (card["given"], card["suggested"]):
        share = card["shares"][card["likely"].index(code)]
        percent = ">99" if share > 0.995 else f"{100 * share:.0f}"
        assert re.search(rf"{re.escape(classes[code])}[ ?]*{percent}", shown) or share < 0.1
    assert "wrong with" not in shown


def test_the_grid_decides_on_twenty_and_many_are_seen_before_they_are_taken(page):
    press(page, "b")
    assert page.locator("#tiles .tile").count() == 20
    press(page, "Enter", " ", "n")
    assert page.evaluate("[state.decided, state.unsure]") == [2, 1]
    press(page, "a")
    assert page.evaluate("state.decided") == 19
    assert page.locator("#tiles .tile.open").count() == 20
    press(page, "u")
    assert page.evaluate("state.decided") == 2
    page.click("#bulk-button")
    page.wait_for_selector("#bulk[open]")
    page.fill("#share", "0.8")
    until(page, "bulk?.share === '0.8' && !document.querySelector('#bulk-accept').disabled")
    page.evaluate("work")
    count = page.evaluate("bulk.rows.length")
    assert 0 < count == int(re.search(r"\d+", page.text_content("#bulk-accept"))[0])
    assert page.locator("#bulk-tiles .tile").count() == min(count, 24)
    page.click("#bulk-accept")
    until(page, f"state.decided === {2 + count}")
    page.evaluate("work")
    press(page, "u")
    assert page.evaluate("state.decided") == 2


def test_two_pages_do_not_overwrite_each_other(page, browser, server):
    other = opened(browser, server.url)
    other.evaluate("watch = () => clearTimeout(watching); watch()")  # it does not look by itself
    same = row(page)
    assert row(other) == same
    press(page, "1")
    press(other, "2")
    assert "Another page was faster" in other.text_content("#notice")
    assert other.evaluate(f"cards.get({same}).decided") == 0
    assert page.evaluate("state.decided") == other.evaluate("state.decided") == 1
    before = page.evaluate("state.version")  # it looks by itself, and may follow at once
    press(other, "2")  # now it has seen what it changes
    assert other.evaluate("state.version") > before
    other.context.close()
    until(page, "document.querySelector('#notice').textContent.startsWith('Another page decided')")


def test_single_keys_can_be_turned_off(page):
    press(page, "?")
    page.uncheck("#keys")
    page.keyboard.press("Escape")
    press(page, "1", "Enter", "n")
    assert page.evaluate("state.decided + state.unsure") == 0
    page.evaluate("document.querySelector('#keys').checked = true")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_accessibility(browser, server, scheme):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="pip install axe-playwright-python")
    page = opened(browser, server.url, color_scheme=scheme, bypass_csp=True)
    page.evaluate(SHOW, 2)
    until(page, "document.querySelectorAll('#shown mark').length > 2")
    for keys in ([], ["b"], ["b", "v"], ["?"]):
        page.keyboard.press("Escape")
        press(page, *keys)
        found = axe.Axe().run(page).response["violations"]
        assert [(one["id"], [node["html"] for node in one["nodes"]]) for one in found] == []
    page.context.close()


def test_a_narrow_screen_scrolls_only_down(browser, server):
    page = opened(browser, server.url, viewport={"width": 360, "height": 700})
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    page.context.close()
