"""European ones and sevens take the place of some of MNIST's, and of nothing else."""

import numpy as np
import pytest
import tensorflow as tf

from mnist_core.data.augment import Augmentation
from mnist_core.randomness import StepRandom

COUNT = 400
LABELS = np.arange(COUNT, dtype=np.int32) % 10
IMAGES = np.full((COUNT, 28, 28, 1), 0.5, np.float32)


def replaced(share: float, step: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Images ``[n, 28, 28]``, and which of them were replaced."""
    random = StepRandom(0, tf.constant(step, tf.int64), tf.constant(COUNT), tf.range(COUNT))
    images, labels = Augmentation(european=share)(tf.constant(IMAGES), tf.constant(LABELS), random)
    np.testing.assert_array_equal(labels, LABELS)
    images = images.numpy()[..., 0]
    return images, (images != 0.5).any((1, 2))


def test_all_ones_and_sevens_can_be_replaced_and_nothing_else_is() -> None:
    _, changed = replaced(1.0)
    np.testing.assert_array_equal(changed, np.isin(LABELS, (1, 7)))


def test_their_share_is_replaced() -> None:
    changed = np.concatenate([replaced(0.3, step)[1][np.isin(LABELS, (1, 7))] for step in range(10)])
    assert abs(changed.mean() - 0.3) < 0.05


@pytest.mark.parametrize("digit", [1, 7])
def test_a_one_rises_to_its_top_and_a_seven_begins_there(digit: int) -> None:
    images = replaced(1.0)[0][digit == LABELS] > 0.4
    drops = []
    for image in images:
        rows = np.flatnonzero(image.any(axis=1))
        upper = image[rows[0] : rows[0] + len(rows) // 2]
        drops.append(np.argwhere(upper)[np.argwhere(upper)[:, 1].argmin(), 0] / len(rows))
    assert np.median(drops) > 0.3 if digit == 1 else np.median(drops) < 0.2
