"""How strongly each pixel of a gray picture is written on, whatever the light, the paper and the polarity.

The background follows the light: a closing by a square wider than the strokes (J. Serra, "Image Analysis
and Mathematical Morphology", 1982). A threshold tells what stands out from it from the paper (N. Otsu,
"A threshold selection method from gray-level histograms", IEEE Trans. Systems, Man and Cybernetics 9, 1979).
"""

from typing import NamedTuple

import cv2
import numpy as np

from mnist_core.vision.parts import along_border, contact, fills, square, without_ruling
from mnist_core.vision.read import shrink

# Longer sides, in pixels, of the copies that are worked on: enough for strokes, little enough to be fast.
WORKING_SIDE = 384
TRIAL_SIDE = 128
SMALLEST_SIDE = 32
# Candidates for the square of the closing, as shares of the longer side, and its least size in pixels.
ELEMENTS = (0.06, 0.1, 0.16, 0.25, 0.4, 0.65, 1.0)
SMALLEST_ELEMENT = 5
# Ink and paper must be so many of their standard deviations apart; the two halves of noise are at most 2.2.
SMALLEST_SEPARATION = 2.4
SMALLEST_CONTRAST = 0.06


class Levels(NamedTuple):
    """How the strengths of a picture fall into paper and ink: the paper's, and the threshold above it."""

    paper: float
    threshold: float
    separation: float
    goodness: float


def ink_strength(gray: np.ndarray, working_side: int = WORKING_SIDE) -> tuple[np.ndarray, float] | None:
    """Tells ink from paper.

    Args:
      gray: uint8 [height, width].
      working_side: longer side, in pixels, of the copy that is worked on.

    Returns:
      float32 [height, width] of a smaller copy, 0 (paper) to 1 (black on white), and the threshold between
      paper and ink; None where the two can't be told apart.
    """
    trial = shrink(gray, TRIAL_SIDE)
    dark = _is_ink_dark(gray)
    # What reaches the border everywhere is light or shadow: the other polarity may show what is written.
    if not _has_free_ink(trial if dark else 255 - trial) and _has_free_ink(255 - trial if dark else trial):
        dark = not dark
    side = working_side
    while side >= SMALLEST_SIDE or side == working_side:
        small = shrink(gray, side)
        if not dark:
            small = 255 - small
        strength = _strength(small, _best_element(shrink(small, TRIAL_SIDE)))
        levels = _levels(strength)
        if levels and levels.separation >= SMALLEST_SEPARATION:
            return np.clip(strength - levels.paper, 0, 1), levels.threshold
        # Halving averages noise away; strokes are wider than noise.
        side = max(small.shape) // 2
    return None


def _is_ink_dark(gray: np.ndarray) -> bool:
    """Whether what differs most from its wide surroundings, by their median, is darker than they are."""
    small = shrink(gray, 64)
    surroundings = cv2.medianBlur(small, max(small.shape) // 2 | 1)
    return float(((small.astype(np.float32) - surroundings) ** 3).sum()) <= 0


def _strength(gray: np.ndarray, element: float) -> np.ndarray:
    """Darkness as a share of the background, so that ink counts as much in a shadow as in the light."""
    background = _background(gray, element)
    return (background - gray) / np.maximum(background, 40)


def _background(gray: np.ndarray, element: float) -> np.ndarray:
    if min(gray.shape) > 64:
        gray = cv2.medianBlur(gray, 3)
    # A page's background doesn't need all pixels.
    small = shrink(gray, WORKING_SIDE)
    size = max(3, int(element * max(small.shape)) | 1)
    closed = cv2.morphologyEx(small, cv2.MORPH_CLOSE, square(size))
    # A mean would be darker or brighter than the paper on the two sides of a shadow's edge, a median isn't.
    smooth = cv2.blur(cv2.medianBlur(closed, size // 2 | 1), (3, 3))
    return cv2.resize(smooth, gray.shape[::-1], interpolation=cv2.INTER_LINEAR).astype(np.float32)


def _has_free_ink(gray: np.ndarray) -> bool:
    return any(_trial(_strength(gray, element))[1] > 0 for element in _elements(gray))


def _elements(gray: np.ndarray) -> list[float]:
    return [element for element in ELEMENTS if element * max(gray.shape) >= SMALLEST_ELEMENT] or [1.0]


def _best_element(gray: np.ndarray) -> float:
    """The size of the closing's square that leaves much ink, well apart from the paper.

    Too small a one hollows thick strokes out, and ink is lost. Too large a one takes shadows for ink: by
    Otsu's measure of goodness they are not well apart, and they reach the border.
    """
    elements = _elements(gray)
    trials = np.array([_trial(_strength(gray, element)) for element in elements])
    goodness, free, amount = trials.T
    amount = free if free.any() else amount
    # Of two equals the smaller follows the light better.
    handicap = 1 - 0.003 * np.arange(len(elements))
    return elements[int(np.argmax(goodness * np.sqrt(amount) * handicap))]


def _trial(strength: np.ndarray) -> tuple[float, float, float]:
    """Goodness, the amount of ink that is free of the border, the amount of all ink."""
    levels = _levels(strength)
    if levels is None:
        return 0.0, 0.0, 0.0
    mask = without_ruling((strength - levels.paper > levels.threshold).astype(np.uint8))
    count, labels, stats, _ = cv2.connectedComponentsWithStats(mask, connectivity=8)
    amounts = np.bincount(labels.ravel(), (strength * mask).ravel(), minlength=count)[1:]
    if levels.separation > 3 and fills(mask):
        return levels.goodness, amounts.sum(), amounts.sum()
    free = ~along_border(labels, stats[1:])
    return levels.goodness * (1 - 0.7 * contact(mask)), amounts[free].sum(), amounts.sum()


def _levels(strength: np.ndarray) -> Levels | None:
    """Otsu's two classes; None where there are not two."""
    bytes_ = np.clip(strength * 255, 0, 255).astype(np.uint8)
    otsu = cv2.threshold(bytes_, 0, 255, cv2.THRESH_OTSU)[0] / 255
    is_ink = strength > otsu
    ink, paper = strength[is_ink], strength[~is_ink]
    if min(ink.size, paper.size) < 3:
        return None
    level = float(np.median(paper))
    noise = 1.4826 * float(np.median(np.abs(paper - level)))
    contrast = float(np.percentile(ink, 75)) - level
    if contrast < SMALLEST_CONTRAST:
        return None
    apart = float(ink.mean() - paper.mean())
    within = ink.var() * ink.size + paper.var() * paper.size
    between = apart**2 * ink.size * paper.size / strength.size
    return Levels(
        paper=level,
        threshold=max(min(otsu - level, 0.55 * contrast), 3 * noise),
        separation=apart / float(np.sqrt(ink.var() + paper.var() + 1e-6)),
        goodness=float(between / (within + between + 1e-9)),
    )
