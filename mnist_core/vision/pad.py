"""A sheet to draw on with the mouse."""

import time

import cv2
import numpy as np

from mnist_core.vision.overlay import ACCENT
from mnist_core.vision.page import Page

WIDTH, HEIGHT = 560, 400
PEN, RUBBER = 22, 56
PAPER, INK = 255, 0


class Pad:
    """Strokes of the left button, rubbed out with the right one.

    Attributes:
      picture: uint8 [HEIGHT, WIDTH], dark on white.
      version: changes with every change of the picture.
      touched: when the last event that changed it came, in seconds of `time.perf_counter`; 0 is never.
    """

    def __init__(self) -> None:
        self.picture = np.full((HEIGHT, WIDTH), PAPER, np.uint8)
        self.version, self.touched = 0, 0.0
        self._before: list[np.ndarray] = []
        self._last: tuple[int, int] | None = None

    @property
    def empty(self) -> bool:
        """Whether nothing is drawn."""
        return bool(self.picture.min() == PAPER)

    def on_mouse(self, event: int, x: int, y: int, flags: int, _: object) -> None:
        """What OpenCV calls for each event of the mouse."""
        left, right = flags & cv2.EVENT_FLAG_LBUTTON, flags & cv2.EVENT_FLAG_RBUTTON
        if event in (cv2.EVENT_LBUTTONDOWN, cv2.EVENT_RBUTTONDOWN):
            self._before = [*self._before[-49:], self.picture.copy()]
            self._draw((x, y), (x, y), rubbing=event == cv2.EVENT_RBUTTONDOWN)
        elif event == cv2.EVENT_MOUSEMOVE and self._last and (left or right):
            self._draw(self._last, (x, y), rubbing=bool(right))
        elif event in (cv2.EVENT_LBUTTONUP, cv2.EVENT_RBUTTONUP):
            if self._last and self._last != (x, y):
                self._draw(self._last, (x, y), rubbing=event == cv2.EVENT_RBUTTONUP)
            self._last = None

    def on_key(self, key: str) -> None:
        """``c`` clears the sheet, ``u`` takes the last stroke back."""
        if key == "c":
            self._before = [*self._before[-49:], self.picture.copy()]
            self.picture[:] = PAPER
        elif key == "u" and self._before:
            self.picture = self._before.pop()
        else:
            return
        self._changed()

    def shown(self, page: Page) -> np.ndarray:
        """The sheet with the boxes of what was read on it; uint8 [HEIGHT, WIDTH, 3] BGR."""
        made = cv2.cvtColor(self.picture, cv2.COLOR_GRAY2BGR)
        for one in page.digits:
            x, y, width, height = one.box
            cv2.rectangle(made, (x - 3, y - 3), (x + width + 3, y + height + 3), ACCENT, 1)
        return made

    def _draw(self, begin: tuple[int, int], end: tuple[int, int], *, rubbing: bool) -> None:
        tone, width = (PAPER, RUBBER) if rubbing else (INK, PEN)
        cv2.line(self.picture, begin, end, tone, width, cv2.LINE_AA)
        self._last = end
        self._changed()

    def _changed(self) -> None:
        self.version += 1
        self.touched = time.perf_counter()
