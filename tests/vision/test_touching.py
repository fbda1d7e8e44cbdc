"""Digits that touch are parted, and what two of them share belongs to both."""

import cv2
import numpy as np
import pytest

from mnist_core.vision import touching


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
