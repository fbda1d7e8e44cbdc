"""Digits that touch, and digits in two strokes: which reading of a part of a page convinces the network most.

A part is cut along seams, paths from top to bottom that cross as little ink as they can (S. Avidan and A.
Shamir, "Seam carving for content-aware image resizing", ACM Trans. Graphics 26, 2007). Of all ways to put
the slices together the likeliest is taken, as R. Casey and E. Lecolinet call recognition-based ("A survey
of methods and strategies in character segmentation", IEEE Trans. Pattern Analysis 18, 1996).
"""

import itertools
from collections.abc import Callable

import cv2
import numpy as np

from mnist_core.vision.parts import components, only, stroke_width
from mnist_core.vision.segment import Piece, distance, joined, overlap

# A piece may be several digits where it is so wide, as a share of its height, and even if the network is SURE
# that it is one. Slices are no wider than that.
NARROW, WIDEST_SURE, WIDEST_SLICE = 0.6, 2.0, 1.6
# The halves of a + are lower than digits, as a share of the page's.
LOWEST_SLICE = 0.55
SURE = 0.95
# What is so much wider than high is seldom one digit.
WIDE = 1.05
# A slice costs so much beside its doubt, and what it is wider than WIDE_SLICE of its height, and lower than
# LOW_SLICE of the whole. Fitted to groups of digits and to doubtful single ones of the validation images.
SLICE, WIDE_SLICE, LOW_SLICE = 0.4, 0.85, 0.8
# Among digits, what is less likely to be one is left out; to choose such a slice costs so much more.
LEAST_PROBABILITY, LOST = 0.4, 0.5
# Cutting what else would be read as a digit costs so much more where it is narrower than so many widths of a
# usual digit of the page: the median of its SURE ones that are wider than A_ONE of their height. Fewer than
# FEWEST tell nothing.
UNUSUAL, USUAL_WIDTHS, A_ONE, FEWEST = 0.4, 1.4, 0.4, 3
# A seam through so much of a stroke's width runs through what two digits may share.
SHARED = 0.5
# What overlaps by more than ABOVE stands one above the other; by more than RIGHT_ABOVE it is one digit in two
# strokes the more likely, by so many nats. Side by side, so many heights apart, the whole must be SURE to be
# one: the two strokes of a 4 look like a 6 and a 1.
ABOVE, RIGHT_ABOVE, BROKEN, BESIDE = 0.3, 0.6, 0.7, 0.1
# Seams at most, and how far apart they are in the mean, as a share of the height.
MOST_SEAMS, SEAMS_APART = 14, 0.1
# Words are as wide as touching digits. Where so many pieces showed fewer SURE digits than they are, or so
# many slices were looked at, what is left stays whole: a page of writing would take minutes.
PIECES_TRIED, MOST_SLICES = 3, 2000

Confidence = Callable[[list[Piece]], np.ndarray]


def resolved(pieces: list[Piece], height: float, confidence: Confidence) -> list[Piece]:
    """The pieces with touching digits parted and broken ones joined.

    Args:
      height: of the page's digits.
      confidence: gives float32 [n], the probabilities of the likeliest digit of each of n pieces.
    """
    if not pieces:
        return []
    pieces = _joined(pieces, height, confidence)
    looked_at = 0

    def counted(some: list[Piece]) -> np.ndarray:
        nonlocal looked_at
        looked_at += len(some)
        return confidence(some)

    result = []
    tried = shown = 0
    chances = confidence(pieces)
    usual = _usual_width(pieces, chances)
    for piece, sure in zip(pieces, chances, strict=True):
        aspect = piece.width / piece.height
        is_hopeless = looked_at >= MOST_SLICES or (tried >= PIECES_TRIED and shown < tried)
        if aspect <= (NARROW if sure < SURE else WIDEST_SURE) or is_hopeless:
            result.append(piece)
            continue
        slices = _parted(piece, height, UNUSUAL * (piece.width < USUAL_WIDTHS * usual), counted)
        result += slices
        # A digit of one piece that is hard to read tells nothing.
        if aspect > WIDE:
            tried += 1
            shown += int((confidence(slices) >= SURE).sum())
    return result


def _joined(pieces: list[Piece], height: float, confidence: Confidence) -> list[Piece]:
    """Joins neighbours where the whole is the better digit: one above, in, or close beside the other."""
    chances = confidence(pieces)
    sure = chances >= SURE
    pairs = [
        (i, j)
        for i, a in enumerate(pieces)
        for j, b in enumerate(pieces[:i])
        if not (sure[i] and sure[j])
        and distance(a, b) < (0.3 if overlap(a, b) > ABOVE else BESIDE) * height
        and joined(a, b).height < 1.6 * height
    ]
    if not pairs:
        return pieces
    wholes = [joined(pieces[i], pieces[j]) for i, j in pairs]
    alone, together = np.log(chances), confidence(wholes)
    gains = []
    for (i, j), chance in zip(pairs, together, strict=True):
        share = overlap(pieces[i], pieces[j])
        is_likely = share > ABOVE or chance >= SURE
        gain = np.log(chance) - alone[i] - alone[j] + (BROKEN if share > RIGHT_ABOVE else 0.0)
        gains.append(gain if is_likely else 0.0)
    used: set[int] = set()
    result = []
    for at in np.argsort(gains)[::-1]:
        pair = set(pairs[at])
        if gains[at] > 0 and not pair & used:
            used |= pair
            result.append(wholes[at])
    return result + [piece for i, piece in enumerate(pieces) if i not in used]


def _usual_width(pieces: list[Piece], chances: np.ndarray) -> float:
    """The median width, in pixels, of what is surely a digit and no one; 0 where that is little."""
    widths = [
        piece.width
        for piece, chance in zip(pieces, chances, strict=True)
        if chance >= SURE and piece.width > A_ONE * piece.height
    ]
    return float(np.median(widths)) if len(widths) >= FEWEST else 0.0


def _parted(piece: Piece, height: float, unusual: float, confidence: Confidence) -> list[Piece]:
    """The likeliest slices of a piece, perhaps the one that is the whole.

    Args:
      height: of the page's digits.
      unusual: what it costs to cut the piece at all if it would be read as a digit.
    """
    seams, crossed = _seams(piece.mask)
    if not seams:
        return [piece]
    edges = [np.zeros(piece.height, int), *seams, np.full(piece.height, piece.width)]
    stroke = round(stroke_width(piece.mask))
    # Both neighbours may have the stroke through which a seam runs: the walls of two zeros are often one.
    # To try that on both sides of a slice takes more time than it gains.
    shared = [0, *(stroke if ink > SHARED else 0 for ink in crossed), 0]
    spans, slices = [(0, len(seams) + 1)], [piece]
    for i, j in itertools.combinations(range(len(edges)), 2):
        for left, right in sorted({(0, 0), (shared[i], 0), (0, shared[j])}):
            part = None if (i, j) == spans[0] else _slice(piece, edges[i] - left, edges[j] + right)
            if part and part.height > LOWEST_SLICE * height and part.width < WIDEST_SLICE * part.height:
                spans.append((i, j))
                slices.append(part)
    # Rounding takes some probabilities beyond 1.
    chances = confidence(slices).clip(max=1)
    is_lost = chances < LEAST_PROBABILITY
    costs = np.sqrt(1 - chances) + LOST * is_lost + [_strangeness(part, piece) for part in slices]
    costs[0] -= unusual * (not is_lost[0])
    return [slices[at] for at in _cheapest(spans, costs)]


def _cheapest(spans: list[tuple[int, int]], costs: np.ndarray) -> list[int]:
    """Which spans, one after the other, lead from edge 0 to the last one at the least cost, in order."""
    # best[j]: the least cost of covering everything left of edge j, and the last span that does.
    best: dict[int, tuple[float, int]] = {0: (0.0, -1)}
    for at in sorted(range(len(spans)), key=lambda at: spans[at][1]):
        i, j = spans[at]
        if i in best and (j not in best or best[i][0] + costs[at] < best[j][0]):
            best[j] = (best[i][0] + costs[at], at)
    chosen: list[int] = []
    edge = max(best)
    while edge > 0:
        chosen.append(best[edge][1])
        edge = spans[chosen[-1]][0]
    return chosen[::-1]


def _strangeness(part: Piece, whole: Piece) -> float:
    """The cost of a slice beside its doubt: digits are seldom wide, or lower than what they were cut from."""
    too_wide, too_low = part.width / part.height - WIDE_SLICE, LOW_SLICE - part.height / whole.height
    return SLICE + max(0.0, too_wide) + max(0.0, too_low)


def _slice(piece: Piece, left: np.ndarray, right: np.ndarray) -> Piece | None:
    """What lies between two seams, without the crumbs of what lies beyond; None where that is little."""
    columns = np.arange(piece.width)
    mask = piece.mask * ((columns >= left[:, None]) & (columns < right[:, None])).astype(np.uint8)
    labels, stats = components(mask)
    mask = only(stats[:, 3] > 0.2 * piece.height, labels)
    x, y, width, height = cv2.boundingRect(mask)
    if height < 0.4 * piece.height:
        return None
    return Piece(mask[y : y + height, x : x + width], piece.x + x, piece.y + y)


def _seams(mask: np.ndarray) -> tuple[list[np.ndarray], list[float]]:
    """Paths [height] of columns from left to right, and how many strokes' widths of ink each crosses."""
    height, width = mask.shape
    stroke = max(1.0, stroke_width(mask))
    edge, reach = max(2, height // 8), max(2, round(0.22 * height))
    # The cheapest of all would crowd at one place.
    apart = max(SEAMS_APART * height, width / MOST_SEAMS)
    found = [_seam(mask, at, reach) for at in range(edge, width - edge, max(1, height // 16))]
    kept: list[tuple[float, float, np.ndarray]] = []
    for path, ink in sorted(found, key=lambda seam: seam[1]):
        middle = float(path.mean())
        if ink < 3.5 * stroke and all(abs(middle - other) >= apart for other, *_ in kept):
            kept.append((middle, ink, path))
    kept.sort(key=lambda seam: seam[0])
    return [path for *_, path in kept], [ink / stroke for _, ink, _ in kept]


def _seam(mask: np.ndarray, start: int, reach: int) -> tuple[np.ndarray, float]:
    """The path from top to bottom, within ``reach`` columns of ``start``, that crosses the least ink."""
    low, high = max(0, start - reach), min(mask.shape[1], start + reach + 1)
    bend = 0.02 * np.abs(np.arange(low, high) - start) / reach
    cost = mask[:, low:high] + bend + 0.0
    steps = np.zeros(cost.shape, int)
    total = cost[0]
    # What it costs to come from the left, straight down, and from the right.
    sides = np.full((3, cost.shape[1]), np.inf)
    for row in range(1, len(cost)):
        sides[0, 1:], sides[1], sides[2, :-1] = total[:-1] + 0.02, total, total[1:] + 0.02
        steps[row] = sides.argmin(axis=0) - 1
        total = sides.min(axis=0) + cost[row]
    path = np.zeros(len(cost), int)
    path[-1] = int(total.argmin())
    for row in range(len(cost) - 1, 0, -1):
        path[row - 1] = path[row] + steps[row, path[row]]
    return path + low, float(mask[np.arange(len(cost)), path + low].sum())
