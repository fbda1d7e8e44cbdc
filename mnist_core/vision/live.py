"""Reads digits as they come: frame by frame from a camera or a video, or while they are drawn on a pad."""

import collections
import threading
import time
from collections.abc import Callable
from typing import Any

import cv2
import numpy as np

from mnist_core.vision.overlay import annotate, panel
from mnist_core.vision.pad import Pad
from mnist_core.vision.page import Page
from mnist_core.vision.predictor import Predictor
from mnist_core.vision.sources import Recorder, Source
from mnist_core.vision.window import Window

LEAVE = ("q", "\x1b")
TITLE = "mnist_core live"
# After so many frames the best way to look is sought anew.
FRAMES_ALIKE = 30


class Pace:
    """How many pictures were read, how fast they came, and how long each took from frame to answer."""

    def __init__(self) -> None:
        self.frames = 0
        self.milliseconds: collections.deque[float] = collections.deque(maxlen=100_000)
        self._times: collections.deque[float] = collections.deque(maxlen=30)
        self._first = 0.0
        self._page = Page((), "")

    def read(self, predictor: Predictor, frame: np.ndarray) -> Page:
        """Reads a frame, uint8 [height, width, 3] BGR or [height, width], and takes note of the time."""
        begin = time.perf_counter()
        # What showed digits before shows them again, until the light changes.
        is_known = bool(self._page.digits) and self.frames % FRAMES_ALIKE > 0
        page = self._page = predictor.read(frame, look=self._page.look if is_known else None)
        end = time.perf_counter()
        self._first = self._first or begin
        self._times.append(end)
        self.milliseconds.append(1000 * (end - begin))
        self.frames += 1
        return page

    @property
    def recent(self) -> float:
        """Frames a second of late."""
        span = self._times[-1] - self._times[0] if len(self._times) > 1 else 0
        return (len(self._times) - 1) / span if span else 0.0

    def to_json(self) -> dict[str, Any]:
        """The agreed keys of the live command; None where no frame came."""
        p50, p95 = np.percentile(self.milliseconds, [50, 95]) if self.frames else (None, None)
        span = self._times[-1] - self._first if self.frames else 0
        return {
            "frames": self.frames,
            "fps": round(self.frames / span, 2) if span else None,
            "latency_ms_p50": p50 and round(float(p50), 3),
            "latency_ms_p95": p95 and round(float(p95), 3),
        }


def watch(
    source: Source,
    predictor: Predictor,
    stopped: Callable[[], bool],
    *,
    window: Window | None,
    recorder: Recorder | None,
) -> Pace:
    """Reads the frames of a source to its end, or until the window is closed or ``stopped()``."""
    pace = Pace()
    due = time.perf_counter()
    for frame in source.frames:
        page = pace.read(predictor, frame)
        if window or recorder:
            seen = annotate(frame, page, pace.recent, pace.milliseconds[-1])
        if recorder:
            recorder.write(seen)
        if window:
            # A video is shown at its own pace; a camera has one.
            due = max(due + 1 / source.frames_per_second, time.perf_counter())
            ahead = 0 if source.endless else due - time.perf_counter()
            if window.show(seen, max(1, int(1000 * ahead))) in LEAVE or window.closed:
                break
        if stopped():
            break
    return pace


def draw(predictor: Predictor, stopped: Callable[[], bool]) -> tuple[Pace, list[float]]:
    """Shows a pad until its window is closed, and reads what is drawn in a thread of its own.

    Returns:
      The pace of reading, and of each stroke the milliseconds until it was on the screen.
    """
    window, reader, strokes = Window(TITLE), _Reader(predictor), []
    pad = Pad()
    cv2.setMouseCallback(TITLE, pad.on_mouse)
    shown = None
    try:
        while not stopped():
            state = pad.version, reader.page
            if state == shown:
                key = window.wait(5)
            else:
                begin = pad.touched
                milliseconds = reader.pace.milliseconds[-1] if reader.pace.frames else 0.0
                side = panel(reader.page, len(pad.picture), milliseconds)
                key = window.show(np.hstack([pad.shown(reader.page), side]))
                if begin and shown and state[0] != shown[0]:
                    strokes.append(1000 * (time.perf_counter() - begin))
                if not shown or state[0] != shown[0]:
                    reader.ask(None if pad.empty else pad.picture.copy())
                shown = state
            if key in LEAVE or window.closed:
                break
            pad.on_key(key)
    finally:
        reader.close()
        window.close()
    return reader.pace, strokes


class _Reader:
    """Reads the newest picture, so that drawing never waits for an answer."""

    def __init__(self, predictor: Predictor) -> None:
        self.pace = Pace()
        self._page: Page | Exception = Page((), "")
        self._predictor = predictor
        self._asked: collections.deque[np.ndarray | None] = collections.deque(maxlen=1)
        self._wake, self._ended = threading.Event(), False
        self._thread = threading.Thread(target=self._read, name="reader", daemon=True)
        self._thread.start()

    @property
    def page(self) -> Page:
        """The newest answer; raises what reading has raised."""
        if isinstance(self._page, Exception):
            raise self._page
        return self._page

    def ask(self, picture: np.ndarray | None) -> None:
        """Has a picture read, uint8 [height, width]; None stands for an empty one."""
        self._asked.append(picture)
        self._wake.set()

    def close(self) -> None:
        self._ended = True
        self._wake.set()
        self._thread.join()

    def _read(self) -> None:
        try:
            while self._wake.wait() and not self._ended:
                self._wake.clear()
                if self._asked:
                    picture = self._asked.pop()
                    nothing = picture is None
                    self._page = Page((), "") if nothing else self.pace.read(self._predictor, picture)
        except Exception as error:  # Whoever looks for the answer gets it.
            self._page = error
