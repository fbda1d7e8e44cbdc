"""Boxes and tables that digits are written into: their lines are no ink."""

import collections

import cv2
import numpy as np

from mnist_core.vision.parts import components, only, stroke_width

# A cell fills so much of the rectangle around it; an ellipse, such as a 0's hole, fills 0.79 of it.
RECTANGULAR = 0.85
# Least side of a cell, as a share of the picture's longer side.
SMALLEST_CELL = 0.03
# Shares of a cell's height: what is written in it, and what lines that are gone leave of strokes.
WRITTEN = 0.3
# A part with so many cells is a table, also where all that is written touches its lines; an 8 has two.
CELLS_OF_TABLE = 3


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
    holding: set[int] = set()
    # Parts lie in holes and holes in parts; what lies in something comes after it.
    for at, parent in enumerate(parents):
        is_hole.append(parent >= 0 and not is_hole[parent])
        if is_hole[at] and _is_cell(outlines[at], mask.shape):
            cells[parent].append(at)
        elif parent in cells[parents[parent]] and _height(outlines[at]) > WRITTEN * _height(outlines[parent]):
            holding.add(parents[parent])
    labels = components(mask)[0]
    result = mask.copy()
    for part, holes in cells.items():
        is_frame = part in holding or len(holes) >= CELLS_OF_TABLE
        if is_frame and not _reaches_border(outlines[part], mask.shape):
            x, y = outlines[part][0, 0]
            _erase_lines(result, labels == labels[y, x], [outlines[hole] for hole in holes])
    return result


def _reaches_border(outline: np.ndarray, shape: tuple[int, ...]) -> bool:
    x, y, width, height = cv2.boundingRect(outline)
    return x == 0 or y == 0 or x + width == shape[1] or y + height == shape[0]


def _height(outline: np.ndarray) -> int:
    return cv2.boundingRect(outline)[3]


def _is_cell(hole: np.ndarray, shape: tuple[int, ...]) -> bool:
    _, (width, height), _ = cv2.minAreaRect(hole)
    return (
        min(width, height) > SMALLEST_CELL * max(shape)
        and cv2.contourArea(hole) > RECTANGULAR * width * height
    )


def _erase_lines(mask: np.ndarray, frame: np.ndarray, cells: list[np.ndarray]) -> None:
    """Takes the lines around ``cells`` out of ``mask``, and what they leave of ``frame`` but strokes."""
    thickness = round(2 * stroke_width(frame, float(frame.sum()))) + 2
    lines = np.zeros_like(mask)
    # The hull of a cell passes over the strokes that reach into it from its lines.
    cv2.polylines(lines, [cv2.convexHull(cell) for cell in cells], True, 1, thickness)
    rest = frame.astype(np.uint8) & ~lines
    labels, stats = components(rest)
    least = WRITTEN * min(map(_height, cells))
    mask[frame & (only(stats[:, 3] > least, labels) == 0)] = 0
