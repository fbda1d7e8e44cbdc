"""Digits that touch are parted, and what two of them share belongs to both."""

import cv2
import numpy as np
import pytest

from benchmarks.vision import edit_distance, pictures
from mnist_core.vision import touching
from mnist_core.vision.answers import Answers, Digit
from mnist_core.vision.segment import Piece, pieces_of
from mnist_core.vision.sheet import Ink, Sheet
from mnist_core.vision.strings import Reading
from tests.vision.judge import Judge


def zeros(count: int, apart: int) -> np.ndarray:
    """A row of zeros, written with a pen 6 pixels wide, and a 7 that stands alone; uint8, dark on white."""
    picture = np.full((220, 120 * count + 240), 255, np.uint8)
    for i in range(count):
        cv2.ellipse(picture, (90 + i * apart, 110), (28, 42), 0, 0, 360, 30, 6, cv2.LINE_AA)
    right = 90 + count * apart + 60
    cv2.polylines(picture, [np.array([(right, 70), (right + 45, 70), (right + 15, 150)])], False, 30, 6)
    return picture


@pytest.mark.parametrize("count", [2, 3])
@pytest.mark.parametrize("apart", [56, 57, 58])
def test_zeros_whose_walls_are_one_stroke_are_told_apart(predictor, count, apart):
    assert predictor.read(zeros(count, apart)).text == "0" * count + "7"


@pytest.mark.parametrize(
    ("whole", "half", "count"), [(0.3, 0.97, 2), (0.3, 0.85, 2), (0.5, 0.97, 1), (0.9, 0.97, 1)]
)
def test_a_piece_of_usual_width_is_cut_only_where_it_is_no_digit(whole, half, count):
    mask = np.zeros((60, 40), np.uint8)
    cv2.rectangle(mask, (3, 3), (14, 56), 1, 5)
    cv2.rectangle(mask, (24, 3), (36, 56), 1, 5)
    cv2.line(mask, (14, 30), (24, 30), 1, 5)

    def confidence(pieces: list[Piece]) -> np.ndarray:
        return np.array(
            [whole if piece.width > 30 else half if piece.width > 12 else 0.1 for piece in pieces]
        )

    parts = touching._parted(Piece(mask, 0, 0), 60, touching.UNUSUAL, Judge(confidence))
    assert len(parts) == count
    assert sum(part.area for part in parts) == pytest.approx(mask.sum(), rel=0.1)


def bridged(count: int) -> Piece:
    """Upright bars 60 high and 14 wide, 26 from one another, and a stroke that joins them."""
    mask = np.zeros((60, 26 * count + 4), np.uint8)
    mask[28:32, 4:-4] = 1
    for i in range(count):
        mask[:, 4 + 26 * i : 18 + 26 * i] = 1
    return Piece(mask, 100, 7)


@pytest.mark.parametrize("count", [2, 3])
def test_a_sure_string_is_spelt_by_the_slices_of_its_digits(count):
    shares = np.eye(10, dtype=np.float32)[[7, 1, 4][:count]]
    judge = Judge(
        lambda pieces: np.exp([-abs(one.width - 24) for one in pieces]), Reading("714"[:count], 0.9, shares)
    )
    piece = bridged(count)
    parts = touching.resolved([piece], 60, judge)
    assert [part.x for part in parts] == pytest.approx([100 + 26 * i for i in range(count)], abs=8)
    assert all(part.y == 7 and part.height == 60 for part in parts)
    assert [part for part, _ in judge.learned] == parts
    np.testing.assert_array_equal([told for _, told in judge.learned], shares)


def test_a_string_with_fewer_seams_than_digits_is_spelt_by_even_slices():
    shares = np.eye(10, dtype=np.float32)[[1] * 20]
    judge = Judge(lambda pieces: np.full(len(pieces), 0.2), Reading("1" * 20, 0.9, shares))
    parts = touching.resolved([Piece(np.ones((60, 100), np.uint8), 5, 0)], 60, judge)
    assert [(part.x, part.width) for part in parts] == [(5 + 5 * i, 5) for i in range(20)]


def test_a_string_whose_slices_would_hold_no_ink_is_one_piece():
    mask = np.zeros((60, 60), np.uint8)
    mask[:, :6] = mask[:, -6:] = 1
    judge = Judge(lambda pieces: np.full(len(pieces), 0.1), Reading("1" * 20, 0.9, np.eye(10)[[1] * 20]))
    piece = Piece(mask, 0, 0)
    assert touching.resolved([piece], 60, judge) == [piece]
    assert not judge.learned


def test_what_a_string_says_becomes_the_digits_of_its_slices():
    gray = np.full((120, 200), 255, np.uint8)
    cv2.rectangle(gray, (60, 30), (80, 90), 0, 5)
    cv2.rectangle(gray, (80, 30), (100, 90), 0, 5)
    sheet = Sheet.of(gray, next(Sheet.seen_in(gray)).look)
    unsure = np.full(10, 0.1, np.float32)

    def recognise(inks: list[Ink]) -> list[Digit]:
        return [Digit(0, 0.1, ink.box, unsure, np.zeros((28, 28), np.uint8)) for ink in inks]

    answers = Answers(sheet, recognise)
    (piece,), height, _ = pieces_of(sheet.mask)
    told = np.array([0.0, 0.0, 0.0, 0.7, 0.2, 0, 0, 0, 0, 0], np.float32)
    answers.learn(piece, told)
    (digit,) = answers.digits([piece])
    assert (digit.digit, digit.probability) == (3, pytest.approx(0.7))
    assert digit.probabilities is told
    assert answers.confidence([piece]) == pytest.approx([0.7])
    assert answers.asked == 1
    assert height > 50


@pytest.mark.mnist
def test_pages_of_touching_digits_are_read(predictor, test_digits):
    found = [
        (predictor.read(picture).text, text) for picture, text in pictures("page touching", 6, test_digits)
    ]
    wrong = sum(edit_distance(*pair) for pair in found)
    assert wrong / sum(len(text) for _, text in found) < 0.03
    assert sum(a == b for a, b in found) >= 4


@pytest.mark.parametrize(
    "reading", [Reading("8", 0.99, np.zeros((1, 10))), Reading("88", 0.4, np.zeros((2, 10)))]
)
def test_what_is_one_digit_or_is_not_sure_learns_nothing(reading):
    judge = Judge(lambda pieces: np.array([0.9 if one.width > 30 else 0.1 for one in pieces]), reading)
    piece = bridged(2)
    assert touching.resolved([piece], 60, judge) == [piece]
    assert not judge.learned


def test_strokes_side_by_side_are_one_digit_where_the_whole_surely_is():
    pieces = [Piece(np.ones((50, 20), np.uint8), 0, 0), Piece(np.ones((60, 8), np.uint8), 22, 0)]

    def judge(together: float) -> Judge:
        return Judge(lambda pieces: np.array([together if piece.width > 20 else 0.8 for piece in pieces]))

    assert [piece.width for piece in touching._joined(pieces, 60, judge(0.99))] == [30]
    assert touching._joined(pieces, 60, judge(0.9)) == pieces
    apart = [pieces[0], Piece(pieces[1].mask, 30, 0)]
    assert touching._joined(apart, 60, judge(0.99)) == apart


def test_the_cheapest_of_all_ways_is_found():
    rng = np.random.default_rng(0)
    spans = [(i, j) for i in range(5) for j in range(i + 1, 6)]

    def ways(edge: int) -> list[list[int]]:
        if edge == 5:
            return [[]]
        return [[at, *rest] for at, (i, j) in enumerate(spans) if i == edge for rest in ways(j)]

    for _ in range(20):
        costs = rng.random(len(spans))
        chosen = touching._cheapest(spans, costs)
        assert chosen in ways(0)
        assert costs[chosen].sum() == pytest.approx(min(costs[way].sum() for way in ways(0)))
