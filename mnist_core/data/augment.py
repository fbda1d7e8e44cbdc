"""Augmentation inside the graph: every image its own random affine map and stroke thickness."""

import dataclasses
import math

import numpy as np
import tensorflow as tf

from mnist_core.config import Config
from mnist_core.randomness import StepRandom

STRENGTHS = ("shift", "rotation", "scale", "shear", "thickness")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Augmentation:
    """How far images are changed; zero leaves a property as it is. The fields are those of `Config`."""

    shift: float = 0.0
    rotation: float = 0.0
    scale: float = 0.0
    shear: float = 0.0
    thickness: float = 0.0
    jit: bool = False  # compiled by XLA

    @classmethod
    def from_config(cls, config: Config) -> "Augmentation":
        """The strengths that a run asks for."""
        strengths = {name: getattr(config, name) for name in STRENGTHS}
        return cls(**strengths, jit=config.jit == "on")

    def __call__(self, images: tf.Tensor, random: StepRandom) -> tf.Tensor:
        """Changes ``images``, float32 ``[n, h, w, 1]`` in [0, 1], by draws from ``random``."""
        if self.shift or self.rotation or self.scale or self.shear:
            warp = _warp_xla if self.jit else _warp
            images = warp(images, self._transforms(images.shape[1:3], random))
        if self.thickness:
            images = _thicken(images, random.uniform([1, 1, 1], -self.thickness, self.thickness))
        return images

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


def _warp(images: tf.Tensor, transforms: tf.Tensor) -> tf.Tensor:
    """Bilinear sampling at where ``transforms`` send each pixel; black outside."""
    return tf.raw_ops.ImageProjectiveTransformV3(
        images=images,
        transforms=transforms,
        output_shape=tf.constant(images.shape[1:3].as_list()),
        fill_value=0.0,
        interpolation="BILINEAR",
        fill_mode="CONSTANT",
    )


def _warp_xla(images: tf.Tensor, transforms: tf.Tensor) -> tf.Tensor:
    """The same function by gathers: XLA has no kernel for the op above, which is 3 times as fast on a CPU."""
    height, width = images.shape[1:3]
    y, x = np.mgrid[:height, :width].reshape(2, -1).astype(np.float32)
    grid = tf.constant(np.stack([x, y, np.ones_like(x)]))
    x, y = tf.matmul(transforms[:, 0:3], grid), tf.matmul(transforms[:, 3:6], grid)
    left, top = tf.floor(x), tf.floor(y)
    # A border of two black pixels takes in every sample from outside.
    stride = width + 4
    padded = tf.reshape(tf.pad(images[..., 0], [[0, 0], [2, 2], [2, 2]]), [-1, (height + 4) * stride])
    column = tf.cast(tf.clip_by_value(left, -2.0, float(width)), tf.int32) + 2
    row = tf.cast(tf.clip_by_value(top, -2.0, float(height)), tf.int32) + 2

    def pixel(down: int, right: int) -> tf.Tensor:
        return tf.gather(padded, (row + down) * stride + column + right, batch_dims=1)

    upper = pixel(0, 0) * (left + 1 - x) + pixel(0, 1) * (x - left)
    lower = pixel(1, 0) * (left + 1 - x) + pixel(1, 1) * (x - left)
    return tf.reshape(upper * (top + 1 - y) + lower * (y - top), tf.shape(images))


def _thicken(images: tf.Tensor, amount: tf.Tensor) -> tf.Tensor:
    """Blends towards the 3x3 dilation where ``amount`` is positive, towards the erosion where negative."""
    dilated = tf.nn.max_pool2d(images, 3, 1, "SAME")
    eroded = -tf.nn.max_pool2d(-images, 3, 1, "SAME")
    goal = tf.where(amount > 0, dilated, eroded)
    return images + tf.abs(amount) * (goal - images)
