"""Boxes and tables that digits are written into: their lines are no ink."""

import collections

import cv2
import numpy as np

from mnist_core.vision.parts import components, only, stroke_width

# A cell fills so much of the rectangle around it; an ellipse, such as a 0's hole, fills 0.79 of it.
RECTANGULAR = 0.85
# Least side of a cell, in pixels and as a share of the picture's longer side.
LEAST_CELL, SMALLEST_CELL = 12, 0.03
# Lines are thinner than this share of a cell; a sheet with a box on it is a part with a hole, too.
THICKEST_LINE = 0.25
# Shares of a cell's height: what is written in it, and what lines that are gone leave of strokes.
WRITTEN = 0.3


def without_frames(mask: np.ndarray) -> np.ndarray:
    """``mask``, uint8 [height, width], without the lines of boxes and tables; strokes that touch them stay.

    What reaches the border of the picture is left alone: the squares of squared paper do.
    """
    outlines, tree = cv2.findContours(mask, cv2.RETR_TREE, cv2.CHAIN_APPROX_NONE)
    if len(outlines) < 3:
        return mask
    parents = tree[0, :, 3].tolist()
    is_hole: list[bool] = []
    cells: dict[int, list[int]] = collections.defaultdict(list)
    part_of_cell: dict[int, int] = {}
    holding: set[int] = set()
    # Parts lie in holes and holes in parts; what lies in something comes after it.
    for at, parent in enumerate(parents):
        is_hole.append(parent >= 0 and not is_hole[parent])
        if is_hole[at] and _is_cell(outlines[at], mask.shape):
            cells[parent].append(at)
            part_of_cell[at] = parent
        elif parent in part_of_cell and _height(outlines[at]) > WRITTEN * _height(outlines[parent]):
            holding.add(part_of_cell[parent])
    if not cells:
        return mask
    labels, _ = components(mask)
    result = mask.copy()
    for part, holes in cells.items():
        if part in holding and not _reaches_border(outlines[part], mask.shape):
            _erase_lines(result, labels, outlines[part], [outlines[hole] for hole in holes])
    return result


def _reaches_border(outline: np.ndarray, shape: tuple[int, ...]) -> bool:
    x, y, width, height = cv2.boundingRect(outline)
    return x == 0 or y == 0 or x + width == shape[1] or y + height == shape[0]


def _height(outline: np.ndarray) -> int:
    return cv2.boundingRect(outline)[3]


def _is_cell(hole: np.ndarray, shape: tuple[int, ...]) -> bool:
    least = max(LEAST_CELL, SMALLEST_CELL * max(shape))
    # Most holes are far too small, and soon passed over.
    if len(hole) < 2 * least:
        return False
    _, (width, height), _ = cv2.minAreaRect(hole)
    return min(width, height) > least and cv2.contourArea(hole) > RECTANGULAR * width * height


def _erase_lines(mask: np.ndarray, labels: np.ndarray, part: np.ndarray, cells: list[np.ndarray]) -> None:
    """Takes the lines around ``cells`` out of ``mask``, and all that they leave of their part but strokes."""
    x, y, width, height = cv2.boundingRect(part)
    box = np.s_[y : y + height, x : x + width]
    frame = labels[box] == labels[part[0, 0, 1], part[0, 0, 0]]
    pen = stroke_width(frame, float(frame.sum()))
    if pen > THICKEST_LINE * min(min(cv2.minAreaRect(cell)[1]) for cell in cells):
        return
    lines = np.zeros(frame.shape, np.uint8)
    # The hull of a cell passes over the strokes that reach into it from its lines.
    hulls = [cv2.convexHull(cell) for cell in cells]
    cv2.drawContours(lines, hulls, -1, 1, round(2 * pen) + 2, offset=(-x, -y))
    rest, stats = components((frame & (lines == 0)).astype(np.uint8))
    least = WRITTEN * min(map(_height, cells))
    mask[box][frame & (only(stats[:, 3] > least, rest) == 0)] = 0
