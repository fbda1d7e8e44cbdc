"""Signs drawn with a pen inside the graph, every image by a hand of its own."""

from collections.abc import Collection, Sequence

import numpy as np
import tensorflow as tf

from mnist_core.randomness import StepRandom

# A sign's strokes at most, the points of each, and the longer side of its box in pixels, which is MNIST's.
STROKES, POINTS, LONGER_SIDE = 4, 20, 19.0
# How far a hand misses each point, in the units that signs are written down in.
SHAKE = 0.7


def any_of(signs: Collection[str], random: StepRandom) -> tf.Tensor:
    """int32 ``[n]``: which of the signs is drawn for each image."""
    return tf.cast(random.uniform([]) * len(signs), tf.int32)


def written(signs: Sequence[str], chosen: tf.Tensor, size: tuple[int, int], random: StepRandom) -> tf.Tensor:
    """Signs by an unsteady hand, some narrow.

    Args:
      signs: the strokes of each, parted by blanks. A stroke is a quadratic Bezier curve: x and y of its
        beginning, its bend and its end, from 0 to 8, left to right and down; a bend may lie lower.
      chosen: int32 ``[n]``, the place in ``signs`` of each image's.
      size: height and width of the images.

    Returns:
      float32 ``[n, h, w, 1]`` in [0, 1].
    """
    strokes = np.zeros((len(signs), STROKES, 3, 2), np.float32)
    there = np.zeros((len(signs), STROKES), bool)
    for i, sign in enumerate(signs):
        for j, stroke in enumerate(sign.split()):
            strokes[i, j] = np.reshape([int(digit) for digit in stroke], (3, 2))
            there[i, j] = True
    shaken = tf.gather(strokes, chosen) + random.uniform([STROKES, 3, 2], -SHAKE, SHAKE)
    narrow = tf.concat([random.uniform([1, 1, 1], 0.5, 1.0), tf.ones_like(shaken[:, :1, :1, :1])], axis=3)
    return drawn(shaken * narrow, tf.gather(there, chosen), size, random)


def drawn(strokes: tf.Tensor, there: tf.Tensor, size: tuple[int, int], random: StepRandom) -> tf.Tensor:
    """Draws those strokes that are there, with a round pen; float32 ``[n, h, w, 1]`` in [0, 1].

    Args:
      strokes: float32 ``[n, STROKES, 3, 2]``, x and y of beginning, bend and end, in any units.
      there: bool ``[n, STROKES]``; the first one is.
    """
    t = tf.reshape(tf.linspace(0.0, 1.0, POINTS), [1, 1, POINTS, 1])
    first, bend, last = (strokes[:, :, i, tf.newaxis] for i in range(3))
    points = (1 - t) ** 2 * first + 2 * t * (1 - t) * bend + t**2 * last
    # A stroke that is left out lies under the first.
    points = tf.where(there[..., tf.newaxis, tf.newaxis], points, points[:, :1])
    points = tf.reshape(points, [-1, STROKES * POINTS, 2])
    low, high = tf.reduce_min(points, 1, keepdims=True), tf.reduce_max(points, 1, keepdims=True)
    scale = LONGER_SIDE / tf.reduce_max(high - low, 2, keepdims=True)
    points = (points - (low + high) / 2) * scale + [(n - 1) / 2 for n in reversed(size)]
    # Its two directions are drawn apart and multiplied.
    width = random.uniform([1, 1], 0.6, 1.1)
    y, x = (
        tf.exp(-0.5 * ((points[..., i : i + 1] - tf.range(float(n))) / width) ** 2)
        for i, n in zip((1, 0), size, strict=True)
    )
    return tf.minimum(1.2 * tf.matmul(y, x, transpose_a=True), 1.0)[..., tf.newaxis]
