"""The paper on a desk is found in any light, and nothing else is taken for it."""

from collections.abc import Callable

import cv2
import numpy as np
import pytest

from benchmarks import paper, vision
from mnist_core.data.split import Split
from mnist_core.vision.desk import find_paper, without_desk
from mnist_core.vision.predictor import Predictor

HEIGHT, WIDTH = 480, 640
# Corners of a sheet that lies turned, and of one that reaches beyond the picture.
TURNED = (170, 90), (520, 60), (560, 380), (150, 400)
BEYOND = (300, 120), (760, 150), (740, 700), (280, 660)


def scene(corners: tuple[tuple[int, int], ...], sheet: int, desk: int) -> tuple[np.ndarray, np.ndarray]:
    """A sheet of one tone on a desk of another, float32, and where it is, uint8."""
    lies = cv2.fillConvexPoly(np.zeros((HEIGHT, WIDTH), np.uint8), np.int32(corners), 1)
    grain = np.random.default_rng(0).normal(0, 3, (HEIGHT, WIDTH))
    return np.float32(np.where(lies, sheet, desk) + grain), lies


def as_picture(tones: np.ndarray) -> np.ndarray:
    return np.uint8(np.clip(cv2.GaussianBlur(tones, (0, 0), 1), 0, 255))


def shade(width: float) -> np.ndarray:
    """The light beside a shadow whose edge is so many pixels wide, from corner to corner."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    return np.float32(1 - 0.4 / (1 + np.exp((x / WIDTH + y / HEIGHT - 1) * WIDTH / width)))


@pytest.mark.parametrize("corners", [TURNED, BEYOND], ids=["turned", "beyond"])
@pytest.mark.parametrize(("sheet", "desk"), [(230, 90), (230, 185), (120, 220)])
@pytest.mark.parametrize("light", [1.0, shade(60)], ids=["even", "half in a shadow"])
def test_it_is_found(
    corners: tuple[tuple[int, int], ...], sheet: int, desk: int, light: float | np.ndarray
) -> None:
    tones, lies = scene(corners, sheet, desk)
    found = find_paper(as_picture(tones * light))
    assert found is not None
    found = cv2.resize(found, (WIDTH, HEIGHT), interpolation=cv2.INTER_NEAREST)
    assert (found & lies).sum() > 0.95 * (found | lies).sum()


def blank() -> np.ndarray:
    return scene(TURNED, 200, 200)[0]


def box() -> np.ndarray:
    return cv2.polylines(blank(), [np.int32(TURNED)], True, 60.0, 6)


def disc() -> np.ndarray:
    return cv2.circle(blank(), (320, 240), 150, 60.0, -1)


def corner_of_a_shadow() -> np.ndarray:
    lies = cv2.GaussianBlur(np.float32(scene(BEYOND, 1, 0)[1]), (0, 0), 12)
    return blank() * (1 - 0.4 * lies)


def sharp_shadow() -> np.ndarray:
    return blank() * shade(3)


def five() -> np.ndarray:
    strokes = np.int32([(420, 90), (220, 90), (220, 220), (420, 240), (400, 400), (220, 400)])
    return cv2.polylines(blank(), [strokes], False, 60.0, 40)


@pytest.mark.parametrize("drawn", [blank, box, disc, corner_of_a_shadow, sharp_shadow, five])
def test_nothing_else_is_taken_for_it(drawn: Callable[[], np.ndarray]) -> None:
    assert find_paper(as_picture(drawn())) is None


@pytest.mark.parametrize("light", paper.LIGHTS)
def test_no_light_on_paper_is_taken_for_it(light: str) -> None:
    ink = cv2.polylines(
        np.zeros((300, 400), np.float32), [np.int32([(90, 80), (200, 80), (140, 220)])], False, 1.0, 8
    )
    made = [
        paper.photo(ink, paper.Style(light=light, paper=kind), np.random.default_rng(seed))
        for kind in paper.PAPERS
        for seed in range(4)
    ]
    assert not [one for one in made if find_paper(cv2.cvtColor(one, cv2.COLOR_BGR2GRAY)) is not None]


def test_the_desk_goes_and_what_is_written_stays_where_it_was() -> None:
    tones, _ = scene(TURNED, 230, 90)
    picture = as_picture(cv2.circle(tones, (400, 200), 12, 20.0, -1))
    left, top, part = without_desk(picture, find_paper(picture))
    assert part[200 - top, 400 - left] < 40
    written = cv2.circle(np.zeros_like(part), (400 - left, 200 - top), 16, 1, -1)
    assert part[written == 0].min() > 215


def test_light_on_the_paper_goes_on_beyond_it() -> None:
    ramp = np.linspace(0.6, 1.1, WIDTH, dtype=np.float32)
    picture = as_picture(scene(TURNED, 220, 60)[0] * ramp)
    left, _, part = without_desk(picture, find_paper(picture))
    wanted = 220 * ramp[left : left + part.shape[1]]
    assert np.abs(part - wanted).max() < 30


@pytest.mark.mnist
def test_what_lies_between_the_strokes_of_a_small_picture_is_no_paper(test_digits: Split) -> None:
    for digit in test_digits.images[:200]:
        x, y, width, height = cv2.boundingRect(np.uint8(digit > 60))
        cut = digit[y : y + height, x : x + width]
        for scale in (3, 12):
            assert find_paper(255 - cv2.resize(cut, None, fx=scale, fy=scale)) is None


def test_beside_blank_paper_a_pencil_is_no_one_and_a_four_is_read(predictor: Predictor) -> None:
    desk, _ = scene(((250, 60), (600, 80), (580, 420), (240, 400)), 235, 170)
    pencil = as_picture(cv2.line(desk.copy(), (110, 120), (100, 260), 60.0, 10))
    four = np.int32([(70, 120), (60, 220), (150, 220)]), np.int32([(130, 140), (120, 300)])
    assert find_paper(pencil) is not None
    assert predictor.read(pencil).text == ""
    assert predictor.read(pencil[:, :200]).text == "1"
    assert predictor.read(as_picture(cv2.polylines(desk, four, False, 60.0, 10))).text == "4"


@pytest.mark.mnist
@pytest.mark.parametrize(("kind", "seeds", "least"), [("desk", (1, 2), 28), ("page desk", (0, 2), 20)])
def test_what_is_written_on_it_is_read(
    predictor: Predictor, test_digits: Split, kind: str, seeds: tuple[int, int], least: int
) -> None:
    made = [one for seed in seeds for one in vision.pictures(kind, 16, test_digits, seed)]
    assert sum(predictor.read(picture).text == text for picture, text in made) >= least
