"""Writing as ink: MNIST's digits in strokes of any pen, in rows, signs between them; and what is no digit."""

import cv2
import numpy as np
from numpy.random import Generator

from benchmarks.thinning import segments, skeleton

# The side of the copy of a digit whose strokes are followed.
DETAIL = 112
# How far, in its pixels, a digit's outline may be off the lines of a pen, and the share of ink that may be.
RIM, LOST = 4, 0.01
# What people write between digits: ends of strokes, x and y from a digit's upper left, in its heights.
SIGNS = {
    "-": (((0.3, 0.5), (0.75, 0.5)),),
    ".": (((0.5, 0.95), (0.5, 0.95)),),
    ",": (((0.5, 0.9), (0.42, 1.15)),),
    ":": (((0.5, 0.3), (0.5, 0.3)), ((0.5, 0.75), (0.5, 0.75))),
    "+": (((0.2, 0.5), (0.8, 0.5)), ((0.5, 0.2), (0.5, 0.8))),
    "=": (((0.2, 0.38), (0.8, 0.38)), ((0.2, 0.62), (0.8, 0.62))),
    "/": (((0.75, -0.12), (0.25, 1.12)),),
    "(": (((0.55, -0.1), (0.38, 0.3)), ((0.38, 0.3), (0.38, 0.7)), ((0.38, 0.7), (0.55, 1.1))),
    ")": (((0.38, -0.1), (0.55, 0.3)), ((0.55, 0.3), (0.55, 0.7)), ((0.55, 0.7), (0.38, 1.1))),
}


def legible(digit: np.ndarray, label: str) -> bool:
    """Whether the lines that thinning leaves of a digit are still one: no hole is filled, no blot lost."""
    mask = _enlarged(digit)
    outlines, _ = cv2.findContours(mask, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
    holes = {"0": (2,), "6": (2,), "8": (3,), "9": (2,), "4": (1, 2), "2": (1, 2)}.get(label, (1,))
    if len(outlines) not in holes:
        return False
    lines = skeleton(mask)
    pen = 2 * np.median(cv2.distanceTransform(mask, cv2.DIST_L2, 3)[lines])
    drawn = np.zeros_like(mask)
    _draw(drawn, lines, round(pen + 2 * RIM))
    return bool((mask & ~drawn).sum() <= LOST * mask.sum())


def stroke(digit: np.ndarray, height: int, pen: float | None = None) -> np.ndarray:
    """A digit as ink of a smooth outline.

    Args:
      digit: uint8 [28, 28] of MNIST.
      height: of the longer side of its ink, pixels.
      pen: width of the stroke, pixels; None keeps the digit's own.

    Returns:
      float32 [height, width], 0 to 1, with a margin for the pen.
    """
    mask = _enlarged(digit)
    x, y, w, h = cv2.boundingRect(mask)
    mask = np.pad(mask[y : y + h, x : x + w], 2)
    scale = height / max(h, w)
    size = max(2, round(mask.shape[1] * scale)), max(2, round(mask.shape[0] * scale))
    if pen is None:
        smooth = cv2.resize(
            cv2.GaussianBlur(mask * 255.0, (0, 0), 1.2),
            size,
            interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC,
        )
        return np.clip((smooth / 255 - 0.5) * max(1.0, 2 * scale) + 0.5, 0, 1).astype(np.float32)
    margin = int(pen) + 1
    line = np.zeros((size[1] + 2 * margin, size[0] + 2 * margin), np.float32)
    _draw(line, skeleton(mask), max(1, round(pen)), scale, margin)
    return line


def sign(kind: str, height: int, pen: float, rng: Generator) -> np.ndarray:
    """One of SIGNS as ink among digits of a height; float32 [2 height, width], the digits in its middle."""
    ink = np.zeros((2 * height, 2 * height), np.float32)
    for stroke in SIGNS[kind]:
        shaken = np.array(stroke) + rng.normal(0, 0.03, (2, 2))
        ends = [tuple(round(16 * height * (at + 0.5)) for at in point) for point in shaken]
        cv2.line(ink, *ends, 1.0, max(1, round(pen)), cv2.LINE_AA, 4)
    x, _, width, _ = cv2.boundingRect((ink > 0.1).astype(np.uint8))
    return ink[:, x : x + width]


def place(ink: np.ndarray, strokes: np.ndarray, x: int, y: int) -> None:
    """Writes ``strokes`` into ``ink`` with the upper left corner at (x, y); what lies outside is cut."""
    left, top = max(0, -x), max(0, -y)
    part = ink[max(0, y) : y + strokes.shape[0], max(0, x) : x + strokes.shape[1]]
    np.maximum(part, strokes[top : top + part.shape[0], left : left + part.shape[1]], out=part)


def rows_of(
    rows: list[list[np.ndarray | str]],
    rng: Generator,
    *,
    height: int = 60,
    gap: tuple[float, float] = (0.15, 0.7),
    pen: float | None = 4,
    slant: float = 0.0,
    uneven: float = 0.15,
    pale: float = 0.0,
) -> np.ndarray:
    """Rows of digits as ink; float32 [height, width].

    Args:
      rows: uint8 [28, 28] of MNIST, and names of SIGNS.
      gap: least and largest distance of neighbours, as shares of the height; below 0 they may touch.
      slant: largest rise of a row, degrees.
      uneven: how much heights vary, a share.
      pale: share of the digits by a pen of a third to two thirds of the ink.
    """
    lines = []
    for row in rows:
        inks = [
            sign(one, height, pen, rng)
            if isinstance(one, str)
            else _trimmed(stroke(one, round(height * (1 + rng.uniform(-uneven, uneven))), pen))
            for one in row
        ]
        if pale:
            inks = [ink * np.float32(rng.uniform(0.33, 0.67) if rng.random() < pale else 1) for ink in inks]
        line = np.zeros(
            (2 * height, sum(one.shape[1] for one in inks) + (len(inks) + 2) * height), np.float32
        )
        x = height // 2
        for one in inks:
            place(line, one, x, (len(line) - one.shape[0]) // 2 + round(height * rng.uniform(-0.12, 0.12)))
            x += one.shape[1] + round(height * rng.uniform(*gap))
        lines.append(line[:, : x + height // 2])
    pitch = round(height * rng.uniform(1.5, 2.2))
    widest = max(line.shape[1] for line in lines)
    angle = np.tan(np.radians(rng.uniform(-slant, slant)))
    rise = round(abs(angle) * widest)
    page = np.zeros((pitch * (len(lines) - 1) + 3 * height + rise, widest + 2 * height), np.float32)
    for i, line in enumerate(lines):
        shear = np.float32([[1, 0, 0], [-angle, 1, rise if angle > 0 else 0]])
        tilted = cv2.warpAffine(line, shear, (line.shape[1], line.shape[0] + rise))
        place(page, tilted, height // 2 + round(height * rng.uniform(0, 0.5)), height // 2 + i * pitch)
    return page


def cells_of(
    rows: list[list[np.ndarray]], rng: Generator, *, height: int, pen: float, table: bool
) -> np.ndarray:
    """Digits in boxes of their own, or in the cells of a table, as ink; float32 [height, width].

    Args:
      rows: uint8 [28, 28] of MNIST, as many in each.
    """
    side, margin, line = round(1.7 * height), height // 3, max(1, round(height * rng.uniform(0.02, 0.06)))
    gap = 0 if table else round(0.08 * side)
    ink = np.zeros((side * len(rows) + 2 * margin, side * len(rows[0]) + 2 * margin), np.float32)
    for i, row in enumerate(rows):
        for j, digit in enumerate(row):
            x, y = margin + j * side, margin + i * side
            cv2.rectangle(ink, (x + gap, y + gap), (x + side - gap, y + side - gap), 1.0, line)
            strokes = _trimmed(stroke(digit, height, pen))
            away = np.rint(rng.normal(0, 0.06 * height, 2)).astype(int)
            rise, width = strokes.shape
            place(ink, strokes, x + (side - width) // 2 + away[0], y + (side - rise) // 2 + away[1])
    return ink


def letters(text: str, height: int, rng: Generator) -> np.ndarray:
    """Text in one of OpenCV's plotter fonts as ink; float32 [height, width]."""
    font = int(
        rng.choice(
            [
                cv2.FONT_HERSHEY_SIMPLEX,
                cv2.FONT_HERSHEY_COMPLEX,
                cv2.FONT_HERSHEY_SCRIPT_SIMPLEX,
                cv2.FONT_HERSHEY_SCRIPT_COMPLEX,
                cv2.FONT_HERSHEY_TRIPLEX,
            ]
        )
    )
    pen = int(rng.integers(1, 2 + height // 12))
    (width, rise), drop = cv2.getTextSize(text, font, height / 22, pen)
    ink = np.zeros((rise + drop + 2 * height, width + 2 * height), np.uint8)
    cv2.putText(ink, text, (height, height + rise), font, height / 22, 255, pen, cv2.LINE_AA)
    return ink / np.float32(255)


def scribble(height: int, rng: Generator) -> np.ndarray:
    """A tangle of strokes as ink; float32 [2 height, 2 height]."""
    ink = np.zeros((2 * height, 2 * height), np.float32)
    turns = np.cumsum(rng.normal(0, 0.16, (int(rng.integers(14, 60)), 2)), axis=0)
    points = (turns - turns.min(0)) / np.ptp(turns, axis=0).max() * height + height / 2
    smooth = np.stack([np.convolve(np.repeat(axis, 6), np.ones(9) / 9, "valid") for axis in points.T], 1)
    cv2.polylines(
        ink, [np.round(smooth * 16).astype(np.int32)], False, 1.0, int(rng.integers(1, 8)), cv2.LINE_AA, 4
    )
    return ink


def shape(height: int, rng: Generator) -> np.ndarray:
    """A filled or hollow figure, a star, a face or a house as ink; float32 [2 height, 2 height]."""
    ink = np.zeros((2 * height, 2 * height), np.float32)
    middle, radius, pen = (height, height), height // 2, int(rng.integers(2, 7))
    kind = int(rng.integers(6))
    turn = rng.uniform(0, np.pi)
    if kind == 0:
        cv2.circle(ink, middle, radius, 1.0, -1, cv2.LINE_AA)
    elif kind in (1, 2):
        corners = int(rng.choice([3, 4, 5, 6]))
        angles = turn + np.arange(corners) * 2 * np.pi / corners
        points = np.int32(height + radius * np.stack([np.cos(angles), np.sin(angles)], 1))
        (cv2.fillPoly if kind == 1 else lambda i, p, c: cv2.polylines(i, p, True, c, pen))(ink, [points], 1.0)
    elif kind == 3:
        angles = turn + np.arange(10) * np.pi / 5
        reach = np.where(np.arange(10) % 2, 0.4, 1.0)[:, np.newaxis] * radius
        points = np.int32(height + reach * np.stack([np.cos(angles), np.sin(angles)], 1))
        cv2.polylines(ink, [points], True, 1.0, pen, cv2.LINE_AA)
    elif kind == 4:
        cv2.circle(ink, middle, radius, 1.0, pen, cv2.LINE_AA)
        for side in (-1, 1):
            cv2.circle(ink, (height + side * radius // 3, height - radius // 3), radius // 8, 1.0, -1)
        cv2.ellipse(ink, middle, (radius // 2, radius // 2), 0, 20, 160, 1.0, pen, cv2.LINE_AA)
    else:
        a, b = height - radius // 2, height + radius // 2
        cv2.rectangle(ink, (a, height), (b, b + radius // 4), 1.0, pen)
        cv2.polylines(
            ink, [np.int32([[a, height], [height, height - radius // 2], [b, height]])], False, 1.0, pen
        )
    return ink


def _enlarged(digit: np.ndarray) -> np.ndarray:
    """A digit, uint8 [28, 28], as a mask of DETAIL x DETAIL with a smooth outline."""
    large = cv2.resize(digit, (DETAIL, DETAIL), interpolation=cv2.INTER_CUBIC)
    return (cv2.GaussianBlur(large, (0, 0), 1.5) > 100).astype(np.uint8)


def _draw(ink: np.ndarray, lines: np.ndarray, pen: int, scale: float = 1.0, margin: int = 0) -> None:
    """Draws lines of one pixel into ``ink`` with a pen, enlarged and moved."""
    fine = 16
    for a, b in segments(lines):
        ends = [tuple(round((v * scale + margin) * fine) for v in point) for point in (a, b)]
        cv2.line(ink, *ends, 1, pen, cv2.LINE_8 if pen < 2 else cv2.LINE_AA, 4)


def _trimmed(strokes: np.ndarray) -> np.ndarray:
    x, y, width, height = cv2.boundingRect((strokes > 0.1).astype(np.uint8))
    return strokes[y : y + height, x : x + width]
