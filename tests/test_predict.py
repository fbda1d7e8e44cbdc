"""The predict command: every image gets its line, whatever the others are like."""

import json
import os
import shutil
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from mnist_core.data.synthetic import draw
from mnist_core.runs import SHIPPED
from mnist_core.vision.answers import Digit
from mnist_core.vision.overlay import marked
from mnist_core.vision.page import Page
from tests.invoke import ROOT, call, spawn

DRAWN, LABELS = draw(200, seed=1)
LEFT, TOP, ZOOM = 70, 40, 6


@pytest.fixture(scope="module")
def log_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """No logs: the weights that come with the package read."""
    return tmp_path_factory.mktemp("predict")


def picture(path: Path, digit: int = 0, *, ink: int = 20, paper: int = 230) -> Path:
    """A drawn digit, enlarged, somewhere on a sheet."""
    bright = cv2.resize(DRAWN[digit == LABELS][0], None, fx=ZOOM, fy=ZOOM, interpolation=cv2.INTER_CUBIC)
    image = np.full((300, 360), paper, np.float32)
    image[TOP : TOP + 28 * ZOOM, LEFT : LEFT + 28 * ZOOM] += bright / 255.0 * (ink - paper)
    cv2.imwrite(str(path), np.clip(image, 0, 255).astype(np.uint8))
    return path


@pytest.mark.parametrize("digit", [0, 1, 3])
@pytest.mark.parametrize("tones", [(20, 230), (240, 10)], ids=["dark on light", "light on dark"])
def test_a_digit_is_read_with_its_box(digit, tones, log_dir, tmp_path, capsys):
    path = picture(tmp_path / "a digit.jpg", digit, ink=tones[0], paper=tones[1])
    done = call(capsys, "predict", "--log-dir", log_dir, "--json", "--single", path)
    assert done.code == 0
    (image,) = done.json()["images"]
    assert (image["path"], image["status"], image["text"]) == (str(path), "ok", str(digit))
    (found,) = image["digits"]
    assert found["digit"] == digit
    assert 0.3 < found["probability"] <= 1
    x, y, width, height = cv2.boundingRect((DRAWN[digit == LABELS][0] > 64).astype(np.uint8))
    box = [LEFT + ZOOM * x, TOP + ZOOM * y, ZOOM * width, ZOOM * height]
    assert np.abs(np.subtract(found["box"], box)).max() <= 2 * ZOOM


def test_all_images_are_listed_in_order_also_when_some_fail(log_dir, tmp_path, capsys):
    good = picture(tmp_path / "good.png")
    cv2.imwrite(str(tmp_path / "pixel.png"), np.zeros((1, 1), np.uint8))
    (tmp_path / "text.png").write_text("no picture")
    (tmp_path / "empty.png").touch()
    (tmp_path / "cut.png").write_bytes(good.read_bytes()[:100])
    (tmp_path / "bare").mkdir()
    names = ["missing.png", "good.png", "text.png", "pixel.png", "empty.png", "cut.png", "bare"]
    paths = [str(tmp_path / name) for name in names]
    done = call(capsys, "predict", "--log-dir", log_dir, "--single", "--json", *paths)
    assert "5 of 7 images can't be read" in done.failure(3)
    images = json.loads(done.stdout)["images"]
    assert [image["path"] for image in images] == paths
    statuses = [image["status"] for image in images]
    assert statuses == ["error", "ok", "error", "no_digit", "error", "error", "error"]
    assert all(bool(image["digits"]) == (image["status"] == "ok") for image in images)
    assert all(image["message"] for image in images if image["status"] != "ok")


def test_names_that_are_no_files_and_folders_that_may_not_be_entered_are_listed(tmp_path):
    # Root may enter any folder, but for the right to.
    less = ["setpriv", "--bounding-set=-dac_override,-dac_read_search"] if os.geteuid() == 0 else []
    if less and not shutil.which("setpriv"):
        pytest.skip("no setpriv command: root may enter any folder")
    closed, bare, long = tmp_path / "closed", tmp_path / "listed", "a" * 300
    for folder, mode in ((closed, 0), (bare, 0o644)):
        folder.mkdir()
        (folder / "one.png").touch()
        folder.chmod(mode)
    names = [long, f"{long}*", str(closed), str(closed / "one.png"), str(bare)]
    command = [*less, sys.executable, "-m", "runners.predict", "--run", SHIPPED, "--json", *names]
    done = spawn("-c", "import os, sys; os.execvp(sys.argv[1], sys.argv[1:])", *command)
    for folder in (closed, bare):
        folder.chmod(0o755)
    assert "5 of 5 images can't be read" in done.failure(3)
    images = done.json()["images"]
    assert [(image["path"], image["status"]) for image in images] == [(name, "error") for name in names]
    causes = ["too long", "too long", "permission", "permission", "permission"]
    assert all(cause in image["message"].lower() for cause, image in zip(causes, images, strict=True))


@pytest.mark.parametrize(("engine", "package"), [("litert", "ai_edge_litert"), ("onnx", "onnxruntime")])
def test_all_engines_read_alike(log_dir, tmp_path, capsys, engine, package):
    pytest.importorskip(package, reason=f"it is not installed: -e '.[{engine}]'")
    path = picture(tmp_path / "three.png", 3)
    flags = ["--log-dir", log_dir, "--json", path]
    found = [call(capsys, "predict", "--engine", name, *flags).json() for name in ("tensorflow", engine)]
    (one,), (other,) = (answer["images"][0]["digits"] for answer in found)
    assert (one["digit"], one["box"]) == (other["digit"], other["box"])
    # The run may have been trained in bfloat16, which others than TensorFlow don't compute in.
    assert one["probability"] == pytest.approx(other["probability"], abs=0.02)


def test_a_blank_page_holds_no_digit(log_dir, tmp_path, capsys):
    path = picture(tmp_path / "blank.png", ink=230)
    done = call(capsys, "predict", "--log-dir", log_dir, path)
    assert done.code == 0
    assert "no digit" in done.stdout
    assert done.stderr == [f"read with the weights of {SHIPPED}"]
    assert call(capsys, "predict", "--log-dir", log_dir, "--json", path).stderr == []


def read(capsys: pytest.CaptureFixture, *argv: object) -> list[dict]:
    """The images that the shipped weights read."""
    done = call(capsys, "predict", "--log-dir", "nowhere", "--json", *argv)
    assert done.code == 0, done
    assert done.json()["run_dir"] == str(SHIPPED)
    return done.json()["images"]


def test_folders_and_patterns_stand_for_the_images_in_them(tmp_path, capsys):
    inside, folder = [], tmp_path / "some scans"
    folder.mkdir()
    for name in ("b.PNG", "a.jpg", "c.png"):
        inside.append(str(folder / name))
        cv2.imwrite(inside[-1], np.full((40, 40), 255, np.uint8))
    (folder / "notes.txt").write_text("not a picture")
    found = read(capsys, folder, folder / "*.png", folder / "a.jpg")
    b, a, c = inside
    assert [image["path"] for image in found] == [a, b, c, c, a]
    assert {image["status"] for image in found} == {"no_digit"}


def test_the_note_of_the_readme_is_read(capsys):
    (image,) = read(capsys, ROOT / "benchmarks" / "images" / "note.jpg")
    assert image["text"] == "2026\n1123"
    assert min(one["probability"] for one in image["digits"]) > 0.9


def test_standard_input_is_an_image(tmp_path, capsys, monkeypatch):
    path = picture(tmp_path / "one.png", 1)
    with path.open() as file:
        monkeypatch.setattr("sys.stdin", file)
        (piped,) = read(capsys, "--single", "-")
    (named,) = read(capsys, "--single", path)
    assert piped == {**named, "path": "-"}


def test_what_was_seen_is_drawn(tmp_path, capsys):
    path = picture(tmp_path / "a digit.jpg", 3)
    sheet, folder = tmp_path / "new" / "stages.png", tmp_path / "marked"
    (image,) = read(capsys, "--single", "--explain", sheet, "--annotate", folder, path)
    (box,) = [one["box"] for one in image["digits"]]
    (marked,) = folder.iterdir()
    plain, drawn = cv2.imread(str(path)), cv2.imread(str(marked))
    changed = cv2.boundingRect((cv2.absdiff(plain, drawn).max(axis=2) > 40).astype(np.uint8))
    # The box is drawn; the digit's name is above it.
    assert changed[0] in range(box[0] - 2, box[0] + 1)
    assert changed[1] < box[1]
    stages = cv2.imread(str(sheet))
    assert stages.shape[0] > 400
    assert stages.shape[1] > 5 * 360


@pytest.mark.parametrize("shape", [(28, 28), (60, 40), (400, 300)])
def test_the_name_of_a_digit_that_fills_its_picture_is_drawn_inside(shape):
    height, width = shape
    digit = Digit(7, 1.0, (2, 2, width - 4, height - 4), np.zeros(10), np.zeros((28, 28), np.uint8))
    drawn = marked(np.zeros(shape, np.uint8), Page((digit,), "7"))
    # White surrounds the name.
    rows = np.flatnonzero((drawn.min(axis=2) > 120).any(axis=1))
    assert 0 < rows.min() < rows.max() < height - 1
    assert max(marked(np.zeros((4000, 3000), np.uint8), Page((), ""), side=360).shape) == 360


def test_an_explanation_is_of_one_image(tmp_path, capsys):
    done = call(capsys, "predict", "--explain", tmp_path / "a.png", "one.png", "two.png")
    assert "one image, not 2" in done.failure(2)


def test_a_drawing_that_cannot_be_written_is_named(tmp_path, capsys):
    (tmp_path / "file").touch()
    done = call(capsys, "predict", "--annotate", tmp_path / "file", picture(tmp_path / "one.png"))
    assert "file" in done.failure(2)
