"""One digit of any gray picture, as MNIST shows digits: bright on black, its box 20 pixels, centred in 28x28.

The recipe is that of Y. LeCun, C. Cortes and C. Burges, "The MNIST database of handwritten digits": scaled
to fit 20x20 keeping the aspect ratio, antialiased, and moved so that the centre of mass is in the middle.
"""

import cv2
import numpy as np

from mnist_core.data.split import SIDE
from mnist_core.vision.parts import digit_mask, square, stroke_width
from mnist_core.vision.sheet import FAINTEST, Ink, Sheet

BOX = 20
# Strokes of MNIST are 2 to 4 pixels wide; thinner ones are widened before they fade in the small box, and
# thicker ones thinned before they close its holes.
THINNEST_STROKE, THICKEST_STROKE = 2.0, 3.5
# Of what an outline encloses, the share that a digit's hole may have before it is looked into.
LARGE_HOLE = 0.3
# Widths and slants in which an image is shown to the network. People write wider digits than MNIST's writers;
# chosen on the validation split and on digits of typefaces.
VIEWS = ((0.85, 0.0), (0.75, 0.0), (0.85, 0.12), (0.85, -0.12))


def find_ink(sheet: Sheet, *, edges: bool = True) -> Ink | None:
    """Cuts out the one digit of a picture; None where nothing is written.

    Args:
      edges: the digit may be a line between two tones, such as a shadow's edge, or one of the paper.
    """
    mask = digit_mask(sheet.mask)
    if mask is None:
        return None
    if _is_solid(sheet, mask) or (not edges and sheet.is_unwritten(mask)):
        return None
    return sheet.cut(mask)


def to_mnist(strength: np.ndarray) -> np.ndarray:
    """Scales ink to the box of 20 pixels and centres its mass; uint8 [28, 28].

    Args:
      strength: float32 [height, width], 0 (paper) to 1 (ink), cut to the ink's box.
    """
    strength = boxed(strength, BOX)
    height, width = strength.shape
    mass = strength.sum()
    x = SIDE / 2 - (strength.sum(axis=0) @ np.arange(width)) / mass
    y = SIDE / 2 - (strength.sum(axis=1) @ np.arange(height)) / mass
    left, top = (int(np.clip(round(at), 0, SIDE - n)) for at, n in ((x, width), (y, height)))
    image = np.zeros((SIDE, SIDE), np.uint8)
    image[top : top + height, left : left + width] = np.round(strength * 255)
    return image


def boxed(strength: np.ndarray, width: int) -> np.ndarray:
    """Scales ink to a box BOX high and ``width`` wide, its strokes as wide and as bright as MNIST's."""
    strength = _of_usual_stroke(strength, width)
    scale = 1 / _pixel(strength, width)
    size = tuple(max(1, round(side * scale)) for side in strength.shape[::-1])
    if scale != 1:
        method = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
        strength = np.clip(cv2.resize(strength, size, interpolation=method), 0, 1)
    return np.clip(strength / max(np.percentile(strength[strength > 0.3], 75), 0.3), 0, 1)


def views(images: np.ndarray) -> np.ndarray:
    """Each image narrower and slanted both ways; uint8 [len(VIEWS), n, h, w] of uint8 [n, h, w].

    What is probable in the mean of them depends less on how wide and upright someone writes.
    """
    height, width = images.shape[1:]
    made = np.empty((len(VIEWS), *images.shape), np.uint8)
    for view, (share, slant) in zip(made, VIEWS, strict=True):
        across = ((width - 1) * (1 - share) - (height - 1) * slant) / 2
        move = np.float32([[share, slant, across], [0, 1, 0]])
        for image, target in zip(images, view, strict=True):
            cv2.warpAffine(image, move, (width, height), dst=target)
    return made


def _is_solid(sheet: Sheet, mask: np.ndarray) -> bool:
    """Whether a mask is but the outline of a disc, say, too wide for the square that follows the light."""
    outlines, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    filled = cv2.drawContours(np.zeros_like(mask), outlines, -1, 1, cv2.FILLED)
    hole = filled & ~mask
    if hole.sum() < LARGE_HOLE * filled.sum():
        return False
    gray = sheet.tones
    around = cv2.dilate(filled, square(9)) & ~filled
    if not around.any():
        return False
    ink, inside, paper = (float(np.median(gray[part > 0])) for part in (mask, hole, around))
    return abs(inside - ink) < abs(inside - paper)


def _pixel(strength: np.ndarray, width: int) -> float:
    """How much of ``strength`` a pixel of the box of `boxed` covers."""
    return max(strength.shape[0] / BOX, strength.shape[1] / width)


def _of_usual_stroke(strength: np.ndarray, width: int) -> np.ndarray:
    """``strength`` with strokes that would be thinner or thicker in the box than MNIST's made so wide."""
    stroke, pixel = stroke_width(strength > 0.5, float(strength.sum())), _pixel(strength, width)
    missing, excess = round(THINNEST_STROKE * pixel - stroke), round(stroke - THICKEST_STROKE * pixel)
    if pixel <= 1 or (missing < 1 and excess < 1):
        return strength
    change = max(missing, excess)
    element = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (change + 1, change + 1))
    padded = np.pad(strength, change)
    changed = cv2.dilate(padded, element) if missing > 0 else cv2.erode(padded, element)
    x, y, across, down = cv2.boundingRect((changed > FAINTEST).astype(np.uint8))
    return changed[y : y + down, x : x + across] if across else strength
