"""What is drawn over a frame, and beside the pad."""

import cv2
import numpy as np

from mnist_core.vision.answers import Digit
from mnist_core.vision.gray import shrink
from mnist_core.vision.page import Page

FONT = cv2.FONT_HERSHEY_SIMPLEX
# BGR.
ACCENT, TEXT, FAINT, GROUND, TRACK = (
    (230, 120, 30),
    (40, 36, 32),
    (130, 125, 120),
    (250, 250, 248),
    (228, 226, 224),
)
PANEL = 240


def marked(
    frame: np.ndarray, page: Page, *, probabilities: bool = False, side: int | None = None
) -> np.ndarray:
    """A copy in BGR of a gray or BGR uint8 picture, with a box around each digit and what it is.

    Args:
      probabilities: and how likely it is.
      side: the longer side of the copy is at most so many pixels; None keeps the picture's.
    """
    small = shrink(frame, side) if side else frame
    scale = max(small.shape[:2]) / max(frame.shape[:2])
    frame = cv2.cvtColor(small, cv2.COLOR_GRAY2BGR) if small.ndim == 2 else small.copy()
    largest = max(frame.shape[:2]) / 900
    for one in page.digits:
        x, y, width, height = (round(n * scale) for n in one.box)
        size = max(0.4, min(largest, height / 40))
        cv2.rectangle(frame, (x, y), (x + width, y + height), ACCENT, max(1, round(2 * size)))
        above, below, within = y - round(6 * size), y + height + round(24 * size), y + round(22 * size)
        line = above if y > 26 * size else below if below < len(frame) else within
        label = f"{one.digit} {one.probability:.0%}" if probabilities else f"{one.digit}"
        _outlined(frame, label, (x, line), size)
    return frame


def annotate(frame: np.ndarray, page: Page, frames_per_second: float, milliseconds: float) -> np.ndarray:
    """A copy of uint8 [height, width, 3] BGR with the digits' boxes and probabilities and the pace."""
    frame = marked(frame, page, probabilities=True)
    size = max(0.4, max(frame.shape[:2]) / 900)
    pace = f"{frames_per_second:.0f} fps  {milliseconds:.1f} ms"
    _outlined(frame, pace, (round(8 * size), frame.shape[0] - round(10 * size)), 0.7 * size)
    return frame


def panel(page: Page, height: int, milliseconds: float) -> np.ndarray:
    """The text, what the network saw of the last digit, its ten probabilities; uint8 [height, PANEL, 3]."""
    made = np.full((height, PANEL, 3), GROUND, np.uint8)
    last = page.digits[-1] if page.digits else None
    text = page.text.replace("\n", " ") or "draw a digit"
    shown = text if len(text) <= 10 or not last else "..." + text[-8:]
    cv2.putText(made, shown, (14, 46), FONT, 1.4 if last else 0.8, ACCENT if last else FAINT, 2, cv2.LINE_AA)
    if last:
        seen = cv2.resize(last.image, (112, 112), interpolation=cv2.INTER_NEAREST)
        made[62:174, 14:126] = seen[..., np.newaxis]
        _small(made, f"{milliseconds:.1f} ms", (136, 80))
    _bars(made, last, top=192, step=(height - 192 - 30) // 10)
    _small(made, "c clear   u undo   q quit", (14, height - 10))
    return made


def _bars(made: np.ndarray, digit: Digit | None, top: int, step: int) -> None:
    for value in range(10):
        y = top + value * step
        share = float(digit.probabilities[value]) if digit else 0.0
        colour = ACCENT if digit and digit.digit == value else TEXT
        cv2.putText(made, str(value), (14, y + 12), FONT, 0.45, colour, 1, cv2.LINE_AA)
        cv2.rectangle(made, (32, y + 2), (170, y + 12), TRACK, -1)
        if share > 0.005:
            cv2.rectangle(made, (32, y + 2), (32 + round(138 * share), y + 12), ACCENT, -1)
        cv2.putText(made, f"{share:6.1%}", (176, y + 12), FONT, 0.4, colour, 1, cv2.LINE_AA)


def _small(made: np.ndarray, text: str, at: tuple[int, int]) -> None:
    cv2.putText(made, text, at, FONT, 0.42, FAINT, 1, cv2.LINE_AA)


def _outlined(frame: np.ndarray, text: str, at: tuple[int, int], size: float) -> None:
    """Text that can be read on any ground."""
    thickness = max(1, round(2 * size))
    cv2.putText(frame, text, at, FONT, size, (255, 255, 255), 3 * thickness, cv2.LINE_AA)
    cv2.putText(frame, text, at, FONT, size, ACCENT, thickness, cv2.LINE_AA)
