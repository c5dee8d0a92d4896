"""Pages in a real browser, headless: nothing leaves them, their tables sort, and they can be read by everybody."""

import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import reported

from hubft.report import page

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: pip install playwright")
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
BROWSER = os.environ.get("HUBFT_BROWSER") or next((found for name in NAMES if (found := shutil.which(name))), "")

pytestmark = pytest.mark.skipif(not BROWSER, reason="no browser: apt-get install chromium, or set HUBFT_BROWSER")

CONTRAST = """() => {
  const parsed = text => { const n = text.match(/[\\d.]+/g).map(Number); return n.length < 4 ? [...n, 1] : n; };
  const over = (top, below) => [0, 1, 2].map(i => top[i] * top[3] + below[i] * (1 - top[3])).concat(1);
  const light = c => { const [r, g, b] = c.slice(0, 3).map(v => v / 255)
    .map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4); return 0.2126 * r + 0.7152 * g + 0.0722 * b; };
  const ground = element => { const layers = [];
    for (let one = element; one; one = one.parentElement) layers.push(parsed(getComputedStyle(one).backgroundColor));
    return layers.reverse().reduce((below, top) => over(top, below), [255, 255, 255, 1]); };
  const found = [], walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const text = walker.currentNode.data.trim(), element = walker.currentNode.parentElement;
    if (!text || ["SCRIPT", "STYLE"].includes(element.tagName) || !element.getClientRects().length) continue;
    const style = getComputedStyle(element), below = ground(element);
    const ink = over(parsed(element.closest("svg") ? style.fill : style.color), below);
    const [a, b] = [light(ink), light(below)].sort((x, y) => y - x), size = parseFloat(style.fontSize);
    const large = size >= 24 || (size >= 18.66 && style.fontWeight >= 700);
    found.push([text.slice(0, 40), (a + 0.05) / (b + 0.05), large ? 3 : 4.5]);
  }
  return found;
}"""
"""Of each text that is seen its contrast with what lies behind it, and the least of WCAG 2.2, 1.4.3."""


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    found = []
    for kind in ("classification", "boxes"):
        with pytest.MonkeyPatch.context() as patch:
            run = reported.run(kind, tmp_path_factory.mktemp(kind), patch).run
        alone = tmp_path_factory.mktemp("alone") / "page.html"  # a page needs no file beside it
        found.append(Path(shutil.copy(run.report / page.FILE, alone)))
    return found


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with sync_api.sync_playwright() as driver:
        opened = driver.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_page_works_alone_and_can_be_read(browser: Any, pages: list[Path], scheme: str) -> None:
    for path in pages:
        context = browser.new_context(color_scheme=scheme, viewport={"width": 390, "height": 844}, offline=True)
        tab, told, asked = context.new_page(), [], []
        tab.on("console", lambda message, told=told: told.append(message.text))
        tab.on("pageerror", lambda error, told=told: told.append(str(error)))
        tab.on("request", lambda request, asked=asked: asked.append(request.url))
        tab.goto(path.as_uri())
        assert tab.evaluate("document.documentElement.scrollWidth") <= 390, "a phone need not scroll sideways"
        for opened in (False, True):
            tab.evaluate(f"document.querySelectorAll('details').forEach(one => one.open = {str(opened).lower()})")
            measured = tab.evaluate(CONTRAST)
            assert len(measured) > 100 and not [one for one in measured if one[1] < one[2]]
        images = tab.evaluate("[...document.images].map(one => one.naturalWidth)")
        assert len(images) >= 12 and all(images)
        assert told == [] and [url for url in asked if not url.startswith("data:")] == [path.as_uri()]
        context.close()


def test_a_table_sorts_and_text_is_selectable(browser: Any, pages: list[Path]) -> None:
    tab = browser.new_page()
    tab.goto(pages[0].as_uri())
    table = tab.locator("table.sortable").first
    for column, key in ((0, str), (1, float), (3, float)):
        head = table.locator("th").nth(column)
        for order in ("ascending", "descending"):
            head.locator("button").click()
            keys = table.locator("tbody tr").evaluate_all(
                "(rows, column) => rows.map(row => row.cells[column].dataset.key)", column
            )
            assert head.get_attribute("aria-sort") == order
            values = [key(one) for one in keys]
            if key is float:
                assert values == sorted(values, reverse=order == "descending")
        assert len(set(keys)) > 1 or column == 3
    tab.evaluate("getSelection().selectAllChildren(document.body)")
    selected = tab.evaluate("getSelection().toString()")
    charted = tab.evaluate("[...document.querySelectorAll('svg text')].map(one => one.textContent.trim())")
    assert "What was measured" in selected and {"epoch", "probe", "base rate"} <= set(charted)
    assert not tab.evaluate("[...document.querySelectorAll('*')].some(e => getComputedStyle(e).userSelect === 'none')")
    tab.close()


def test_a_number_leads_to_its_json_and_paper_is_white(browser: Any, pages: list[Path]) -> None:
    tab = browser.new_context(color_scheme="dark").new_page()
    tab.goto(pages[0].as_uri())
    tab.locator(".lead .value a").click()
    place = tab.locator(":target")
    assert place.is_visible() and '"value"' in place.text_content()
    tab.emulate_media(media="print", color_scheme="dark")
    colour = tab.evaluate("getComputedStyle(document.body).backgroundColor")
    assert re.findall(r"\d+", colour)[:3] == ["255", "255", "255"]
    assert not [one for one in tab.evaluate(CONTRAST) if one[1] < one[2]]
    assert tab.pdf(format="A4")[:4] == b"%PDF"
    tab.context.close()
