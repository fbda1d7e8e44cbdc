"""One digit of any gray picture, as MNIST shows digits: bright on black, its box 20 pixels, centred in 28x28.

The recipe is that of Y. LeCun, C. Cortes and C. Burges, "The MNIST database of handwritten digits": scaled
to fit 20x20 keeping the aspect ratio, antialiased, and moved so that the centre of mass is in the middle.
"""

import dataclasses

import cv2
import numpy as np

from mnist_core.vision.ink import ink_strength
from mnist_core.vision.parts import digit_mask, is_sheet, square

SIDE = 28
BOX = 20
# Strokes of MNIST are 2 to 4 pixels wide; thinner ones are widened before they fade in the small box.
THINNEST_STROKE = 2.0
# Widths and slants in which an image is shown to the network. People write wider digits than MNIST's writers;
# chosen on the validation split and on digits of typefaces.
VIEWS = ((0.85, 0.0), (0.75, 0.0), (0.85, 0.12), (0.85, -0.12))
# As a share of full ink: what is fainter doesn't widen the box.
FAINTEST = 0.1


Box = tuple[int, int, int, int]


@dataclasses.dataclass(frozen=True)
class Ink:
    """What was written, cut out of its picture.

    Attributes:
      strength: float32 [height, width], 0 (paper) to 1 (ink), perhaps at a smaller scale than the picture.
      box: x, y, width, height in the picture's pixels.
    """

    strength: np.ndarray
    box: Box


def normalise(gray: np.ndarray) -> np.ndarray | None:
    """Makes an image such as MNIST's of a picture of one digit.

    Args:
      gray: uint8 [height, width], of any size and polarity.

    Returns:
      uint8 [28, 28], 0 is paper; None where nothing is written.
    """
    ink = find_ink(gray)
    return None if ink is None else to_mnist(ink.strength)


def find_ink(gray: np.ndarray, inside_sheet: bool = False) -> Ink | None:
    """Cuts out the digit of a picture; None where nothing is written.

    Args:
      gray: uint8 [height, width].
      inside_sheet: the picture is the inside of a sheet that was found in a larger one.
    """
    left, top, gray = without_frame(gray)
    found = ink_strength(gray)
    if found is None:
        return None
    strength, threshold = found
    mask = digit_mask((strength > threshold).astype(np.uint8))
    if mask is None:
        return None
    scale = max(gray.shape) / max(strength.shape)
    if is_sheet(mask) and not inside_sheet:
        x, y, width, height = to_picture(without_edge(cv2.boundingRect(mask)), scale, gray.shape)
        inside = find_ink(gray[y : y + height, x : x + width], inside_sheet=True)
        if inside is not None:
            return moved(inside, left + x, top + y)
    strength, box = cut_out(strength, mask)
    return moved(Ink(strength, to_picture(box, scale, gray.shape)), left, top)


def to_mnist(strength: np.ndarray) -> np.ndarray:
    """Scales ink to the box of 20 pixels and centres its mass; uint8 [28, 28].

    Args:
      strength: float32 [height, width], 0 (paper) to 1 (ink), cut to the ink's box.
    """
    strength = _widened(strength)
    height, width = strength.shape
    scale = BOX / max(height, width)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    if scale != 1:
        method = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
        strength = np.clip(cv2.resize(strength, size, interpolation=method), 0, 1)
    strength = np.clip(strength / max(np.percentile(strength[strength > 0.3], 75), 0.3), 0, 1)
    mass = strength.sum()
    x = SIDE / 2 - (strength.sum(axis=0) @ np.arange(size[0])) / mass
    y = SIDE / 2 - (strength.sum(axis=1) @ np.arange(size[1])) / mass
    left, top = (int(np.clip(round(at), 0, SIDE - n)) for at, n in zip((x, y), size, strict=True))
    image = np.zeros((SIDE, SIDE), np.uint8)
    image[top : top + size[1], left : left + size[0]] = np.round(strength * 255)
    return image


def views(images: np.ndarray) -> np.ndarray:
    """Each image narrower and slanted both ways; uint8 [len(VIEWS), n, 28, 28] of uint8 [n, 28, 28].

    What is probable in the mean of them depends less on how wide and upright someone writes.
    """
    centre = (SIDE - 1) / 2
    made = np.empty((len(VIEWS), *images.shape), np.uint8)
    for view, (width, slant) in zip(made, VIEWS, strict=True):
        move = np.float32([[width, slant, centre * (1 - width - slant)], [0, 1, 0]])
        for image, target in zip(images, view, strict=True):
            cv2.warpAffine(image, move, (SIDE, SIDE), dst=target)
    return made


def cut_out(strength: np.ndarray, mask: np.ndarray) -> tuple[np.ndarray, Box]:
    """The strength under a mask, with its antialiased rim, full ink being 1; and the mask's box."""
    full = np.percentile(strength[mask > 0], 75)
    strength = np.clip(strength * cv2.dilate(mask, square(3)) / full, 0, 1)
    x, y, width, height = box = cv2.boundingRect((strength > FAINTEST).astype(np.uint8))
    return strength[y : y + height, x : x + width], box


def _widened(strength: np.ndarray) -> np.ndarray:
    """``strength`` with strokes that would be thinner than THINNEST_STROKE in the box made so wide."""
    side = max(strength.shape)
    inside = np.pad(strength > 0.5, 1).astype(np.int8)
    edges = np.abs(np.diff(inside, axis=0)).sum() + np.abs(np.diff(inside, axis=1)).sum()
    # Pixel edges overstate a slanted outline by 4/pi on average; a stroke has two outlines.
    stroke = 2 * strength.sum() / max(1, edges * 0.8)
    missing = round(THINNEST_STROKE * side / BOX - stroke)
    if side <= BOX or missing < 1:
        return strength
    element = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (missing + 1, missing + 1))
    wide = cv2.dilate(np.pad(strength, missing), element)
    x, y, width, height = cv2.boundingRect((wide > FAINTEST).astype(np.uint8))
    return wide[y : y + height, x : x + width]


def without_frame(gray: np.ndarray) -> tuple[int, int, np.ndarray]:
    """Cuts off bands of one tone at the sides, such as a frame or a scan's edge; gives x, y and the rest."""
    if min(gray.shape) < 24:
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
    paper = rows[count + 2].astype(np.float32)
    level = float(np.median(paper))
    return count + 2 if abs(level - tone) > 60 and (np.abs(paper - level) < 40).mean() > 0.8 else 0


def without_edge(box: Box) -> Box:
    x, y, width, height = box
    edge = 1 + max(width, height) * 3 // 100
    return x + edge, y + edge, max(1, width - 2 * edge), max(1, height - 2 * edge)


def to_picture(box: Box, scale: float, shape: tuple[int, ...]) -> Box:
    """A box of a copy that is ``scale`` times smaller, in the pixels of the picture of that shape."""
    x, y, width, height = box
    left, top = int(x * scale), int(y * scale)
    right, bottom = min(shape[1], round((x + width) * scale)), min(shape[0], round((y + height) * scale))
    return left, top, max(1, right - left), max(1, bottom - top)


def moved(ink: Ink, left: int, top: int) -> Ink:
    x, y, width, height = ink.box
    return dataclasses.replace(ink, box=(x + left, y + top, width, height))
