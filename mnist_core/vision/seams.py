"""Where a part of a page may be cut: paths from top to bottom that cross as little ink as they can.

After S. Avidan and A. Shamir, "Seam carving for content-aware image resizing", ACM Trans. Graphics 26, 2007.
"""

import itertools

import cv2
import numpy as np

from mnist_core.vision.parts import components, only, stroke_width
from mnist_core.vision.segment import Piece

# Seams at most, and how far apart they are in the mean, as a share of the height.
MOST_SEAMS, SEAMS_APART = 14, 0.1
# A seam through so much of a stroke's width runs through what two digits may share.
SHARED = 0.5
# How wide a slice is at most, as a share of its height, and how high at least, as a share of the page's
# digits: the halves of a + are lower.
WIDEST_SLICE, LOWEST_SLICE = 1.6, 0.55


def slices_of(piece: Piece, height: float) -> tuple[list[tuple[int, int]], list[Piece]]:
    """The whole and what lies between two seams, and between which edges each lies, from 0 on."""
    seams, crossed = _seams(piece.mask)
    edges = [np.zeros(piece.height, int), *seams, np.full(piece.height, piece.width)]
    stroke = round(stroke_width(piece.mask))
    # Both neighbours may have the stroke through which a seam runs: the walls of two zeros are often one.
    # To try that on both sides of a slice takes more time than it gains.
    shared = [0, *(stroke if ink > SHARED else 0 for ink in crossed), 0]
    spans, slices = [(0, len(seams) + 1)], [piece]
    for i, j in itertools.combinations(range(len(edges)), 2):
        for left, right in sorted({(0, 0), (shared[i], 0), (0, shared[j])}):
            part = None if (i, j) == spans[0] else _slice(piece, edges[i] - left, edges[j] + right)
            if part and part.height > LOWEST_SLICE * height and part.width < WIDEST_SLICE * part.height:
                spans.append((i, j))
                slices.append(part)
    return spans, slices


def _slice(piece: Piece, left: np.ndarray, right: np.ndarray) -> Piece | None:
    """What lies between two seams, without the crumbs of what lies beyond; None where that is little."""
    columns = np.arange(piece.width)
    mask = piece.mask * ((columns >= left[:, None]) & (columns < right[:, None])).astype(np.uint8)
    labels, stats = components(mask)
    mask = only(stats[:, 3] > 0.2 * piece.height, labels)
    x, y, width, height = cv2.boundingRect(mask)
    if height < 0.4 * piece.height:
        return None
    return Piece(mask[y : y + height, x : x + width], piece.x + x, piece.y + y)


def _seams(mask: np.ndarray) -> tuple[list[np.ndarray], list[float]]:
    """Paths [height] of columns from left to right, and how many strokes' widths of ink each crosses."""
    height, width = mask.shape
    stroke = max(1.0, stroke_width(mask))
    edge, reach = max(2, height // 8), max(2, round(0.22 * height))
    # The cheapest of all would crowd at one place.
    apart = max(SEAMS_APART * height, width / MOST_SEAMS)
    found = [_seam(mask, at, reach) for at in range(edge, width - edge, max(1, height // 16))]
    kept: list[tuple[float, float, np.ndarray]] = []
    for path, ink in sorted(found, key=lambda seam: seam[1]):
        middle = float(path.mean())
        if ink < 3.5 * stroke and all(abs(middle - other) >= apart for other, *_ in kept):
            kept.append((middle, ink, path))
    kept.sort(key=lambda seam: seam[0])
    return [path for *_, path in kept], [ink / stroke for _, ink, _ in kept]


def _seam(mask: np.ndarray, start: int, reach: int) -> tuple[np.ndarray, float]:
    """The path from top to bottom, within ``reach`` columns of ``start``, that crosses the least ink."""
    low, high = max(0, start - reach), min(mask.shape[1], start + reach + 1)
    bend = 0.02 * np.abs(np.arange(low, high) - start) / reach
    cost = mask[:, low:high] + bend + 0.0
    steps = np.zeros(cost.shape, int)
    total = cost[0]
    # What it costs to come from the left, straight down, and from the right.
    sides = np.full((3, cost.shape[1]), np.inf)
    for row in range(1, len(cost)):
        sides[0, 1:], sides[1], sides[2, :-1] = total[:-1] + 0.02, total, total[1:] + 0.02
        steps[row] = sides.argmin(axis=0) - 1
        total = sides.min(axis=0) + cost[row]
    path = np.zeros(len(cost), int)
    path[-1] = int(total.argmin())
    for row in range(len(cost) - 1, 0, -1):
        path[row - 1] = path[row] + steps[row, path[row]]
    return path + low, float(mask[np.arange(len(cost)), path + low].sum())
