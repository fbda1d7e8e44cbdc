"""Outlier exposure: non-digits with random labels, of which a network learns to be unsure.

After D. Hendrycks, M. Mazeika and T. Dietterich, "Deep anomaly detection with outlier exposure", ICLR 2019,
with what MNIST and a pen give: strokes, letters, figures, turned digits, and two digits at once, which a
reader of pages must not take for one.
"""

import math
from collections.abc import Callable

import numpy as np
import tensorflow as tf

from mnist_core.randomness import StepRandom

# A scribble's strokes, the points of each, and the longer side of its box in pixels, which is MNIST's.
STROKES, POINTS, LONGER_SIDE = 4, 20, 19.0
# Letters and signs that are seldom written like a digit. A stroke is a quadratic Bezier curve: x and y of its
# beginning, its bend and its end, from 0 to 8, left to right and down; a bend may lie lower.
LETTERS = {
    "A": "082440 406488 154575",
    "E": "000408 004080 043464 084888",
    "F": "000408 004080 043464",
    "H": "000408 808488 044484",
    "K": "000408 804204 235588",
    "M": "080400 002244 446280 808488",
    "N": "080400 004488 888480",
    "P": "000408 008204",
    "R": "000408 008204 143668",
    "V": "002448 486480",
    "W": "001428 283542 425568 687480",
    "X": "004488 804408",
    "a": "721115 152876 717588",
    "printed a": "117074 747688 740316 162977",
    "d": "841316 163887 808488",
    "e": "144474 744014 141877",
    "f": "713033 323538 043464",
    "h": "101418 157178",
    "k": "101418 644416 355678",
    "m": "121518 144148 447178",
    "n": "121518 147178",
    "r": "121518 143273",
    "t": "404678 133373",
    "#": "202428 606468 033383 064686",
    "*": "404448 022486 824406",
    "+": "404448 044484",
    "=": "034383 065686",
    "&": "882522 223061 616315 150975",
}
# Digits in the same strokes, to stand beside others.
DIGITS = {
    "0": "400004 040848 488884 848040",
    "1": "404448",
    "2": "018073 735608 084888",
    "3": "008134 348708",
    "4": "402305 054585 626568",
    "5": "704010 101214 148508",
    "6": "600316 164876 765316",
    "7": "004080 805438",
    "8": "440040 408044 440848 488844",
    "9": "711014 145573 717568",
}
# How far a hand misses each point, in the letters' units.
SHAKE = 0.7
# Between the two of a pair, in pixels; below 0 they overlap.
GAPS = (-2.0, 3.0)
# The side of the box that MNIST's digits are scaled to.
BOX = 20.0
# Most sides of a figure.
SIDES = 6
# Digits that are none when they are turned by a right angle, and those that are none when mirrored.
TURNED = (2, 3, 4, 5, 6, 7, 9)
MIRRORED = (3, 4, 6, 7, 9)

Warp = Callable[[tf.Tensor, tf.Tensor], tf.Tensor]


def with_outliers(
    images: tf.Tensor, labels: tf.Tensor, share: float, random: StepRandom, warp: Warp
) -> tuple[tf.Tensor, tf.Tensor]:
    """Replaces a share of the images by outliers, whose labels are drawn: what is learned is to be unsure.

    Args:
      images: float32 ``[n, h, w, 1]`` in [0, 1].
      labels: int32 ``[n]``.
      warp: samples images where projective rows ``[n, 8]`` send each pixel.
    """
    draws = random.uniform([3])
    kind = tf.cast(draws[:, 1] * 10, tf.int32)
    size = tuple(images.shape[1:3])
    turned, is_strange = _turned(images, labels, draws[:, 2])
    made = tf.where(each((kind < 2) & is_strange), turned, _scribbles(size, random))
    made = tf.where(each(kind >= 7), _pairs(images, turned, random, warp), made)
    made = tf.where(each(kind == 3), _figures(size, random), made)
    made = tf.where(each(kind == 4), _faces(size, random), made)
    made = tf.where(each((kind == 5) | (kind == 6)), written(LETTERS, size, random), made)
    chosen = draws[:, 0] < share
    any_label = tf.cast(random.uniform([]) * 10, tf.int32)
    return tf.where(each(chosen), made, images), tf.where(chosen, any_label, labels)


def each(choice: tf.Tensor) -> tf.Tensor:
    """A choice ``[n]`` for whole images."""
    return choice[:, tf.newaxis, tf.newaxis, tf.newaxis]


def _turned(images: tf.Tensor, labels: tf.Tensor, choice: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Images mirrored, or turned by a right angle, some of them mirrored too; and which are no digits then.

    Args:
      choice: float32 ``[n]`` in [0, 1), which way.
    """
    transposed = tf.transpose(images, [0, 2, 1, 3])
    ways = (images[:, :, ::-1], transposed, transposed[:, ::-1], transposed[:, :, ::-1])
    way = tf.cast(choice * len(ways), tf.int32)
    turned = ways[0]
    for i in range(1, len(ways)):
        turned = tf.where(each(way == i), ways[i], turned)
    among = [tf.reduce_any(labels[:, tf.newaxis] == tf.constant(some), axis=1) for some in (MIRRORED, TURNED)]
    return turned, tf.where(way == 0, *among)


def _pairs(images: tf.Tensor, turned: tf.Tensor, random: StepRandom, warp: Warp) -> tf.Tensor:
    """Each image beside itself, itself turned or a drawn digit, touching or nearly so, in a digit's frame."""
    draws = random.uniform([5])
    which = draws[:, 0]
    drawn = written(DIGITS, images.shape[1:3], random)
    second = tf.where(each(which < 0.5), drawn, tf.where(each(which < 0.75), images, turned))
    swap = each(draws[:, 1] < 0.5)
    pair = tf.where(swap, second, images), tf.where(swap, images, second)
    middles, widths = zip(*(_extent(image) for image in pair), strict=True)
    whole = sum(widths) + GAPS[0] + (GAPS[1] - GAPS[0]) * draws[:, 2]
    scale = tf.maximum(whole / BOX, 1.0) * (0.95 + 0.3 * draws[:, 3] ** 2)
    # The left one begins where the pair does, the right one ends there.
    offsets = (widths[0] - whole) / 2, (whole - widths[1]) / 2
    centre = (images.shape[1] - 1) / 2
    zero = tf.zeros_like(scale)
    placed = []
    for image, middle, offset, down in zip(pair, middles, offsets, (0.0, 4 * draws[:, 4] - 2), strict=True):
        rows = [scale, zero, middle - offset - scale * centre, zero, scale, (1 - scale) * centre + down]
        placed.append(warp(image, tf.stack([*rows, zero, zero], axis=1)))
    return tf.maximum(*placed)


def _extent(images: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """The middle column and the width of each image's ink; float32 ``[n]``, pixels."""
    inked = tf.reduce_max(images[..., 0], axis=1) > 0.3
    columns = tf.range(float(images.shape[2]))
    left = tf.reduce_min(tf.where(inked, columns, float(images.shape[2])), axis=1)
    right = tf.reduce_max(tf.where(inked, columns, -1.0), axis=1)
    return (left + right) / 2, right - left + 1


def _figures(size: tuple[int, int], random: StepRandom) -> tf.Tensor:
    """Regular triangles to hexagons; filled, or hollow where they have at most four sides."""
    draws = random.uniform([5, 1, 1])
    sides = 3 + tf.floor(draws[:, 0] * (SIDES - 2))
    turn = 2 * math.pi * draws[:, 1]
    radius = 10.0 - 3.0 * draws[:, 2] ** 2
    y, x = _from_centre(size)
    # A side more than there are lies on an earlier one.
    inner = radius * tf.cos(math.pi / sides)
    away = tf.zeros([1, *size])
    for i in range(SIDES):
        angle = turn + 2 * math.pi * i / sides
        away = tf.maximum(away, x * tf.cos(angle) + y * tf.sin(angle))
    filled = _smooth(inner - away)
    pen = 1.0 + 2.0 * draws[:, 3]
    hollow = filled * _smooth(away - inner + pen)
    return tf.where((draws[:, 4] < 0.5) & (sides < 5), hollow, filled)[..., tf.newaxis]


def _faces(size: tuple[int, int], random: StepRandom) -> tf.Tensor:
    """Circles: some with three spots inside, two above one as in a face, the others filled."""
    draws = random.uniform([8, 1, 1])
    radius = 10.0 - 3.0 * draws[:, 0] ** 2
    y, x = _from_centre(size)
    away = tf.sqrt(x**2 + y**2)
    filled = _smooth(radius - away)
    made = filled * _smooth(away - radius + 1.0 + 2.0 * draws[:, 1])
    apart, spot = radius * (0.25 + 0.2 * draws[:, 2]), radius * (0.1 + 0.15 * draws[:, 3])
    up, down, wide = (radius * (0.2 + 0.25 * draws[:, 4 + i]) for i in range(3))
    for left, top, width in ((-apart, -up, 1.0), (apart, -up, 1.0), (0.0, down, 1 + wide / spot)):
        made = tf.maximum(made, _smooth(spot - tf.sqrt(((x - left) / width) ** 2 + (y - top) ** 2)))
    return tf.where(draws[:, 7] < 0.3, filled, made)[..., tf.newaxis]


def _from_centre(size: tuple[int, int]) -> tuple[tf.Tensor, tf.Tensor]:
    """y ``[1, h, 1]`` and x ``[1, 1, w]`` of pixels, from the middle."""
    height, width = size
    y, x = (tf.range(float(n)) - (n - 1) / 2 for n in (height, width))
    return tf.reshape(y, [1, -1, 1]), tf.reshape(x, [1, 1, -1])


def _smooth(inside: tf.Tensor) -> tf.Tensor:
    """How much of a pixel is covered that lies so far inside of an edge."""
    return tf.clip_by_value(inside + 0.5, 0.0, 1.0)


def _scribbles(size: tuple[int, int], random: StepRandom) -> tf.Tensor:
    """Two to four curved strokes in the frame of a digit; float32 ``[n, h, w, 1]`` in [0, 1]."""
    ends = random.uniform([STROKES, 3, 2])
    choices = random.uniform([STROKES, 2])
    # Half of the strokes begin where the one before ended, as letters do.
    before = tf.concat([ends[:, :1, 0], ends[:, :-1, 2]], axis=1)
    first = tf.where(choices[..., :1] < 0.5, before, ends[:, :, 0])
    last = ends[:, :, 2]
    bend = (first + last) / 2 + (ends[:, :, 1] - 0.5) * random.uniform([STROKES, 1], 0.0, 2.0)
    there = (choices[..., 1] < 0.5) | (tf.range(STROKES) < 2)
    return _drawn(tf.stack([first, bend, last], axis=2), there, size, random)


def written(signs: dict[str, str], size: tuple[int, int], random: StepRandom) -> tf.Tensor:
    """One of the signs for each image by an unsteady hand, some narrow; as `_scribbles`."""
    strokes = np.zeros((len(signs), STROKES, 3, 2), np.float32)
    there = np.zeros((len(signs), STROKES), bool)
    for i, sign in enumerate(signs.values()):
        for j, stroke in enumerate(sign.split()):
            strokes[i, j] = np.reshape([int(digit) for digit in stroke], (3, 2))
            there[i, j] = True
    chosen = tf.cast(random.uniform([]) * len(signs), tf.int32)
    shaken = tf.gather(strokes, chosen) + random.uniform([STROKES, 3, 2], -SHAKE, SHAKE)
    narrow = tf.concat([random.uniform([1, 1, 1], 0.5, 1.0), tf.ones_like(shaken[:, :1, :1, :1])], axis=3)
    return _drawn(shaken * narrow, tf.gather(there, chosen), size, random)


def _drawn(strokes: tf.Tensor, there: tf.Tensor, size: tuple[int, int], random: StepRandom) -> tf.Tensor:
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
