"""Augmentation inside the graph: every image its own random map, stroke thickness and blur.

Elastic maps follow P. Simard, D. Steinkraus and J. Platt, "Best practices for convolutional neural networks
applied to visual document analysis", ICDAR 2003.
"""

import dataclasses
import math

import numpy as np
import tensorflow as tf

from mnist_core.config import Config
from mnist_core.data.outliers import with_outliers
from mnist_core.randomness import StepRandom

STRENGTHS = ("shift", "rotation", "scale", "shear", "thickness", "elastic", "blur", "outliers")
# Points of a side of the grid whose displacements an elastic map blends.
KNOTS = 5


@dataclasses.dataclass(frozen=True, kw_only=True)
class Augmentation:
    """How far images are changed; zero leaves a property as it is. The fields are those of `Config`."""

    shift: float = 0.0
    rotation: float = 0.0
    scale: float = 0.0
    shear: float = 0.0
    thickness: float = 0.0
    elastic: float = 0.0
    blur: float = 0.0
    outliers: float = 0.0
    jit: bool = False  # compiled by XLA

    @classmethod
    def from_config(cls, config: Config) -> "Augmentation":
        """The strengths that a run asks for."""
        strengths = {name: getattr(config, name) for name in STRENGTHS}
        return cls(**strengths, jit=config.jit == "on")

    def __call__(
        self, images: tf.Tensor, labels: tf.Tensor, random: StepRandom
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Changes ``images``, float32 ``[n, h, w, 1]`` in [0, 1], by draws from ``random``.

        ``labels``, int32 ``[n]``, stay, but for those of outliers.
        """
        sample = warp_xla if self.jit else warp
        if self.outliers:
            # They come first, because what is done to digits alone would tell the two apart.
            images, labels = with_outliers(images, labels, self.outliers, random, sample)
        if self.shift or self.rotation or self.scale or self.shear:
            images = sample(images, self._transforms(images.shape[1:3], random))
        if self.elastic:
            images = _bend(images, random.uniform([2, KNOTS, KNOTS], -self.elastic, self.elastic))
        if self.thickness:
            images = _thicken(images, random.uniform([1, 1, 1], -self.thickness, self.thickness))
        if self.blur:
            images += random.uniform([1, 1, 1], 0.0, self.blur) * (_mean_of_neighbours(images) - images)
            # Full ink stays white, as in a picture that is read.
            images /= tf.maximum(tf.reduce_max(images, [1, 2, 3], keepdims=True), 0.3)
        return images, labels

    def _transforms(self, size: tuple[int, int], random: StepRandom) -> tf.Tensor:
        """float32 ``[n, 8]`` projective rows that map output to input pixels, about the centre."""
        draws = random.uniform([6], -1.0, 1.0)
        angle = draws[:, 0] * (self.rotation * math.pi / 180)
        shear = draws[:, 1] * self.shear
        scale_x, scale_y = 1 + draws[:, 2] * self.scale, 1 + draws[:, 3] * self.scale
        cos, sin = tf.cos(angle), tf.sin(angle)
        a, b = cos / scale_x, (shear * cos - sin) / scale_y
        c, d = sin / scale_x, (shear * sin + cos) / scale_y
        centre_y, centre_x = (size[0] - 1) / 2, (size[1] - 1) / 2
        # The centre goes to the centre, then moves by the shift.
        x = centre_x - a * centre_x - b * centre_y + draws[:, 4] * self.shift
        y = centre_y - c * centre_x - d * centre_y + draws[:, 5] * self.shift
        zero = tf.zeros_like(a)
        return tf.stack([a, b, x, c, d, y, zero, zero], axis=1)


def warp(images: tf.Tensor, transforms: tf.Tensor, size: tuple[int, int] | None = None) -> tf.Tensor:
    """Bilinear sampling at where ``transforms`` send each pixel; black outside.

    Args:
      size: height and width of the result; left out, those of the images.
    """
    return tf.raw_ops.ImageProjectiveTransformV3(
        images=images,
        transforms=transforms,
        output_shape=tf.constant(list(size or images.shape[1:3])),
        fill_value=0.0,
        interpolation="BILINEAR",
        fill_mode="CONSTANT",
    )


def warp_xla(images: tf.Tensor, transforms: tf.Tensor, size: tuple[int, int] | None = None) -> tf.Tensor:
    """The same function by gathers: XLA has no kernel for the op above, which is 3 times as fast on a CPU."""
    height, width = size or images.shape[1:3]
    y, x = np.mgrid[:height, :width].reshape(2, -1).astype(np.float32)
    grid = tf.constant(np.stack([x, y, np.ones_like(x)]))
    sampled = _sample(images, tf.matmul(transforms[:, 0:3], grid), tf.matmul(transforms[:, 3:6], grid))
    return tf.reshape(sampled, [-1, height, width, 1])


def _bend(images: tf.Tensor, knots: tf.Tensor) -> tf.Tensor:
    """Moves what lies at each pixel by displacements ``[n, 2, KNOTS, KNOTS]``, blended between knots."""
    height, width = images.shape[1:3]
    rows, columns = _blend(height), _blend(width)
    moves = tf.einsum("yi,ncij,xj->ncyx", rows, knots, columns)
    moves = tf.reshape(moves, [-1, 2, height * width])
    y, x = np.mgrid[:height, :width].reshape(2, -1).astype(np.float32)
    return tf.reshape(_sample(images, x + moves[:, 0], y + moves[:, 1]), tf.shape(images))


def _blend(size: int) -> tf.Tensor:
    """float32 ``[size, KNOTS]``: how much each knot counts at each pixel; a row adds up to 1."""
    places, knots = np.arange(size)[:, np.newaxis], np.linspace(0, size - 1, KNOTS)
    weights = np.exp(-0.5 * ((places - knots) / (0.6 * (size - 1) / (KNOTS - 1))) ** 2)
    return tf.constant(weights / weights.sum(axis=1, keepdims=True), tf.float32)


def _sample(images: tf.Tensor, x: tf.Tensor, y: tf.Tensor) -> tf.Tensor:
    """Bilinear samples of ``images`` at places ``[n, m]``; black outside."""
    height, width = images.shape[1:3]
    left, top = tf.floor(x), tf.floor(y)
    # A border of two black pixels takes in every sample from outside.
    row = tf.cast(tf.clip_by_value(top, -2.0, float(height)), tf.int32) + 2
    column = tf.cast(tf.clip_by_value(left, -2.0, float(width)), tf.int32) + 2
    padded = tf.pad(images[..., 0], [[0, 0], [2, 3], [2, 3]])
    # The four pixels around a place lie side by side, so that one gather takes them all.
    corners = tf.stack([padded[:, i : height + 4 + i, j : width + 4 + j] for i in (0, 1) for j in (0, 1)], -1)
    count = tf.shape(images)[0]
    places = (tf.range(count)[:, tf.newaxis] * (height + 4) + row) * (width + 4) + column
    corners = tf.gather(tf.reshape(corners, [-1, 4]), places)
    right, down = x - left, y - top
    upper = corners[..., 0] * (1 - right) + corners[..., 1] * right
    lower = corners[..., 2] * (1 - right) + corners[..., 3] * right
    return upper * (1 - down) + lower * down


def _thicken(images: tf.Tensor, amount: tf.Tensor) -> tf.Tensor:
    """Blends towards the 3x3 dilation where ``amount`` is positive, towards the erosion where negative."""
    dilated = tf.nn.max_pool2d(images, 3, 1, "SAME")
    eroded = -tf.nn.max_pool2d(-images, 3, 1, "SAME")
    goal = tf.where(amount > 0, dilated, eroded)
    return images + tf.abs(amount) * (goal - images)


def _mean_of_neighbours(images: tf.Tensor) -> tf.Tensor:
    return tf.nn.avg_pool2d(tf.pad(images, [[0, 0], [1, 1], [1, 1], [0, 0]]), 3, 1, "VALID")
