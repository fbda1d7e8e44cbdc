"""Strokes of a mask as lines of one pixel, for pens of any width."""

import itertools

import numpy as np


def skeleton(mask: np.ndarray) -> np.ndarray:
    """Thins a mask to lines of one pixel (T. Zhang and C. Suen, Communications of the ACM 27, 1984)."""
    image = np.pad(mask.astype(bool), 1)
    around = ((-1, 0), (-1, 1), (0, 1), (1, 1), (1, 0), (1, -1), (0, -1), (-1, -1))
    changed = True
    while changed:
        changed = False
        for first in (True, False):
            p = [np.roll(image, (-dy, -dx), (0, 1)) for dy, dx in around]
            count = sum(one.astype(np.int8) for one in p)
            rises = sum((~a & b).astype(np.int8) for a, b in itertools.pairwise([*p, p[0]]))
            n, e, s, w = p[0], p[2], p[4], p[6]
            spare = ~(n & e & s) & ~(e & s & w) if first else ~(n & e & w) & ~(n & s & w)
            out = image & (count >= 2) & (count <= 6) & (rises == 1) & spare
            if out.any():
                image, changed = image & ~out, True
    return image[1:-1, 1:-1]


def segments(lines: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
    """Pairs of neighbouring points (x, y) of lines of one pixel, smoothed a little; a lone point twice."""
    points = np.argwhere(lines)[:, ::-1].astype(np.float32)
    apart = np.abs(points[:, np.newaxis] - points[np.newaxis]).max(axis=2)
    smooth = np.stack([points[near <= 2].mean(axis=0) for near in apart]) if len(points) else points
    pairs = np.argwhere(np.triu(apart <= 1))
    return [(smooth[i], smooth[j]) for i, j in pairs]
