"""The parts of a mask of ink: which are the digit, and which are ruling, specks, shadows or the desk.

Straight lines are found by the Hough transform (R. Duda and P. Hart, "Use of the Hough transformation to
detect lines and curves in pictures", Communications of the ACM 15, 1972).
"""

import cv2
import numpy as np

# Shares of the picture's longer side.
RULING_THICKNESS = 0.025
SPECK = 0.01
GAP_IN_STROKE = 0.012
SMALLEST_DIGIT = 0.03
# A share of the height.
FLATTEST_DIGIT = 4
# A disc is nearly as wide as high and fills 0.79 of its box. Its least size is in pixels.
ROUND, FILLED = 0.75, 0.7
SMALLEST_DISC, LARGEST_DISC = 4, 0.1
# A part that lies along so much of the border, of its length, is no stroke that ends there: solid, or hollow.
LONGEST_END = (0.25, 0.35)
# Of a ruled line, the share of columns in which there is ink.
COVERED = 0.8
# Ink in so many pieces, of which none holds so large a share, is noise and no broken stroke.
MOST_PIECES, LARGEST_PIECE = 30, 0.25
# A thumbnail has no room for shadows and desks.
THUMBNAIL = 40


def digit_mask(mask: np.ndarray) -> np.ndarray | None:
    """The part, or the parts near each other, that are the digit; None where nothing looks like one.

    Args:
      mask: uint8 [height, width], 1 where there is ink other than ruling, boxes and tables.
    """
    labels, stats = _labelled(mask)
    if not len(stats):
        return None
    areas, on_border, longest = stats[:, 4], reaches_border(stats, mask.shape), stats[:, 2:4].max(axis=1)
    # A dash, a line of print or the rest of a ruled line is no digit, though it can be the bar of one.
    upright = stats[:, 2] < FLATTEST_DIGIT * stats[:, 3]
    if not upright.any():
        return None
    main = _main_part(labels, areas * upright, on_border, longest)
    fits = (areas > 0.03 * areas[main]) & (longest < 1.3 * longest[main]) & (on_border[main] | ~on_border)
    near = _is_near(stats, main) & fits
    # Noise and texture are many parts of which none stands out.
    if areas[near].sum() < 0.3 * areas[near | (upright & ~on_border)].sum():
        return None
    if longest[main] < max(4, SMALLEST_DIGIT * max(mask.shape)):
        return None
    digit = only(near, labels)
    return None if _is_edge_of_something(digit) or _is_noise(digit) else digit


def components(mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The parts of a mask, uint8 [height, width], whose pixels are next to each other.

    Returns:
      int32 [height, width], 0 where there is no part, else its number from 1; and int32 [n, 5] for each part:
      x, y, width, height, pixels.
    """
    # Most of a mask is bare; only the box of its ink is gone through.
    x, y, width, height = cv2.boundingRect(mask)
    labels = np.zeros(mask.shape, np.int32)
    if not width:
        return labels, np.zeros((0, 5), np.int32)
    box = np.s_[y : y + height, x : x + width]
    _, labels[box], stats, _ = cv2.connectedComponentsWithStats(mask[box], connectivity=8)
    stats[:, :2] += x, y
    return labels, stats[1:]


def only(chosen: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """uint8 [height, width], 1 in those parts that are ``chosen``, bool [n]."""
    return np.concatenate([[0], chosen]).astype(np.uint8)[labels]


def without_ruling(mask: np.ndarray) -> np.ndarray:
    """``mask`` without thin straight lines that run from one side of the picture to the other."""
    mask = _without_level_lines(mask)
    return np.ascontiguousarray(_without_level_lines(np.ascontiguousarray(mask.T)).T)


def without_discs(mask: np.ndarray) -> np.ndarray:
    """``mask`` without small filled discs, such as punched holes, unless it has nothing else."""
    labels, stats = components(mask)
    width, height, area = stats.T[2:]
    least, most = np.minimum(width, height), np.maximum(width, height)
    is_round = (least > ROUND * most) & (area > FILLED * width * height)
    discs = is_round & (most >= SMALLEST_DISC) & (most < LARGEST_DISC * max(mask.shape))
    return mask if discs.all() else mask & ~only(discs, labels)


def along_border(labels: np.ndarray, stats: np.ndarray) -> np.ndarray:
    """Which parts lie along the picture's border as a desk or a shadow does, not just reach it.

    Args:
      labels: [height, width], 0 where there is no part.
      stats: [n, 5] of the parts 1 to n, as `components` gives them.
    """
    border = np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]])
    contacts = np.bincount(border, minlength=len(stats) + 1)[1:]
    return contacts > 0.35 * stats[:, 2:4].max(axis=1)


def reaches_border(stats: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Which parts reach the picture's border.

    Args:
      stats: [n, 5] as `components` gives them.
      shape: of the picture.
    """
    x, y, width, height = stats.T[:4]
    return (x == 0) | (y == 0) | (x + width == shape[1]) | (y + height == shape[0])


def contact(mask: np.ndarray) -> float:
    """The share of the picture's border that is ink."""
    border = int(mask[0].sum() + mask[-1].sum() + mask[:, 0].sum() + mask[:, -1].sum())
    return border / (2 * sum(mask.shape))


def fills(mask: np.ndarray) -> bool:
    """Whether a picture is cut tightly around its ink, which then may touch the border."""
    _, _, width, height = cv2.boundingRect(mask)
    return min(width / mask.shape[1], height / mask.shape[0]) >= 0.9 and contact(mask) <= 0.3


def stroke_width(mask: np.ndarray, area: float | None = None) -> float:
    """In pixels, of what is drawn in strokes: twice its area over the length of its outline.

    Args:
      mask: [height, width], nonzero where there is ink.
      area: of the ink, in pixels, where some are ink in part; left out, all that have ink are.
    """
    if area is None:
        area = np.count_nonzero(mask)
    inside = np.pad(mask > 0, 1).astype(np.int8)
    edges = np.abs(np.diff(inside, axis=0)).sum() + np.abs(np.diff(inside, axis=1)).sum()
    # Pixel edges overstate a slanted outline by 4/pi on average; a stroke has two outlines.
    return 2 * area / max(1.0, 0.8 * float(edges))


def square(size: int) -> np.ndarray:
    """A square structuring element."""
    return np.ones((size, size), np.uint8)


def _without_level_lines(mask: np.ndarray) -> np.ndarray:
    height, width = mask.shape
    # Where most columns are bare no line runs through them, and there is nothing to look for.
    if width < THUMBNAIL or mask.max(axis=0).mean() <= COVERED:
        return mask
    thickness = max(2, round(RULING_THICKNESS * max(height, width)))
    # What is taller than a line stays: the strokes that cross it.
    thin = _lower_than(mask, thickness + 1)
    lines = cv2.HoughLines(
        thin, 1, np.pi / 360, width * 3 // 10, min_theta=np.pi / 2 - 0.12, max_theta=np.pi / 2 + 0.12
    )
    if lines is None:
        return mask
    ruling = np.zeros_like(mask)
    # Many lines fit the same pixels; one of each kind is enough.
    lines = {(int(rho / 2), int(theta * 50)): (rho, theta) for rho, theta in lines.reshape(-1, 2)[::-1]}
    for rho, theta in list(lines.values())[-150:]:
        ends = [round((rho - x * np.cos(theta)) / np.sin(theta)) for x in (0, width - 1)]
        line = np.zeros_like(mask)
        cv2.line(line, (0, ends[0]), (width - 1, ends[1]), 1, thickness | 1)
        columns, end = (line & thin).max(axis=0), max(2, width // 25)
        if columns[:end].any() and columns[-end:].any() and (line & mask).max(axis=0).mean() > COVERED:
            # What is a little thicker than most of the line is a stroke that lies along it.
            heights = (line & thin).sum(axis=0)
            ruling |= line & _lower_than(mask, int(np.median(heights[heights > 0])) + 2)
    return mask & ~ruling


def _lower_than(mask: np.ndarray, height: int) -> np.ndarray:
    """What of a mask lies in upright runs of fewer pixels."""
    return cv2.subtract(mask, cv2.morphologyEx(mask, cv2.MORPH_OPEN, np.ones((height, 1), np.uint8)))


def _labelled(mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Labels [height, width] and stats [n, 5] of the parts: without specks, small gaps in strokes closed."""
    side = max(mask.shape)
    labels, stats = components(mask)
    large = stats[:, 2:4].max(axis=1) > SPECK * side
    mask = only(large, labels)
    joined = cv2.morphologyEx(mask, cv2.MORPH_CLOSE, square(2 * round(GAP_IN_STROKE * side) + 1))
    labels, stats = components(joined)
    return labels * mask, stats


def _main_part(labels: np.ndarray, areas: np.ndarray, on_border: np.ndarray, longest: np.ndarray) -> int:
    """The largest part, unless it reaches the border as a desk does and another one of some size doesn't."""
    main = int(np.argmax(areas))
    if not on_border[main] or on_border.all():
        return main
    other = int(np.argmax(np.where(on_border, 0, areas)))
    side = max(labels.shape)
    looks_like_desk = side >= THUMBNAIL and contact(labels == main + 1) > 0.15
    if areas[other] > 0.15 * areas[main] or (looks_like_desk and longest[other] > 0.08 * side):
        return other
    return main


def _is_near(stats: np.ndarray, main: int) -> np.ndarray:
    """Which parts overlap the main one's box once that has grown by a quarter, as the bar of a 5 does."""
    x, y, width, height = stats.T[:4]
    margin = max(width[main], height[main]) / 4
    across = (x < x[main] + width[main] + margin) & (x + width > x[main] - margin)
    down = (y < y[main] + height[main] + margin) & (y + height > y[main] - margin)
    return across & down


def _is_noise(mask: np.ndarray) -> bool:
    areas = components(mask)[1][:, 4]
    return len(areas) > MOST_PIECES and areas.max() < LARGEST_PIECE * areas.sum()


def _is_edge_of_something(digit: np.ndarray) -> bool:
    """Whether ink lies along the border as a shadow or a desk does, not just reaches it as a stroke does."""
    along = contact(digit)
    if along == 0 or max(digit.shape) < THUMBNAIL or fills(digit):
        return False
    hull = cv2.contourArea(cv2.convexHull(np.argwhere(digit).astype(np.int32)))
    solid = digit.sum() > 0.5 * hull
    longest = max(cv2.boundingRect(digit)[2:])
    return along > 0.15 or along * 2 * sum(digit.shape) > LONGEST_END[0 if solid else 1] * longest
