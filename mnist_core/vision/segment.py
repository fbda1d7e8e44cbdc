"""The digits of a page: parts of its ink that belong together, and the rows in which they stand.

Sizes follow from the page itself: most of what is written on one is about as high as its digits.
"""

import dataclasses
from collections.abc import Iterable

import cv2
import numpy as np

from mnist_core.vision.parts import along_border, components, fills, only, square

# Shares of the height of the page's digits.
SPECK = 0.25
SMALL = 0.5
GAP_IN_STROKE = 0.03
REACH = 0.25
HIGHEST = 1.8
LOWEST = 0.4
# What is so many times as wide as high is a ruled line.
FLAT = 4.0
# What is so many times as high as wide is one, too, if it is half as high as the page or ends at its border.
UPRIGHT = 12
# So wide, and filled by so much of ink, is a dash, an = or the bar of a 5.
LYING, BAR = 1.5, 0.35
# Shares of the height of what stands beside it, from its top: a dash or = lies lower than the bar of a 5 and
# higher than the foot of a 2, a comma or a point lower than the last.
BAR_OF_5, FOOT_OF_2, COMMA = 0.17, 0.9, 0.85
# Beyond these many parts a picture is a texture, and no page.
MOST_PARTS = 400


@dataclasses.dataclass(frozen=True, eq=False)
class Piece:
    """A part of a page's ink, perhaps a digit.

    Attributes:
      mask: uint8 [height, width], 1 where it is.
      x, y: its upper left corner in the page.
    """

    mask: np.ndarray
    x: int
    y: int

    @property
    def height(self) -> int:
        return self.mask.shape[0]

    @property
    def width(self) -> int:
        return self.mask.shape[1]

    @property
    def right(self) -> int:
        return self.x + self.width

    @property
    def bottom(self) -> int:
        return self.y + self.height

    @property
    def centre(self) -> tuple[float, float]:
        return self.x + self.width / 2, self.y + self.height / 2

    @property
    def area(self) -> int:
        return int(self.mask.sum())

    @property
    def longest(self) -> int:
        return max(self.mask.shape)


def pieces_of(mask: np.ndarray) -> tuple[list[Piece], float, int]:
    """The parts of a page that may be digits, in no order, the height of digits, and all that may be ink.

    Args:
      mask: uint8 [height, width], 1 where there is ink other than ruling, boxes and tables.
    """
    labels, stats = _labelled(mask, 0)
    keep, specks = _may_be_written(labels, stats, mask)
    if not keep.any() or keep.sum() > MOST_PARTS:
        return [], 0.0, 0
    written = int(stats[keep | specks, 4].sum())
    height = _usual_height(stats[keep])
    mask = only(keep, labels)
    labels, stats = _labelled(mask, round(GAP_IN_STROKE * height))
    pieces = [
        Piece((labels[y : y + h, x : x + w] == i).astype(np.uint8), x, y)
        for i, (x, y, w, h, _) in enumerate(stats.tolist(), 1)
    ]
    pieces = _with_small_parts([piece for piece in pieces if piece.longest < 4 * height], height)
    return [piece for piece in pieces if not _is_small(piece, height)], height, written


def _is_small(piece: Piece, height: float) -> bool:
    """Whether it is too small for a digit, or a sign such as a dash."""
    long_enough = piece.height if _is_bar(piece) else piece.longest
    return piece.height < LOWEST * height or long_enough < SMALL * height


def _is_bar(piece: Piece) -> bool:
    """Whether it is a lying stroke, or two."""
    return piece.width > LYING * piece.height and piece.mask.mean() > BAR


def joined(a: Piece, b: Piece) -> Piece:
    """Both as one."""
    x, y = min(a.x, b.x), min(a.y, b.y)
    mask = np.zeros((max(a.bottom, b.bottom) - y, max(a.right, b.right) - x), np.uint8)
    for piece in (a, b):
        mask[piece.y - y : piece.bottom - y, piece.x - x : piece.right - x] |= piece.mask
    return Piece(mask, x, y)


def drawn(pieces: Iterable[Piece], shape: tuple[int, ...]) -> np.ndarray:
    """A page of ``shape`` with nothing but the pieces; uint8, 1 where they are."""
    mask = np.zeros(shape, np.uint8)
    for piece in pieces:
        mask[piece.y : piece.bottom, piece.x : piece.right] |= piece.mask
    return mask


def overlap(a: Piece, b: Piece) -> float:
    """How much of the narrower one lies above or below the other, as a share of its width."""
    return (min(a.right, b.right) - max(a.x, b.x)) / min(a.width, b.width)


def distance(a: Piece, b: Piece) -> float:
    """Between their boxes, the larger of across and down; 0 where they overlap."""
    across = max(a.x, b.x) - min(a.right, b.right)
    down = max(a.y, b.y) - min(a.bottom, b.bottom)
    return max(0, across, down)


def rows_of(pieces: Iterable[Piece], height: float) -> list[list[Piece]]:
    """The pieces in reading order, row by row; a row may rise or fall."""
    pieces = sorted(pieces, key=lambda piece: piece.centre[0])
    slope = 0.0
    # The rows that are found tell by how much they rise, and that finds them better.
    for _ in range(3):
        rows = _linked(pieces, slope, height)
        slope = _slope(rows)
    rows.sort(key=lambda row: np.mean([p.centre[1] - slope * p.centre[0] for p in row]))
    return rows


def _linked(pieces: list[Piece], slope: float, height: float) -> list[list[Piece]]:
    """Puts each piece, from left to right, into the row whose last members are level with it."""
    rows: list[list[Piece]] = []
    for piece in pieces:
        x, y = piece.centre
        best, least = None, np.inf
        for row in rows:
            last = row[-1]
            expected = np.mean([p.centre[1] + slope * (x - p.centre[0]) for p in row[-2:]])
            away = abs(y - expected)
            if away < least and away < 0.55 * max(min(piece.height, last.height), 0.8 * height):
                best, least = row, away
        if best is None:
            rows.append([piece])
        else:
            best.append(piece)
    return rows


def _slope(rows: list[list[Piece]]) -> float:
    """By how many pixels rows sink for one to the right: the weighted mean over rows of a line's."""
    upper = lower = 0.0
    for row in rows:
        x, y = np.array([piece.centre for piece in row]).T
        upper += ((x - x.mean()) * (y - y.mean())).sum()
        lower += ((x - x.mean()) ** 2).sum()
    return float(np.clip(upper / (lower + 1e-9), -0.35, 0.35))


def _labelled(mask: np.ndarray, gap: int) -> tuple[np.ndarray, np.ndarray]:
    """Labels [height, width] and stats [n, 5] of the parts, gaps of at most twice so many pixels closed."""
    closed = cv2.morphologyEx(mask, cv2.MORPH_CLOSE, square(2 * gap + 1)) if gap else mask
    labels, stats = components(closed)
    return labels * mask, stats


def _may_be_written(labels: np.ndarray, stats: np.ndarray, mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Which parts are neither grains nor rules nor the dark border of a page; and which are grains."""
    width, height, area = stats[:, 2], stats[:, 3], stats[:, 4]
    side = max(mask.shape)
    longest = np.maximum(width, height)
    grains = (longest < max(3, 0.008 * side)) | (area < 4)
    keep = ~grains
    keep &= ~((width > FLAT * height) & (width > 0.25 * side))
    ends_at_border = (stats[:, 1] <= 1) | (stats[:, 1] + height >= mask.shape[0] - 1)
    # In a picture as high as its row ones end there, too.
    is_rule = (height > 0.5 * side) | (ends_at_border & (height < 0.8 * mask.shape[0]))
    keep &= ~((height > UPRIGHT * width) & is_rule)
    if not fills(mask):
        keep &= ~along_border(labels, stats)
    return keep, grains


def _usual_height(stats: np.ndarray) -> float:
    """The median of the heights, weighted by their squares, so that specks, though many, count little."""
    width, height = stats[:, 2], stats[:, 3]
    upright = height[width < FLAT * height]
    order = np.sort(upright if len(upright) else height)
    weight = np.cumsum(order.astype(np.float64) ** 2)
    return float(order[np.searchsorted(weight, weight[-1] / 2)])


def _with_small_parts(pieces: list[Piece], height: float) -> list[Piece]:
    """Joins what is too small for a digit, such as the bar of a 5, to the nearest larger part."""
    pieces = sorted(pieces, key=lambda piece: -piece.longest)
    kept: list[Piece] = []
    for piece in pieces:
        small = piece.longest < SMALL * height or piece.height < LOWEST * height
        reach = REACH * height if piece.longest >= SPECK * height else REACH * height / 2
        near = [i for i, other in enumerate(kept) if _fits(piece, other, reach, height)]
        if small and near:
            nearest = min(near, key=lambda i: distance(piece, kept[i]) - 0.1 * overlap(piece, kept[i]))
            kept[nearest] = joined(kept[nearest], piece)
        elif piece.longest >= SPECK * height:
            kept.append(piece)
    return kept


def _fits(piece: Piece, other: Piece, reach: float, height: float) -> bool:
    union = max(piece.bottom, other.bottom) - min(piece.y, other.y)
    near = distance(piece, other) <= reach and union <= max(HIGHEST * height, 1.15 * other.height)
    return near and not _is_sign(piece, other)


def _is_sign(piece: Piece, other: Piece) -> bool:
    """Whether a small piece is a dash, an = or a comma beside another, and no part of it."""
    level = (piece.centre[1] - other.y) / other.height
    is_sign = BAR_OF_5 < level < FOOT_OF_2 if _is_bar(piece) else level > COMMA
    return is_sign and overlap(piece, other) < 0.2
