"""A simulator of paper: MNIST's digits as strokes of any pen, on paper of any kind, in any light.

What it makes stands in for photos of strangers' handwriting, of which there are too few to test with. Every
picture follows from its generator. Beside digits it writes what is no digit: letters, shapes, bare paper.
"""

import dataclasses

import cv2
import numpy as np
from numpy.random import Generator

from benchmarks.thinning import segments, skeleton

PAPERS = ("plain", "ruled", "squared", "yellow", "kraft")
LIGHTS = ("even", "gradient", "shadow", "corner", "vignette")
# Blue, black, red, green, pencil: BGR.
PENS = ((140, 60, 30), (30, 30, 35), (40, 40, 190), (60, 110, 30), (95, 95, 95))
DETAIL = 112


@dataclasses.dataclass(frozen=True)
class Style:
    """How a picture is taken: of which paper, in which light, and how badly."""

    paper: str = "plain"
    light: str = "even"
    pen: int = 1
    blur: float = 0.8
    noise: float = 3.0
    tilt: float = 0.0
    quality: int = 90

    @classmethod
    def draw(cls, rng: Generator) -> "Style":
        """A photo by someone."""
        return cls(
            paper=str(rng.choice(PAPERS)),
            light=str(rng.choice(LIGHTS)),
            pen=int(rng.integers(len(PENS))),
            blur=rng.uniform(0.3, 1.6),
            noise=rng.uniform(1, 8),
            tilt=rng.uniform(-6, 6),
            quality=int(rng.integers(35, 96)),
        )


def legible(digit: np.ndarray, label: str) -> bool:
    """Whether thinning keeps what makes the digit one: its holes must not be filled with ink."""
    outlines, _ = cv2.findContours(cv2.inRange(digit, 101, 255), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
    holes = {"0": (2,), "6": (2,), "8": (3,), "9": (2,), "4": (1, 2), "2": (1, 2)}.get(label, (1,))
    return len(outlines) in holes


def stroke(digit: np.ndarray, height: int, pen: float | None = None) -> np.ndarray:
    """A digit as ink of a smooth outline.

    Args:
      digit: uint8 [28, 28] of MNIST.
      height: of the longer side of its ink, pixels.
      pen: width of the stroke, pixels; None keeps the digit's own.

    Returns:
      float32 [height, width], 0 to 1, with a margin for the pen.
    """
    mask = (
        cv2.GaussianBlur(cv2.resize(digit, (DETAIL, DETAIL), interpolation=cv2.INTER_CUBIC), (0, 0), 1.5)
        > 100
    )
    x, y, w, h = cv2.boundingRect(mask.astype(np.uint8))
    mask = np.pad(mask[y : y + h, x : x + w].astype(np.uint8), 2)
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
    fine = 16
    for a, b in segments(skeleton(mask)):
        ends = [tuple(round((v * scale + margin) * fine) for v in point) for point in (a, b)]
        cv2.line(line, *ends, 1.0, max(1, round(pen)), cv2.LINE_8 if pen < 1.5 else cv2.LINE_AA, 4)
    return line


def photo(ink: np.ndarray, style: Style, rng: Generator) -> np.ndarray:
    """Ink on paper, as a camera sees it; uint8 BGR of the ink's size.

    Args:
      ink: float32 [height, width], 0 to 1.
    """
    height, width = ink.shape
    if style.tilt:
        turn = cv2.getRotationMatrix2D((width / 2, height / 2), style.tilt, 1)
        ink = cv2.warpAffine(ink, turn, (width, height))
    ground = _paper(style, height, width, rng)
    faded = (ink * rng.uniform(0.75, 1.0))[..., np.newaxis]
    picture = ground * (1 - faded) + np.minimum(ground, np.float32(PENS[style.pen])) * faded
    picture *= _light(style.light, height, width, rng)[..., np.newaxis]
    picture = cv2.GaussianBlur(picture, (0, 0), style.blur)
    # Sensor noise comes in grains of a few pixels.
    grain = rng.normal(0, style.noise, (height // 2 + 1, width // 2 + 1, 1)).astype(np.float32)
    picture += cv2.resize(grain, (width, height))[..., np.newaxis]
    encoded = cv2.imencode(
        ".jpg", np.clip(picture, 0, 255).astype(np.uint8), [cv2.IMWRITE_JPEG_QUALITY, style.quality]
    )[1]
    return cv2.imdecode(encoded, cv2.IMREAD_COLOR)


def place(ink: np.ndarray, strokes: np.ndarray, x: int, y: int) -> None:
    """Writes ``strokes`` into ``ink`` with the upper left corner at (x, y); what lies outside is cut."""
    left, top = max(0, -x), max(0, -y)
    part = ink[max(0, y) : y + strokes.shape[0], max(0, x) : x + strokes.shape[1]]
    np.maximum(part, strokes[top : top + part.shape[0], left : left + part.shape[1]], out=part)


def rows_of(
    digits: list[list[np.ndarray]],
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
      gap: least and largest distance of neighbours, as shares of the height; below 0 they may touch.
      slant: largest rise of a row, degrees.
      uneven: how much heights vary, a share.
      pale: share of the digits by a pen of a third to two thirds of the ink.
    """
    lines = []
    for row in digits:
        inks = [_trimmed(stroke(one, round(height * (1 + rng.uniform(-uneven, uneven))), pen)) for one in row]
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


def _trimmed(strokes: np.ndarray) -> np.ndarray:
    x, y, width, height = cv2.boundingRect((strokes > 0.1).astype(np.uint8))
    return strokes[y : y + height, x : x + width]


def _paper(style: Style, height: int, width: int, rng: Generator) -> np.ndarray:
    """float32 BGR [height, width, 3] in even light."""
    tone = {"yellow": (140, 225, 240), "kraft": (130, 170, 200)}.get(style.paper, (228, 232, 235))
    paper = np.full((height, width, 3), tone, np.float32)
    fibres = rng.normal(0, 3, (height // 6 + 2, width // 6 + 2)).astype(np.float32)
    paper += cv2.resize(fibres, (width, height))[..., np.newaxis]
    if style.paper not in ("ruled", "squared"):
        return paper
    pitch = max(10, round(max(height, width) / rng.uniform(4, 16)))
    pen = max(1, round(pitch / rng.uniform(25, 50)))
    colour = np.float32([[220, 190, 150], [190, 190, 190], [200, 150, 110]][int(rng.integers(3))])
    angle, start = np.tan(np.radians(rng.uniform(-2.5, 2.5))), int(rng.integers(pitch))
    for y in range(start - pitch * 3, height + pitch * 3, pitch):
        cv2.line(
            paper,
            (0, round(y - angle * width / 2)),
            (width, round(y + angle * width / 2)),
            colour.tolist(),
            pen,
            cv2.LINE_AA,
        )
    if style.paper == "squared":
        for x in range(start - pitch * 3, width + pitch * 3, pitch):
            cv2.line(
                paper,
                (round(x + angle * height / 2), 0),
                (round(x - angle * height / 2), height),
                colour.tolist(),
                pen,
                cv2.LINE_AA,
            )
    return paper


def _light(kind: str, height: int, width: int, rng: Generator) -> np.ndarray:
    """float32 [height, width], 1 where it is brightest."""
    y, x = np.mgrid[:height, :width].astype(np.float32)
    turn = rng.uniform(0, 2 * np.pi)
    along = ((x / width - 0.5) * np.cos(turn) + (y / height - 0.5) * np.sin(turn)) / 1.42 + 0.5
    if kind == "gradient":
        return rng.uniform(0.35, 0.7) + (1 - 0.5) * along
    if kind == "shadow":
        edge = 1 / (1 + np.exp(-(along - rng.uniform(0.3, 0.7)) / rng.uniform(0.004, 0.05)))
        return 1 - rng.uniform(0.25, 0.55) * edge
    if kind == "corner":
        far = np.hypot(x / width - rng.integers(2), y / height - rng.integers(2))
        return 1 - rng.uniform(0.3, 0.6) / (1 + np.exp((far - rng.uniform(0.4, 0.8)) / 0.05))
    if kind == "vignette":
        return 1 - rng.uniform(0.3, 0.6) * ((x / width - 0.5) ** 2 + (y / height - 0.5) ** 2) * 1.6
    return np.ones((height, width), np.float32)
