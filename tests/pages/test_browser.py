"""Every kind of page in headless Chromium, on a phone and on a desktop: it answers, nothing overflows or overlaps, the console is empty.

Screenshots are written to the folder that the variable SCREENSHOTS names, if it does.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from studygroup.pages import write_page, write_runs_page
from tests.browser import CHROMIUM, Browser, Page
from tests.pages.folders import with_roles, write_comparison, write_full_run, write_study
from tests.run_folders import write_run

pytestmark = [pytest.mark.slow, pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium")]
WIDTHS = (400, 1400)
HOSTILE = (
    "<script>alert(1)</script>",
    "a'\"><img src=x onerror=alert(2)>",
    "{{ 7 * 7 }}",
    "\x1b[31m\u202e",
    "x" * 300,
    "名前",
    "</style>",
    "8",
    "9",
    "10",
)
# Texts of plots that lie over each other, and blocks that do.
OVERLAPS = """
(() => {
  const found = [];
  const shown = (item) => item.getClientRects().length && getComputedStyle(item).visibility !== "hidden";
  for (const svg of document.querySelectorAll("svg[data-plot]")) {
    const texts = [...svg.querySelectorAll("text:not([transform])")].filter(shown)
      .map((item) => [item.textContent, item.getBoundingClientRect()]);
    texts.forEach(([one, a], i) => texts.slice(i + 1).forEach(([other, b]) => {
      const across = Math.min(a.right, b.right) - Math.max(a.left, b.left), down = Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top);
      if (across > 1.5 && down > 4) found.push(`${one} over ${other}`);
    }));
  }
  const blocks = [...document.querySelectorAll(".card, .tile, .tabs, .hero h1, .lead")].filter(shown)
    .map((item) => [item, item.getBoundingClientRect()]);
  blocks.forEach(([one, a], i) => blocks.slice(i + 1).forEach(([other, b]) => {
    if (one.contains(other) || other.contains(one) || one.classList.contains("tabs") || other.classList.contains("tabs")) return;
    const across = Math.min(a.right, b.right) - Math.max(a.left, b.left), down = Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top);
    if (across > 1 && down > 1) found.push(`${one.textContent.trim().slice(0, 30)} over ${other.textContent.trim().slice(0, 30)}`);
  }));
  return found;
})()
"""
OVERFLOWS = """
(() => {
  const found = [];
  const width = document.documentElement.clientWidth;
  if (document.documentElement.scrollWidth > width) found.push(`the page is ${document.documentElement.scrollWidth} wide`);
  for (const item of document.querySelectorAll("main *, header *")) {
    if (item.closest(".scroll, .tabs, pre") || !item.getClientRects().length || item.closest("svg")) continue;
    const box = item.getBoundingClientRect();
    if (box.right > width + 1 || box.left < -1) found.push(`${item.tagName}.${item.className}: ${box.left} to ${box.right}`);
    if (getComputedStyle(item).overflowX === "visible" && item.scrollWidth > item.clientWidth + 2 && item.clientWidth) {
      found.push(`${item.tagName}.${item.className} overflows by ${item.scrollWidth - item.clientWidth}`);
    }
  }
  return found;
})()
"""


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with Browser(tmp_path_factory.mktemp("profile")) as found:
        yield found


@pytest.fixture(scope="module")
def reports(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A report of every kind."""
    folder = tmp_path_factory.mktemp("reports")
    runs = [
        write_full_run(folder / "cgl"),
        write_full_run(folder / "one", method="one"),
        with_roles(write_full_run(folder / "orc", method="orc")),
    ]
    found = {run.name: write_page(run) for run in runs}
    found["texts"] = write_page(write_full_run(folder / "texts", texts=True, classes=("spam", "no spam")))
    found["hostile"] = write_page(write_full_run(folder / "hostile", classes=HOSTILE))
    found["many"] = write_page(write_full_run(folder / "many", classes=[f"class {c}" for c in range(1000)], samples=3000, test=0.4))
    found["begun"] = write_page(write_run(folder / "begun", finished=False, epochs=2))
    found["runs"] = write_runs_page(runs, folder / "joint")
    found["comparison"] = write_page(write_comparison(folder / "comparison"))
    found |= {f"study-{kind}": write_page(write_study(folder / kind, kind)) for kind in ("gains", "lines", "bars", "scatter")}
    return found


NAMES = (
    *("cgl", "one", "orc", "texts", "hostile", "many", "begun", "runs", "comparison"),
    *("study-gains", "study-lines", "study-bars", "study-scatter"),
)


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("name", NAMES)
def test_every_tab_fits_and_nothing_is_said_in_the_console(browser: Browser, reports: dict[str, Path], name: str, width: int) -> None:
    with browser.page(reports[name], width=width, scheme="dark" if name in ("orc", "study-bars") else "light") as page:
        tabs = page.evaluate("document.querySelectorAll('[role=tab]').length")
        assert tabs > 1
        for tab in range(tabs):
            page.click("[role=tab]", tab)
            shown = page.evaluate("[...document.querySelectorAll('[role=tabpanel]')].map((panel) => !panel.hidden)")
            assert shown == [place == tab for place in range(tabs)]
            assert page.evaluate("document.querySelectorAll('[role=tabpanel]:not([hidden]) *').length") > 3
            page.evaluate("document.querySelectorAll('details').forEach((item) => { item.open = true; })")
            assert page.evaluate(OVERFLOWS) == []
            assert page.evaluate(OVERLAPS) == []
            if os.environ.get("SCREENSHOTS"):
                page.screenshot(Path(os.environ["SCREENSHOTS"]) / f"{name}-{width}-{tab}.png")
        assert page.faults() == []


@pytest.mark.parametrize("width", WIDTHS)
def test_a_table_is_sorted_and_filtered(browser: Browser, reports: dict[str, Path], width: int) -> None:
    with browser.page(reports["cgl"], width=width) as page:
        page.click("#tab-classes")
        recall = "[...document.querySelectorAll('#classes table')[0].tBodies[0].rows].map((row) => Number(row.cells[2].dataset.sort))"
        before = page.evaluate(recall)
        page.click("#classes th.number button", 1)
        assert page.evaluate(recall) == sorted(before, reverse=True) != before
        page.click("#classes th.number button", 1)
        assert page.evaluate(recall) == sorted(before)
        assert page.evaluate("document.querySelectorAll('#classes th[aria-sort]').length") == 1
        page.click("#classes th.text button", 0)
        first = page.evaluate("document.querySelectorAll('#classes table')[0].tBodies[0].rows[0].cells[0].textContent")
        assert first == "0"
        page.click("#classes .filter")
        page.call("Input.insertText", text="7")
        visible = "[...document.querySelectorAll('#classes table')[0].tBodies[0].rows].filter((row) => !row.hidden).length"
        assert 1 <= page.evaluate(visible) < 10
        assert page.faults() == []


@pytest.mark.parametrize("width", WIDTHS)
def test_a_legend_hides_a_curve_in_all_plots(browser: Browser, reports: dict[str, Path], width: int) -> None:
    with browser.page(reports["cgl"], width=width) as page:
        drawn = "[...document.querySelectorAll('#curves path.line[data-series=student1]')].map((line) => line.getClientRects().length > 0)"
        assert set(page.evaluate(drawn)) == {True}
        page.click("#curves .legend [data-key=student1]")
        hidden = page.evaluate(drawn)
        assert len(hidden) >= 3
        assert set(hidden) == {False}
        assert page.evaluate("document.querySelector('#curves [data-key=student1]').getAttribute('aria-pressed')") == "false"
        page.hover("#curves svg")
        assert "student0" in told(page)
        assert "student1" not in told(page)
        page.click("#curves .legend [data-key=student1]")
        assert set(page.evaluate(drawn)) == {True}
        page.click("#curves .legend [data-every]")
        assert page.evaluate("document.querySelectorAll('#curves path.line.gone').length") > 8
        assert page.faults() == []


def told(page: Page) -> str:
    """What is said beside the pointer; empty if nothing is."""
    text: str = page.evaluate("document.getElementById('tip').classList.contains('on') ? document.getElementById('tip').innerText : ''")
    return text


def test_plots_answer_to_pointer_and_keyboard(browser: Browser, reports: dict[str, Path]) -> None:
    with browser.page(reports["cgl"], width=1400) as page:
        assert told(page) == ""
        page.hover("#curves svg")
        at_pointer = told(page)
        assert "epoch 1" in at_pointer
        assert "student0" in at_pointer
        page.evaluate("document.querySelector('#curves svg').focus()")
        page.press("Home")
        assert told(page).startswith("epoch 1\n")
        page.press("ArrowRight")
        assert told(page).startswith("epoch 2\n")
        page.press("Escape")
        assert told(page) == ""
        page.click("#tab-classes")
        page.evaluate("document.querySelector('#classes svg').focus()")
        page.press("ArrowRight")
        first = told(page)
        assert "taken for" in first or "right" in first
        page.press("ArrowDown")
        assert told(page) != first
        page.hover("#classes svg rect[data-tip]", 3)
        assert "%" in told(page)
        assert page.faults() == []


def test_tabs_answer_to_the_keyboard_and_keep_their_place(browser: Browser, reports: dict[str, Path]) -> None:
    with browser.page(reports["comparison"], width=1400) as page:
        page.evaluate("document.querySelector('[role=tab]').focus()")
        page.press("ArrowRight")
        assert page.evaluate("document.activeElement.getAttribute('aria-controls')") == "costs"
        assert page.evaluate("document.getElementById('costs').hidden") is False
        page.press("ArrowLeft")
        page.press("ArrowLeft")
        assert page.evaluate("document.activeElement.getAttribute('aria-controls')") == "origin"
        page.click("#tab-seeds")
        assert page.evaluate("location.hash") == "#seeds"


def test_what_overlaps_or_overflows_is_found(browser: Browser, reports: dict[str, Path]) -> None:
    with browser.page(reports["cgl"], width=400) as page:
        assert page.evaluate(OVERLAPS) == page.evaluate(OVERFLOWS) == []
        page.evaluate("document.querySelector('.fact').style.marginBottom = '-60px'")
        assert page.evaluate(OVERLAPS) != []
        page.evaluate("document.querySelector('.fact').style.marginBottom = ''")
        texts = "document.querySelectorAll('#curves svg text')"
        page.evaluate(f"{texts}[1].setAttribute('y', {texts}[0].getAttribute('y'))")
        assert page.evaluate(OVERLAPS) != []
        page.evaluate("document.querySelector('.lead').style.width = '600px'")
        assert page.evaluate(OVERFLOWS) != []


def test_the_theme_can_be_chosen(browser: Browser, reports: dict[str, Path]) -> None:
    background = "getComputedStyle(document.body).backgroundColor"
    with browser.page(reports["cgl"], width=1400, scheme="dark") as page:
        dark = page.evaluate(background)
        page.click("[data-themes]")
        light = page.evaluate(background)
        assert light != dark
        page.click("[data-themes]")
        assert page.evaluate(background) == dark
        page.click("[data-themes]")
        assert page.evaluate("document.documentElement.dataset.theme ?? 'auto'") == "auto"


def test_print_shows_all_parts_on_white(browser: Browser, reports: dict[str, Path]) -> None:
    with browser.page(reports["cgl"], width=800, scheme="dark", media="print") as page:
        parts = page.evaluate("[...document.querySelectorAll('.panel')].map((panel) => panel.getClientRects().length > 0)")
        assert len(parts) == 5
        assert all(parts)
        assert page.evaluate("document.querySelector('.tabs').getClientRects().length") == 0
        assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"


def test_hostile_names_are_texts(browser: Browser, reports: dict[str, Path]) -> None:
    with browser.page(reports["hostile"], width=1400) as page:
        assert page.evaluate("document.scripts.length") == 1
        assert page.evaluate("document.querySelectorAll('img[src=x], [onerror]').length") == 0
        page.click("#tab-classes")
        text = page.evaluate("document.body.innerText")
        assert "<script>alert(1)</script>" in text
        assert "{{ 7 * 7 }}" in text
        assert page.faults() == []
