"""Digits where people write them: in circles, beside holes and slashes, on paper that lies turned."""

from collections.abc import Callable

import cv2
import numpy as np
import pytest

from benchmarks import paper, writing
from mnist_core.data.split import Split
from mnist_core.vision.parts import without_discs
from mnist_core.vision.predictor import Predictor

Picture = tuple[np.ndarray, str]


def row_of(digits: Split, rng: np.random.Generator, signs: str) -> Picture:
    """A row of digits, 0, and signs, as ink, and its digits' text."""
    text, row = "", []
    for sign in signs:
        if sign != "0":
            row.append(sign)
            continue
        while not writing.legible(*(drawn := _any_of(digits, rng))):
            pass
        row.append(drawn[0])
        text += drawn[1]
    return writing.rows_of([row], rng, height=70, pen=5), text


def _any_of(digits: Split, rng: np.random.Generator) -> Picture:
    at = int(rng.integers(len(digits)))
    return digits.images[at], str(digits.labels[at])


def circled(digits: Split, rng: np.random.Generator) -> Picture:
    ink, text = row_of(digits, rng, "00")
    x, y, width, height = cv2.boundingRect((ink > 0.1).astype(np.uint8))
    ink = np.pad(ink[y : y + height, x : x + width], 120)
    middle = ink.shape[1] // 2, ink.shape[0] // 2
    cv2.ellipse(ink, middle, (round(0.7 * width) + 10, height), 0, 0, 360, 1.0, 5)
    return np.uint8(255 - 255 * ink), text


def beside_punched_holes(digits: Split, rng: np.random.Generator) -> Picture:
    ink, text = row_of(digits, rng, "0000")
    page = np.zeros((800, 600), np.float32)
    writing.place(page, ink[:, : 600 - 70], 70, 300)
    picture = paper.photo(page, paper.Style(paper="ruled"), rng)
    for y in (130, 400, 670):
        cv2.circle(picture, (30, y), 17, (60, 55, 50), -1, cv2.LINE_AA)
    return picture, text


def on_turned_paper(digits: Split, rng: np.random.Generator) -> Picture:
    ink, text = row_of(digits, rng, "0")
    height, width = ink.shape
    side = 2 * max(height, width)
    sheet = np.full((side, side), 240, np.float32)
    top, left = (side - height) // 2, (side - width) // 2
    sheet[top : top + height, left : left + width] -= 200 * ink
    turn = cv2.getRotationMatrix2D((side / 2, side / 2), rng.uniform(8, 30), 1)
    turn[:, 2] += side / 2
    size = (2 * side, 2 * side)
    lies = cv2.warpAffine(np.ones_like(sheet), turn, size)
    picture = cv2.warpAffine(sheet, turn, size) * lies + 70 * (1 - lies)
    return np.uint8(np.clip(picture + rng.normal(0, 3, picture.shape), 0, 255)), text


def a_date(digits: Split, rng: np.random.Generator) -> Picture:
    ink, text = row_of(digits, rng, "00/00/0000")
    return np.uint8(255 - 255 * ink), text


def a_number_in_parentheses(digits: Split, rng: np.random.Generator) -> Picture:
    ink, text = row_of(digits, rng, "(000)000-0000")
    return np.uint8(255 - 255 * ink), text


@pytest.mark.mnist
@pytest.mark.parametrize(
    "scene", [circled, beside_punched_holes, on_turned_paper, a_date, a_number_in_parentheses]
)
def test_most_are_read_without_a_mistake(
    predictor: Predictor, test_digits: Split, scene: Callable[[Split, np.random.Generator], Picture]
) -> None:
    made = [scene(test_digits, np.random.default_rng(seed)) for seed in range(8)]
    assert sum(predictor.read(picture).text == text for picture, text in made) >= 6


def test_discs_go_and_what_else_is_small_or_round_stays() -> None:
    mask = np.zeros((200, 300), np.uint8)
    cv2.circle(mask, (40, 100), 9, 1, -1)
    discs = mask.copy()
    assert (without_discs(discs) == discs).all()
    cv2.circle(mask, (120, 100), 30, 1, -1)
    cv2.circle(mask, (200, 100), 9, 1, 2)
    cv2.line(mask, (250, 90), (252, 110), 1, 4)
    assert (without_discs(mask) == mask * (discs == 0)).all()


def test_bars_of_a_code_are_no_ones(predictor: Predictor) -> None:
    rng = np.random.default_rng(0)
    code = np.full((200, 400), 255, np.uint8)
    at = 40
    while at < 350:
        width = int(rng.integers(2, 8))
        code[40:160, at : at + width] = 0
        at += width + int(rng.integers(3, 9))
    assert predictor.read(code).text == ""


# From one (x, y) to another, and the tone.
Line = tuple[tuple[int, int], tuple[int, int], int]
ONE: Line = (204, 90), (200, 200), 60


@pytest.mark.parametrize(
    ("lines", "text"),
    [
        pytest.param([ONE], "1", id="a 1"),
        pytest.param([((211, -5), (196, 305), 205), ONE], "1", id="on a faint line"),
        pytest.param([((211, -5), (196, 305), 130), ONE], "", id="part of a line"),
        pytest.param([((380, -5), (390, 200), 60)], "1", id="at the border"),
        pytest.param([((385, -5), (405, 250), 60)], "", id="across a corner"),
    ],
)
def test_a_part_of_an_upright_line_is_no_one(predictor: Predictor, lines: list[Line], text: str) -> None:
    picture = np.full((300, 400), 230, np.uint8)
    for start, end, tone in lines:
        cv2.line(picture, start, end, tone, 2)
    assert predictor.read(picture).text == text


def test_blank_squared_paper_is_no_row_of_ones(predictor: Predictor) -> None:
    blank, style = np.zeros((330, 440), np.float32), paper.Style(paper="squared", light="gradient")
    read = [predictor.read(paper.photo(blank, style, np.random.default_rng(seed))).text for seed in range(40)]
    assert read.count("") >= 38
