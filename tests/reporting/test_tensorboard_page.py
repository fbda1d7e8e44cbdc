"""TensorBoard's own page, in a browser without a screen, shows a run.

MNIST_CORE_SCREENSHOTS names a folder to keep pictures of what the browser saw.
"""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from tests.forks import Forks, Training

playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright: pip install -e .[dev]")
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = pytest.mark.skipif(not CHROMIUM, reason="no chromium, chromium-browser or google-chrome found")
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
PATIENCE_MS = 60_000


@pytest.fixture(scope="module")
def run(forks: Forks, drawn: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("page")
    argv = ["--json", "--device", "cpu", "--dataset", str(drawn), "--model", "mlp", "--max-steps", "40"]
    argv += ["--eval-every", "10", "--log-dir", str(folder / "logs")]
    return Path(Training(forks, argv, folder / "output").result()["run_dir"])


@pytest.fixture(scope="module")
def address(run: Path) -> Iterator[str]:
    """Where a TensorBoard listens that shows the run."""
    argv = ["-m", "tensorboard.main", "--logdir", str(run), "--host", "127.0.0.1", "--port", "0"]
    with subprocess.Popen([sys.executable, *argv], stderr=subprocess.PIPE, text=True) as process:
        found = (re.search(r"http://127\S+", line) for line in process.stderr)
        yield next(filter(None, found))[0]
        process.terminate()


@pytest.fixture(scope="module")
def page(address: str) -> Iterator["playwright.Page"]:
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        page = browser.new_page(viewport={"width": 1400, "height": 1000})
        page.set_default_timeout(PATIENCE_MS)
        yield page
        browser.close()


def show(page: "playwright.Page", address: str, view: str, drawn: str, count: int) -> None:
    """Opens a view, and waits for ``count`` elements that match ``drawn``."""
    page.goto(f"{address}#{view}")
    page.reload()
    playwright.expect(page.locator(drawn)).to_have_count(count, timeout=PATIENCE_MS)


@pytest.fixture(autouse=True)
def screenshot(page: "playwright.Page", request: pytest.FixtureRequest) -> Iterator[None]:
    yield
    if folder := os.environ.get("MNIST_CORE_SCREENSHOTS"):
        page.screenshot(path=f"{folder}/{request.node.name}.png")


def test_time_series_shows_training_beside_validation(page: "playwright.Page", address: str) -> None:
    show(page, address, "timeseries", "scalar-card:has([title=accuracy])", 1)
    rows = page.locator("scalar-card:has([title=accuracy]) tb-data-table-content-row")
    playwright.expect(rows).to_have_count(2)
    playwright.expect(rows.filter(has_text="eval")).to_contain_text("40")
    playwright.expect(rows.filter(has_text="train")).to_contain_text("40")


def test_scalars_draws_both_curves(page: "playwright.Page", address: str) -> None:
    # Each as it is, and smoothed.
    show(page, address, "scalars", "tf-scalar-card:has-text('accuracy') path.line[d*='L']", 4)


def test_images_shows_the_confusion_matrix_and_the_mistakes(
    page: "playwright.Page", address: str, run: Path
) -> None:
    show(page, address, "images", "tf-image-loader img[src]", 2)
    events = EventAccumulator(str(run / "eval")).Reload()
    for tag in ("confusion_matrix", "images/misclassified"):
        image = page.locator(f"tf-image-loader:has-text('{tag}') img")
        page.wait_for_function("image => image.complete", arg=image.element_handle())
        newest = events.Images(tag)[-1]
        assert image.evaluate("image => image.naturalWidth") == newest.width
        assert page.request.get(image.evaluate("image => image.src")).body() == newest.encoded_image_string


def test_pr_curves_draws_every_digit(page: "playwright.Page", address: str) -> None:
    show(page, address, "pr_curves", "tf-pr-curve-card path.line[d*='L']", 10)


def test_histograms_draws_every_variable(page: "playwright.Page", address: str) -> None:
    show(page, address, "histograms", "tf-histogram-loader:has-text('hist/mlp')", 4)
    playwright.expect(page.locator("tf-histogram-loader .histogram")).not_to_have_count(0)
