"""What takes the place of digits is none of them, in its share, and its labels tell nothing."""

import numpy as np
import pytest
import tensorflow as tf

from mnist_core.data.augment import Augmentation
from mnist_core.data.outliers import LETTERS, MIRRORED, STROKES, TURNED, _drawn
from mnist_core.data.synthetic import draw
from mnist_core.randomness import StepRandom

COUNT, STEPS, SHARE = 64, 80, 0.3
PIXELS, LABELS = draw(COUNT, seed=5)
IMAGES = PIXELS[..., np.newaxis] / np.float32(255)


@pytest.fixture(scope="module")
def exposed() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Images ``[STEPS, n, 28, 28]``, labels ``[STEPS, n]``, and which of them were replaced."""
    augment = Augmentation(outliers=SHARE)
    rows = tf.range(COUNT)
    made = [
        augment(
            tf.constant(IMAGES),
            tf.constant(LABELS, tf.int32),
            StepRandom(0, tf.constant(step, tf.int64), tf.constant(COUNT), rows),
        )
        for step in range(STEPS)
    ]
    images = np.stack([one.numpy()[..., 0] for one, _ in made])
    return images, np.stack([labels.numpy() for _, labels in made]), (images != IMAGES[..., 0]).any((2, 3))


def test_they_replace_their_share_and_leave_the_others_and_their_labels_alone(exposed: tuple) -> None:
    images, labels, replaced = exposed
    assert abs(replaced.mean() - SHARE) < 0.04
    assert (labels == LABELS)[~replaced].all()
    assert 0 <= images.min() <= images.max() <= 1
    strange = images[replaced]
    assert len(np.unique(strange.reshape(len(strange), -1), axis=0)) > 0.9 * len(strange)


def test_their_labels_are_drawn(exposed: tuple) -> None:
    _, labels, replaced = exposed
    counts = np.bincount(labels[replaced], minlength=10)
    assert counts.min() > 0.5 * counts.mean()
    assert (labels == LABELS)[replaced].mean() < 0.2


def test_they_lie_in_the_frame_of_a_digit(exposed: tuple) -> None:
    images, _, replaced = exposed
    columns, rows = ((images[replaced] > 0.25).any(axis) for axis in (1, 2))
    longest = np.maximum(columns.sum(axis=1), rows.sum(axis=1))
    # A pair of slender digits is small.
    assert np.percentile(longest, 5) >= 12
    assert longest.max() <= 27


def test_a_turned_digit_is_one_that_is_no_digit_then(exposed: tuple) -> None:
    images, _, replaced = exposed
    ways = {"mirrored": lambda image: image[:, ::-1]} | {
        f"turned {i}": lambda image, i=i: np.rot90(image if i % 2 else image.T, i) for i in range(3)
    }
    found = {
        (name, int(label))
        for step, row in np.argwhere(replaced)
        for name, turn in ways.items()
        for label in [LABELS[row]]
        if np.array_equal(images[step, row], turn(IMAGES[row, ..., 0]))
    }
    assert {label for name, label in found if name == "mirrored"} == set(MIRRORED)
    assert {label for name, label in found if name != "mirrored"} == set(TURNED)


def test_letters_are_upright_in_the_middle_of_any_frame() -> None:
    # An L of two strokes: down on the left, then along the bottom.
    strokes = np.zeros((1, STROKES, 3, 2), np.float32)
    strokes[0, 0] = [(0, 0), (0, 4), (0, 8)]
    strokes[0, 1] = [(0, 8), (3, 8), (6, 8)]
    there = tf.constant([[True, True, False, False]])
    random = StepRandom(0, tf.constant(0, tf.int64), tf.constant(1), tf.range(1))
    image = _drawn(tf.constant(strokes), there, (28, 56), random)[0, ..., 0].numpy()
    assert image.shape == (28, 56)
    rows, columns = (np.flatnonzero((image > 0.5).any(axis)) for axis in (1, 0))
    assert abs(rows.mean() - 13.5) <= 0.5
    assert abs(columns.mean() - 27.5) <= 0.5
    left, right = columns[[0, -1]]
    top, bottom = rows[[0, -1]]
    assert min(image[top + 1, left + 1], image[bottom - 1, left + 1], image[bottom - 1, right - 1]) > 0.5
    assert image[top + 1, right - 1] < 0.1


def test_letters_have_as_many_strokes_as_are_drawn_at_most() -> None:
    for letter, strokes in LETTERS.items():
        assert 2 <= len(strokes.split()) <= STROKES, letter
        for stroke in strokes.split():
            assert len(stroke) == 6, letter
            assert set(stroke[:2] + stroke[4:]) <= set("012345678"), letter
            assert stroke[2:4].isdigit(), letter
