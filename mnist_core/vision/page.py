"""All digits of a gray picture, row by row."""

import dataclasses
import itertools
from typing import Self

import numpy as np

from mnist_core.vision.answers import Answers, Digit, Recognise
from mnist_core.vision.ink import WORKING_SIDE, Look
from mnist_core.vision.parts import THUMBNAIL, stroke_width
from mnist_core.vision.segment import Piece, distance, drawn, pieces_of, rows_of
from mnist_core.vision.sheet import Sheet
from mnist_core.vision.signs import are_bars, signs_among
from mnist_core.vision.touching import LEAST_PROBABILITY, SURE, WIDE, resolved

# Digits that are lower, in pixels of the copy of WORKING_SIDE, are cut out of one of PAGE_SIDE.
CLEAR_HEIGHT, PAGE_SIDE = 56, 1152
# What stands alone needs less certainty than a page's pieces; at a second look it needs more.
SURE_ALONE, SURE_AGAIN = 0.8, 0.95
# WIDEST heights wide a digit needs LEAST_WIDE, not LEAST_PROBABILITY.
WIDEST, LEAST_WIDE = 1.7, 0.7
# Fewer pieces than FEW must all be so likely.
FEW, LEAST_OF_FEW = 4, 0.6
# Heights of a paler digit, as shares of the others'.
LEAST_FAINT, LARGEST_FAINT = 0.6, 1.6
# A narrow pale piece, as a share of its height, may be a line of squared paper: it must have so large a share
# of the clear digits' stroke.
NARROW_FAINT, LEAST_STROKE = 0.3, 0.5
# Of a page's ink so much must be in pieces, and so many pieces must be SURE digits, at first sight and where
# that showed none: noise, texture and text are many parts, few like digits.
LEAST_INK = 0.5
LEAST_SHARE, SURE_SHARE = 0.5, 0.75
# What a straight stroke reads as, and a bent one.
STROKES = (1, 7)
# As a share of a page's longer side.
LOWEST_DIGIT = 0.012


@dataclasses.dataclass(frozen=True, eq=False)
class Page:
    """What is written in a picture.

    Attributes:
      digits: in reading order.
      text: the same, rows separated by a newline.
      sheet: where they were seen; None where no ink can be told from paper.
      look: how the picture was looked at to see that.
    """

    digits: tuple[Digit, ...]
    text: str
    sheet: Sheet | None = None
    look: Look | None = None

    @classmethod
    def of(cls, rows: list[list[Digit]], sheet: Sheet | None) -> Self:
        """The page of some rows that were seen in a sheet."""
        text = "\n".join("".join(str(one.digit) for one in row) for row in rows)
        return cls(tuple(itertools.chain(*rows)), text, sheet, sheet and sheet.look)

    @property
    def chance(self) -> float:
        """The probability of the first digit; 0 where there is none."""
        return self.digits[0].probability if self.digits else 0.0


def find_digits(sheet: Sheet, recognise: Recognise, *, again: bool = False) -> Page:
    """The digits of a page; none where there are not at least two.

    Args:
      again: another look at the picture showed none, so that these must be more certain.
    """
    nothing = Page.of([], sheet)
    if max(sheet.place.gray.shape) < THUMBNAIL:
        return nothing
    sheet, pieces, height = _clear_pieces(sheet)
    if not pieces:
        return nothing
    answers = Answers(sheet, recognise)
    pieces = _with_faint(sheet, pieces, height, answers)
    digits = _digits(pieces, height, answers, SURE_SHARE if again else LEAST_SHARE)
    # Those that were seen at a second look alone, or were all cut or joined, or are level as the bars of a
    # code count only where another digit than strokes is among them.
    may_be_strokes = again or set(digits).isdisjoint(pieces) or are_bars(digits)
    if may_be_strokes and all(one.digit in STROKES for one in answers.digits(digits)):
        return nothing
    return Page.of([_without_signs(row, answers.digits(row)) for row in rows_of(digits, height)], sheet)


def _clear_pieces(sheet: Sheet) -> tuple[Sheet, list[Piece], float]:
    """The pieces of a sheet with the sheet, perhaps larger, that they were cut from, and their height.

    There are none where they can't be those of a page.
    """
    pieces, height, written = pieces_of(sheet.mask)
    if height < CLEAR_HEIGHT and max(sheet.place.gray.shape) > WORKING_SIDE:
        larger = sheet.larger(PAGE_SIDE)
        if larger is None:
            return sheet, [], height
        sheet = larger
        pieces, height, written = pieces_of(sheet.mask)
    found = sum(piece.area for piece in pieces)
    pieces = [piece for piece in pieces if not sheet.is_unwritten(piece.mask, piece.x, piece.y)]
    ink = sum(piece.area for piece in pieces)
    unwritten = found - ink
    if height < LOWEST_DIGIT * max(sheet.mask.shape) or ink < LEAST_INK * (written - unwritten):
        pieces = []
    return sheet, pieces, height


def _without_signs(row: list[Piece], read: list[Digit]) -> list[Digit]:
    signs = signs_among(row, [one.digit == 1 for one in read])
    return [one for one, is_sign in zip(read, signs, strict=True) if not is_sign]


def _with_faint(sheet: Sheet, pieces: list[Piece], height: float, answers: Answers) -> list[Piece]:
    """The pieces, and those of fainter ink, beside them or in a row of their own, that are surely digits.

    One threshold for a page loses the digits of a second, paler pen, or leaves fragments of them, which go.
    """
    if len(pieces) < 2:
        return pieces
    sure = list(itertools.compress(pieces, answers.confidence(pieces) >= SURE))
    if len(sure) < 2:
        return pieces
    clear = {*sure, *(piece for piece in pieces if piece.width >= WIDE * piece.height)}
    # Where most are narrow, as the grain of a paper is, no narrow one is believed.
    thin = LEAST_STROKE * np.median(
        [np.inf if _is_narrow(piece) else stroke_width(piece.mask) for piece in sure]
    )
    faint = [
        piece
        for piece in pieces_of(sheet.fainter(drawn(clear, sheet.mask.shape)))[0]
        if LEAST_FAINT < piece.height / height < LARGEST_FAINT
        and (not _is_narrow(piece) or stroke_width(piece.mask) > thin)
    ]
    found = list(itertools.compress(faint, answers.confidence(faint) >= SURE))
    neighbours = sure + [piece for piece in found if not _is_narrow(piece)]
    found = [
        piece
        for piece in found
        if any(other is not piece and _is_level(piece, other, height) for other in neighbours)
    ]
    kept = [piece for piece in pieces if piece in clear or all(distance(piece, one) for one in found)]
    return kept + found


def _is_narrow(piece: Piece) -> bool:
    return piece.width <= NARROW_FAINT * piece.height


def _is_level(a: Piece, b: Piece, height: float) -> bool:
    """Whether two pieces may be neighbours in a row."""
    x, y = np.abs(np.subtract(a.centre, b.centre))
    return bool(y < 0.6 * height and x < 4 * height)


def _digits(pieces: list[Piece], height: float, answers: Answers, least_share: float) -> list[Piece]:
    """The pieces that are digits; none where they are fewer than two, or most are something else."""
    if len(pieces) == 1 and pieces[0].width < WIDE * pieces[0].height:
        return []
    # A word can be cut into ones; its letters, before they are cut, are no digits.
    whole = [piece for piece in pieces if piece.width < WIDE * piece.height]
    if whole and (answers.confidence(whole) >= SURE).mean() < least_share:
        return []
    count = len(pieces)
    pieces = resolved(pieces, height, answers)
    if len(pieces) < 2:
        return []
    chances = answers.confidence(pieces)
    # Two or three pieces may as well be the strokes of a letter, the more so where they were cut apart.
    least = LEAST_OF_FEW if len(pieces) == count else SURE
    if (chances >= SURE).mean() < least_share or (len(pieces) < FEW and chances.min() < least):
        return []
    digits = [
        piece
        for piece, chance in zip(pieces, chances, strict=True)
        if chance >= (LEAST_PROBABILITY if piece.width < WIDEST * piece.height else LEAST_WIDE)
    ]
    return digits if len(digits) > 1 else []
