"""How strongly each pixel of a gray picture is written on, whatever the light, the paper and the polarity.

The background follows the light: a closing by a square wider than the strokes (J. Serra, "Image Analysis
and Mathematical Morphology", 1982). A threshold tells what stands out from it from the paper (N. Otsu,
"A threshold selection method from gray-level histograms", IEEE Trans. Systems, Man and Cybernetics 9, 1979).
"""

from typing import NamedTuple

import cv2
import numpy as np

from mnist_core.vision.gray import shrink
from mnist_core.vision.parts import (
    THUMBNAIL,
    along_border,
    components,
    contact,
    fills,
    square,
    without_ruling,
)

# Longer sides, in pixels, of the copies that are worked on: enough for strokes, little enough to be fast.
WORKING_SIDE = 384
TRIAL_SIDE = 128
SMALLEST_SIDE = 32
# Candidates for the square of the closing, as shares of the longer side, and its least size in pixels.
ELEMENTS = (0.06, 0.1, 0.16, 0.25, 0.4, 0.65, 1.0)
SMALLEST_ELEMENT = 5
# What is thicker, as a share of its longer side, is no stroke.
THICKEST = 0.35
# Factor on the score of the less likely polarity. Bright ink has nearly no dark counterpart; light has.
OTHER_POLARITY = 0.75
# What is so clear leaves no doubt about its polarity.
CLEAR = 0.9
CLEARLY_BRIGHT = 0.5
# Ink and paper must be so many of their standard deviations apart; the two halves of noise are at most 2.2.
SMALLEST_SEPARATION = 2.4
SMALLEST_CONTRAST = 0.06
# The histogram of strengths: how far below paper it begins, and its bins for 1.
LOWEST, BINS_OF_ONE = 0.2, 212
VALUES = (np.arange(256) + 0.5) / BINS_OF_ONE - LOWEST


class Look(NamedTuple):
    """How a picture is looked at.

    Attributes:
      dark: for ink that is darker than its paper.
      element: side of the closing's square, a share of the longer side.
      past_faint: not at what is fainter than most ink, such as ruling.
    """

    dark: bool
    element: float
    past_faint: bool = False


class Levels(NamedTuple):
    """How the strengths of a picture fall into paper and ink: the paper's, and the threshold above it."""

    paper: float
    threshold: float
    separation: float
    goodness: float


def looks(gray: np.ndarray) -> list[Look]:
    """Ways to look at a picture, uint8 [height, width], the likeliest first.

    On a page strokes are thin. The smallest square shows them, and no shadow, however sharp its edge.
    """
    best = Look(*_best_look(shrink(gray, TRIAL_SIDE)))
    least = ELEMENTS[0]
    others = [Look(best.dark, least), Look(best.dark, least, past_faint=True), Look(not best.dark, least)]
    return list(dict.fromkeys([best, *others]))


def ink_strength(
    gray: np.ndarray, look: Look, side: int = WORKING_SIDE
) -> tuple[np.ndarray, np.ndarray, float] | None:
    """Tells ink from paper.

    Args:
      gray: uint8 [height, width].
      look: one of `looks`.
      side: longer side, in pixels, of the copy that is worked on.

    Returns:
      The smaller copy, uint8 [height, width], its ink dark; float32 of its shape, 0 (paper) to 1 (black on
      white); and the threshold between paper and ink. None where the two can't be told apart.
    """
    while side >= SMALLEST_SIDE:
        small = shrink(gray, side)
        if not look.dark:
            small = 255 - small
        strength = _strength(small, _light(small), look.element)
        # Faint marks, too many to be told from ink, are passed over at last.
        for past_faint in (True,) if look.past_faint else (False, True):
            levels = _levels(strength, past_faint)
            if levels and levels.separation >= SMALLEST_SEPARATION:
                return small, np.clip(strength - levels.paper, 0, 1), levels.threshold
        # Halving averages noise away; strokes are wider than noise.
        side = max(small.shape) // 2
    return None


def _looks_dark(gray: np.ndarray) -> bool:
    """Whether what differs most from its wide surroundings, by their median, is not clearly brighter."""
    small = shrink(gray, 64)
    surroundings = cv2.medianBlur(small, max(small.shape) // 2 | 1)
    cubes = (small.astype(np.float32) - surroundings) ** 3
    return float(cubes.sum()) <= CLEARLY_BRIGHT * float(np.abs(cubes).sum())


def _strength(gray: np.ndarray, light: np.ndarray, element: float) -> np.ndarray:
    """Darkness as a share of the background, so that ink counts as much in a shadow as in the light.

    Args:
      gray: uint8 [height, width].
      light: the same, as `_light` gives it.
      element: side of the closing's square, a share of the longer side.
    """
    size = max(3, int(element * max(light.shape)) | 1)
    closed = cv2.morphologyEx(light, cv2.MORPH_CLOSE, square(size))
    # A mean would be darker or brighter than the paper on the two sides of a shadow's edge, a median isn't.
    smooth = cv2.blur(cv2.medianBlur(closed, size // 2 | 1), (3, 3))
    background = cv2.resize(smooth, gray.shape[::-1], interpolation=cv2.INTER_LINEAR).astype(np.float32)
    return (background - gray) / np.maximum(background, 40)


def _light(gray: np.ndarray) -> np.ndarray:
    """A smaller copy without noise: light changes slowly, so that a fourth of the pixels tells it."""
    if min(gray.shape) > 64:
        gray = cv2.medianBlur(gray, 3)
    return shrink(gray, min(WORKING_SIDE, max(SMALLEST_SIDE, max(gray.shape) // 2)))


def _best_look(gray: np.ndarray) -> tuple[bool, float]:
    """The polarity and the closing's square that show writing well apart from the paper.

    Args:
      gray: uint8 [height, width], small.
    """
    dark = _looks_dark(gray)
    clarity, score, element = _best_element(gray if dark else 255 - gray)
    if clarity < CLEAR:
        # In the wrong polarity the paper between strokes is ink, which is seldom so clear.
        _, other_score, other_element = _best_element(255 - gray if dark else gray)
        if OTHER_POLARITY * other_score > score:
            return not dark, other_element
    return dark, element


def _best_element(gray: np.ndarray) -> tuple[float, float, float]:
    """Clarity, score and size of the square that shows most writing, well apart from the paper.

    Too small a square hollows thick strokes out, and ink is lost. Too large a one takes shadows for ink: by
    Otsu's measure of goodness they are not well apart, they are wider than strokes, and reach the border.
    """
    elements = [one for one in ELEMENTS if one * max(gray.shape) >= SMALLEST_ELEMENT] or [1.0]
    light = _light(gray)
    trials = np.array([_trial(_strength(gray, light, element)) for element in elements])
    clarity, written, everything = trials.T
    scores = clarity * written**0.05 * (1 - 0.2 * np.array(elements))
    if not written.any():
        return 0.0, 0.0, elements[int(np.argmax(clarity * everything))]
    at = best = int(np.argmax(scores))
    # On even paper a larger one is as clear, and safe from hollowing out what is thick.
    while at + 1 < len(elements) and clarity[at + 1] >= clarity[at]:
        at += 1
    return clarity[best], scores[best], elements[at]


def _trial(strength: np.ndarray) -> tuple[float, float, float]:
    """Clarity, and the amounts of ink in strokes and in all."""
    levels = _levels(strength)
    if levels is None:
        return 0.0, 0.0, 0.0
    mask = without_ruling((strength > levels.paper + levels.threshold).astype(np.uint8))
    labels, stats = components(mask)
    inked = np.flatnonzero(mask)
    part, count = labels.ravel()[inked], len(stats) + 1
    # What is only less bright than the paper may be brighter than its surroundings, and is no ink.
    ink = np.bincount(part, np.maximum(strength.ravel()[inked], 0), minlength=count)[1:]
    everything = ink.sum()
    if levels.separation > 3 and fills(mask):
        return levels.goodness, everything, everything
    # The mean distance from a stroke's edge is a quarter of its width.
    depth = cv2.distanceTransform(mask, cv2.DIST_L2, 3)
    depths = np.bincount(part, depth.ravel()[inked], minlength=count)[1:]
    width = 4 * depths / stats[:, 4] - 2
    strokes = width < THICKEST * stats[:, 2:4].max(axis=1)
    if max(mask.shape) >= THUMBNAIL:
        strokes &= ~along_border(labels, stats)
    written = ink[strokes].sum()
    share = written / max(everything, 1e-9)
    return levels.goodness * (1 - 0.7 * contact(mask)) * np.sqrt(share + 1e-3), written, everything


def _levels(strength: np.ndarray, past_faint: bool = False) -> Levels | None:
    """Otsu's two classes, of a histogram; None where there are not two.

    Args:
      past_faint: ink is only the upper one of the two classes of what is ink otherwise.
    """
    bins = np.clip((strength + LOWEST) * BINS_OF_ONE, 0, 255).astype(np.uint8)
    split = _split(bins)
    if past_faint and (marks := bins[bins >= split]).size:
        split = _split(marks)
    counts = cv2.calcHist([bins], [0], None, [256], [0, 256]).ravel().astype(np.float64)
    paper, ink = (counts[:split], VALUES[:split]), (counts[split:], VALUES[split:])
    if min(paper[0].sum(), ink[0].sum()) < 3:
        return None
    level = _quantile(*paper, 0.5)
    away = np.abs(paper[1] - level)
    order = np.argsort(away)
    noise = 1.4826 * _quantile(paper[0][order], away[order], 0.5)
    contrast = _quantile(*ink, 0.75) - level
    if contrast < SMALLEST_CONTRAST:
        return None
    (paper_mean, paper_variance), (ink_mean, ink_variance) = _moments(*paper), _moments(*ink)
    shares = paper[0].sum() / counts.sum(), ink[0].sum() / counts.sum()
    apart = ink_mean - paper_mean
    # Ink's rim is fainter than ink, and so are the marks that are to be passed over.
    highest = 1.0 if past_faint else 0.55
    within = paper_variance * shares[0] + ink_variance * shares[1]
    between = apart**2 * shares[0] * shares[1]
    return Levels(
        paper=level,
        threshold=max(min(split / BINS_OF_ONE - LOWEST - level, highest * contrast), 3 * noise),
        separation=apart / float(np.sqrt(ink_variance + paper_variance + 1e-6)),
        goodness=between / (within + between + 1e-9),
    )


def _split(bins: np.ndarray) -> int:
    """The first bin of the upper of Otsu's two classes."""
    return int(cv2.threshold(bins.reshape(len(bins), -1), 0, 255, cv2.THRESH_OTSU)[0]) + 1


def _quantile(counts: np.ndarray, values: np.ndarray, share: float) -> float:
    """The value below which so large a share lies, of values in rising order."""
    below = np.cumsum(counts)
    return float(values[np.searchsorted(below, share * below[-1])])


def _moments(counts: np.ndarray, values: np.ndarray) -> tuple[float, float]:
    """Mean and variance."""
    mean = float(counts @ values / counts.sum())
    return mean, float(counts @ (values - mean) ** 2 / counts.sum())
