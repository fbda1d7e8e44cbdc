"""Digits that touch are parted, and what two of them share belongs to both."""

import cv2
import numpy as np
import pytest

from mnist_core.vision import touching
from mnist_core.vision.segment import Piece


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

    parts = touching._parted(Piece(mask, 0, 0), 60, touching.UNUSUAL, confidence)
    assert len(parts) == count
    assert sum(part.area for part in parts) == pytest.approx(mask.sum(), rel=0.1)


def test_strokes_side_by_side_are_one_digit_where_the_whole_surely_is():
    pieces = [Piece(np.ones((50, 20), np.uint8), 0, 0), Piece(np.ones((60, 8), np.uint8), 22, 0)]

    def confidence(together: float) -> touching.Confidence:
        return lambda pieces: np.array([together if piece.width > 20 else 0.8 for piece in pieces])

    assert [piece.width for piece in touching._joined(pieces, 60, confidence(0.99))] == [30]
    assert touching._joined(pieces, 60, confidence(0.9)) == pieces
    apart = [pieces[0], Piece(pieces[1].mask, 30, 0)]
    assert touching._joined(apart, 60, confidence(0.99)) == apart


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
