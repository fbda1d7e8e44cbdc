"""Slashes are told from ones by their height and how they lean."""

import cv2
import numpy as np
import pytest

from mnist_core.vision.segment import Piece
from mnist_core.vision.signs import signs_among

HEIGHT, APART, FOOT = 60, 50, 100
DATE = (False, False, True, False, False, True, False, False)


def stroke(at: int, height: int, lean: float) -> Piece:
    """A straight one, its middle level with those of the row's other pieces."""
    width = max(1, round(abs(lean) * height)) + 6
    mask = np.zeros((height, width), np.uint8)
    ends = [(3, height - 3), (width - 4, 2)] if lean >= 0 else [(3, 2), (width - 4, height - 3)]
    cv2.line(mask, *ends, 1, 5)
    return Piece(mask, APART * at, FOOT - HEIGHT // 2 - height // 2)


def zero(at: int, lean: float) -> Piece:
    mask = np.zeros((HEIGHT, 40), np.uint8)
    cv2.ellipse(mask, (20, HEIGHT // 2), (10, HEIGHT // 2 - 4), 0, 0, 360, 1, 5)
    slant = np.float32([[1, -lean, lean * HEIGHT / 2], [0, 1, 0]])
    return Piece(cv2.warpAffine(mask, slant, mask.shape[::-1]), APART * at, FOOT - HEIGHT)


def date(height: int, lean: float, slant: float) -> list[Piece]:
    return [stroke(at, height, lean) if is_slash else zero(at, slant) for at, is_slash in enumerate(DATE)]


@pytest.mark.parametrize(
    ("height", "lean", "slant"),
    [
        pytest.param(72, 0.45, 0.0, id="little higher, but leaning"),
        pytest.param(90, 0.2, 0.2, id="no more leaning than the digits, but much higher"),
        pytest.param(96, 0.25, 0.3, id="even less leaning"),
    ],
)
def test_the_slashes_of_a_date_are_signs(height, lean, slant):
    assert signs_among(date(height, lean, slant), DATE) == list(DATE)


@pytest.mark.parametrize(
    ("height", "lean", "slant"),
    [
        pytest.param(60, 0.3, 0.0, id="leaning ones"),
        pytest.param(78, 0.0, 0.0, id="high ones"),
        pytest.param(90, -0.3, 0.1, id="ones that lean the other way"),
        pytest.param(90, 0.0, 0.0, id="very high ones, upright"),
    ],
)
def test_ones_of_other_hands_stay(height, lean, slant):
    assert not any(signs_among(date(height, lean, slant), DATE))


@pytest.mark.parametrize("text", ["01010", "20131415", "10001000", "00100100"])
def test_high_ones_that_lean_as_the_digits_do_stay_where_they_part_no_date(text):
    ones = [sign == "1" for sign in text]
    row = [stroke(at, 90, 0.2) if is_one else zero(at, 0.2) for at, is_one in enumerate(ones)]
    assert any(signs_among(row, ones)) == (text == "00100100")


def test_one_stroke_alone_is_a_large_one():
    row = [zero(0, 0.0), zero(1, 0.0), stroke(2, 90, 0.3), zero(3, 0.0)]
    assert not any(signs_among(row, [False, False, True, False]))
