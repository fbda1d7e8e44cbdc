"""Ones and sevens as many Europeans write them, whom MNIST's American writers know little of.

A one with a long upstroke is a seven to a network that has seen but straight ones.
"""

import tensorflow as tf

from mnist_core.data.strokes import any_of, written
from mnist_core.randomness import StepRandom

# As `strokes` writes them down, as many of each. A seven's bar lies, a one's upstroke rises.
ONES = ("143260 606468", "064360 606468", "254360 606468", "143260 606468 285888")
SEVENS = ("004080 805438", "110080 806448", "004080 805438 244474", "110080 806448 345484")


def with_european(images: tf.Tensor, labels: tf.Tensor, share: float, random: StepRandom) -> tf.Tensor:
    """Replaces a share of the ones and of the sevens by drawn ones.

    Args:
      images: float32 ``[n, h, w, 1]`` in [0, 1].
      labels: int32 ``[n]``.
    """
    chosen = any_of(ONES, random) + tf.where(labels == 7, len(ONES), 0)
    made = written(ONES + SEVENS, chosen, images.shape[1:3], random)
    is_replaced = ((labels == 1) | (labels == 7)) & (random.uniform([]) < share)
    return tf.where(is_replaced[:, tf.newaxis, tf.newaxis, tf.newaxis], made, images)
