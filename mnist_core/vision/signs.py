"""Slashes and parentheses between digits, which a network that knows but digits takes for ones."""

from collections.abc import Sequence

import numpy as np

from mnist_core.vision.segment import Piece

# A sign is so much higher than a row's digits, and reaches so far beyond its neighbours, above and below
# together. A parenthesis is bowed by so much, a share of its height. A slash leans so much more than the
# digits, in pixels to the right for one up, and that and how much higher it is add up to so much, a share.
# Where two part a row as a date's do, less tells: they need only lean, and hardly less than the digits.
# Chosen on rows of held-out training digits, none of which has ones 1.4 times as high as the others.
HIGHER, BEYOND = 1.15, 0.1
BOWED = 0.06
LEANING, SLASHED = 0.05, 0.45
SLANT_OF_DATE, LEANING_OF_DATE, SLASHED_OF_DATE = 0.1, -0.1, 0.35
# Digits before, between and after the slashes of a date.
DATES = ((2, 2, 2), (2, 2, 4))
# Bars of a code are at least so many, and their ends are level within this share of their height.
FEWEST_BARS, LEVEL = 5, 0.02


def signs_among(row: Sequence[Piece], are_ones: Sequence[bool]) -> list[bool]:
    """Which pieces of a row, from left to right, are no ones, though they look like some.

    Slashes of dates and parentheses come in twos; one such piece is a one that is written large.

    Args:
      are_ones: which were read as ones.
    """
    if len(row) - sum(are_ones) < 2 or sum(are_ones) < 2:
        # Ones of many hands lean, and a row of nothing else tells nothing.
        return [False] * len(row)
    shapes = [_shape(piece) for piece in row]
    others = [i for i, is_one in enumerate(are_ones) if not is_one]
    height = np.median([row[i].height for i in others])
    slant = np.median([shapes[i][0] for i in others])
    found, in_date = [], []
    for i, (piece, is_one, (lean, bow)) in enumerate(zip(row, are_ones, shapes, strict=True)):
        leaning, higher = lean - slant, piece.height / height
        sum_of_both = leaning + higher - 1
        is_slash = 0 < i < len(row) - 1 and leaning > LEANING and sum_of_both > SLASHED
        neighbours = [*row[max(0, i - 1) : i], *row[i + 1 : i + 2]]
        is_large = is_one and higher > HIGHER and _overshoot(piece, neighbours) > BEYOND * height
        found.append(is_large and (bow > BOWED or is_slash))
        leans = lean > SLANT_OF_DATE and leaning > LEANING_OF_DATE
        in_date.append(is_large and leans and sum_of_both > SLASHED_OF_DATE)
    if _part_a_date(in_date):
        return in_date
    return found if sum(found) > 1 else [False] * len(row)


def _part_a_date(slashes: Sequence[bool]) -> bool:
    """Whether what lies between those pieces of a row is as much as a date has."""
    return tuple(np.diff([-1, *np.flatnonzero(slashes), len(slashes)]) - 1) in DATES


def _overshoot(piece: Piece, neighbours: Sequence[Piece]) -> int:
    """By how many pixels a piece begins above all its neighbours and ends below them, added up."""
    top, bottom = min(one.y for one in neighbours), max(one.bottom for one in neighbours)
    return (top - piece.y) + (piece.bottom - bottom)


def are_bars(pieces: Sequence[Piece]) -> bool:
    """Whether pieces are as level as the bars of a code, which no hand writes."""
    ends = np.array([(piece.y, piece.bottom) for piece in pieces])
    return len(pieces) >= FEWEST_BARS and bool((ends.std(axis=0) < LEVEL * np.diff(ends).mean()).all())


def _shape(piece: Piece) -> tuple[float, float]:
    """How far its middle line leans to the right, and how far it is bowed, as shares of its height."""
    rows = np.flatnonzero(piece.mask.any(axis=1))
    columns = np.arange(piece.width)
    middle = piece.mask[rows] @ columns / piece.mask[rows].sum(axis=1)
    end, half = max(1, len(rows) // 6), len(rows) // 2
    # Of a few rows there is a middle one, too.
    within = slice(min(2 * end, half), max(len(rows) - 2 * end, half + 1))
    top, centre, bottom = (middle[part].mean() for part in (slice(end), within, slice(-end, None)))
    # The means of the outer sixths lie five sixths of the height apart.
    return 1.2 * (top - bottom) / piece.height, abs(centre - (top + bottom) / 2) / piece.height
