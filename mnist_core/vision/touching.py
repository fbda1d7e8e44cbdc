"""Digits that touch, and digits in two strokes: what of a part of a page convinces the networks most.

A part that may be several digits is first read uncut, by a network for strings. What that is not sure of is
cut: of all ways to put its slices together the likeliest is taken, as R. Casey and E. Lecolinet call
recognition-based ("A survey of methods and strategies in character segmentation", IEEE Trans. Pattern
Analysis 18, 1996).
"""

import itertools
from collections.abc import Sequence

import cv2
import numpy as np

from mnist_core.vision.answers import Answers
from mnist_core.vision.seams import slices_of
from mnist_core.vision.segment import Piece, distance, joined, overlap
from mnist_core.vision.strings import Reading

# A piece that is SURE to be one digit stays whole where it is no wider, as a share of its height.
SURE, WIDEST_SURE = 0.95, 2.0
# A string that is so likely is believed, and so likely where the piece is no wider than a digit. Chosen on
# pages of validation digits.
SURE_STRING, SURE_NARROW = 0.5, 0.8
# What is so narrow is not cut.
NARROW = 0.6
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
# What overlaps by more than ABOVE stands one above the other; by more than RIGHT_ABOVE it is one digit in two
# strokes the more likely, by so many nats. Side by side, so many heights apart, the whole must be SURE to be
# one: the two strokes of a 4 look like a 6 and a 1.
ABOVE, RIGHT_ABOVE, BROKEN, BESIDE = 0.3, 0.6, 0.7, 0.1
# Words are as wide as touching digits. Where so many pieces showed fewer SURE digits than they are, or so
# many slices were looked at, what is left stays whole: a page of writing would take minutes.
PIECES_TRIED, MOST_SLICES = 3, 2000


def resolved(pieces: list[Piece], height: float, answers: Answers) -> list[Piece]:
    """The pieces with touching digits parted and broken ones joined.

    Args:
      height: of the page's digits.
    """
    if not pieces:
        return []
    pieces = _joined(pieces, height, answers)
    result = []
    tried = shown = 0
    chances = answers.confidence(pieces)
    usual = _usual_width(pieces, chances)
    asked = answers.asked
    for piece, sure in zip(pieces, chances, strict=True):
        aspect = piece.width / piece.height
        is_hopeless = answers.asked - asked >= MOST_SLICES or (tried >= PIECES_TRIED and shown < tried)
        if (sure >= SURE and aspect <= WIDEST_SURE) or is_hopeless:
            result.append(piece)
            continue
        is_usual = piece.width < USUAL_WIDTHS * usual
        reading = answers.string(piece)
        if reading.probability >= (SURE_NARROW if is_usual or aspect <= NARROW else SURE_STRING):
            result += _spelt(piece, height, reading, answers)
            continue
        if aspect <= NARROW:
            result.append(piece)
            continue
        slices = _parted(piece, height, UNUSUAL * is_usual, answers)
        result += slices
        # A digit of one piece that is hard to read tells nothing.
        if aspect > WIDE:
            tried += 1
            shown += int((answers.confidence(slices) >= SURE).sum())
    return result


def _joined(pieces: list[Piece], height: float, answers: Answers) -> list[Piece]:
    """Joins neighbours where the whole is the better digit: one above, in, or close beside the other."""
    chances = answers.confidence(pieces)
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
    alone, together = np.log(chances), answers.confidence(wholes)
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


def _spelt(piece: Piece, height: float, reading: Reading, answers: Answers) -> list[Piece]:
    """A slice for each digit of what a piece says, where the slices look most like these digits."""
    count = len(reading.text)
    if count < 2:
        return [piece]
    spans, slices = slices_of(piece, height)
    chances = answers.probabilities(slices)
    # An edge counts `count` + 1 times, by how many digits lie before it.
    ways, costs, chosen = [], [], []
    for i, digit in enumerate(reading.text):
        for at, (begin, end) in enumerate(spans):
            ways.append((begin * (count + 1) + i, end * (count + 1) + i + 1))
            costs.append(1 - float(chances[at, int(digit)]) + _strangeness(slices[at], piece))
            chosen.append(at)
    found = [slices[chosen[at]] for at in _cheapest(ways, costs)]
    if len(found) != count:
        found = _even(piece, count)
    if not all(part.mask.any() for part in found):
        return [piece]
    for part, probabilities in zip(found, reading.probabilities, strict=True):
        answers.learn(part, probabilities)
    return found


def _even(piece: Piece, count: int) -> list[Piece]:
    """Slices of the same width, each cut to its ink."""
    result = []
    for begin, end in itertools.pairwise(piece.width * i // count for i in range(count + 1)):
        mask = piece.mask[:, begin:end]
        x, y, width, height = cv2.boundingRect(mask) if mask.size else (0, 0, 0, 0)
        result.append(Piece(mask[y : y + height, x : x + width], piece.x + begin + x, piece.y + y))
    return result


def _parted(piece: Piece, height: float, unusual: float, answers: Answers) -> list[Piece]:
    """The likeliest slices of a piece, perhaps the one that is the whole.

    Args:
      height: of the page's digits.
      unusual: what it costs to cut the piece at all if it would be read as a digit.
    """
    spans, slices = slices_of(piece, height)
    # Rounding takes some probabilities beyond 1.
    chances = answers.confidence(slices).clip(max=1)
    is_lost = chances < LEAST_PROBABILITY
    costs = np.sqrt(1 - chances) + LOST * is_lost + [_strangeness(part, piece) for part in slices]
    costs[0] -= unusual * (not is_lost[0])
    return [slices[at] for at in _cheapest(spans, costs)]


def _cheapest(spans: list[tuple[int, int]], costs: Sequence[float]) -> list[int]:
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
