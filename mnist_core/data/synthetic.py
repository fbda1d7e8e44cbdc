"""Digits drawn by seeded strokes: data that needs no file, no network and no licence."""

import numpy as np

from mnist_core.data.split import SIDE

CURVE_POINTS = 3  # straight pieces a curve has between two of its points
BATCH = 16  # images drawn at a time, so that a batch's distances stay in the processor's cache

# Strokes of each digit, (x, y) from the top left of a box of 1 by 1. A curve runs smoothly through its
# points; a point given twice is a corner.
STROKES: tuple[tuple[tuple[tuple[float, float], ...], ...], ...] = (
    (((0.5, 0), (0.18, 0.2), (0.12, 0.55), (0.3, 0.93), (0.6, 0.97), (0.85, 0.7), (0.85, 0.3), (0.5, 0)),),
    (((0.35, 0.2), (0.55, 0), (0.55, 0), (0.5, 1)),),
    (((0.15, 0.25), (0.4, 0), (0.75, 0.1), (0.75, 0.4), (0.15, 1), (0.15, 1), (0.9, 0.95)),),
    (((0.2, 0.1), (0.6, 0), (0.8, 0.22), (0.45, 0.47), (0.45, 0.47), (0.85, 0.72), (0.6, 1), (0.15, 0.9)),),
    (((0.3, 0), (0.15, 0.55), (0.15, 0.55), (0.85, 0.5)), ((0.72, 0.05), (0.65, 1))),
    (
        ((0.25, 0.02), (0.2, 0.45), (0.2, 0.45), (0.6, 0.4), (0.8, 0.7), (0.55, 1), (0.15, 0.92)),
        ((0.25, 0.02), (0.85, 0)),
    ),
    (((0.7, 0), (0.3, 0.3), (0.17, 0.72), (0.5, 1), (0.8, 0.75), (0.6, 0.5), (0.22, 0.65)),),
    (((0.12, 0.05), (0.88, 0.02), (0.88, 0.02), (0.55, 0.5), (0.4, 1)),),
    (
        (
            (0.75, 0.12),
            (0.35, 0.05),
            (0.3, 0.35),
            (0.8, 0.8),
            (0.45, 1),
            (0.25, 0.7),
            (0.7, 0.4),
            (0.75, 0.12),
        ),
    ),
    (((0.8, 0.3), (0.55, 0.02), (0.22, 0.22), (0.4, 0.5), (0.8, 0.3), (0.8, 0.3), (0.7, 1)),),
)


def draw(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Draws digits much as people write them: sizes, slants, widths and shapes vary.

    Args:
      count: Number of images; no digit is drawn more than once more often than another.
      seed: The images are a pure function of ``count`` and ``seed``.

    Returns:
      Images, uint8 ``[count, 28, 28]``, white on black, and labels, uint8 ``[count]``, in random order.
    """
    random = np.random.default_rng(seed)
    labels = random.permutation(np.arange(count) % len(STROKES)).astype(np.uint8)
    images = np.empty((count, SIDE, SIDE), np.uint8)
    for digit in range(len(STROKES)):
        chosen = np.flatnonzero(labels == digit)
        for first in range(0, len(chosen), BATCH):
            part = chosen[first : first + BATCH]
            images[part] = _draw_digit(digit, len(part), random)
    return images, labels


def curves(digit: int) -> list[np.ndarray]:
    """A digit's strokes, float64 ``[points, 2]`` each: (x, y) from the top left of a box of 1 by 1."""
    return [_smooth(np.array([stroke], np.float64))[0] for stroke in STROKES[digit]]


def _draw_digit(digit: int, count: int, random: np.random.Generator) -> np.ndarray:
    distance = np.full((count, SIDE, SIDE), np.inf, np.float32)
    matrix, shift = _affine(count, random)
    for stroke in STROKES[digit]:
        points = np.array(stroke) - 0.5 + random.normal(0, 0.03, (count, len(stroke), 2))
        curve = _smooth(points) @ matrix + shift
        for i in range(curve.shape[1] - 1):
            np.minimum(distance, _squared_distance(curve[:, i], curve[:, i + 1]), out=distance)
    half_width = random.uniform(0.7, 1.7, (count, 1, 1)).astype(np.float32)
    # One pixel of soft edge, as a scanner's.
    ink = np.clip(half_width + 0.5 - np.sqrt(distance), 0, 1)
    noise = random.standard_normal(ink.shape, np.float32)
    return np.clip(np.rint(245 * ink + 8 * noise), 0, 255).astype(np.uint8)


def _affine(count: int, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Matrices ``[count, 2, 2]`` and shifts ``[count, 1, 2]`` from rows of centred (x, y) to pixels."""
    angle, slant = random.normal(0, 0.12, count), random.normal(0.1, 0.15, count)
    width, height = random.uniform(11, 17, count), random.uniform(16, 20, count)
    cos, sin = np.cos(angle), np.sin(angle)
    # Scale, then slant, then rotation; y grows downwards, so a slant to the right is negative.
    rows = [cos * width, sin * width, -(slant * cos + sin) * height, (cos - slant * sin) * height]
    matrix = np.stack(rows, axis=-1).reshape(count, 2, 2)
    return matrix, (SIDE - 1) / 2 + random.normal(0, 0.7, (count, 1, 2))


def _smooth(points: np.ndarray) -> np.ndarray:
    """Points ``[count, more, 2]`` on the Catmull-Rom curve through ``points`` ``[count, points, 2]``.

    Catmull and Rom, "A class of local interpolating splines", 1974.
    """
    padded = np.concatenate([points[:, :1], points, points[:, -1:]], axis=1)
    before, start, end, after = (padded[:, i : i + points.shape[1] - 1, None] for i in range(4))
    t = np.arange(CURVE_POINTS)[:, None] / CURVE_POINTS
    curve = 0.5 * (
        2 * start
        + (end - before) * t
        + (2 * before - 5 * start + 4 * end - after) * t**2
        + (3 * start - before - 3 * end + after) * t**3
    )
    return np.concatenate([curve.reshape(len(points), -1, 2), points[:, -1:]], axis=1)


def _squared_distance(start: np.ndarray, end: np.ndarray) -> np.ndarray:
    """Squared distance, float32 ``[count, 28, 28]``, of each pixel from a line, its ends ``[count, 2]``."""
    along = (end - start).astype(np.float32)
    length = np.linalg.norm(along, axis=1, keepdims=True)
    # A line of no length is a point, whose direction doesn't matter.
    along /= np.maximum(length, 1e-6)
    offset = np.arange(SIDE, dtype=np.float32) - ((start + end) / 2).astype(np.float32)[:, :, None]
    x, y = offset[:, 0, None, :], offset[:, 1, :, None]
    ax, ay = along[:, 0, None, None], along[:, 1, None, None]
    across = x * ay - y * ax
    beyond = np.maximum(np.abs(x * ax + y * ay) - length[:, :, None] / 2, 0)
    return across * across + beyond * beyond
