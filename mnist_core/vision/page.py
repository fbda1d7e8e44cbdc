"""All digits of a gray picture as ink, row by row."""

import dataclasses
from collections.abc import Callable
from typing import Self

import cv2
import numpy as np

from mnist_core.vision.ink import WORKING_SIDE, ink_strength
from mnist_core.vision.normalise import Box, Ink, cut_out, moved, to_picture, without_edge, without_frame
from mnist_core.vision.parts import THUMBNAIL, is_sheet
from mnist_core.vision.segment import Piece, pieces_of, rows_of
from mnist_core.vision.touching import WIDE, resolved

# Longer side, in pixels, of the copy in which the digits of a page are cut out, where ...
PAGE_SIDE = 1152
# ... in the small copy they are lower than this.
CLEAR_HEIGHT = 56
# What is less likely to be any digit is none; nor is what is so much wider than high, unless it surely is. Of
# what is written on a page at least a share must be digits, and of its pieces one must be surely so: noise,
# texture and text are many parts, few like digits. The network is less than SURE of 2 in 100 digits, and of
# 8 in 10 letters, on simulated paper with digits of the training images (benchmarks.vision --split train).
LEAST_PROBABILITY = 0.5
SURE = 0.95
WIDEST = 1.7
LEAST_SHARE = 0.5
# As a share of a page's longer side.
LOWEST_DIGIT = 0.012

Confidence = Callable[[list[Ink]], np.ndarray]


@dataclasses.dataclass(frozen=True, eq=False)
class _Sheet:
    """The ink of a picture, its pieces, and what it takes to cut one out.

    Attributes:
      strength: float32 [height, width] of a smaller copy, as `ink_strength` gives it.
      mask: uint8, 1 where it is above the threshold.
      scale: of the picture to the copy.
      shape: of the picture, after its frame was cut off at the left and the top.
    """

    strength: np.ndarray
    mask: np.ndarray
    scale: float
    shape: tuple[int, ...]
    left: int
    top: int

    @classmethod
    def of(cls, gray: np.ndarray, side: int, left: int, top: int) -> Self | None:
        """The ink of a copy whose longer side is at most ``side``; None where there is none."""
        found = ink_strength(gray, side)
        if found is None:
            return None
        strength, threshold = found
        scale = max(gray.shape) / max(strength.shape)
        return cls(strength, (strength > threshold).astype(np.uint8), scale, gray.shape, left, top)

    def cut(self, piece: Piece) -> Ink:
        """A piece with its antialiased rim, its box in the picture's pixels."""
        margin = 2
        x, y = max(0, piece.x - margin), max(0, piece.y - margin)
        window = self.strength[y : piece.bottom + margin, x : piece.right + margin]
        mask = np.zeros(window.shape, np.uint8)
        mask[piece.y - y : piece.bottom - y, piece.x - x : piece.right - x] = piece.mask
        ink, (dx, dy, width, height) = cut_out(window, mask)
        box = to_picture((x + dx, y + dy, width, height), self.scale, self.shape)
        return moved(Ink(ink, box), self.left, self.top)


def find_rows(gray: np.ndarray, confidence: Confidence, inside_sheet: bool = False) -> list[list[Ink]]:
    """The digits of a page in reading order; nothing where there are not at least two.

    Args:
      gray: uint8 [height, width].
      confidence: gives float32 [n], the probabilities of the likeliest digit of each of n inks.
      inside_sheet: the picture is the inside of a sheet that was found in a larger one.
    """
    left, top, gray = without_frame(gray)
    if max(gray.shape) < THUMBNAIL:
        return []
    for side in (WORKING_SIDE, PAGE_SIDE):
        sheet = _Sheet.of(gray, side, left, top)
        if sheet is None:
            return []
        if not inside_sheet and (box := _paper(sheet.mask)) is not None:
            x, y, width, height = to_picture(without_edge(box), sheet.scale, gray.shape)
            rows = find_rows(gray[y : y + height, x : x + width], confidence, inside_sheet=True)
            return [[moved(ink, left + x, top + y) for ink in row] for row in rows]
        pieces, height, written = pieces_of(sheet.mask)
        if height >= CLEAR_HEIGHT or max(gray.shape) <= side:
            break
    ink = sum(int(piece.mask.sum()) for piece in pieces)
    if height < LOWEST_DIGIT * max(sheet.mask.shape) or ink < LEAST_SHARE * written:
        return []
    digits = _digits(pieces, height, lambda some: confidence([sheet.cut(piece) for piece in some]))
    return [[sheet.cut(piece) for piece in row] for row in rows_of(digits, height)]


def _digits(
    pieces: list[Piece], height: float, confidence: Callable[[list[Piece]], np.ndarray]
) -> list[Piece]:
    """The pieces that are digits; none where they are fewer than two, or most are something else."""
    if len(pieces) == 1 and pieces[0].width < WIDE * pieces[0].height:
        return []
    pieces = resolved(pieces, height, confidence)
    if len(pieces) < 2:
        return []
    chances = confidence(pieces)
    # Two or three pieces may as well be the strokes of a letter.
    if (chances >= SURE).mean() < (1.0 if len(pieces) < 4 else LEAST_SHARE):
        return []
    digits = [
        piece
        for piece, chance in zip(pieces, chances, strict=True)
        if chance >= (LEAST_PROBABILITY if piece.width < WIDEST * piece.height else SURE)
    ]
    return digits if len(digits) > 1 else []


def _paper(mask: np.ndarray) -> Box | None:
    """The box of a sheet of paper that lies on a desk; None where the largest part is none."""
    _, labels, stats, _ = cv2.connectedComponentsWithStats(mask, connectivity=8)
    if len(stats) < 2:
        return None
    main = 1 + int(stats[1:, 4].argmax())
    x, y, width, height, area = stats[main].tolist()
    if area < 0.05 * mask.size or not is_sheet((labels == main).astype(np.uint8)):
        return None
    return x, y, width, height
