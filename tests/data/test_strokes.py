"""Signs drawn by program lie as they are written down."""

import numpy as np
import pytest
import tensorflow as tf

from mnist_core.data.european import ONES, SEVENS
from mnist_core.data.outliers import DIGITS, LETTERS
from mnist_core.data.strokes import STROKES, drawn
from mnist_core.randomness import StepRandom


def test_signs_are_upright_in_the_middle_of_any_frame() -> None:
    # An L of two strokes: down on the left, then along the bottom.
    strokes = np.zeros((1, STROKES, 3, 2), np.float32)
    strokes[0, 0] = [(0, 0), (0, 4), (0, 8)]
    strokes[0, 1] = [(0, 8), (3, 8), (6, 8)]
    there = tf.constant([[True, True, False, False]])
    random = StepRandom(0, tf.constant(0, tf.int64), tf.constant(1), tf.range(1))
    image = drawn(tf.constant(strokes), there, (28, 56), random)[0, ..., 0].numpy()
    assert image.shape == (28, 56)
    rows, columns = (np.flatnonzero((image > 0.5).any(axis)) for axis in (1, 0))
    assert abs(rows.mean() - 13.5) <= 0.5
    assert abs(columns.mean() - 27.5) <= 0.5
    left, right = columns[[0, -1]]
    top, bottom = rows[[0, -1]]
    assert min(image[top + 1, left + 1], image[bottom - 1, left + 1], image[bottom - 1, right - 1]) > 0.5
    assert image[top + 1, right - 1] < 0.1


@pytest.mark.parametrize("signs", [LETTERS.values(), DIGITS.values(), ONES, SEVENS])
def test_signs_have_as_many_strokes_as_are_drawn_at_most(signs: list[str]) -> None:
    for sign in signs:
        assert 1 <= len(sign.split()) <= STROKES, sign
        for stroke in sign.split():
            assert len(stroke) == 6, sign
            assert set(stroke[:2] + stroke[4:]) <= set("012345678"), sign
