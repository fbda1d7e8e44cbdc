"""A simulator of photos: ink by a pen of any colour, on paper of any kind, in any light.

What it makes stands in for photos of strangers' handwriting, of which there are too few to test with. Every
picture follows from its generator.
"""

import dataclasses

import cv2
import numpy as np
from numpy.random import Generator

PAPERS = ("plain", "ruled", "squared", "yellow", "kraft")
LIGHTS = ("even", "gradient", "shadow", "corner", "vignette")
# Blue, black, red, green, pencil: BGR.
PENS = ((140, 60, 30), (30, 30, 35), (40, 40, 190), (60, 110, 30), (95, 95, 95))
# Dark and light wood, slate, stone, linen: BGR.
DESKS = ((60, 90, 130), (130, 175, 205), (45, 45, 45), (120, 120, 120), (150, 160, 110))


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
    desk: bool = False

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


def photo(ink: np.ndarray, style: Style, rng: Generator) -> np.ndarray:
    """Ink on paper, as a camera sees it; uint8 BGR of the ink's size, or more with the desk.

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
    if style.desk:
        picture = _on_desk(picture, ink, rng)
        height, width = picture.shape[:2]
    picture *= _light(style.light, height, width, rng)[..., np.newaxis]
    picture = cv2.GaussianBlur(picture, (0, 0), style.blur)
    # Sensor noise comes in grains of a few pixels.
    grain = rng.normal(0, style.noise, (height // 2 + 1, width // 2 + 1, 1)).astype(np.float32)
    picture += cv2.resize(grain, (width, height))[..., np.newaxis]
    encoded = cv2.imencode(
        ".jpg", np.clip(picture, 0, 255).astype(np.uint8), [cv2.IMWRITE_JPEG_QUALITY, style.quality]
    )[1]
    return cv2.imdecode(encoded, cv2.IMREAD_COLOR)


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


def _on_desk(picture: np.ndarray, ink: np.ndarray, rng: Generator) -> np.ndarray:
    """Paper, float32 BGR, on a desk and seen a little from aside; all ink is in sight, not all sides."""
    height, width = ink.shape
    x, y, across, down = cv2.boundingRect((ink > 0.1).astype(np.uint8))
    margins = (x, y, width - x - across, height - y - down)
    left, top, right, bottom = (
        side * rng.uniform(0.1, 0.6) if rng.random() < 0.7 else -margin * rng.uniform(0, 0.7)
        for margin, side in zip(margins, (width, height) * 2, strict=True)
    )
    corners = np.float32([[0, 0], [width, 0], [width, height], [0, height]])
    lie = corners + (left, top) + rng.uniform(-0.04, 0.04, (4, 2)) * (width, height)
    view = cv2.getPerspectiveTransform(corners, lie.astype(np.float32))
    size = round(width + left + right), round(height + top + bottom)
    grain = rng.normal(0, 10, (1, size[0] // 6 + 2)).astype(np.float32)
    desk = np.float32(DESKS[int(rng.integers(len(DESKS)))]) + cv2.resize(grain, size)[..., np.newaxis]
    covered = cv2.warpPerspective(np.ones_like(ink), view, size)[..., np.newaxis]
    return cv2.warpPerspective(picture, view, size) * covered + desk * (1 - covered)


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
