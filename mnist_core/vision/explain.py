"""A picture of what was seen at each stage, from a picture to the network."""

import cv2
import numpy as np

from mnist_core.vision.gray import shrink
from mnist_core.vision.overlay import marked
from mnist_core.vision.page import Page

# Sides in pixels of a stage, of what the network got, and of the line of text above each.
STAGE, SEEN, LINE = 360, 112, 18
COLUMNS = 9


def explained(gray: np.ndarray, page: Page) -> np.ndarray:
    """The picture, the paper in it, ink, what of that is written, the digits, and each as the network got it.

    Args:
      gray: uint8 [height, width].
      page: what was read in it.

    Returns:
      uint8 BGR [height, width, 3].
    """
    stages = [("picture", shrink(gray, STAGE))]
    sheet = page.sheet
    if sheet is None:
        stages.append(("no ink apart from paper", np.full_like(stages[0][1], 255)))
    else:
        if sheet.place.gray.shape != gray.shape:
            stages.append(("paper", shrink(sheet.place.gray, STAGE)))
        above = np.uint8(255 * (sheet.strength <= sheet.threshold))
        stages.append(("ink", 255 - np.uint8(255 * sheet.strength)))
        stages.append((f"above {sheet.threshold:.2f}", above))
        stages.append(("without lines", 255 - 255 * sheet.mask))
    stages.append((f"digits: {len(page.digits)}", marked(gray, page, side=STAGE)))
    rows = [_row([_panel(name, shrink(image, STAGE), STAGE) for name, image in stages])]
    for first in range(0, len(page.digits), COLUMNS):
        digits = page.digits[first : first + COLUMNS]
        rows.append(
            _row([_panel(f"{d.digit}  {d.probability:.1%}", _enlarged(d.image), SEEN) for d in digits])
        )
    width = max(row.shape[1] for row in rows)
    white = [np.pad(row, ((0, 8), (0, width - row.shape[1]), (0, 0)), constant_values=255) for row in rows]
    return np.concatenate(white)


def _enlarged(image: np.ndarray) -> np.ndarray:
    return cv2.resize(image, (SEEN, SEEN), interpolation=cv2.INTER_NEAREST)


def _panel(title: str, image: np.ndarray, side: int) -> np.ndarray:
    """An image in the middle of a square, its title above."""
    if image.ndim == 2:
        image = cv2.cvtColor(image, cv2.COLOR_GRAY2BGR)
    panel = np.full((side + LINE, side + 8, 3), 255, np.uint8)
    top, left = LINE + (side - image.shape[0]) // 2, (side - image.shape[1]) // 2
    panel[top : top + image.shape[0], left : left + image.shape[1]] = image
    cv2.putText(panel, title, (2, LINE - 5), cv2.FONT_HERSHEY_SIMPLEX, 0.42, (0, 0, 0), 1, cv2.LINE_AA)
    return panel


def _row(panels: list[np.ndarray]) -> np.ndarray:
    return np.concatenate(panels, axis=1)
