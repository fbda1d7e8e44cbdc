"""The page, in a browser without a screen: drawing, photos, rubbish, the keyboard, a phone.

MNIST_CORE_SCREENSHOTS names a folder to keep pictures of what the browser saw.
"""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from mnist_core.data.synthetic import curves
from tests.web.conftest import Server, png

playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright: pip install -e .[dev]")
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = pytest.mark.skipif(not CHROMIUM, reason="no chromium, chromium-browser or google-chrome found")
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
PATIENCE_MS = 60_000
ONE = [(0.5, 0.2), (0.5, 0.8)]


@pytest.fixture(scope="module")
def browser() -> Iterator["playwright.Browser"]:
    playwright.expect.set_options(timeout=PATIENCE_MS)
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def options() -> dict[str, object]:
    """Of the browser's window; a test may have others."""
    return {"viewport": {"width": 1200, "height": 800}}


@pytest.fixture
def page(
    browser: "playwright.Browser", server: Server, options: dict[str, object], request: pytest.FixtureRequest
) -> Iterator["playwright.Page"]:
    page = browser.new_page(**options)
    page.set_default_timeout(PATIENCE_MS)
    errors, elsewhere = [], []
    page.on("pageerror", lambda error: errors.append(error))  # noqa: PLW0108 (only functions will do)
    page.on("request", lambda asked: elsewhere.append(asked.url))
    page.goto(server.url)
    yield page
    if folder := os.environ.get("MNIST_CORE_SCREENSHOTS"):
        page.screenshot(path=f"{folder}/{request.node.name}.png", full_page=True)
    page.close()
    assert errors == []
    assert all(url.startswith((server.url, "data:", "blob:")) for url in elsewhere), elsewhere


def draw(page: "playwright.Page", points: list[tuple[float, float]], steps: int = 8) -> None:
    """One stroke of the mouse, in so many steps from point to point: shares of the pad's width and height."""
    box = page.locator("#pad").bounding_box()
    places = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in points]
    page.mouse.move(*places[0])
    page.mouse.down()
    for place in places[1:]:
        page.mouse.move(*place, steps=steps)
    page.mouse.up()


def texts(page: "playwright.Page") -> "playwright.Locator":
    """The digits that the page says it has read, once nothing more is being read."""
    return page.locator("#text[aria-busy=false] button")


def inked(page: "playwright.Page", canvas: str, channel: int) -> int:
    """How many pixels of a canvas are more than half in a channel: 0 for light, 3 for drawn on."""
    return page.evaluate(
        """([id, channel]) => {
            const canvas = document.querySelector(id);
            const {data} = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
            return data.filter((value, i) => i % 4 === channel && value > 127).length;
        }""",
        [canvas, channel],
    )


@pytest.mark.parametrize(
    "options", [{"color_scheme": "light"}, {"color_scheme": "dark"}], ids=["light", "dark"]
)
def test_a_drawn_digit_is_read_with_its_probabilities_and_its_28_by_28(page):
    draw(page, ONE)
    playwright.expect(texts(page)).to_have_text(["1"])
    playwright.expect(page.locator("#bars li.best")).to_contain_text("1")
    shares = page.locator("#bars li").evaluate_all(
        "rows => rows.map(row => parseFloat(row.lastChild.textContent))"
    )
    assert len(shares) == 10
    assert sum(shares) == pytest.approx(100, abs=0.6)
    assert shares.index(max(shares)) == 1
    assert 20 < inked(page, "#seen", 0) < 300
    box = page.locator("#boxes rect").bounding_box()
    pad = page.locator("#pad").bounding_box()
    assert box["y"] - pad["y"] == pytest.approx(0.2 * pad["height"], abs=25)
    assert box["height"] == pytest.approx(0.6 * pad["height"], abs=45)


def test_each_of_the_ten_digits_is_read_as_it_is_drawn(page):
    for digit in range(10):
        for curve in curves(digit):
            # Upright in the middle of the pad, narrower than high.
            draw(page, [(0.35 + 0.3 * x, 0.25 + 0.5 * y) for x, y in curve], steps=1)
        playwright.expect(texts(page)).to_have_text([str(digit)])
        page.get_by_role("button", name="Clear").click()
        playwright.expect(texts(page)).to_have_count(0)


def test_undo_eraser_and_clear_take_ink_away(page):
    draw(page, [(0.2, 0.5), (0.4, 0.5)])
    first = inked(page, "#pad", 3)
    draw(page, ONE)
    both = inked(page, "#pad", 3)
    assert 0 < first < both
    page.get_by_role("button", name="Eraser").click()
    draw(page, [(0.5, 0.4), (0.5, 0.6)])
    assert first < inked(page, "#pad", 3) < both
    page.get_by_role("button", name="Undo").click()
    page.get_by_role("button", name="Undo").click()
    assert inked(page, "#pad", 3) == first
    page.get_by_role("button", name="Clear").click()
    assert inked(page, "#pad", 3) == 0
    playwright.expect(page.locator("#text button, #boxes rect")).to_have_count(0)
    playwright.expect(page.get_by_role("button", name="Undo")).to_be_disabled()


def test_the_keyboard_reaches_everything_and_draws(page):
    page.keyboard.press("Tab")
    playwright.expect(page.locator("#pad")).to_be_focused()
    for _ in range(5):
        page.keyboard.press("Shift+ArrowUp")
    page.keyboard.press("Space")
    for _ in range(9):
        page.keyboard.press("Shift+ArrowDown")
    page.keyboard.press("Space")
    playwright.expect(texts(page)).to_have_text(["1"])
    for name in ("Pen", "Eraser", "Undo", "Clear", "Photo…"):
        page.keyboard.press("Tab")
        playwright.expect(page.get_by_role("button", name=name)).to_be_focused()
    page.keyboard.press("Tab")
    playwright.expect(texts(page)).to_be_focused()


def test_a_photo_is_read_and_rubbish_is_refused_and_drawing_goes_on(page, tmp_path: Path):
    photo = tmp_path / "photo.png"
    photo.write_bytes(png([[300, 80], [300, 300]], size=(400, 600)))
    page.locator("#file").set_input_files(photo)
    playwright.expect(texts(page)).to_have_text(["1"])
    assert page.locator("#photo").evaluate("canvas => [canvas.width, canvas.height]") == [600, 400]
    box, shown = page.locator("#boxes rect").bounding_box(), page.locator("#photo").bounding_box()
    centre = (box["x"] + box["width"] / 2 - shown["x"]) / shown["width"]
    assert centre == pytest.approx(0.5, abs=0.03)
    rubbish = tmp_path / "rubbish.png"
    rubbish.write_text("a digit, honestly")
    page.locator("#file").set_input_files(rubbish)
    playwright.expect(page.locator("#status.wrong")).to_contain_text("no image")
    playwright.expect(texts(page)).to_have_count(0)
    # Nothing is shown of it, so that the sheet to draw on is back.
    draw(page, ONE)
    playwright.expect(texts(page)).to_have_text(["1"])
    playwright.expect(page.locator("#status.wrong")).to_have_count(0)


@pytest.mark.parametrize("event", ["drop", "paste"])
def test_a_photo_may_be_dropped_or_pasted(page, event):
    page.evaluate(
        """([kind, bytes]) => {
            const data = new DataTransfer();
            data.items.add(new File([new Uint8Array(bytes)], "one.png", {type: "image/png"}));
            const made = kind === "drop"
                ? new DragEvent("drop", {dataTransfer: data, bubbles: true, cancelable: true})
                : new ClipboardEvent("paste", {clipboardData: data, bubbles: true});
            document.querySelector("#stage").dispatchEvent(made);
        }""",
        [event, list(png([[140, 60], [140, 220]]))],
    )
    playwright.expect(texts(page)).to_have_text(["1"])
    playwright.expect(page.locator("#photo")).to_be_visible()


@pytest.mark.parametrize(
    "options",
    [
        {
            "viewport": {"width": 360, "height": 740},
            "has_touch": True,
            "is_mobile": True,
            "device_scale_factor": 2,
        }
    ],
    ids=["phone"],
)
def test_on_a_phone_all_is_in_sight_and_a_finger_draws(page):
    assert page.evaluate("document.documentElement.scrollWidth") == 360
    for button in page.get_by_role("button").all():
        box = button.bounding_box()
        assert box["height"] >= 44
        assert 0 <= box["x"] <= box["x"] + box["width"] <= 360
    box = page.locator("#pad").bounding_box()
    touch = page.context.new_cdp_session(page)
    places = [{"x": box["x"] + box["width"] / 2, "y": box["y"] + box["height"] * y / 10} for y in range(2, 9)]
    touch.send("Input.dispatchTouchEvent", {"type": "touchStart", "touchPoints": places[:1]})
    for place in places[1:]:
        touch.send("Input.dispatchTouchEvent", {"type": "touchMove", "touchPoints": [place]})
    touch.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
    playwright.expect(texts(page)).to_have_text(["1"])
    assert page.evaluate("window.scrollY") == 0
