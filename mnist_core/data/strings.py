"""Strings of digits that touch or nearly so, made inside the graph from a batch of single ones."""

import dataclasses

import tensorflow as tf

from mnist_core.data.augment import Augmentation, warp, warp_xla
from mnist_core.data.outliers import BOX, LETTERS, each, written
from mnist_core.randomness import StepRandom

# What a string is shown in, and the width of its box there; the height is that of a digit's.
HEIGHT, WIDTH, BOX_WIDTH = 28, 72, 64.0
# How many digits a string has; the shares of the numbers from 1 on.
LONGEST = 4
LENGTHS = (0.15, 0.45, 0.25, 0.15)
# Of two neighbours, in pixels of MNIST's digits: the gap, below 0 they overlap; how far one stands above the
# line, and its size.
GAPS, ABOVE, SIZES = (-4.0, 2.0), 3.0, (0.8, 1.2)
# How far from the middle of the frame, in MNIST's pixels, and how much of its box a string takes.
AWAY, FILLED = 1.5, (0.85, 1.05)
# A pen's edges are sharper than what is left of them after an image was sampled twice.
SHARPEST = 3.0


class Strings:
    """Makes of each image a string that begins with it; the images after it follow.

    Those are the next at hand, so that a step depends on the parts that its batch is computed in. A share of
    the strings, ``outliers``, is not of digits alone, and its labels are drawn: what is learned is to be
    unsure (see `outliers`).
    """

    def __init__(self, augmentation: Augmentation) -> None:
        self._outliers = augmentation.outliers
        # Where a string lies is drawn for all of it, and blurred is what a picture shows of it.
        self._alone = dataclasses.replace(augmentation, shift=0.0, blur=0.0, outliers=0.0)
        self._whole = Augmentation(blur=augmentation.blur)
        self._sample = warp_xla if augmentation.jit else warp

    def __call__(
        self, images: tf.Tensor, labels: tf.Tensor, random: StepRandom
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Strings of ``images``, float32 ``[n, 28, 28, 1]`` in [0, 1], with ``labels``, int32 ``[n]``.

        Returns:
          float32 ``[n, HEIGHT, WIDTH, 1]`` and int32 ``[n, LONGEST]``, the digits from left to right, -1
          after the last.
        """
        count = tf.shape(images)[0]
        is_sign = tf.zeros([count], tf.bool)
        if self._outliers:
            signs = tf.cast(self._outliers * tf.cast(count, tf.float32), tf.int32)
            is_sign = tf.range(count) < tf.maximum(signs, 1)
            signs = written(LETTERS, images.shape[1:3], random)
            images = tf.where(each(is_sign), signs, images)
        images, _ = self._alone(images, labels, random)
        draw = random.uniform([1])
        length = 1 + sum(tf.cast(draw > sum(LENGTHS[:i]), tf.int32) for i in range(1, LONGEST))
        is_there = tf.range(LONGEST) < length
        strings = self._side_by_side(images, is_there, random)
        followed = tf.stack([tf.roll(labels, -i, axis=0) for i in range(LONGEST)], axis=1)
        strange = tf.stack([tf.roll(is_sign, -i, axis=0) for i in range(LONGEST)], axis=1)
        is_strange = tf.reduce_any(strange & is_there, axis=1, keepdims=True)
        any_digits = tf.cast(random.uniform([LONGEST]) * 10, tf.int32)
        texts = tf.where(is_there, tf.where(is_strange, any_digits, followed), -1)
        sharpness = random.uniform([1, 1, 1], 1.0, SHARPEST)
        strings = tf.clip_by_value((strings - 0.5) * sharpness + 0.5, 0.0, 1.0)
        return self._whole(strings, labels, random)[0], texts

    def _side_by_side(self, images: tf.Tensor, is_there: tf.Tensor, random: StepRandom) -> tf.Tensor:
        """Places each image and those after it, where ``is_there`` ``[n, LONGEST]``, in the frame."""
        extents = tf.stack([*_extent(images, 1), *_extent(images, 2)], axis=1)
        extents = tf.stack([tf.roll(extents, -i, axis=0) for i in range(LONGEST)], axis=1)
        left, right, top, bottom = tf.unstack(extents, axis=2)
        draws = random.uniform([3, LONGEST])
        size = SIZES[0] + (SIZES[1] - SIZES[0]) * draws[:, 0]
        middle = ABOVE * (2 * draws[:, 1] - 1)
        gap = GAPS[0] + (GAPS[1] - GAPS[0]) * draws[:, 2]
        width, height = (right - left) * size, (bottom - top) * size
        begin = tf.cumsum(width + gap, axis=1, exclusive=True)
        outline = (begin, middle - height / 2, -begin - width, -middle - height / 2)
        x, y, x_end, y_end = (tf.reduce_min(tf.where(is_there, side, 1e3), 1) for side in outline)
        place = random.uniform([3], -1.0, 1.0)
        filled = FILLED[0] + (FILLED[1] - FILLED[0]) * (place[:, 2] + 1) / 2
        scale = filled * tf.minimum(BOX_WIDTH / (-x_end - x), BOX / (-y_end - y))
        # What lies in the middle of the frame, in the string's own pixels.
        x, y = (x - x_end) / 2 + AWAY * place[:, 0], (y - y_end) / 2 + AWAY * place[:, 1]
        made = tf.zeros([tf.shape(images)[0], HEIGHT, WIDTH, 1])
        for i in range(LONGEST):
            # Pixel i covers i to i + 1.
            pixel = 1 / (scale * size[:, i])
            across = left[:, i] + (x - begin[:, i]) / size[:, i] - (WIDTH - 1) / 2 * pixel - 0.5
            down = top[:, i] + (y - middle[:, i]) / size[:, i] + height[:, i] / size[:, i] / 2
            down -= (HEIGHT - 1) / 2 * pixel + 0.5
            zero = tf.zeros_like(pixel)
            rows = tf.stack([pixel, zero, across, zero, pixel, down, zero, zero], axis=1)
            placed = self._sample(tf.roll(images, -i, axis=0), rows, (HEIGHT, WIDTH))
            made = tf.maximum(made, tf.where(each(is_there[:, i]), placed, 0.0))
        return made


def _extent(images: tf.Tensor, axis: int) -> tuple[tf.Tensor, tf.Tensor]:
    """Where ink begins and ends along the other axis; float32 ``[n]``, pixels."""
    inked = tf.reduce_max(images[..., 0], axis=axis) > 0.3
    side = float(inked.shape[1])
    places = tf.range(side)
    begin = tf.reduce_min(tf.where(inked, places, side / 2), axis=1)
    return begin, tf.maximum(tf.reduce_max(tf.where(inked, places + 1, 0.0), axis=1), begin + 1)
