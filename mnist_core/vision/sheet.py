"""A gray picture as a sheet that is written on: its ink, and where in the picture that lies."""

import dataclasses
from collections.abc import Iterator
from typing import NamedTuple, Self

import cv2
import numpy as np

from mnist_core.vision.desk import find_paper, without_desk
from mnist_core.vision.frames import without_frames
from mnist_core.vision.gray import enlarged
from mnist_core.vision.ink import WORKING_SIDE, Look, ink_strength, looks
from mnist_core.vision.parts import square, stroke_width, without_discs, without_ruling

# As a share of full ink: what is fainter doesn't widen a box.
FAINTEST = 0.1
# Least threshold of faint ink, as a share of the clear one's and in 95 % quantiles of the paper.
FAINTER, NOISE = 0.25, 1.3
# Lines of boxes may be so much paler than the threshold of ink, as a share.
PALER = 0.5
# In a picture of fewer pixels a side nobody can tell a stroke from an edge of the light, or a frame.
SMALL = 24
# What differs so little from ink, as a share of the paper's difference, is like it: of what lies around a
# stroke hardly anything, along an edge half.
LIKE_INK, MOST_LIKE_INK = 0.3, 0.35
# Where all is like it, or where there is but such a share of the ink's area, that tells nothing.
ALL_LIKE_INK, LEAST_AROUND = 0.95, 0.25
# What is narrower, as a share of its height, may be a line: so far beyond its ends, as a share of that, a
# line is nearly everywhere stronger than such a share of its own strength.
NARROW, BEYOND, GOES_ON = 0.4, 0.5, 0.5

Box = tuple[int, int, int, int]


@dataclasses.dataclass(frozen=True, eq=False)
class Ink:
    """What was written, cut out of its picture.

    Attributes:
      strength: float32 [height, width], 0 (paper) to 1 (ink), perhaps at a smaller scale than the picture.
      box: x, y, width, height in the picture's pixels.
    """

    strength: np.ndarray
    box: Box


class Place(NamedTuple):
    """Where something may be written.

    Attributes:
      gray: uint8 [height, width], the picture without its frame, or the paper in it without its desk.
      left, top: what was cut off.
      has_paper: it is all of a picture in which there is paper on a desk.
    """

    gray: np.ndarray
    left: int
    top: int
    has_paper: bool = False


@dataclasses.dataclass(frozen=True, eq=False)
class Sheet:
    """What is written in a place.

    Attributes:
      place: where it is.
      look: how it was looked at.
      tones: uint8 [h, w], a copy that may be smaller, its ink dark.
      strength: float32 [h, w] of that copy, as `ink_strength` gives it.
      threshold: what of the strength is above it is ink.
      mask: uint8 [h, w], 1 where there is ink other than ruling, boxes and tables.
    """

    place: Place
    look: Look
    tones: np.ndarray
    strength: np.ndarray
    threshold: float
    mask: np.ndarray

    @classmethod
    def seen_in(cls, gray: np.ndarray) -> Iterator[Self | None]:
        """The sheet in each of the `looks` at a picture, uint8 [height, width], the likeliest first.

        Yields:
          None where no ink can be told from paper in that way.
        """
        for place in _places(gray):
            for look in looks(place.gray):
                yield cls._seen(place, look)

    @classmethod
    def of(cls, gray: np.ndarray, look: Look | None = None) -> Self | None:
        """The sheet in one ``look`` at a picture; left out, the likeliest one."""
        if look is None:
            return next(cls.seen_in(gray))
        return cls._seen(next(_places(gray)), look)

    @classmethod
    def _seen(cls, place: Place, look: Look, side: int = WORKING_SIDE) -> Self | None:
        found = ink_strength(place.gray, look, side)
        if found is None:
            return None
        tones, strength, threshold = found
        mask = _without_lines(_without_boxes(strength, threshold))
        return cls(place, look, tones, strength, threshold, mask)

    def larger(self, side: int) -> Self | None:
        """The same sheet in a copy whose longer side is ``side``; None where that has no ink."""
        return self._seen(self.place, self.look, side)

    def fainter(self, clear: np.ndarray) -> np.ndarray:
        """Ink that is fainter than the ``clear`` one, a mask as this sheet's, and doesn't belong to it."""
        near = cv2.dilate(clear, square(5)) > 0
        paper = self.strength[~near & (self.strength < self.threshold)]
        if not paper.size:
            return np.zeros_like(clear)
        # Of what is left nearly all is paper, too much for a threshold between two classes.
        threshold = max(FAINTER * self.threshold, NOISE * np.quantile(paper, 0.95))
        return _without_lines(without_frames((self.strength > threshold).astype(np.uint8))) * ~near

    def is_unwritten(self, mask: np.ndarray, x: int = 0, y: int = 0) -> bool:
        """Whether a mask at (x, y) of the copy is an edge of the light or a line of the paper."""
        if max(self.place.gray.shape) < SMALL:
            return False
        return self._is_edge(mask, x, y) or self._is_line(mask, x, y)

    def _is_edge(self, mask: np.ndarray, x: int, y: int) -> bool:
        """Whether a mask at (x, y) of the copy is no stroke but the line between two tones, as a shadow's."""
        dx, dy, width, height = cv2.boundingRect(mask)
        x, y, mask = x + dx, y + dy, mask[dy : dy + height, dx : dx + width]
        margin = 2 + round(stroke_width(mask))
        box, placed = self._surroundings(mask, x, y, margin)
        tones = self.tones[box]
        ink = cv2.dilate((self.strength[box] > self.threshold).astype(np.uint8) | placed, square(3))
        around = cv2.dilate(placed, square(2 * margin - 1)) > ink
        if around.sum() < LEAST_AROUND * mask.sum():
            return False
        # Tones of ink and paper nearby: a shadow's edge may cross a digit.
        near = (4 * margin + 1,) * 2
        share = cv2.blur(placed.astype(np.float32), near)[around]
        written = cv2.blur(tones * placed.astype(np.float32), near)[around] / share
        paper = cv2.dilate(cv2.blur(tones, (3, 3)), np.ones(near, np.uint8))[around]
        alike = (tones[around] < written + LIKE_INK * (paper - written)).mean()
        return bool(MOST_LIKE_INK < alike < ALL_LIKE_INK)

    def _is_line(self, mask: np.ndarray, x: int, y: int) -> bool:
        """Whether a mask at (x, y) of the copy is no 1 but a part of an upright line of the paper."""
        rows, columns = np.nonzero(mask)
        rows, columns = rows + y, columns + x
        top, bottom = int(rows.min()), int(rows.max())
        height = bottom - top + 1
        if np.ptp(columns) + 1 > NARROW * height:
            return False
        line = np.polyfit(rows, columns, 1)
        usual = float(np.median(self.strength[rows, columns]))
        away = 2 + round(stroke_width(mask)) + np.arange(1, max(4, round(BEYOND * height)) + 1)
        beyond = [self._beyond(np.polyval(line, ends), ends) for ends in (top - away, bottom + away)]
        found = [strength for strength in beyond if strength is not None]
        return min(found, default=0.0) > GOES_ON * usual

    def _beyond(self, columns: np.ndarray, rows: np.ndarray) -> float | None:
        """What nearly all of a line is stronger than, which may lie a little beside these pixels.

        Infinite where it leaves the picture by a side, None where it does above or below.
        """
        height, width = self.strength.shape
        is_level = (rows >= 0) & (rows < height)
        is_inside = is_level & (columns >= 0) & (columns < width)
        if is_inside.mean() < 0.25:
            return None if is_level.mean() < 0.25 else np.inf
        rows, columns = rows[is_inside], np.round(columns[is_inside]).astype(int)
        beside = np.clip(columns + np.arange(-2, 3)[:, np.newaxis], 0, width - 1)
        return float(np.quantile(self.strength[rows, beside], 0.25, axis=1).max())

    def cut(self, mask: np.ndarray, x: int = 0, y: int = 0) -> Ink:
        """What lies under a mask whose upper left corner is at (x, y) of the copy, with its rim."""
        # The rim is a pixel, and one more tells that it ends there.
        margin = 2
        box, placed = self._surroundings(mask, x, y, margin)
        strength = self.strength[box]
        full = np.percentile(strength[placed > 0], 75)
        strength = np.clip(strength * cv2.dilate(placed, square(3)) / full, 0, 1)
        dx, dy, width, height = cv2.boundingRect((strength > FAINTEST).astype(np.uint8))
        found = (box[1].start + dx, box[0].start + dy, width, height)
        left, top, *size = enlarged(found, self.strength, self.place.gray)
        strength = strength[dy : dy + height, dx : dx + width]
        return Ink(strength, (left + self.place.left, top + self.place.top, *size))

    def _surroundings(
        self, mask: np.ndarray, x: int, y: int, margin: int
    ) -> tuple[tuple[slice, slice], np.ndarray]:
        """Where a mask at (x, y) of the copy lies, with a margin in pixels, and the mask placed there."""
        height, width = mask.shape
        left, top = max(0, x - margin), max(0, y - margin)
        box = np.s_[top : y + height + margin, left : x + width + margin]
        placed = np.zeros(self.mask[box].shape, np.uint8)
        placed[y - top : y - top + height, x - left : x - left + width] = mask
        return box, placed


def _without_lines(mask: np.ndarray) -> np.ndarray:
    """uint8 [height, width]: a mask without boxes, now without ruling and punched holes, too."""
    # Ruling would take the sides of a table and leave its other lines.
    return without_discs(without_ruling(mask))


def _without_boxes(strength: np.ndarray, threshold: float) -> np.ndarray:
    """uint8 [height, width], 1 where there is ink but that of boxes and tables.

    Args:
      strength: float32 [height, width].
      threshold: what is above it is ink.
    """
    ink = (strength > threshold).astype(np.uint8)
    mask = without_frames(ink)
    whole = ink & ~mask
    if not whole.any():
        return mask
    # Where some boxes are whole, the thin lines of others may have gaps. Within a whole one a paler rim may
    # join what is written to the lines.
    outlines, _ = cv2.findContours(whole, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    done = cv2.drawContours(np.zeros_like(ink), outlines, -1, 1, cv2.FILLED)
    return mask & (without_frames((strength > PALER * threshold).astype(np.uint8)) | done)


def _places(gray: np.ndarray) -> Iterator[Place]:
    """Where something may be written in a picture: on the paper on a desk, and anywhere."""
    left, top, gray = _without_bands(gray)
    paper = find_paper(gray)
    if paper is not None:
        x, y, part = without_desk(gray, paper)
        yield Place(part, left + x, top + y)
    yield Place(gray, left, top, has_paper=paper is not None)


def _without_bands(gray: np.ndarray) -> tuple[int, int, np.ndarray]:
    """Cuts off bands of one tone at the sides, such as a frame or a scan's edge; gives x, y and the rest."""
    if min(gray.shape) < SMALL:
        return 0, 0, gray
    height, width = gray.shape
    top, bottom = _band(gray), height - _band(gray[::-1])
    left, right = _band(gray.T), width - _band(gray.T[::-1])
    return left, top, gray[top:bottom, left:right]


def _band(rows: np.ndarray) -> int:
    """How many first rows are a band of one tone that gives way to paper of another."""
    limit = len(rows) * 15 // 100
    # Some hundred pixels of a row tell its tone.
    head = rows[:limit, :: max(1, rows.shape[1] // 512)].astype(np.float32)
    tones = head.mean(axis=1)
    tone = float(tones[0])
    alike = (head.std(axis=1) < 12) & (np.abs(tones - tone) < 30)
    count = limit if alike.all() else int(np.argmin(alike))
    if not 0 < count < limit:
        return 0
    # The rows between them may be a blend.
    inside = rows[count + 2 :: max(1, len(rows) // 64)]
    paper, usual = inside[0].astype(np.float32), float(np.median(inside))
    level = float(np.median(paper))
    is_even = (np.abs(paper - level) < 40).mean() > 0.8
    # Beyond the line of a table is paper again.
    return count + 2 if abs(level - tone) > 60 and is_even and abs(usual - tone) > 30 else 0
