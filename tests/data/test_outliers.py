"""What takes the place of digits is none of them, in its share, and its labels tell nothing."""

import numpy as np
import pytest
import tensorflow as tf

from mnist_core.data.augment import Augmentation
from mnist_core.data.outliers import MIRRORED, TURNED
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
