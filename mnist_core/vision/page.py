"""All digits of a gray picture as ink, row by row."""

from collections.abc import Callable

import cv2
import numpy as np

from mnist_core.vision.ink import WORKING_SIDE, ink_strength
from mnist_core.vision.normalise import Ink, cut_out, moved, to_picture, without_edge, without_frame
from mnist_core.vision.parts import THUMBNAIL, is_sheet
from mnist_core.vision.segment import Piece, pieces_of, rows_of
from mnist_core.vision.touching import resolved

# Longer side, in pixels, of the copy in which the digits of a page are cut out, where ...
PAGE_SIDE = 1152
# ... in the small copy they are lower than this.
CLEAR_HEIGHT = 56
# What is less likely to be any digit, or so much wider than high, is none. Of what is written on a page at
# least a share must be digits, and of its pieces one must be surely so: noise, texture and text are many
# parts, few like digits. The network is less than SURE of 3 in 100 digits, and of 9 in 10 letters, on
# simulated paper with digits of the training images (benchmarks.vision --split train).
LEAST_PROBABILITY = 0.5
SURE = 0.9
WIDEST = 1.7
LEAST_SHARE = 0.5
# As a share of a page's longer side.
LOWEST_DIGIT = 0.012

Confidence = Callable[[list[Ink]], np.ndarray]


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
        found = ink_strength(gray, side)
        if found is None:
            return []
        strength, threshold = found
        mask = (strength > threshold).astype(np.uint8)
        scale = max(gray.shape) / max(strength.shape)
        if not inside_sheet and (sheet := _sheet(mask)) is not None:
            x, y, width, height = to_picture(without_edge(sheet), scale, gray.shape)
            rows = find_rows(gray[y : y + height, x : x + width], confidence, inside_sheet=True)
            return [[moved(ink, left + x, top + y) for ink in row] for row in rows]
        pieces, height, written = pieces_of(mask)
        if height >= CLEAR_HEIGHT or max(gray.shape) <= side:
            break

    def cut(piece: Piece) -> Ink:
        ink, box = _cut(strength, piece)
        return moved(Ink(ink, to_picture(box, scale, gray.shape)), left, top)

    def sure(pieces: list[Piece]) -> np.ndarray:
        return confidence([cut(piece) for piece in pieces])

    if height < LOWEST_DIGIT * max(mask.shape):
        return []
    ink = sum(int(piece.mask.sum()) for piece in pieces)
    if ink < LEAST_SHARE * written:
        return []
    pieces = resolved(pieces, height, sure)
    if len(pieces) < 2:
        return []
    chances = sure(pieces)
    digits = [
        piece
        for piece, chance in zip(pieces, chances, strict=True)
        if chance >= (LEAST_PROBABILITY if piece.width < WIDEST * piece.height else SURE)
    ]
    if len(digits) < 2 or (chances >= SURE).mean() < LEAST_SHARE:
        return []
    return [[cut(piece) for piece in row] for row in rows_of(digits, height)]


def _sheet(mask: np.ndarray) -> tuple[int, int, int, int] | None:
    """The box of a sheet of paper that lies on a desk; None where the largest part is none."""
    _, labels, stats, _ = cv2.connectedComponentsWithStats(mask, connectivity=8)
    if len(stats) < 2:
        return None
    main = 1 + int(stats[1:, 4].argmax())
    x, y, width, height, area = stats[main].tolist()
    if area < 0.05 * mask.size or not is_sheet((labels == main).astype(np.uint8)):
        return None
    return x, y, width, height


def _cut(strength: np.ndarray, piece: Piece) -> tuple[np.ndarray, tuple[int, int, int, int]]:
    """The strength under a piece, and its box in the page."""
    margin = 2
    x, y = max(0, piece.x - margin), max(0, piece.y - margin)
    window = strength[y : piece.bottom + margin, x : piece.right + margin]
    mask = np.zeros(window.shape, np.uint8)
    mask[piece.y - y : piece.bottom - y, piece.x - x : piece.right - x] = piece.mask
    ink, (dx, dy, width, height) = cut_out(window, mask)
    return ink, (x + dx, y + dy, width, height)
