"""Boxes, circles and tables that digits are written into: their lines are no ink."""

import cv2
import numpy as np

from mnist_core.vision.parts import components, only, reaches_border, stroke_width

# A cell fills so much of the rectangle around it: of a box more than the hole of a 0, which fills 0.79; of a
# circle that much, and then so much of what it is the hole of, too: a sheet with a 0 on it has such a hole.
RECTANGULAR, ROUND, RING = 0.85, 0.74, 0.6
# Least side of a cell, in pixels and as a share of the picture's longer side.
LEAST_CELL, SMALLEST_CELL = 12, 0.03
# Lines are thinner than this share of a cell; a sheet with a box on it is a part with a hole, too.
THICKEST_LINE = 0.25
# Shares of a cell's height: what is written in it, and what lines that are gone leave of strokes.
WRITTEN = 0.3
# The sides of one form's boxes differ by less than this share.
ALIKE = 0.08


def without_frames(mask: np.ndarray) -> np.ndarray:
    """``mask``, uint8 [height, width], without the lines of boxes and tables; strokes that touch them stay.

    What reaches the border of the picture is left alone: the squares of squared paper do.
    """
    outlines, tree = cv2.findContours(mask, cv2.RETR_TREE, cv2.CHAIN_APPROX_NONE)
    if len(outlines) < 3:
        return mask
    parents = tree[0, :, 3].tolist()
    is_hole: list[bool] = []
    cells: set[int] = set()
    written_in: set[int] = set()
    # Parts lie in holes and holes in parts; what lies in something comes after it.
    for at, parent in enumerate(parents):
        is_hole.append(parent >= 0 and not is_hole[parent])
        if is_hole[at] and _is_cell(outlines[at], outlines[parent], mask.shape):
            cells.add(at)
        elif parent in cells and _height(outlines[at]) > WRITTEN * _height(outlines[parent]):
            written_in.add(parent)
    if not written_in:
        return mask
    # A digit that touches its box is no part within it: other boxes tell that this is one.
    sizes = np.array([_size(outlines[cell]) for cell in written_in])
    frames = {parents[cell] for cell in cells if cell in written_in or _is_box_of(outlines[cell], sizes)}
    labels, stats = components(mask)
    at_border = reaches_border(stats, mask.shape)
    result = mask.copy()
    for part in frames:
        x, y = outlines[part][0, 0]
        number = labels[y, x]
        if not at_border[number - 1]:
            left, top, width, height, _ = stats[number - 1]
            box = np.s_[top : top + height, left : left + width]
            frame = labels[box] == number
            own = [outlines[cell] - (left, top) for cell in cells if parents[cell] == part]
            result[box][_lines(frame, own)] = 0
    return result


def _height(outline: np.ndarray) -> int:
    return cv2.boundingRect(outline)[3]


def _is_box_of(hole: np.ndarray, sizes: np.ndarray) -> bool:
    """Whether the outline of a hole is rectangular, as no 0 is, and of one of the ``sizes`` [n, 2]."""
    size = _size(hole)
    is_alike = (np.abs(size / sizes - 1) < ALIKE).all(axis=1).any()
    # The hull passes over what reaches into it.
    return bool(is_alike) and cv2.contourArea(cv2.convexHull(hole)) > RECTANGULAR * size.prod()


def _size(outline: np.ndarray) -> np.ndarray:
    """The shorter and the longer side of the rectangle around it."""
    return np.sort(cv2.minAreaRect(outline)[1])


def _is_cell(hole: np.ndarray, part: np.ndarray, shape: tuple[int, ...]) -> bool:
    """Whether a hole in a part, both outlines, is one of a box, a table or a circle."""
    least = max(LEAST_CELL, SMALLEST_CELL * max(shape))
    # Most holes are far too small, and soon passed over.
    if len(hole) < 2 * least:
        return False
    _, (width, height), _ = cv2.minAreaRect(hole)
    area = cv2.contourArea(hole)
    least_share = ROUND if area > RING * cv2.contourArea(part) else RECTANGULAR
    return min(width, height) > least and area > least_share * width * height


def _lines(frame: np.ndarray, cells: list[np.ndarray]) -> np.ndarray:
    """What of a part, bool [height, width], is lines around its ``cells``, or left by them, and no stroke."""
    pen = stroke_width(frame)
    if pen > THICKEST_LINE * min(min(cv2.minAreaRect(cell)[1]) for cell in cells):
        return np.zeros_like(frame)
    lines = np.zeros(frame.shape, np.uint8)
    # The hull of a cell passes over the strokes that reach into it from its lines.
    cv2.drawContours(lines, [cv2.convexHull(cell) for cell in cells], -1, 1, round(2 * pen) + 2)
    rest, stats = components((frame & (lines == 0)).astype(np.uint8))
    least = WRITTEN * min(map(_height, cells))
    return frame & (only(stats[:, 3] > least, rest) == 0)
