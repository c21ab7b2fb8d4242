"""The report in a real browser: quiet, self-contained, usable with mouse and keyboard on phone and desktop."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ensemble import results
from ensemble.report.page import Report

FLAGS = (
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update"),
)
PHONE, DESKTOP = {"width": 390, "height": 844}, {"width": 1280, "height": 900}
Open = Callable[..., Any]


def missing(what: str, how: str) -> None:
    """Skip the test; if all tests must run (CI is set), fail and name what to install."""
    text = f"the report is tested in a browser and needs {what}; {how}"
    if os.environ.get("CI"):
        pytest.fail(text)
    pytest.skip(text)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Headless Chromium, started once."""
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        missing("the package playwright", "pip install playwright")
        return
    names = (os.environ.get("CHROMIUM", ""), "chromium", "chromium-browser", "google-chrome", "chrome")
    path = next((found for name in names if name and (found := shutil.which(name))), None)
    if path is None:
        missing("Chromium", "on Debian: apt-get install chromium; or set CHROMIUM to the program")
    with sync_playwright() as driver:
        started = driver.chromium.launch(executable_path=path, args=list(FLAGS))
        yield started
        started.close()


@pytest.fixture
def axe() -> str:
    """Source of axe-core, from the file that AXE_CORE names."""
    path = Path(os.environ.get("AXE_CORE", "axe.min.js"))
    if not path.is_file():
        missing("axe-core", "npm pack axe-core, unpack it and set AXE_CORE to its axe.min.js")
    return path.read_text(encoding="utf-8")


@pytest.fixture
def look(browser: Any, made: tuple[Path, Report]) -> Iterator[Open]:
    """``look(viewport, ...)`` opens the report; a message on the console or a request to the network fails the test."""
    contexts: list[Any] = []
    messages: list[str] = []

    def open_page(viewport: dict[str, int], **options: Any) -> Any:
        contexts.append(browser.new_context(viewport=viewport, reduced_motion="reduce", **options))
        page = contexts[-1].new_page()
        page.on("console", lambda message: messages.append(f"{message.type}: {message.text}"))
        page.on("pageerror", lambda error: messages.append(str(error)))
        page.on(
            "request", lambda asked: None if asked.url.startswith(("file:", "data:")) else messages.append(asked.url)
        )
        page.goto(made[1].path.as_uri())
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert messages == []


def keys(page: Any, column: int) -> list[str | None]:
    """Return the sort keys of the visible rows from top to bottom."""
    seen = "[...document.querySelectorAll('tbody tr')].filter(row => !row.hidden)"
    return page.evaluate(f"i => {seen}.map(row => row.cells[i].dataset.key ?? null)", column)


@pytest.mark.parametrize("viewport", [PHONE, DESKTOP], ids=["phone", "desktop"])
def test_the_page_is_quiet_fits_and_shows_names_as_they_are(look: Open, viewport: dict[str, int]) -> None:
    page = look(viewport)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert page.title().startswith("Report on average-3-")  # and not what a class is called
    assert "<script>document.title = 'owned'</script>" in page.inner_text("#results thead")
    assert "<script>document.title = 'owned'</script>" in page.text_content("#confusions svg")
    assert page.locator("#results thead img").count() == 0
    broken = "[...document.images].filter(image => !image.complete || !image.naturalWidth).length"
    page.wait_for_function(f"() => {broken} === 0")


@pytest.mark.parametrize("viewport", [PHONE, DESKTOP], ids=["phone", "desktop"])
def test_the_table_is_sorted_and_filtered(look: Open, made: tuple[Path, Report], viewport: dict[str, int]) -> None:
    page = look(viewport)
    frame = results.load(made[0])
    head = page.locator("#results thead th").nth(1)
    assert head.get_attribute("aria-sort") == "descending"
    assert [float(key or 0) for key in keys(page, 1)] == pytest.approx(sorted(frame["miou"], reverse=True))
    head.locator("button").click()
    assert head.get_attribute("aria-sort") == "ascending"
    assert [float(key or 0) for key in keys(page, 1)] == pytest.approx(sorted(frame["miou"]))
    column = page.locator("#results thead th", has_text="params M")
    column.locator("button").click()
    assert column.get_attribute("aria-sort") == "ascending"
    assert page.locator("#results thead th[aria-sort]").count() == 1
    place = column.evaluate("head => head.cellIndex")
    assert [float(key or 0) for key in keys(page, place)] == [1000, 1000, 1000, 3000]
    page.fill("#filter", "ENSEMBLE avera")
    assert len(keys(page, 0)) == 1
    assert page.inner_text("#count") == "1 of 4 runs"
    page.fill("#filter", "")
    assert len(keys(page, 0)) == 4
    assert not page.locator("#results th.extra").first.is_visible()
    page.check("#wide")
    assert page.locator("#results th.extra").first.is_visible()
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_missing_values_stay_last(look: Open) -> None:
    page = look(DESKTOP)
    page.check("#wide")
    column = page.locator("#results thead th", has_text="loss").first
    place = column.evaluate("head => head.cellIndex")
    cells = "i => document.querySelectorAll('tbody tr')[0].cells[i].removeAttribute('data-key')"
    for direction in ("ascending", "descending"):
        page.evaluate(cells, place)
        column.locator("button").click()
        assert column.get_attribute("aria-sort") == direction
        assert [key is None for key in keys(page, place)][-1]
        assert keys(page, place)[0] is not None


@pytest.mark.parametrize("viewport", [PHONE, DESKTOP], ids=["phone", "desktop"])
def test_images_by_button_reason_and_opacity(look: Open, viewport: dict[str, int]) -> None:
    page = look(viewport)
    images = page.locator(".image")
    total = images.count()
    assert total > 5

    def seen() -> list[int]:
        return [place for place in range(total) if images.nth(place).is_visible()]

    assert seen() == [0]
    page.click("#next")
    assert (seen(), page.inner_text("#place")) == ([1], f"2 of {total}")
    page.click("#previous")
    page.click("#previous")
    assert (seen(), page.inner_text("#place")) == ([total - 1], f"{total} of {total}")
    page.select_option("#reason", "worst")
    assert page.inner_text("#place") == "1 of 6"
    (first,) = seen()
    assert "worst" in images.nth(first).locator("small").inner_text()
    overlay = images.nth(first).locator(".stack img").first
    page.locator("#opacity").fill("20")
    assert overlay.evaluate("image => getComputedStyle(image).opacity") == "0.2"
    tiles = images.nth(first).locator("figcaption").all_inner_texts()
    assert tiles[:2] == ["image", "truth"]
    assert tiles[-2:] == ["errors (white)", "uncertainty (yellow: unsure)"]
    boxes = [figure.bounding_box() for figure in images.nth(first).locator(".stack").all()]
    assert all(box and box["width"] / box["height"] == pytest.approx(1.5, rel=0.02) for box in boxes)


def test_everything_works_from_the_keyboard(look: Open) -> None:
    page = look(DESKTOP)
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the results"
    assert page.evaluate("document.activeElement.getBoundingClientRect().left") >= 0
    page.keyboard.press("ArrowRight")
    assert page.inner_text("#place").startswith("2 of")
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("ArrowLeft")
    last = page.inner_text("#place").split(" of ")
    assert last[0] == last[1]
    page.focus("#opacity")
    page.keyboard.press("ArrowRight")
    assert page.input_value("#opacity") == "76"
    assert page.inner_text("#place").split(" of ") == last  # the slider took the key
    page.focus("#results thead th:nth-child(2) button")
    page.keyboard.press("Enter")
    assert page.get_attribute("#results thead th:nth-child(2)", "aria-sort") == "ascending"
    reached = set[str]()
    page.focus("#theme")
    for _ in range(200):
        page.keyboard.press("Tab")
        reached.add(page.evaluate("document.activeElement.id || document.activeElement.className"))
        if "next" in reached:
            break
    assert {"filter", "wide", "scroll", "reason", "previous", "next"} <= reached


def test_light_and_dark_follow_the_system_and_the_button(look: Open) -> None:
    page = look(DESKTOP, color_scheme="dark")

    def colours() -> list[str]:
        return page.evaluate("['backgroundColor', 'color'].map(name => getComputedStyle(document.body)[name])")

    dark = colours()
    assert page.inner_text("#theme") == "Light"
    page.click("#theme")
    light = colours()
    assert (light, page.inner_text("#theme")) == (["rgb(244, 245, 247)", "rgb(29, 32, 36)"], "Dark")
    page.emulate_media(color_scheme="light")
    page.click("#theme")
    assert colours() == dark
    ink = page.locator("#steps svg text").first.evaluate("text => getComputedStyle(text).fill")
    assert ink == dark[1]


@pytest.mark.parametrize(
    ("viewport", "scheme"), [(PHONE, "dark"), (DESKTOP, "light")], ids=["phone-dark", "desktop-light"]
)
def test_axe_finds_no_serious_fault(look: Open, axe: str, viewport: dict[str, int], scheme: str) -> None:
    page = look(viewport, color_scheme=scheme, bypass_csp=True)  # for axe to come in
    page.check("#wide")
    page.evaluate(axe)
    found = page.evaluate("axe.run().then(done => done.violations)")
    faults = [(one["id"], [node["html"] for node in one["nodes"]]) for one in found if one["impact"] != "minor"]
    assert faults == []


def test_without_scripts_everything_is_there(look: Open) -> None:
    page = look(PHONE, java_script_enabled=False)
    assert page.locator(".image").nth(3).is_visible()
    assert not page.locator(".controls").first.is_visible()


def test_printed_it_is_light_and_whole(look: Open) -> None:
    page = look(DESKTOP, color_scheme="dark")
    page.emulate_media(media="print")
    assert page.evaluate("getComputedStyle(document.body).color") == "rgb(29, 32, 36)"
    assert not page.locator("#filter").is_visible()
    assert page.pdf(format="A4", print_background=True).startswith(b"%PDF")
